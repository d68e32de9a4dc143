"""Work of a session that runs in parallel to its kernel: an install, a verification, a script.

Such a script has a kernel of its own, which ends with it and touches nothing of the session's.
"""

import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

import anyio

from kernel_exec.errors import KernelExecError, bare
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.kernel import KernelStarter
from kernel_exec.kernels.outcomes import SERVER_ENDED, Event, Outcome, Produced, Request
from kernel_exec.kernels.outputs import OutputEvent

from .ledger import Ledger, Live, Submission, describe_ending
from .slots import TakeSlot

_log = logging.getLogger(__name__)

_OF_THE_KERNEL = {"names", "lost", "working_directory"}
"""Details that mean nothing once the process is gone."""

Prepare: TypeAlias = Callable[[], Awaitable[KernelStarter]]
"""Makes the environment ready and says how to start its kernels; raises KernelExecError."""


class Job:
    """Work that goes on, as the work sees it: where its outputs go, and what stops it."""

    def __init__(self, ledger: Ledger, live: Live) -> None:
        self._ledger = ledger
        self._live = live

    def emit(self, output: OutputEvent) -> None:
        """Add to what it has put out."""
        self._ledger.produce(self._live.entry.id, output)

    def stop_by(self, stop: Callable[[], None]) -> None:
        """Have it stopped by `stop` from now on; until then it is cancelled."""
        self._live.cancel = stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How work ended, with the details for its entry."""

    outcome: Outcome = Outcome.OK
    details: JSONObject


Work: TypeAlias = Callable[[Job], Awaitable[Done]]


async def carry_out(
    ledger: Ledger, live: Live, scope: anyio.CancelScope, work: Work, ended: Callable[[], None]
) -> None:
    """Do work in `scope`; whatever happens, its entry ends with the truth."""
    outcome = Outcome.INTERRUPTED
    details: JSONObject = {"reason": SERVER_ENDED}
    try:
        with scope:
            done = await work(Job(ledger, live))
            outcome, details = done.outcome, done.details
        if scope.cancelled_caught:
            details = {"reason": "it was cancelled"}
    except Exception as error:  # noqa: BLE001 - whatever it is, the session goes on
        outcome, details = Outcome.EXCEPTION, {"error": describe_error(error)}
    finally:
        ledger.end(live, outcome, details)
        ended()


def isolated(
    prepare: Prepare, slot: TakeSlot, submission: Submission, arguments: tuple[str, ...]
) -> Work:
    """Work that runs a script in a kernel of its own, with the limits and interrupts of any."""
    request = Request(
        id=uuid.uuid4().hex,
        source=submission.source,
        file_path=submission.file_path,
        arguments=arguments,
        time_limit=submission.time_limit,
    )

    async def work(job: Job) -> Done:
        def listen(event: Event) -> None:
            if isinstance(event, Produced) and event.execution_id == request.id:
                job.emit(event.output)

        async with slot("isolated script"), (await prepare())(listen) as kernel:
            job.stop_by(lambda: kernel.interrupt(force=True))
            ending = await kernel.execute(request)
        details = describe_ending(ending, names_before={})
        kept = {word: value for word, value in details.items() if word not in _OF_THE_KERNEL}
        return Done(outcome=ending.outcome, details=kept)

    return work


def describe_error(error: Exception) -> str:
    """What went wrong; the log has the traceback of what we did not foresee."""
    error = bare(error)
    if isinstance(error, KernelExecError):
        return str(error)
    _log.error("a session's task failed", exc_info=error)
    return f"{type(error).__name__}: {error}"

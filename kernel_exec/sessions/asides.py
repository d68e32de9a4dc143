"""Work of a session that runs in parallel to its kernel, such as an install."""

from functools import partial

import anyio
from anyio.abc import TaskGroup

from kernel_exec.history.entries import Entry
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import OutputEvent

from .ledger import Ledger, Live
from .reports import Aside, Submission, Work, describe_error


def undertake(
    submission: Submission, work: Work, *, ledger: Ledger, tasks: TaskGroup, generation: int
) -> Entry:
    """Begin `work` in `tasks`, with an entry of its own."""
    live = ledger.begin(submission, outcome=Outcome.RUNNING, generation=generation)
    scope = anyio.CancelScope()
    live.cancel = scope.cancel  # from now on: it may be stopped before its task first runs
    tasks.start_soon(_carry_out, ledger, live, scope, work)
    return live.entry


async def _carry_out(ledger: Ledger, live: Live, scope: anyio.CancelScope, work: Work) -> None:
    """Do the work; whatever happens, its entry ends with the truth."""
    outcome = Outcome.INTERRUPTED
    details: JSONObject = {"reason": "the server ended"}

    def emit(output: OutputEvent) -> None:
        ledger.produce(live.entry.id, output)

    try:
        with scope:
            done = await work(Aside(emit=emit, stop_by=partial(setattr, live, "cancel")))
            outcome, details = done.outcome, done.details
        if scope.cancelled_caught:
            details = {"reason": "it was cancelled"}
    except Exception as error:  # noqa: BLE001 - whatever it is, the session goes on
        outcome, details = Outcome.EXCEPTION, {"error": describe_error(error)}
    finally:
        ledger.end(live, outcome, details)

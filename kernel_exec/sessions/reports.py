"""What is asked of a session, and what it reports."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from kernel_exec.errors import KernelExecError, bare
from kernel_exec.history.entries import EntryKind
from kernel_exec.jsons import JSON, JSONObject
from kernel_exec.kernels.kernel import KernelStarter
from kernel_exec.kernels.outcomes import Ending, Outcome
from kernel_exec.kernels.outputs import OutputEvent

_log = logging.getLogger(__name__)

Prepare: TypeAlias = Callable[[], Awaitable[KernelStarter]]
"""Makes the environment ready and tells how to start its kernels; raises KernelExecError."""

Emit: TypeAlias = Callable[[OutputEvent], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """What work beside the kernel is given: where its outputs go, and how to say what stops it.

    Until it calls `stop_by`, it is cancelled.
    """

    emit: Emit
    stop_by: Callable[[Callable[[], None]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How work beside the kernel ended, with the details for its entry."""

    outcome: Outcome = Outcome.OK
    details: JSONObject


Work: TypeAlias = Callable[[Aside], Awaitable[Done]]
"""Work beside the kernel, such as an install."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a caller wants run; `time_limit` in seconds, None for none."""

    source: str
    title: str = ""
    kind: EntryKind = EntryKind.CODE
    file_path: str | None = None
    time_limit: float | None = None
    details: JSONObject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelStatus:
    """A session's kernel now: not started, starting, idle, busy, dead, running in another server.

    `idle` is for how many seconds it has had nothing to do.
    """

    state: str
    generation: int
    pid: int | None = None
    python_version: str = ""
    ipykernel_version: str = ""
    support: str = ""
    started: float | None = None
    current: str | None = None
    queued: int = 0
    death: str = ""
    idle: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartReport:
    """What a restart did: the number of the new kernel, and the variables that are lost."""

    generation: int
    lost: Mapping[str, str]


def describe_ending(ending: Ending, *, known: Mapping[str, str]) -> JSONObject:
    """What an ending tells beyond outcome and times, without what is as usual.

    `known` are the kernel's names and their descriptions; they went with a kernel that died.
    """
    names, death = ending.names, ending.death
    details: dict[str, JSON] = {}
    if names.added or names.changed or names.gone or names.unknown:
        details["names"] = {
            "added": names.added,
            "changed": names.changed,
            "gone": list(names.gone),
            **({"unknown": True} if names.unknown else {}),
        }
    if not ending.complete:
        details["complete"] = False
    if ending.moved_to:
        details["working_directory"] = ending.moved_to
    if ending.stack:
        details["stack"] = ending.stack
    if ending.exit_requested:
        details["exit_requested"] = True
    if death is not None:
        details["lost"] = dict(known)
        details["death"] = {
            "cause": str(death),
            "exit_code": death.exit_code,
            "signal": death.signal,
            "stderr": death.stderr,
            "dump": death.dump,
        }
    return details


def describe_error(error: Exception) -> str:
    """What went wrong; the log has the traceback of what we did not foresee."""
    error = bare(error)
    if isinstance(error, KernelExecError):
        return str(error)
    _log.error("a session's task failed", exc_info=error)
    return f"{type(error).__name__}: {error}"

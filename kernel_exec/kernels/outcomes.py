"""The words for one execution: what to run, what happens to it, how it ends. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

from .outputs import ErrorOutput, OutputEvent


class Outcome(StrEnum):
    """How an execution ended, or that it has not."""

    QUEUED = "queued"
    RUNNING = "running"
    OK = "ok"
    EXCEPTION = "exception"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    KERNEL_DIED = "kernel_died"

    @property
    def ended(self) -> bool:
        """True when nothing more will change, late outputs aside."""
        return self not in {Outcome.QUEUED, Outcome.RUNNING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to run. `time_limit` is in seconds, None for none; tracebacks name `file_path`.

    `arguments` make it a script, which finds them in `sys.argv`; None for a cell.
    """

    id: str
    source: str
    file_path: str | None = None
    arguments: tuple[str, ...] | None = None
    time_limit: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """How a kernel process ended: exit code or signal name, and its last words."""

    exit_code: int | None = None
    signal: str | None = None
    reason: str = ""
    stderr: str = ""
    dump: str = ""

    def __str__(self) -> str:
        """One phrase, such as `signal SIGKILL`."""
        if self.reason:
            return self.reason
        if self.signal is not None:
            return f"signal {self.signal}"
        return f"exit code {self.exit_code}" if self.exit_code is not None else "unknown cause"


@dataclass(frozen=True, slots=True, kw_only=True)
class NameChanges:
    """What an execution did to the user's names: name to description for new and changed ones.

    A name that is missing here stands for the object that it stood for before, unless `unknown`;
    the object itself may have changed.
    """

    added: Mapping[str, str] = field(default_factory=dict)
    changed: Mapping[str, str] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    unknown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an execution ended.

    `complete` is False when outputs may be missing; `death` is set when the kernel went with it;
    `stack` is the main thread's at the time limit; `moved_to` is the new working directory, if it
    changed; `help` are lines on the next step after a mistake; `timing` holds nbformat's
    `execution` keys.
    """

    outcome: Outcome
    execution_count: int | None = None
    error: ErrorOutput | None = None
    complete: bool = True
    death: Death | None = None
    stack: str = ""
    exit_requested: bool = False
    names: NameChanges = field(default_factory=NameChanges)
    moved_to: str = ""
    help: str = ""
    timing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Began:
    """The kernel has started to run an execution."""

    execution_id: str
    execution_count: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Produced:
    """An execution produced an output event, perhaps after its end."""

    execution_id: str
    output: OutputEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An execution has ended; only late outputs follow."""

    execution_id: str
    ending: Ending


Event: TypeAlias = Began | Produced | Ended

SERVER_ENDED: Final = "the server ended"
"""Why a kernel died, or an execution ended, that nothing else has ended."""

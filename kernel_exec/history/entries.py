"""What a session remembers: entries and the output events that belong to them. Pure.

An **entry** is one thing that happened, numbered in its session: code that ran, a script, an
install, a note, a switch of environment. Outputs are kept beside it as events, in order and
never changed; `kernel_exec.kernels.outputs.fold` turns them into what is shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from kernel_exec.jsons import JSON, JSONObject, count, mapping, text
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import (
    Clear,
    DisplayData,
    ErrorOutput,
    ExecuteResult,
    OutputEvent,
    Spill,
    Stream,
    Update,
)

DEFAULT_NAME: Final = "main"
"""What a default session is called, by its owner and in history."""


class EntryKind(StrEnum):
    """What an entry is about; a verification concerns the session and is no part of it."""

    CODE = "code"
    SCRIPT = "script"
    INSTALL = "install"
    NOTE = "note"
    ENVIRONMENT = "environment"
    VERIFICATION = "verification"


class Origin(StrEnum):
    """Why a kernel was started.

    A kernel that is `NEEDED` for something to run carries on: what the one before held is lost,
    and wanted. A `RESTART` on request is a fresh start; a `REPLAY` is one that is followed by the
    steps of before.
    """

    NEEDED = "needed"
    RESTART = "restart"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """A session as history keeps it; times are seconds since the epoch."""

    id: str
    name: str
    environment: str
    created: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRecord:
    """One generation of a session's kernel: where it ran, and how it ended ("" while it lives)."""

    session_id: str
    generation: int
    started: float
    executable: str
    python_version: str
    support: str
    ended: float | None = None
    end_reason: str = ""
    origin: Origin = Origin.NEEDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that happened in a session.

    `source` is the code, the note's markdown or the install's requirements, one a line.
    `generation` is the kernel's (0 where no kernel took part). Times are seconds since the
    epoch; `timing` holds the protocol's own times (nbformat's `execution` keys, ISO 8601).
    `file_path` is the stored script; `details` what only one kind of entry has.
    """

    id: str
    session_id: str
    number: int
    kind: EntryKind
    source: str
    outcome: Outcome
    title: str = ""
    author: str = "agent"
    generation: int = 0
    execution_count: int | None = None
    queued: float
    started: float | None = None
    ended: float | None = None
    timing: Mapping[str, str] = field(default_factory=dict)
    file_path: str | None = None
    details: JSONObject = field(default_factory=dict)

    @property
    def duration(self) -> float | None:
        """Seconds from start to end, once it has ended."""
        if self.started is None or self.ended is None:
            return None
        return max(0.0, self.ended - self.started)


def script_arguments(entry: Entry) -> tuple[str, ...] | None:
    """What a script finds in `sys.argv` behind its path; None for what is no script."""
    if entry.kind is not EntryKind.SCRIPT:
        return None
    told = entry.details.get("arguments")
    return tuple(map(str, told)) if isinstance(told, (list, tuple)) else ()


def is_isolated(entry: Entry) -> bool:
    """True for a script that ran in a process of its own: it has changed no variable."""
    return entry.details.get("mode") == "isolated"


def is_replay(entry: Entry) -> bool:
    """True for a step that ran before, and was to run again after a restart."""
    return "replay_of" in entry.details


def is_unreached(entry: Entry) -> bool:
    """True for a step that a replay has not reached: nothing ran."""
    return is_replay(entry) and entry.started is None


def encode_event(event: OutputEvent) -> JSONObject:
    """`event` as a JSON object, for keeping."""
    body: dict[str, JSON]
    match event:
        case Stream():
            body = {"name": event.name, "text": event.text, "path": event.path}
        case DisplayData():
            body = {
                "data": event.data,
                "metadata": event.metadata,
                "display_id": event.display_id,
            }
        case ExecuteResult():
            body = {
                "data": event.data,
                "metadata": event.metadata,
                "display_id": event.display_id,
                "execution_count": event.execution_count,
            }
        case ErrorOutput():
            body = {
                "ename": event.ename,
                "evalue": event.evalue,
                "traceback": list(event.traceback),
            }
            if event.path is not None:
                body |= {"path": event.path, "characters": event.characters}
        case Spill():
            body = {"name": event.name, "path": event.path}
        case Clear():
            body = {"wait": event.wait}
        case Update():
            body = {
                "display_id": event.display_id,
                "data": event.data,
                "metadata": event.metadata,
            }
    return {"type": _TYPES[type(event)], "late": event.late, **body}


def decode_event(body: JSONObject) -> OutputEvent:
    """The event that `encode_event` wrote; raises `ValueError` for anything else."""
    late = body.get("late") is True
    path, display_id = body.get("path"), text(body, "display_id") or None
    match body.get("type"):
        case "stream":
            return Stream(
                name=text(body, "name"),
                text=text(body, "text"),
                path=path if isinstance(path, str) else None,
                late=late,
            )
        case "display_data":
            return DisplayData(
                data=mapping(body, "data"),
                metadata=mapping(body, "metadata"),
                display_id=display_id,
                late=late,
            )
        case "execute_result":
            return ExecuteResult(
                data=mapping(body, "data"),
                metadata=mapping(body, "metadata"),
                execution_count=count(body, "execution_count"),
                display_id=display_id,
                late=late,
            )
        case "error":
            blocks = body.get("traceback")
            return ErrorOutput(
                ename=text(body, "ename"),
                evalue=text(body, "evalue"),
                traceback=tuple(
                    str(block) for block in (blocks if isinstance(blocks, list) else ())
                ),
                path=path if isinstance(path, str) else None,
                characters=count(body, "characters") or 0,
                late=late,
            )
        case "spill":
            return Spill(name=text(body, "name"), path=text(body, "path"), late=late)
        case "clear_output":
            return Clear(wait=body.get("wait") is True, late=late)
        case "update_display_data":
            return Update(
                display_id=text(body, "display_id"),
                data=mapping(body, "data"),
                metadata=mapping(body, "metadata"),
                late=late,
            )
        case unknown:
            raise ValueError(f"no output event has type {unknown!r}")


_TYPES: Mapping[type[OutputEvent], str] = {
    Stream: "stream",
    DisplayData: "display_data",
    ExecuteResult: "execute_result",
    ErrorOutput: "error",
    Spill: "spill",
    Clear: "clear_output",
    Update: "update_display_data",
}

"""What a session remembers: entries and the output events that belong to them. Pure.

An **entry** is one thing that happened, numbered in its session: code that ran, a script, an
install, a note, a switch of environment. Outputs are kept beside it as events, in order and
never changed; `kernel_exec.kernels.outputs.fold` turns them into what is shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from kernel_exec.errors import InvalidArgumentError, NotFoundError
from kernel_exec.jsons import JSONObject, items
from kernel_exec.kernels.outcomes import Outcome

DEFAULT_NAME: Final = "main"
"""What a default session is called, by its owner and in history."""

ID_SHOWN: Final = 8
"""Characters of a session's id that tell it from all others."""

_MOST_LISTED: Final = 10
"""Sessions that a message lists."""


class EntryKind(StrEnum):
    """What an entry is about; a verification concerns the session and is no part of it."""

    CODE = "code"
    SCRIPT = "script"
    INSTALL = "install"
    NOTE = "note"
    ENVIRONMENT = "environment"
    VERIFICATION = "verification"


EXECUTED: Final = frozenset(
    {EntryKind.CODE, EntryKind.SCRIPT, EntryKind.INSTALL, EntryKind.VERIFICATION}
)
"""The kinds of what is carried out, and has an outcome of its own."""


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
    """A session as history keeps it; times are seconds since the epoch.

    `client` and `folder` are who began it and where that was, "" where nobody said so.
    """

    id: str
    name: str
    environment: str
    created: float
    client: str = ""
    folder: str = ""


def matching(wanted: str, records: Sequence[SessionRecord]) -> list[SessionRecord]:
    """Those that somebody may mean by a name or an id, else by the beginning of either."""
    exact = [each for each in records if wanted in {each.name, each.id}]
    return exact or [
        each
        for each in records
        if wanted and (each.name.startswith(wanted) or each.id.startswith(wanted))
    ]


def choose(
    wanted: str, *, live: Sequence[SessionRecord], past: Sequence[SessionRecord]
) -> SessionRecord:
    """The session that a person means by its name, its id or a unique beginning.

    One that is `live` comes before one that is `past`; of past ones with one name the last counts.

    Raises:
        NotFoundError: There is none.
        InvalidArgumentError: There are several.
    """
    found = matching(wanted, live)
    if not found:
        found = matching(wanted, past)
        if len({each.name for each in found}) == 1:
            found = found[-1:]
    if not found:
        there = {each.id: each for each in (*live, *reversed(past))}
        raise NotFoundError(f"no session {wanted!r}; there is {listed([*there.values()])}")
    if len(found) > 1:
        raise InvalidArgumentError(
            f"{wanted!r} may be any of {listed(found)}; use more of its name or id"
        )
    return found[0]


def listed(records: Sequence[SessionRecord]) -> str:
    """The names and ids of sessions, for a message."""
    named = [f"{each.name} ({each.id[:ID_SHOWN]})" for each in records[:_MOST_LISTED]]
    more = len(records) - len(named)
    return ", ".join([*named, f"{more} more"] if more else named) or "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRecord:
    """One generation of a session's kernel: where it ran, and how it ended ("" while it lives).

    `sandbox` are the walls and limits that held.
    """

    session_id: str
    generation: int
    started: float
    executable: str
    python_version: str
    support: str
    ended: float | None = None
    end_reason: str = ""
    origin: Origin = Origin.NEEDED
    sandbox: JSONObject = field(default_factory=dict)


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


def choose_step(wanted: str, entries: Sequence[Entry]) -> Entry:
    """The step that a person means by its number, its id or the beginning of its id.

    Digits are a number or a whole id: a number that is not there begins some id or other.

    Raises:
        NotFoundError: There is none, or several.
    """
    wanted = wanted.removeprefix("step ")
    found = [each for each in entries if wanted in {str(each.number), each.id}]
    if not found and wanted and not wanted.isdecimal():
        found = [each for each in entries if each.id.startswith(wanted)]
    if len(found) != 1:
        last = f"the last is step {entries[-1].number}" if entries else "it has none"
        raise NotFoundError(f"no single step is {wanted!r} in this session; {last}")
    return found[0]


def script_arguments(entry: Entry) -> tuple[str, ...] | None:
    """What a script finds in `sys.argv` behind its path; None for what is no script."""
    if entry.kind is not EntryKind.SCRIPT:
        return None
    return tuple(map(str, items(entry.details, "arguments")))


def is_isolated(entry: Entry) -> bool:
    """True for a script that ran in a process of its own: it has changed no variable."""
    return entry.details.get("mode") == "isolated"


def is_replay(entry: Entry) -> bool:
    """True for a step that ran before, and was to run again after a restart."""
    return "replay_of" in entry.details


def is_unreached(entry: Entry) -> bool:
    """True for a step that a replay has not reached: nothing ran."""
    return is_replay(entry) and entry.started is None

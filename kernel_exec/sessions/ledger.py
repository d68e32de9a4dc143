"""The entries that this server began: what they are now, who waits, their way to the store."""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import anyio

from kernel_exec.errors import NotFoundError
from kernel_exec.history.entries import Entry, EntryKind, is_replay, script_arguments
from kernel_exec.history.store import Store
from kernel_exec.jsons import JSON, JSONObject
from kernel_exec.kernels.outcomes import Began, Ending, Event, Outcome, Produced, Request
from kernel_exec.kernels.outputs import OutputEvent, Stream
from kernel_exec.signals import Signal

from .recent import Background, Recent

KEPT = 100
"""Ended entries whose latest state is kept in memory; older ones are read from the store."""

_KEPT_SOURCE = 4_000_000
"""Characters of source that ended entries may keep in memory; one may have two millions."""

_LAST_WORDS = 200
"""Characters of the latest text that progress shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a caller wants run; `time_limit` in seconds, None for none."""

    source: str
    title: str = ""
    kind: EntryKind = EntryKind.CODE
    file_path: str | None = None
    time_limit: float | None = None
    details: JSONObject | None = None


@dataclass(slots=True, kw_only=True)
class Live:
    """An entry that this server began. `cancel` stops work that runs beside the kernel.

    `recent` are its outputs until another one has ended after it.
    `began` is when it was begun or started, by a clock that nobody sets.
    """

    entry: Entry
    began: float = field(default_factory=time.monotonic)
    time_limit: float | None = None
    cancel: Callable[[], None] | None = None
    waiters: int = 0
    handed_out: bool = False
    changes: int = 0
    last_words: str = ""
    recent: Recent = field(default_factory=Recent)
    changed: Signal = field(default_factory=Signal)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def given_up(self) -> bool:
        """It goes on, but whoever waited for it has left."""
        return self.handed_out and not self.waiters

    @property
    def request(self) -> Request:
        """What a kernel is asked to run."""
        return Request(
            id=self.entry.id,
            source=self.entry.source,
            file_path=self.entry.file_path,
            arguments=script_arguments(self.entry),
            time_limit=self.time_limit,
        )

    def note_change(self) -> None:
        """Something of it has changed."""
        self.changes += 1
        self.changed.fire()


class Ledger:
    """Begins, changes and ends the entries of one session; all of it reaches the store in order.

    `begun` fires with each entry, and when there will be no more.
    """

    def __init__(self, *, session_id: str, store: Store, number: int) -> None:
        """Continue after entry `number`."""
        self._session_id = session_id
        self._store = store
        self._number = number
        self._live: dict[str, Live] = {}
        self._unfinished: dict[str, Live] = {}
        self._ended: deque[str] = deque()
        self._ended_source = 0
        self.background = Background()
        self.begun = Signal()

    def begin(self, submission: Submission, *, outcome: Outcome, generation: int) -> Live:
        """A new entry, over already when `outcome` says so."""
        now = time.time()
        self._number += 1
        entry = Entry(
            id=secrets.token_hex(8),
            session_id=self._session_id,
            number=self._number,
            kind=submission.kind,
            source=submission.source,
            outcome=outcome,
            title=submission.title,
            generation=generation,
            queued=now,
            started=None if outcome is Outcome.QUEUED else now,
            ended=now if outcome.ended else None,
            file_path=submission.file_path,
            details=submission.details or {},
        )
        live = self._live[entry.id] = Live(entry=entry, time_limit=submission.time_limit)
        self._store.put_entry(entry)
        if outcome.ended:
            self._note_end(live)
        else:
            self._unfinished[entry.id] = live
        self.begun.fire()
        return live

    def start(self, live: Live, *, generation: int, details: JSONObject) -> None:
        """An entry that was queued runs now, in a kernel."""
        live.began = time.monotonic()
        live.entry = replace(
            live.entry,
            outcome=Outcome.RUNNING,
            started=time.time(),
            generation=generation,
            details={**live.entry.details, **details},
        )
        self._store.put_entry(live.entry)
        live.note_change()

    def note_unstored(self, entry_id: str, reason: str) -> Entry:
        """An entry that was just begun has no script after all; the entry as it is now."""
        live = self.find(entry_id)
        details = {**live.entry.details, "unstored": reason}
        live.entry = replace(live.entry, file_path=None, details=details)
        self._store.put_entry(live.entry)
        return live.entry

    def end(self, live: Live, outcome: Outcome, details: JSONObject) -> None:
        """An entry is over; only late outputs follow."""
        entry = live.entry
        details = {**entry.details, **details}
        ended = time.time()
        if entry.started is not None:
            ended = entry.started + time.monotonic() - live.began
        live.entry = replace(entry, outcome=outcome, ended=ended, details=details)
        self._store.put_entry(live.entry)
        live.note_change()
        self._note_end(live)

    def produce(self, entry_id: str, output: OutputEvent) -> None:
        """An entry has produced something, perhaps after its end."""
        self._store.add_event(entry_id, output)
        if output.late:
            self.background.note(entry_id, output)
        if (live := self._live.get(entry_id)) is not None:
            if isinstance(output, Stream) and output.text.strip():
                live.last_words = output.text.rstrip()[-_LAST_WORDS:]
            live.recent.add(output)
            live.note_change()

    def listen(self, event: Event) -> None:
        """Take in an event of a kernel: a `Listener`."""
        if isinstance(event, Produced):
            self.produce(event.execution_id, event.output)
        elif isinstance(event, Began) and (live := self._live.get(event.execution_id)) is not None:
            live.entry = replace(live.entry, execution_count=event.execution_count)
            live.note_change()

    async def wait(self, entry_id: str, seconds: float) -> Entry:
        """The entry when it has ended or `seconds` have passed.

        Its end is on its way to the store; whatever is read from there next waits for it.
        """
        live = self.find(entry_id)
        live.waiters += 1
        try:
            with anyio.move_on_after(seconds):
                await live.done.wait()
        finally:
            live.waiters -= 1
            live.handed_out = True
        return live.entry

    async def wait_change(self, entry_id: str, seen: int) -> int:
        """Wait until an entry has had more than `seen` changes, or has ended; their number."""
        live = self.find(entry_id)
        while live.changes <= seen and not live.entry.outcome.ended:
            await live.changed.wait()
        return live.changes

    def find(self, entry_id: str) -> Live:
        """The live entry.

        Raises:
            NotFoundError: This server did not begin it, or long ago.
        """
        live = self._live.get(entry_id)
        if live is None:
            raise NotFoundError(f"execution {entry_id!r} was not begun by this server")
        return live

    def get(self, entry_id: str) -> Live | None:
        """The live entry, if this server began it and still keeps it."""
        return self._live.get(entry_id)

    def resent(self, kind: EntryKind, source: str) -> Entry | None:
        """What runs with this source, and nobody waits for it any more.

        A client that gave up waiting and sends the same again must not run it twice.
        """
        for live in self.unfinished:
            entry = live.entry
            is_same = (entry.kind, entry.source) == (kind, source)
            if live.given_up and is_same and not is_replay(entry):
                return entry
        return None

    @property
    def kept(self) -> list[Entry]:
        """The entries that are kept in memory, in the order in which they were begun."""
        return [live.entry for live in self._live.values()]

    @property
    def unfinished(self) -> list[Live]:
        """What goes on, in the order in which it was begun."""
        return list(self._unfinished.values())

    def _note_end(self, live: Live) -> None:
        self._unfinished.pop(live.entry.id, None)
        live.done.set()
        if self._ended and (before := self._live.get(self._ended[-1])) is not None:
            before.recent.drop()  # from now on they are read from the store
        self._ended.append(live.entry.id)
        self._ended_source += len(live.entry.source)
        while len(self._ended) > KEPT or self._ended_source > _KEPT_SOURCE:
            oldest = self._live.pop(self._ended.popleft())
            self._ended_source -= len(oldest.entry.source)


def describe_ending(ending: Ending, *, names_before: Mapping[str, str]) -> JSONObject:
    """The details of an entry: what is unusual about its ending, beyond outcome and times.

    `names_before` are the kernel's names with their descriptions, lost if it died.
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
    if ending.help:
        details["help"] = ending.help
    if ending.stack:
        details["stack"] = ending.stack
    if ending.exit_requested:
        details["exit_requested"] = True
    if death is not None:
        details["lost"] = dict(names_before)
        details["death"] = {
            "cause": str(death),
            "exit_code": death.exit_code,
            "signal": death.signal,
            "stderr": death.stderr,
            "dump": death.dump,
        }
    return details

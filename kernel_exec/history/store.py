"""History as sessions use it: writes that never wait, reads that see them, one thread for both.

Writes are rows in a list. The thread takes them over when somebody waits (`settle`, a read) and
`_FLUSH_AFTER` seconds after the first otherwise, and commits them in as few transactions as it
can. While that fails, each later write or `settle` tries again, and so does the thread itself.
"""

import asyncio
import itertools
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import anyio

from kernel_exec.errors import StorageError
from kernel_exec.kernels.outputs import OutputEvent

from .database import (
    BATCH_LIMIT,
    FAILURES,
    Database,
    all_events,
    count,
    describe,
    events,
    find,
    last_uses,
    session_events,
)
from .entries import Entry, EntryKind, KernelRecord, Numbered, SessionRecord
from .retention import Limits, keep_within
from .schema import ENTRY, EVENT, KERNEL, SESSION, Query, T, Write, kept

_T = TypeVar("_T")
_P = ParamSpec("_P")
_log = logging.getLogger(__name__)

_UNREADABLE: Final = (*FAILURES, TypeError, ValueError, RecursionError, MemoryError)
"""What reading raises, also where someone changed the rows."""

_FLUSH_AFTER: Final = 0.05
"""Seconds a write may lie when nobody waits: other processes see outputs as they come."""

_RETRY_AFTER: Final = 1.0
"""The same while writing fails, so that a burst of outputs does not become one of attempts."""

_RETRY_EVERY: Final = 2.0
"""Seconds between attempts while writing fails and nothing is asked of us."""

_QUIET: Final = 0.25
"""Seconds that nothing was asked before a step of upkeep, so that no result waits for one."""

_PATIENCE: Final = 1.0
"""Seconds after which a step is due all the same: history that is never quiet is swept, too."""

_CLOSE_LIMIT: Final = 5.0
"""Seconds that closing may take; a disk that hangs for longer must not hold the server."""


class _Thread:
    """The thread that alone uses the database, seen from the event loop that it serves.

    It ends with `aclose`; whoever waits then is told that history is closed.
    """

    def __init__(self, database: Database, limits: Limits | None) -> None:
        self.database: Final = database
        self.is_closed = False
        self.put_size = 0
        """Bytes of all rows that were put."""
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[Write] = deque()
        self._inbox_size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._commands: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._waiting: set[asyncio.Future[Any]] = set()
        self._ended = anyio.Event()
        self._upkeep = keep_within(database, limits) if limits is not None else None
        self._stepped = self._due = time.monotonic()
        # A daemon, so that a disk that hangs can't keep the process from leaving.
        threading.Thread(target=self._run, name="kernel-exec history", daemon=True).start()

    def put(self, write: Write) -> None:
        """Have `write` committed soon."""
        if self.is_closed:
            return
        self._inbox.append(write)
        self._inbox_size += write.size
        self.put_size += write.size
        if self._inbox_size > BATCH_LIMIT:
            self._flush_soon()
        elif self._timer is None:
            after = _RETRY_AFTER if self.database.degraded else _FLUSH_AFTER
            self._timer = self._loop.call_later(after, self._flush_soon)

    async def ask(self, question: Callable[[], _T]) -> _T:
        """What `question` returns in the thread, after all earlier writes."""
        if self.is_closed:
            raise StorageError("history is closed")
        self._stop_timer()
        future: asyncio.Future[_T] = self._loop.create_future()
        self._waiting.add(future)
        try:
            self._commands.put(partial(self._answer, future, question))
            return await future
        finally:
            self._waiting.discard(future)

    async def aclose(self) -> None:
        """Commit what was put, as far as that can be done in a few seconds, and end."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(_CLOSE_LIMIT):
            self._stop_timer()
            self._commands.put(None)
            await self._ended.wait()
        self._release()

    def _flush_soon(self) -> None:
        self._stop_timer()
        self._commands.put(self._flush)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._inbox_size = 0

    def _release(self) -> None:
        """The thread has ended, or is given up; nobody may wait for it."""
        self.is_closed = True
        self._ended.set()
        for future in self._waiting:
            _resolve(future, None, StorageError("history is closed"))

    # In the thread

    def _run(self) -> None:
        try:
            _carry_out(self._flush)  # which opens the database
            while (command := self._next_command()) is not None:
                _carry_out(command)
                if (now := time.monotonic()) < self._stepped + _PATIENCE:
                    self._due = max(self._due, now + _QUIET)  # more may be asked
            _carry_out(self._flush)
            self.database.close()
        finally:
            self._call(self._release)

    def _next_command(self) -> Callable[[], None] | None:
        """What is asked of us next; while nothing is, the thread tries again or tidies up."""
        while True:
            degraded = self.database.degraded
            pause = None if self._upkeep is None else max(0.0, self._due - time.monotonic())
            try:
                return self._commands.get(timeout=_RETRY_EVERY if degraded else pause)
            except Empty:
                _carry_out(self._flush if degraded else self._step)

    def _step(self) -> None:
        """Do a little of what keeps history within its limits."""
        self._stepped = time.monotonic()
        if self._upkeep is not None:
            pause = next(self._upkeep, None)
            if pause is None:  # a defect has ended it
                self._upkeep = None
            else:
                self._due = self._stepped + pause

    def _flush(self) -> None:
        for _ in range(len(self._inbox)):
            self.database.take(self._inbox.popleft())
        self.database.flush()

    def _answer(self, future: asyncio.Future[_T], question: Callable[[], _T]) -> None:
        try:
            self._flush()
            try:
                value = question()
            except sqlite3.Error:
                self._flush()  # which finds another connection, if one is to be had
                value = question()
        except Exception as error:  # noqa: BLE001 - whoever asked must hear of it
            if not isinstance(error, _UNREADABLE):
                _log.exception("history could not answer")
            unreadable = StorageError(f"history can't be read: {describe(error)}")
            self._call(partial(_resolve, future, None, unreadable))
        else:
            self._call(partial(_resolve, future, value, None))

    def _call(self, callback: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop did not wait for us
            self._loop.call_soon_threadsafe(callback)


class Reading:
    """What history can be asked, in any process that shares it.

    Answers include every write of this process before the question. They raise `StorageError`
    where the database is there but can't be read.
    """

    def __init__(self, thread: _Thread) -> None:
        self._thread = thread

    async def sessions(self) -> list[SessionRecord]:
        """All sessions, oldest first."""
        return await self._find(Query(table=SESSION))

    async def session(self, session_id: str) -> SessionRecord | None:
        """The session with this id."""
        return _only(await self._find(Query(table=SESSION, where={"id": (session_id,)})))

    async def find_session(self, name: str, environment: str) -> SessionRecord | None:
        """The latest session of this name in the environment with this key."""
        where = {"name": (name,), "environment": (environment,)}
        return _only(await self._find(Query(table=SESSION, where=where, last=1)))

    async def last_uses(self) -> dict[str, float]:
        """When each session on the disk was used last, by its id, in seconds since the epoch."""
        return await self._ask(last_uses)

    async def kernels(self, session_id: str) -> list[KernelRecord]:
        """The session's kernels by generation."""
        return await self._find(Query(table=KERNEL, where={"session": (session_id,)}))

    async def entries(
        self,
        session_id: str,
        *,
        after: int | None = None,
        first: int | None = None,
        last: int | None = None,
    ) -> list[Entry]:
        """The session's entries by number: those behind `after`, at most the first or last ones."""
        where = {"session": (session_id,)}
        page = Query(table=ENTRY, where=where, after=after, first=first, last=last)
        return await self._find(page)

    async def entry(self, entry_id: str) -> Entry | None:
        """The entry with this id."""
        return _only(await self._find(Query(table=ENTRY, where={"id": (entry_id,)})))

    async def latest(self, session_id: str, kinds: Collection[EntryKind]) -> Entry | None:
        """The session's latest entry of one of these kinds; reads only that one."""
        where = {"session": (session_id,), "kind": kinds}
        return _only(await self._find(Query(table=ENTRY, where=where, last=1)))

    async def count(self, session_id: str, kinds: Collection[EntryKind]) -> int:
        """How many entries of these kinds the session has; reads none of them."""
        where = {"session": (session_id,), "kind": kinds}
        return await self._ask(count, Query(table=ENTRY, where=where))

    async def events(self, entry_id: str, *, after: int | None = None) -> list[Numbered]:
        """What the entry has produced behind number `after`, in order.

        A line stands for what can't be read any more.
        """
        return await self._ask(events, entry_id, after)

    async def all_events(self, *, after: int = 0, first: int) -> list[Numbered]:
        """What all entries have produced, in the order in which it came to the disk.

        At most the `first` events behind number `after`. Numbers are those of the database here.
        """
        return await self._ask(all_events, after, first)

    async def session_events(self, session_id: str) -> dict[str, list[OutputEvent]]:
        """What each of the session's entries has produced, by the entry's id."""
        return await self._ask(session_events, session_id)

    async def _find(self, query: Query[T]) -> list[T]:
        return await self._ask(find, query)

    async def _ask(
        self,
        question: Callable[Concatenate[Database, _P], _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        return await self._thread.ask(partial(question, self._thread.database, *args, **kwargs))


class Store(Reading):
    """What happened in all sessions below one storage root. Belongs to one event loop.

    No write waits or raises; each replaces what stood for the same id.
    """

    def __init__(self, database: Database, limits: Limits | None) -> None:
        super().__init__(_Thread(database, limits))
        self._server = database.file.server
        self._numbers = itertools.count(1)

    @property
    def degraded(self) -> str:
        """Why history is only in memory, in one phrase; "" when all is well."""
        return "history is closed" if self._thread.is_closed else self._thread.database.degraded

    @property
    def notice(self) -> str:
        """What became of earlier history, for the user to be told of once; "" when nothing."""
        return self._thread.database.file.notice

    def unwritten(self) -> int:
        """Bytes that wait to be written; 0 while nothing can be, as waiting would not help."""
        return 0 if self.degraded else self._thread.put_size - self._thread.database.finished

    def put_session(self, record: SessionRecord) -> None:
        """Keep a session."""
        self._thread.put(Write(table=SESSION, row=SESSION.row(record, self._server)))

    def put_kernel(self, record: KernelRecord) -> None:
        """Keep a kernel of a session that was put before."""
        self._thread.put(Write(table=KERNEL, row=KERNEL.row(record, self._server)))

    def put_entry(self, entry: Entry) -> None:
        """Keep an entry of a session that was put before."""
        row = ENTRY.row(entry, self._server)
        self._thread.put(Write(table=ENTRY, row=row, live=not entry.outcome.ended))

    def add_event(self, entry_id: str, event: OutputEvent) -> None:
        """Add to the end of what an entry, put before by this server, has produced."""
        row = EVENT.row(kept(entry_id, next(self._numbers), event), self._server)
        self._thread.put(Write(table=EVENT, row=row, live=False))

    async def settle(self) -> None:
        """Wait until all writes before this are on the disk, or `degraded` says why not."""
        with suppress(StorageError):
            await self._thread.ask(_nothing)

    async def bury(self) -> None:
        """End what other servers, which have died meanwhile, had left open."""
        with suppress(StorageError):
            await self._thread.ask(self._thread.database.bury)

    async def aclose(self) -> None:
        """Write what is pending, as far as that can be done in a few seconds, and close."""
        await self._thread.aclose()


@asynccontextmanager
async def open_store(storage_root: Path, *, limits: Limits | None = None) -> AsyncIterator[Store]:
    """The history in `.kernel_exec` below `storage_root`, kept within `limits` if any are given.

    Never fails: where the database can't be used, `Store.degraded` says why. Leaving writes what
    is pending.
    """
    store = Store(Database(storage_root / ".kernel_exec"), limits)
    try:
        await store.settle()
        yield store
    finally:
        await store.aclose()


def _carry_out(step: Callable[[], object]) -> None:
    """Do one thing in the thread of history, which serves everybody and so outlives a defect."""
    try:
        step()
    except Exception:  # noqa: BLE001 - see above
        _log.exception("history met a defect and goes on")


def _resolve(future: asyncio.Future[Any], value: object, error: StorageError | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)


def _only(found: Sequence[_T]) -> _T | None:
    return found[-1] if found else None


def _nothing() -> None:
    """What `settle` asks for: everything before it."""

"""History as sessions use it: writes that never wait, reads that see them, one thread for both.

Writes are rows in a list. The thread takes them over when somebody waits (`settle`, a read) and
`_FLUSH_AFTER` seconds after the first otherwise, and commits them in as few transactions as it
can. Until then it sleeps: each time that it wakes it takes the interpreter from the loop. While
writing fails, each read or `settle` tries again, and so does the thread by itself.
"""

import asyncio
import itertools
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Concatenate, Final, ParamSpec, TypeVar

import anyio

from kernel_exec.errors import StorageError
from kernel_exec.kernels.outputs import OutputEvent
from kernel_exec.places import Places

from .database import FAILURES, Database, count, describe, events, find, last_uses, session_events
from .entries import Entry, EntryKind, KernelRecord, SessionRecord
from .retention import Limits, keep_within
from .schema import ENTRY, EVENT, KERNEL, SESSION, Query, T, Write, kept

_T = TypeVar("_T")
_P = ParamSpec("_P")
_log = logging.getLogger(__name__)

_UNREADABLE: Final = (*FAILURES, TypeError, ValueError, RecursionError, MemoryError)
"""What reading raises, also where someone changed the rows."""

_FLUSH_AFTER: Final = 0.05
"""Seconds a write may lie when nobody waits: other processes see outputs as they come."""

_RETRY_AFTER: Final = 2.0
"""Seconds between attempts while writing fails and nothing is asked of us."""

_QUIET: Final = 0.25
"""Seconds that nothing was asked before a step of upkeep, so that no result waits for one."""

_PATIENCE: Final = 1.0
"""Seconds after which a step is due all the same: history that is never quiet is swept, too."""

_CLOSE_LIMIT: Final = 5.0
"""Seconds that closing may take; a disk that hangs for longer must not hold the server."""


class _Thread:
    """The thread that alone uses the database, seen from the event loop that it serves."""

    def __init__(self, database: Database, limits: Limits | None) -> None:
        self.database: Final = database
        self.is_closed = False
        self.put_size = 0
        """Bytes of all rows that were put."""
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[Write] = deque()
        self._timer: asyncio.TimerHandle | None = None
        """For what is in the inbox, unless somebody waits for it before."""
        self._commands: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._upkeep = None if limits is None else keep_within(database, limits)
        self._stepped = self._due = time.monotonic()
        self._has_ended = False
        # A daemon, so that a disk that hangs can't keep the process from leaving.
        threading.Thread(target=self._run, name="kernel-exec history", daemon=True).start()

    def put(self, write: Write) -> None:
        """Have `write` committed soon."""
        if self.is_closed:
            return
        self.put_size += write.size
        self._inbox.append(write)
        if self._timer is None:
            self._timer = self._loop.call_later(_FLUSH_AFTER, self._take_over)

    async def ask(self, question: Callable[[], _T]) -> _T:
        """What `question` returns in the thread, after all earlier writes."""
        if self.is_closed:
            raise StorageError("history is closed")
        return await self._answered(question)

    def settle(self) -> asyncio.Future[None]:
        """Done when all earlier writes are, as far as they can be."""
        if not self.is_closed:
            return self._answered(lambda: None)
        done: asyncio.Future[None] = self._loop.create_future()
        done.set_result(None)
        return done

    async def aclose(self) -> None:
        """Commit what was put, as far as that can be done in a few seconds, and end."""
        if not self.is_closed:
            self.is_closed = True
            with anyio.CancelScope(shield=True), anyio.move_on_after(_CLOSE_LIMIT):
                await self._answered(self._end)

    def _take_over(self) -> None:
        self._timer = None
        self._commands.put(self._flush)

    def _answered(self, question: Callable[[], _T]) -> asyncio.Future[_T]:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        future: asyncio.Future[_T] = self._loop.create_future()
        self._commands.put(partial(self._answer, future, question))
        return future

    # In the thread

    def _run(self) -> None:
        command: Callable[[], object] = self._flush  # which opens the database
        while not self._has_ended:
            try:
                command()
            except Exception:  # noqa: BLE001 - it serves everybody, and so outlives a defect
                _log.exception("history met a defect and goes on")
            try:
                command = self._commands.get(timeout=self._pause())
            except Empty:
                command = self._flush if self.database.degraded else self._step
            else:
                if (now := time.monotonic()) < self._stepped + _PATIENCE:
                    self._due = max(self._due, now + _QUIET)  # more may be asked

    def _pause(self) -> float | None:
        """Seconds after which there is something to do unasked; None for never."""
        if self.database.degraded:
            return _RETRY_AFTER
        return None if self._upkeep is None else max(0.0, self._due - time.monotonic())

    def _step(self) -> None:
        """Do a little of what keeps history within its limits; a defect ends that."""
        upkeep, self._upkeep = self._upkeep, None
        if upkeep is not None:
            self._stepped = time.monotonic()
            self._due = self._stepped + next(upkeep)
            self._upkeep = upkeep

    def _flush(self) -> None:
        for _ in range(len(self._inbox)):
            self.database.waiting.add(self._inbox.popleft())
        self.database.flush()

    def _answer(self, future: asyncio.Future[_T], question: Callable[[], _T]) -> None:
        try:
            self._flush()  # also where nobody waits any more
            if future.cancelled():
                return
            try:
                value = question()
            except sqlite3.Error:
                self._flush()  # which finds another connection, if one is to be had
                value = question()
        except Exception as error:  # noqa: BLE001 - whoever asked must hear of it
            if not isinstance(error, _UNREADABLE):
                _log.exception("history could not answer")
            reason = StorageError(f"history can't be read: {describe(error)}")
            self._pass_on(future, lambda: future.set_exception(reason))
        else:
            self._pass_on(future, lambda: future.set_result(value))

    def _pass_on(self, future: asyncio.Future[_T], answer: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(lambda: None if future.done() else answer())

    def _end(self) -> None:
        self.database.close()
        self._has_ended = True


class Reading:
    """What history can be asked, in any process that shares it.

    Answers include every write of this process before the question. They raise `StorageError`
    where the database is there but can't be read.
    """

    def __init__(self, thread: _Thread) -> None:
        self._thread = thread

    async def sessions(self, *, last: int | None = None, **fields: str) -> list[SessionRecord]:
        """The sessions with these fields, such as `name`, oldest first; the `last` ones or all."""
        where = {name: (value,) for name, value in fields.items()}
        return await self._find(Query(table=SESSION, where=where, last=last))

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

    async def entries(self, session_id: str, *, last: int | None = None) -> list[Entry]:
        """The session's entries by number; the `last` ones or all."""
        return await self._find(Query(table=ENTRY, where={"session": (session_id,)}, last=last))

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

    async def events(
        self, entry_id: str, *, after: int | None = None
    ) -> list[tuple[int, OutputEvent]]:
        """What the entry has produced behind number `after`, in order, each with its number.

        A line stands for what can't be read any more.
        """
        return await self._ask(events, entry_id, after)

    async def session_events(self, session_id: str) -> dict[str, list[OutputEvent]]:
        """What each of the session's entries has produced, by the entry's id."""
        return await self._ask(session_events, session_id)

    async def _find(self, query: Query[T]) -> list[T]:
        return await self._ask(find, query)

    async def _ask(
        self, question: Callable[Concatenate[Database, _P], _T], *args: _P.args, **kwargs: _P.kwargs
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
        """A notice on earlier history, to be shown to the user once; "" when there is none."""
        return self._thread.database.file.notice

    def unwritten(self) -> int:
        """Bytes that wait to be written; 0 while nothing can be, as waiting would not help."""
        finished = self._thread.database.waiting.finished
        return 0 if self.degraded else self._thread.put_size - finished

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

    def settle(self) -> Awaitable[None]:
        """Begin to write; wait until all before this is on the disk, or `degraded` says why not."""
        return self._thread.settle()

    async def bury(self) -> None:
        """End what other servers, which have died meanwhile, had left open."""
        with suppress(StorageError):
            await self._thread.ask(self._thread.database.bury)

    async def aclose(self) -> None:
        """Write what is pending, as far as that can be done in a few seconds, and close."""
        await self._thread.aclose()


@asynccontextmanager
async def open_store(storage_root: Path, *, limits: Limits | None = None) -> AsyncIterator[Store]:
    """The history below `storage_root`, kept within `limits` if any are given.

    Never fails: where the database can't be used, `Store.degraded` says why. Leaving writes what
    is pending.
    """
    store = Store(Database(Places(storage_root).private), limits)
    try:
        await store.settle()
        yield store
    finally:
        await store.aclose()


def _only(found: Sequence[_T]) -> _T | None:
    return found[-1] if found else None

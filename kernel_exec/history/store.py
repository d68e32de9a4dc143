"""History as sessions use it: writes that never wait, reads that see them, one thread for both.

Writes are rows in a list. The thread takes them over when somebody waits (`settle`, a read) and
`_FLUSH_AFTER` seconds after the first otherwise, and commits them in as few transactions as it
can. While that fails, they stay in memory in their order, every read adds them to what the
database holds, and each later write or `settle` tries again.
"""

import asyncio
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

import anyio

from kernel_exec.errors import StorageError
from kernel_exec.kernels.outputs import OutputEvent
from kernel_exec.places import Places

from .backlog import BATCH_LIMIT, Backlog, describe
from .database import FAILURES, Database
from .entries import Entry, EntryKind, KernelRecord, SessionRecord
from .retention import Limits, Upkeep
from .schema import Write, write_entry, write_event, write_kernel, write_session

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

_UNREADABLE: Final = (*FAILURES, TypeError, ValueError, RecursionError, MemoryError)
"""What reading raises, also where someone changed the rows."""

_FLUSH_AFTER: Final = 0.05
"""Seconds a write may lie when nobody waits: other processes see outputs as they come."""

_RETRY_AFTER: Final = 1.0
"""The same while writing fails, so that a burst of outputs does not become one of attempts."""

_RETRY_EVERY: Final = 2.0
"""Seconds between attempts while writing fails and nothing is asked of us."""

_CLOSE_LIMIT: Final = 5.0
"""Seconds that closing may take; a disk that hangs for longer must not hold the server."""


class Store:
    """What happened in all sessions below one storage root. Belongs to one event loop.

    No write waits or raises. Reads see every write before them; they raise `StorageError` where
    the database is there but can't be read.
    """

    def __init__(self, database: Database, limits: Limits | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = database.server
        self._backlog = Backlog(database)
        self._upkeep = Upkeep(database, limits)
        self._inbox: deque[Write] = deque()
        self._inbox_size = 0
        self._put_size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._commands: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._waiting: set[asyncio.Future[Any]] = set()
        self._closed = False
        self._ended = anyio.Event()
        # A daemon, so that a disk that hangs can't keep the process from leaving.
        threading.Thread(target=self._run, name="kernel-exec history", daemon=True).start()

    @property
    def degraded(self) -> str:
        """Why history is only in memory, in one phrase; "" when all is well."""
        return "history is closed" if self._closed else self._backlog.degraded

    @property
    def notice(self) -> str:
        """What became of earlier history, for the user to be told of once; "" when nothing."""
        return self._backlog.database.notice

    def unwritten(self) -> int:
        """Bytes that wait to be written; 0 while nothing can be, as waiting would not help."""
        return 0 if self.degraded else self._put_size - self._backlog.finished

    def put_session(self, record: SessionRecord) -> None:
        """Keep `record` in place of what its id stood for."""
        self._put(write_session(record))

    def put_kernel(self, record: KernelRecord) -> None:
        """Keep `record` in place of what its session and generation stood for."""
        self._put(write_kernel(record, self._server))

    def put_entry(self, entry: Entry) -> None:
        """Keep `entry` in place of what its id stood for; its session must have been put."""
        self._put(write_entry(entry, self._server))

    def add_event(self, entry_id: str, event: OutputEvent) -> None:
        """Add `event` to the end of what the entry, put before, has produced."""
        self._put(write_event(entry_id, event))

    async def settle(self) -> None:
        """Wait until all writes before this are on the disk, or `degraded` says why not."""
        with suppress(StorageError):
            await self._ask(_nothing)

    async def sessions(self) -> list[SessionRecord]:
        """All sessions, oldest first."""
        return await self._ask(self._backlog.sessions)

    async def session(self, session_id: str) -> SessionRecord | None:
        """The session with this id."""
        return _only(await self._ask(partial(self._backlog.sessions, id=session_id)))

    async def find_session(self, name: str, environment: str) -> SessionRecord | None:
        """The latest session of this name in the environment with this key."""
        find = partial(self._backlog.sessions, last=1, name=name, environment=environment)
        return _only(await self._ask(find))

    async def last_uses(self) -> dict[str, float]:
        """When each session was used last, by its id, in seconds since the epoch."""
        return await self._ask(self._backlog.last_uses)

    async def kernels(self, session_id: str) -> list[KernelRecord]:
        """The session's kernels by generation."""
        return await self._ask(partial(self._backlog.kernels, session_id))

    async def entries(self, session_id: str, *, last: int | None = None) -> list[Entry]:
        """The session's entries by number, at most the `last` ones."""
        return await self._ask(partial(self._backlog.entries, last=last, session=session_id))

    async def entry(self, entry_id: str) -> Entry | None:
        """The entry with this id."""
        return _only(await self._ask(partial(self._backlog.entries, id=entry_id)))

    async def latest(self, session_id: str, kinds: Collection[EntryKind]) -> Entry | None:
        """The session's latest entry of one of these kinds; reads only that one."""
        return await self._ask(partial(self._backlog.latest, session_id, kinds))

    async def bury(self) -> None:
        """End what other servers, which have died meanwhile, had left open."""
        with suppress(StorageError):
            await self._ask(self._backlog.database.bury)

    async def events(self, entry_id: str) -> list[OutputEvent]:
        """What the entry has produced, in order; a line stands for what can't be read any more."""
        return await self._ask(partial(self._backlog.events, entry_id))

    async def session_events(self, session_id: str) -> dict[str, list[OutputEvent]]:
        """What each of the session's entries has produced, by the entry's id."""
        return await self._ask(partial(self._backlog.session_events, session_id))

    async def aclose(self) -> None:
        """Write what is pending, as far as that can be done in a few seconds, and close."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(_CLOSE_LIMIT):
            self._stop_timer()
            self._commands.put(None)
            await self._ended.wait()
        self._release()

    def _put(self, write: Write) -> None:
        if self._closed:
            return
        self._inbox.append(write)
        self._inbox_size += write.size
        self._put_size += write.size
        if self._inbox_size > BATCH_LIMIT:
            self._flush_soon()
        elif self._timer is None:
            after = _RETRY_AFTER if self._backlog.degraded else _FLUSH_AFTER
            self._timer = self._loop.call_later(after, self._flush_soon)

    def _flush_soon(self) -> None:
        self._stop_timer()
        self._commands.put(self._flush)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._inbox_size = 0

    async def _ask(self, question: Callable[[], _T]) -> _T:
        """What `question` returns in the thread, after all earlier writes."""
        if self._closed:
            raise StorageError("history is closed")
        self._stop_timer()
        future: asyncio.Future[_T] = self._loop.create_future()
        self._waiting.add(future)
        try:
            self._commands.put(partial(self._answer, future, question))
            return await future
        finally:
            self._waiting.discard(future)

    def _release(self) -> None:
        """The thread has ended, or is given up; nobody may wait for it."""
        self._closed = True
        self._ended.set()
        for future in self._waiting:
            _resolve(future, None, StorageError("history is closed"))

    def _run(self) -> None:
        try:
            _carry_out(self._flush)  # which opens the database
            while (command := self._next_command()) is not None:
                _carry_out(command)
                self._upkeep.give_way()
            _carry_out(self._flush)
            self._backlog.close()
        finally:
            self._call(self._release)

    def _next_command(self) -> Callable[[], None] | None:
        """What is asked of us next; while nothing is, the thread tries again or tidies up."""
        while True:
            degraded = self._backlog.degraded
            try:
                return self._commands.get(timeout=_RETRY_EVERY if degraded else self._upkeep.wait)
            except Empty:
                _carry_out(self._flush if degraded else self._upkeep.step)

    def _flush(self) -> None:
        for _ in range(len(self._inbox)):
            self._backlog.take(self._inbox.popleft())
        self._backlog.flush()

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

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
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, TypeVar

import anyio

from kernel_exec.errors import StorageError
from kernel_exec.kernels.outputs import OutputEvent

from .database import FAILURES, Database
from .history import Entry, KernelRecord, SessionRecord
from .schema import (
    ENTRY,
    EVENT,
    KERNEL,
    SESSION,
    Cell,
    Row,
    Table,
    Write,
    as_cell,
    as_text,
    lost,
    read_entry,
    read_event,
    read_kernel,
    read_session,
    write_entry,
    write_event,
    write_kernel,
    write_session,
)

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_UNREADABLE: Final = (*FAILURES, TypeError, ValueError, RecursionError, MemoryError)
"""What reading raises, also where someone changed the rows."""

_FLUSH_AFTER: Final = 0.05
"""Seconds a write may lie when nobody waits: other processes see outputs as they come."""

_RETRY_AFTER: Final = 1.0
"""The same while writing fails, so that a burst of outputs does not become one of attempts."""

_BATCH_LIMIT: Final = 4 * 1024 * 1024
"""Bytes in one transaction, which is what an attempt on a full disk costs."""

_PENDING_LIMIT: Final = 64 * 1024 * 1024
"""Bytes kept in memory while writing fails, before outputs are dropped."""

_CLOSE_LIMIT: Final = 5.0
"""Seconds that closing may take; a disk that hangs for longer must not hold the server."""


class Store:
    """What happened in all sessions below one storage root. Belongs to one event loop.

    No write waits or raises. Reads see every write before them; they raise `StorageError` where
    the database is there but can't be read.
    """

    def __init__(self, database: Database) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = database.server
        self._backlog = _Backlog(database)
        self._inbox: deque[Write] = deque()
        self._inbox_size = 0
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

    async def kernels(self, session_id: str) -> list[KernelRecord]:
        """The session's kernels by generation."""
        return await self._ask(partial(self._backlog.kernels, session_id))

    async def entries(self, session_id: str, *, last: int | None = None) -> list[Entry]:
        """The session's entries by number, at most the `last` ones."""
        return await self._ask(partial(self._backlog.entries, last=last, session=session_id))

    async def entry(self, entry_id: str) -> Entry | None:
        """The entry with this id."""
        return _only(await self._ask(partial(self._backlog.entries, id=entry_id)))

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
        if self._inbox_size > _BATCH_LIMIT:
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
            while (command := self._commands.get()) is not None:
                command()
            self._flush()
            self._backlog.close()
        finally:
            self._call(self._release)

    def _flush(self) -> None:
        for _ in range(len(self._inbox)):
            self._backlog.take(self._inbox.popleft())
        self._backlog.flush()

    def _answer(self, future: asyncio.Future[_T], question: Callable[[], _T]) -> None:
        self._flush()
        try:
            try:
                value = question()
            except sqlite3.Error:
                self._flush()  # which finds another connection, if one is to be had
                value = question()
        except _UNREADABLE as error:
            unreadable = StorageError(f"history can't be read: {describe(error)}")
            self._call(partial(_resolve, future, None, unreadable))
        else:
            self._call(partial(_resolve, future, value, None))

    def _call(self, callback: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop did not wait for us
            self._loop.call_soon_threadsafe(callback)


@asynccontextmanager
async def open_store(storage_root: Path) -> AsyncIterator[Store]:
    """The history in `.kernel_exec` below `storage_root`, which must exist to be used.

    Never fails: where the database can't be used, `Store.degraded` says why. Leaving writes what
    is pending.
    """
    store = Store(Database(storage_root / ".kernel_exec"))
    try:
        await store.settle()
        yield store
    finally:
        await store.aclose()


class _Backlog:
    """The database, and before it the rows that are not in it yet. Used by the thread alone."""

    def __init__(self, database: Database) -> None:
        self.database: Final = database
        self.degraded = ""
        self._pending: deque[Write] = deque()
        self._size = 0
        self._dropped = 0

    def take(self, write: Write) -> None:
        """Add `write` to what is pending."""
        self._pending.append(write)
        self._size += write.size

    def flush(self) -> None:
        """Commit what is pending, as far as that is possible now."""
        try:
            self.database.write()
            while batch := self._batch():
                self.database.write(batch)
                for write in batch:
                    self._pending.popleft()
                    self._size -= write.size
        except FAILURES as error:
            self._drop_outputs()
            self.degraded = describe(error)
            if self._dropped:
                self.degraded += f" ({self._dropped} outputs dropped)"
            return
        if self._dropped:
            self.database.tell(f"history lost {self._dropped} outputs: {self.degraded}")
        self.degraded, self._dropped = "", 0

    def close(self) -> None:
        """Close the database; what is still pending is lost."""
        if self._pending:
            _log.warning("history lost %d records: %s", len(self._pending), self.degraded)
        with suppress(*FAILURES):
            self.database.close()

    def sessions(self, *, last: int | None = None, **where: str) -> list[SessionRecord]:
        return [read_session(row) for row in self._rows(SESSION, last, where)]

    def kernels(self, session_id: str) -> list[KernelRecord]:
        return [read_kernel(row) for row in self._rows(KERNEL, None, {"session": session_id})]

    def entries(self, *, last: int | None = None, **where: str) -> list[Entry]:
        return [read_entry(row) for row in self._rows(ENTRY, last, where)]

    def events(self, entry_id: str) -> list[OutputEvent]:
        owner = as_cell(entry_id)
        query = "SELECT entry, body, blob FROM event WHERE entry = ? ORDER BY n"
        rows = self.database.select(query, (owner,))
        rows += [write.row for write in self._pending if write.table is EVENT]
        return [self._event(row) for row in rows if row[0] == owner]

    def session_events(self, session_id: str) -> dict[str, list[OutputEvent]]:
        owners = [row[0] for row in self._rows(ENTRY, None, {"session": session_id})]
        found: dict[Cell, list[OutputEvent]] = {owner: [] for owner in owners}
        query = (
            "SELECT event.entry, body, blob FROM event JOIN entry ON entry.id = event.entry"
            " WHERE entry.session = ? ORDER BY event.entry, n"
        )
        rows = self.database.select(query, (as_cell(session_id),))
        rows += [write.row for write in self._pending if write.table is EVENT]
        for row in rows:
            if row[0] in found:
                found[row[0]].append(self._event(row))
        return {as_text(owner): events for owner, events in found.items()}

    def _rows(self, table: Table, last: int | None, where: Mapping[str, str]) -> list[Row]:
        """The rows whose columns are as in `where`, in the table's order, at most the `last`."""
        wanted = {table.columns.index(name): as_cell(value) for name, value in where.items()}
        limit = -1 if last is None else last
        rows = self.database.select(table.select(*where), (*wanted.values(), limit))[::-1]
        pending = [
            write.row
            for write in self._pending
            if write.table is table and all(write.row[at] == cell for at, cell in wanted.items())
        ]
        if not pending:
            return rows
        latest = {row[: table.key]: row for row in (*rows, *pending)}
        ordered = sorted(latest.values(), key=table.position)
        return ordered if last is None else ordered[max(0, len(ordered) - last) :]

    def _event(self, row: Row) -> OutputEvent:
        try:
            return read_event(self.database.body(row[1], row[2]))
        except StorageError as error:
            return lost(f"can't be read: {error}")

    def _batch(self) -> list[Write]:
        batch: list[Write] = []
        size = 0
        for write in self._pending:
            batch.append(write)
            size += write.size
            if size > _BATCH_LIMIT:
                break
        return batch

    def _drop_outputs(self) -> None:
        """Give up the oldest outputs where there is more than memory should hold."""
        if self._size <= _PENDING_LIMIT:
            return
        kept: deque[Write] = deque()
        for write in self._pending:
            if write.table is EVENT and self._size > _PENDING_LIMIT // 2:
                self._size -= write.size
                self._dropped += 1
            else:
                kept.append(write)
        self._pending = kept


def describe(error: BaseException) -> str:
    """What `error` says, in one phrase."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"history.db: {error}" if isinstance(error, sqlite3.Error) else str(error)


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

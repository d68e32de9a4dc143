"""What happened, in one place for one thread: the database, and what is not in it yet.

Rows wait in memory until they are committed. While that fails they stay there in their order, and
every read adds them to what the database holds. The file may be used by several processes at
once, be removed under our feet, or turn out to be broken: a connection that failed for any reason
but a full disk or a lock is replaced as soon as a new one can be had, and answers until then.
"""

import logging
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Final

from kernel_exec.errors import StorageError
from kernel_exec.kernels.outputs import OutputEvent
from kernel_exec.places import Places

from .blobs import Blobs
from .opening import LAST_USES, HistoryFile, is_corruption, is_passing, transaction
from .schema import (
    ENTRY,
    EVENT,
    SESSION,
    Cell,
    Query,
    Row,
    T,
    Write,
    as_integer,
    as_text,
    lost,
    read_event,
)

_log = logging.getLogger(__name__)

FAILURES: Final = (sqlite3.Error, OSError, StorageError)
"""What is raised when the file or its folder is to blame."""

_UNKEEPABLE: Final = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    TypeError,
    ValueError,
)
"""What a row raises that will never be accepted, and must not hold up the others."""

_BATCH_LIMIT: Final = 4 * 1024 * 1024
"""Bytes in one transaction, which is what an attempt on a full disk costs."""

_WAITING_LIMIT: Final = 64 * 1024 * 1024
"""Bytes kept in memory while writing fails, before outputs are dropped."""

_INLINE_LIMIT: Final = 64 * 1024
"""Bytes of an encoded event above which it is kept as a file."""

_PATIENCE: Final = 2.0
"""Seconds to wait for other processes that write; six at once took 0.7. Nothing is lost after."""

_IMPATIENCE: Final = 0.1
"""The same once a wait was in vain: no result should stand still for a lock held for ever."""

_TOGETHER: Final = 10_000
"""Entries whose events one query reads; SQLite takes 32,766 parameters."""


class Waiting:
    """Rows that are not committed yet, in the order of their writes.

    `finished` counts the bytes of those that left: they are committed, or outputs that were
    `dropped`.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self.finished = 0
        self._writes: deque[Write] = deque()
        self._size = 0

    def __len__(self) -> int:
        return len(self._writes)

    def add(self, write: Write) -> None:
        """Have `write` wait behind all others."""
        self._writes.append(write)
        self._size += write.size

    def batch(self) -> list[Write]:
        """The first writes, as many as one transaction takes."""
        size = 0
        batch = []
        for write in self._writes:
            batch.append(write)
            size += write.size
            if size > _BATCH_LIMIT:
                break
        return batch

    def remove(self, batch: Sequence[Write]) -> None:
        """The first writes, `batch`, are committed."""
        for _ in batch:
            self._finish(self._writes.popleft())

    def drop_outputs(self) -> None:
        """Give up the oldest outputs where there is more than memory should hold."""
        if self._size <= _WAITING_LIMIT:
            return
        kept: deque[Write] = deque()
        for write in self._writes:
            if write.table is EVENT and self._size > _WAITING_LIMIT // 2:
                self._finish(write)
                self.dropped += 1
            else:
                kept.append(write)
        self._writes = kept

    def rows(self, query: Query[T]) -> list[Row]:
        """Those that `query` means."""
        return [
            write.row
            for write in self._writes
            if write.table is query.table and query.means(write.row)
        ]

    def _finish(self, write: Write) -> None:
        self._size -= write.size
        self.finished += write.size


class Database:
    """`history.db` below `folder` and the rows that wait for it; one thread uses it.

    `degraded` says why rows wait, or "".
    """

    def __init__(self, folder: Path, *, examine: bool = True) -> None:
        self.file: Final = HistoryFile(folder, examine=examine)
        self.blobs: Final = Blobs(Places(folder.parent).blobs)
        self.waiting: Final = Waiting()
        self.degraded = ""
        self._live: dict[tuple[str, Row], Write] = {}
        self._refused = False
        self._connection: sqlite3.Connection | None = None
        self._fault: sqlite3.Error | None = None
        """What speaks against the connection, or against its file."""

    def flush(self) -> None:
        """Commit what waits as far as that is possible now, opening the file first if needed."""
        try:
            try:
                self._commit()
            except sqlite3.DatabaseError as error:
                if not is_corruption(error):
                    raise
                self._commit()  # into a database begun anew
        except Exception as error:  # noqa: BLE001 - whatever held it up, what waits is reported
            if not isinstance(error, FAILURES):
                _log.exception("history could not be written")
            self.waiting.drop_outputs()
            self.degraded = describe(error)
            if dropped := self.waiting.dropped:
                self.degraded += f" ({dropped} outputs dropped)"
            return
        if dropped := self.waiting.dropped:
            self.file.notify(f"history lost {dropped} outputs: {self.degraded}")
        self.degraded, self.waiting.dropped = "", 0

    def rows(self, query: Query[T]) -> list[Row]:
        """What `query` finds, in the order of its table; raises `sqlite3.Error`."""
        rows = self.select(*query.select(query.table.columns))
        if query.last is not None:
            rows.reverse()
        waiting = self.waiting.rows(query)
        return query.merged(rows, waiting) if waiting else rows

    def select(self, query: str, parameters: Sequence[Cell] = ()) -> list[Row]:
        """The rows in the file that `query` finds, none where it could not be opened.

        Raises `sqlite3.Error`.
        """
        if self._connection is None:
            return self.file.read(query, parameters)
        with self._watched():
            return self._connection.execute(query, parameters).fetchall()

    @contextmanager
    def tidying(self) -> Iterator[sqlite3.Connection]:
        """A transaction for upkeep, which fails at once where others write.

        Raises one of `FAILURES`, also where the file has yet to be opened.
        """
        connection = self._connection
        if connection is None or self._fault is not None or self.file.is_replaced:
            raise StorageError("the history database is not open")
        with self._watched(), transaction(connection, wait=0):
            yield connection

    def bury(self) -> None:
        """End what servers that have died since had left open; raises one of `FAILURES`."""
        if self._connection is not None:
            with self._watched():
                self.file.bury(self._connection, wait=self._wait)

    def close(self) -> None:
        """Close the file; what still waits is lost."""
        if self.waiting:
            _log.warning("history lost %d records: %s", len(self.waiting), self.degraded)
        self.file.release()
        if self._connection is not None:
            with suppress(*FAILURES):
                self._connection.close()

    @property
    def _wait(self) -> float:
        return _IMPATIENCE if self.degraded else _PATIENCE

    def _commit(self) -> None:
        connection = self._usable()
        while batch := self.waiting.batch():
            with self._watched(), transaction(connection, wait=self._wait):
                # No sweep of another server takes a file for one of the past meanwhile: it
                # removes those that no row refers to under the same lock.
                latest = {write.key: write for write in batch}  # each in the place of its first
                self._insert(connection, [_stored(self.blobs, each) for each in latest.values()])
            self.waiting.remove(batch)
            for write in batch:
                if write.live:
                    self._live[write.key] = write
                else:
                    self._live.pop(write.key, None)

    def _usable(self) -> sqlite3.Connection:
        """The connection, or a new one where that failed or lost its file."""
        held, replaced = self._connection, self.file.is_replaced
        if held is not None and self._fault is None and not replaced:
            return held
        corrupt = is_corruption(self._fault) and not replaced
        if held is not None and corrupt:
            held.close()
            self._connection = held = None
        fresh = self.file.open(wait=self._wait, fault=str(self._fault) if corrupt else "")
        self._connection, self._fault = fresh, None
        with closing(held) if held is not None else nullcontext():
            with self._watched(), transaction(fresh, wait=self._wait):
                self._insert(fresh, self._live.values())
            if held is not None and replaced:
                sessions = [id_ for name, id_ in self._live if name == SESSION.name]
                self.file.notify(_carry_over(held, fresh, sessions))
        return fresh

    def _insert(self, connection: sqlite3.Connection, writes: Iterable[Write]) -> None:
        for write in writes:
            try:
                connection.execute(write.table.upsert, write.row)
            except _UNKEEPABLE as error:
                if not self._refused:
                    self.file.notify(
                        f"history could not keep a record of {write.table.name}: {error}"
                    )
                self._refused = True

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Remember what an error says against the connection and its file."""
        try:
            yield
        except sqlite3.Error as error:
            if not is_passing(error):
                self._fault = error
            raise


_OF_SESSION: Final = {
    "kernel": "session = ?",
    "entry": "session = ?",
    "event": "entry IN (SELECT id FROM entry WHERE session = ?)",
}
"""How the rows of a session are found, each table after those that it refers to."""


def _carry_over(
    held: sqlite3.Connection, fresh: sqlite3.Connection, sessions: Sequence[Row]
) -> str:
    """Write all rows of `sessions` again, whose file was removed; what to say of that."""
    try:
        with transaction(fresh, wait=_PATIENCE):
            for table, of_session in _OF_SESSION.items():
                for session in sessions:
                    rows = held.execute(f"SELECT * FROM {table} WHERE {of_session}", session)
                    marks = ", ".join("?" * len(rows.description))
                    fresh.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", rows)
    except sqlite3.Error as error:
        return f"history.db was removed while in use, and all in it is lost ({error})"
    return (
        "history.db was removed while in use: the records of this server's sessions were written"
        " to a new one, all others are lost"
    )


def _stored(blobs: Blobs, write: Write) -> Write:
    """`write`, with a large body put into its file; raises `OSError`."""
    if write.table is not EVENT:
        return write
    entry, n, body, _ = write.row
    if not isinstance(body, str) or len(body) <= _INLINE_LIMIT:
        return write
    return Write(table=EVENT, row=(entry, n, None, blobs.put(body.encode())), live=False)


def find(database: Database, query: Query[T]) -> list[T]:
    """The values that `query` means."""
    return [query.table.read(row) for row in database.rows(query)]


def count(database: Database, query: Query[T]) -> int:
    """How many values `query` means; reads none of them."""
    key = query.table.key
    keys = set(database.select(*query.select(query.table.columns[:key])))
    return len(keys.union(row[:key] for row in database.waiting.rows(query)))


def events(
    database: Database, entry_id: str, after: int | None = None
) -> list[tuple[int, OutputEvent]]:
    """What an entry has produced behind event number `after`, each with its number."""
    rows = database.rows(Query(table=EVENT, where={"entry": (entry_id,)}, after=after))
    return [(as_integer(row[1]), _event(database, row)) for row in rows]


def session_events(database: Database, session_id: str) -> dict[str, list[OutputEvent]]:
    """What each entry of a session has produced, by the entry's id."""
    entries = database.rows(Query(table=ENTRY, where={"session": (session_id,)}))
    owners = [as_text(row[0]) for row in entries]
    found: dict[str, list[OutputEvent]] = {owner: [] for owner in owners}
    for start in range(0, len(owners), _TOGETHER):
        some = Query(table=EVENT, where={"entry": owners[start : start + _TOGETHER]})
        for row in database.rows(some):
            found[as_text(row[0])].append(_event(database, row))
    return found


def last_uses(database: Database) -> dict[str, float]:
    """When each session in the file was used last."""
    return {as_text(session): float(used or 0) for session, used in database.select(LAST_USES)}


def describe(error: BaseException) -> str:
    """What `error` says, in one phrase."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"history.db: {error}" if isinstance(error, sqlite3.Error) else str(error)


def _event(database: Database, row: Row) -> OutputEvent:
    """The event in a row; a line says so where its file is lost."""
    _, _, body, blob = row
    if blob is not None:
        try:
            body = database.blobs.get(as_text(blob))
        except StorageError as error:
            return lost(f"can't be read: {error}")
    return read_event(body)

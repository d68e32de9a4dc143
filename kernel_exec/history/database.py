"""The history database as a file: opened, repaired, written and read, all in one thread.

It may be used by several processes at once, be removed under our feet, or turn out to be
broken. A connection that failed for any reason but a full disk or a lock is replaced as soon as
a new one can be had; until then it still answers reads.
"""

import logging
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from filelock import FileLock

from kernel_exec.errors import StorageError
from kernel_exec.leases import Lease
from kernel_exec.places import Places

from .blobs import Blobs
from .connections import (
    connect,
    connect_for_reading,
    examine,
    identity,
    is_at_rest,
    is_corruption,
    result_code,
    transaction,
)
from .schema import (
    ADD_EVENT,
    EVENT,
    LAST_USES,
    SESSION,
    Cell,
    Row,
    Write,
    as_text,
    migrate,
)
from .servers import bury_dead_servers, enlist, living_servers

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

_PASSING: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

_INLINE_LIMIT: Final = 64 * 1024
"""Bytes of an encoded event above which it is kept as a file."""

_PATIENCE: Final = 2.0
"""Seconds to wait for other processes that write; six at once took 0.7. Nothing is lost after."""

_IMPATIENCE: Final = 0.1
"""The same once a wait was in vain: no result should stand still for a lock held for ever."""


class Database:
    """`history.db` below `folder`; the thread that first uses it is the only one that may.

    `server` names this process among those that share the file. `notice` is what the user should
    be told of, such as a corrupt file that was set aside; "" when there is nothing.
    """

    def __init__(self, folder: Path) -> None:
        self.server: Final = secrets.token_hex(8)
        self.notice = ""
        self.folder: Final = folder
        places = Places(folder.parent)
        self.blobs: Final = Blobs(places.blobs)
        self._path = places.history
        self._connection: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._lease: Lease | None = None
        self._identity: tuple[int, int] | None = None
        self._corruption = ""
        self._suspect = False
        self._wait = _PATIENCE
        self._refused = 0
        self._live: dict[tuple[str, Row], Write] = {}

    def write(self, batch: Sequence[Write] = ()) -> None:
        """Commit `batch` as a whole, opening the database first where needed.

        A row that can never be accepted is left out and told of. When one of `FAILURES` is
        raised, nothing of it was kept; try again later.
        """
        try:
            try:
                self._commit(batch)
            except sqlite3.DatabaseError:
                if not self._corruption:
                    raise
                self._commit(batch)  # into a database begun anew
        except FAILURES:
            self._wait_for_others(_IMPATIENCE)
            raise
        if batch:
            self._wait_for_others(_PATIENCE)
        for write in batch:
            if write.live:
                self._live[write.key] = write
            elif write.table is not EVENT:
                self._live.pop(write.key, None)

    def select(self, query: str, parameters: Sequence[Cell] = ()) -> list[Row]:
        """The rows that `query` finds, none where no database could be opened.

        Raises `sqlite3.Error`.
        """
        if self._connection is None:
            return self._read(query, parameters)
        with self._watched():
            return self._connection.execute(query, parameters).fetchall()

    @contextmanager
    def aside(self) -> Iterator[sqlite3.Connection]:
        """A transaction for upkeep, which fails at once where others write.

        Raises one of `FAILURES`, also where the database has yet to be opened.
        """
        connection, wait = self._connection, self._wait
        if connection is None or self._suspect or self._identity != identity(self._path):
            raise StorageError("the history database is not open")
        self._wait_for_others(0.0)
        try:
            with self._watched():
                # What a power cut undoes of it is done again; others need not wait for the disk.
                connection.execute("PRAGMA synchronous = NORMAL")
                with transaction(connection):
                    yield connection
        finally:
            with suppress(sqlite3.Error):
                connection.execute("PRAGMA synchronous = FULL")
            self._wait_for_others(wait)

    def body(self, inline: Cell, blob: Cell) -> Cell:
        """An event's body, wherever it is kept; raises `StorageError` when it is lost."""
        return inline if blob is None else self.blobs.get(as_text(blob))

    def last_uses(self, page: int = -1) -> Iterator[list[tuple[str, float]]]:
        """When each session was used last, at most `page` sessions at a time."""
        row: Cell = 0
        while found := self.select(
            f"{LAST_USES} WHERE session.rowid > ? ORDER BY session.rowid LIMIT ?", (row, page)
        ):
            row = found[-1][0]
            yield [(as_text(session), _seconds(used)) for _, session, used in found]

    def tell(self, notice: str) -> None:
        """Add to what the user should be told."""
        _log.warning("%s", notice)
        self.notice = f"{self.notice}; {notice}" if self.notice else notice

    def close(self) -> None:
        """Release the lease, and close; raises `sqlite3.Error`."""
        connection, self._connection = self._connection, None
        self._stop_reading()
        if self._lease is not None:
            self._lease.drop()
            self._lease = None
        if connection is not None:
            connection.close()

    def bury(self) -> None:
        """End what servers that have died since had left open; raises one of `FAILURES`."""
        with self._alone(), self._watched():
            living = living_servers(self.folder / "servers")
            if self._connection is not None:
                with transaction(self._connection):
                    bury_dead_servers(self._connection, living)

    def _commit(self, batch: Sequence[Write]) -> None:
        connection = self._usable()
        if batch:
            stored = [self._stored(write) for write in batch]
            with self._watched(), transaction(connection):
                for write, kept in zip(batch, stored, strict=True):
                    if kept is not write and not self.blobs.has(as_text(kept.row[2])):
                        self._stored(write)  # a sweep took its file for one of the past
                self._apply(connection, stored)

    def _usable(self) -> sqlite3.Connection:
        held = self._connection
        if held is not None and not self._suspect and self._identity == identity(self._path):
            return held
        if held is not None and self._corruption:
            held.close()
            self._connection = held = None
        replaced = self._identity != identity(self._path)
        self._connection = fresh = self._open()
        self._suspect = False
        self._stop_reading()
        if held is not None:
            with closing(held):
                if replaced:
                    self._carry_over(held, fresh)
        return fresh

    def _carry_over(self, held: sqlite3.Connection, fresh: sqlite3.Connection) -> None:
        """Write what this server's sessions did again: the file it is in has been removed."""
        sessions = [key[0] for table, key in self._live if table == SESSION.name]
        try:
            with transaction(fresh):
                for session in sessions:
                    for query, insert in _CARRIED:
                        fresh.executemany(insert, held.execute(query, (session,)))
        except sqlite3.Error as error:
            self.tell(f"history.db was removed while in use, and all in it is lost ({error})")
        else:
            self.tell(
                "history.db was removed while in use: the records of this server's sessions were"
                " written to a new one, all others are lost"
            )

    def _open(self) -> sqlite3.Connection:
        self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.folder.chmod(0o700)
        with self._alone():
            self._hold_lease()
            if fault := self._fault():
                self._set_aside(fault)
            try:
                connection = self._join()
            except sqlite3.DatabaseError as error:
                if not is_corruption(error):
                    raise
                self._set_aside(str(error))
                connection = self._join()
            self._corruption = ""
            self._identity = identity(self._path)
        with suppress(OSError):
            self.blobs.sweep()
        return connection

    def _hold_lease(self) -> None:
        """Show others that we live, also in a folder that was made again."""
        if self._lease is not None and not self._lease.is_valid:
            self._lease.drop()
            self._lease = None
        if self._lease is None:
            self._lease = enlist(self.folder / "servers", self.server)

    def _alone(self) -> FileLock:
        """What keeps other servers from opening the database, and from judging who lives."""
        return FileLock(self.folder / "history.lock", timeout=self._wait, mode=0o600)

    def _fault(self) -> str:
        """What is wrong with the file there; one that replaced ours is judged anew."""
        if self._corruption and self._identity == identity(self._path):
            return self._corruption
        return examine(self._path) if self._path.exists() else ""

    def _set_aside(self, fault: str) -> None:
        number = 1
        while (aside := self._path.with_name(f"{self._path.name}.corrupt-{number}")).exists():
            number += 1
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                Path(f"{self._path}{suffix}").rename(f"{aside}{suffix}")
        self.tell(f"the history database was corrupt ({fault}); it was set aside as {aside}")

    def _join(self) -> sqlite3.Connection:
        """Make the database ours to use: tables, an end to what dead servers left."""
        living = living_servers(self.folder / "servers")
        connection = connect(self._path, self._wait)
        try:
            with transaction(connection):
                migrate(connection)
                bury_dead_servers(connection, living)
                self._apply(connection, self._live.values())
        except BaseException:
            connection.close()
            raise
        return connection

    def _read(self, query: str, parameters: Sequence[Cell]) -> list[Row]:
        """What `query` finds in a database that can't be written, nothing where that fails."""
        try:
            if not is_at_rest(self._path):
                self._stop_reading()
            elif self._reader is None:
                self._reader = connect_for_reading(self._path)
            if self._reader is not None:
                return self._reader.execute(query, parameters).fetchall()
        except (sqlite3.Error, OSError):
            self._stop_reading()
        return []

    def _stop_reading(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _stored(self, write: Write) -> Write:
        """`write`, with a large body put into its file; raises `OSError`."""
        if write.table is not EVENT:
            return write
        entry, body, _ = write.row
        if not isinstance(body, str) or len(body) <= _INLINE_LIMIT:
            return write
        return Write(table=EVENT, row=(entry, None, self.blobs.put(body.encode())), live=False)

    def _apply(self, connection: sqlite3.Connection, batch: Iterable[Write]) -> None:
        for write in batch:
            try:
                if write.table is EVENT:
                    connection.execute(ADD_EVENT, (write.row[0], *write.row))
                else:
                    connection.execute(write.table.upsert, write.row)
            except _UNKEEPABLE as error:
                self._refused += 1
                if self._refused == 1:
                    self.tell(f"history could not keep a record of {write.table.name}: {error}")

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Remember what an error says about the connection and its file."""
        try:
            yield
        except sqlite3.Error as error:
            self._suspect = result_code(error) not in _PASSING
            if is_corruption(error):
                self._corruption = str(error)
            raise

    def _wait_for_others(self, seconds: float) -> None:
        if self._wait == seconds:
            return
        self._wait = seconds
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")


_CARRIED: Final = tuple(
    (
        f"SELECT {table}.* FROM {table} WHERE {condition}",
        f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * columns)})",
    )
    for table, columns, condition in (
        ("kernel", 10, "session = ?"),
        ("entry", 17, "session = ?"),
        ("event", 4, "entry IN (SELECT id FROM entry WHERE session = ?)"),
    )
)
"""How a session's rows are read from one database and written to another."""


def _seconds(cell: Cell) -> float:
    return float(cell) if isinstance(cell, (int, float)) else 0.0

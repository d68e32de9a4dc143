"""The history database as a file: opened, repaired, written and read, all in one thread.

It may be used by several processes at once, be removed under our feet, or turn out to be
broken. A connection that failed for any reason but a full disk or a lock is replaced as soon as
a new one can be had; until then it still answers reads.
"""

import logging
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil
from filelock import FileLock

from kernel_exec.errors import StorageError
from kernel_exec.kernels.execution import Outcome
from kernel_exec.kernels.messages import JSON

from .blobs import Blobs
from .schema import ADD_EVENT, EVENT, Cell, Row, Write, as_text, decode, encode, migrate

_log = logging.getLogger(__name__)

FAILURES: Final = (sqlite3.Error, OSError, StorageError)
"""What is raised when the file or its folder is to blame."""

_UNKEEPABLE: Final = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
)
"""What a row raises that will never be accepted, and must not hold up the others."""

_PASSING: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

_INLINE_LIMIT: Final = 64 * 1024
"""Bytes of an encoded event above which it is kept as a file."""

_PATIENCE: Final = 2.0
"""Seconds to wait for other processes that write; six at once took 0.7. Nothing is lost after."""

_IMPATIENCE: Final = 0.1
"""The same once a wait was in vain: no result should stand still for a lock held for ever."""

_SAME_START: Final = 2.0
"""Seconds by which two readings of one start time may differ: the boot time is rounded."""

SERVER_DIED: Final = "server_died"
"""Why an entry was interrupted, or a kernel ended, that a server which is gone had left open."""


class Database:
    """`history.db` below `folder`; the thread that first uses it is the only one that may.

    `server` names this process among those that share the file. `notice` is what the user should
    be told of, such as a corrupt file that was set aside; "" when there is nothing.
    """

    def __init__(self, folder: Path) -> None:
        self.server: Final = secrets.token_hex(8)
        self.notice = ""
        self._folder = folder
        self._path = folder / "history.db"
        self._blobs = Blobs(folder / "blobs")
        self._connection: sqlite3.Connection | None = None
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
            return []
        with self._watched():
            return self._connection.execute(query, parameters).fetchall()

    def body(self, inline: Cell, blob: Cell) -> Cell:
        """An event's body, wherever it is kept; raises `StorageError` when it is lost."""
        return inline if blob is None else self._blobs.get(as_text(blob))

    def tell(self, notice: str) -> None:
        """Add to what the user should be told."""
        _log.warning("%s", notice)
        self.notice = f"{self.notice}; {notice}" if self.notice else notice

    def close(self) -> None:
        """Take leave of the other servers, and close; raises `sqlite3.Error`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with closing(connection):
                connection.execute("DELETE FROM server WHERE id = ?", (self.server,))

    def _commit(self, batch: Sequence[Write]) -> None:
        connection = self._usable()
        if batch:
            stored = [self._stored(write) for write in batch]
            with self._watched(), _transaction(connection):
                self._apply(connection, stored)

    def _usable(self) -> sqlite3.Connection:
        held = self._connection
        if held is not None and not self._suspect and self._identity == _identity(self._path):
            return held
        if held is not None and self._corruption:
            held.close()
            self._connection = held = None
        self._connection = fresh = self._open()
        self._suspect = False
        if held is not None:
            held.close()
        return fresh

    def _open(self) -> sqlite3.Connection:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._folder.chmod(0o700)
        with FileLock(self._folder / "history.lock", timeout=self._wait, mode=0o600):
            if fault := self._fault():
                self._set_aside(fault)
            try:
                connection = self._join()
            except sqlite3.DatabaseError as error:
                if not _is_corruption(error):
                    raise
                self._set_aside(str(error))
                connection = self._join()
            self._corruption = ""
            self._identity = _identity(self._path)
        with suppress(OSError):
            self._blobs.sweep()
        return connection

    def _fault(self) -> str:
        """What is wrong with the file there; one that replaced ours is judged anew."""
        if self._corruption and self._identity == _identity(self._path):
            return self._corruption
        return _examine(self._path) if self._path.exists() else ""

    def _set_aside(self, fault: str) -> None:
        number = 1
        while (aside := self._path.with_name(f"{self._path.name}.corrupt-{number}")).exists():
            number += 1
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                Path(f"{self._path}{suffix}").rename(f"{aside}{suffix}")
        self.tell(f"the history database was corrupt ({fault}); it was set aside as {aside}")

    def _join(self) -> sqlite3.Connection:
        """Make the database ours to use: tables, our name, an end to what dead servers left."""
        row = (self.server, os.getpid(), *_birth(psutil.Process()))
        connection = _connect(self._path, self._wait)
        try:
            with _transaction(connection):
                migrate(connection)
                connection.execute("INSERT OR REPLACE INTO server VALUES (?, ?, ?, ?, ?)", row)
                _bury_dead_servers(connection)
                self._apply(connection, self._live.values())
        except BaseException:
            connection.close()
            raise
        return connection

    def _stored(self, write: Write) -> Write:
        """`write`, with a large body put into its file; raises `OSError`."""
        if write.table is not EVENT:
            return write
        entry, body, _ = write.row
        if not isinstance(body, str) or len(body) <= _INLINE_LIMIT:
            return write
        return Write(table=EVENT, row=(entry, None, self._blobs.put(body.encode())), live=False)

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
            self._suspect = _code(error) not in _PASSING
            if _is_corruption(error):
                self._corruption = str(error)
            raise

    def _wait_for_others(self, seconds: float) -> None:
        if self._wait == seconds:
            return
        self._wait = seconds
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    # A deferred transaction that turns into a writing one fails at once where another writes.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


def _connect(path: Path, wait: float) -> sqlite3.Connection:
    """Open the file for durable writing, or create it for its owner alone."""
    # Only a new file is opened by us: closing it again would drop SQLite's locks on it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    path.chmod(0o600)
    connection = sqlite3.connect(path, timeout=wait, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _examine(path: Path) -> str:
    """What is wrong with the database at `path`, or ""; raises what does not condemn it."""
    with closing(sqlite3.connect(path, timeout=_PATIENCE)) as connection:
        try:
            ((verdict,),) = connection.execute("PRAGMA quick_check(1)")
        except sqlite3.DatabaseError as error:
            if not _is_corruption(error):
                raise
            return str(error)
    return "" if verdict == "ok" else " ".join(str(verdict).split())[:200]


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; the module's own errors have none."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _is_corruption(error: sqlite3.Error) -> bool:
    return _code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another that took its name, None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _bury_dead_servers(connection: sqlite3.Connection) -> None:
    """End what servers that are no longer alive had left open; others are left alone."""
    for id_, *birth in connection.execute("SELECT * FROM server").fetchall():
        if not _alive(*birth):
            connection.execute("DELETE FROM server WHERE id = ?", (id_,))
    open_entries = connection.execute(
        "SELECT id, details FROM entry WHERE outcome IN ('queued', 'running')"
        " AND server NOT IN (SELECT id FROM server)"
    ).fetchall()
    connection.executemany(
        "UPDATE entry SET outcome = ?, details = ? WHERE id = ?",
        [(Outcome.INTERRUPTED.value, _with_reason(details), id_) for id_, details in open_entries],
    )
    connection.execute(
        "UPDATE kernel SET end_reason = ? WHERE ended IS NULL AND end_reason = ''"
        " AND server NOT IN (SELECT id FROM server)",
        (SERVER_DIED,),
    )


def _with_reason(details: Cell) -> str:
    try:
        known: dict[str, JSON] = dict(decode(details))
    except (TypeError, ValueError, RecursionError):
        known = {}
    return encode({**known, "reason": SERVER_DIED})


def _alive(pid: int, boot_id: str, booted: float, started: float) -> bool:
    """True while the process that was born so runs; a number may name another one by now."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        boot_now, booted_now, started_now = _birth(process)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    # When the clock is set, the start moves with the boot time (Linux), or stays (elsewhere).
    since_boot = (started_now - booted_now) - (started - booted)
    return boot_now == boot_id and min(abs(started_now - started), abs(since_boot)) < _SAME_START


def _birth(process: psutil.Process) -> tuple[str, float, float]:
    """Which boot, when that was and when `process` began, in seconds since the epoch."""
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot_id = ""
    return boot_id, psutil.boot_time(), process.create_time()

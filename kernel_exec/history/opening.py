"""The file of the history database: its tables, and how servers come to share it.

Each server holds a lease while it lives, in whatever container; only one at a time opens the file
or judges who lives. A corrupt file is set aside.
"""

import json
import logging
import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from filelock import FileLock

from kernel_exec.errors import StorageError
from kernel_exec.jsons import JSON
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.leases import Lease, is_held, take
from kernel_exec.places import Places

from .schema import Cell, Row, decode, encode

_log = logging.getLogger(__name__)

SERVER_DIED: Final = "server_died"
"""Why an entry was interrupted, or a kernel ended, that a server which is gone had left open."""

APPLICATION_ID: Final = 0x6B78_6878
"""Stands in the header of each of our databases, and of no other program's."""

_EXAMINED: Final = 200_000_000
"""Bytes of a file up to which it is checked whole, which takes 1.7 s a gigabyte. What is wrong
with a larger one is found when it is used."""

_PASSING: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_CORRUPT: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

_MIGRATIONS: Sequence[Sequence[str]] = (
    (
        """CREATE TABLE server (
            id TEXT PRIMARY KEY, pid INTEGER NOT NULL, boot_id TEXT NOT NULL,
            booted REAL NOT NULL, started REAL NOT NULL)""",
        """CREATE TABLE session (
            id TEXT PRIMARY KEY, name TEXT NOT NULL, environment TEXT NOT NULL,
            created REAL NOT NULL)""",
        "CREATE INDEX session_by_name ON session (name, environment, created)",
        """CREATE TABLE kernel (
            session TEXT NOT NULL REFERENCES session (id), generation INTEGER NOT NULL,
            started REAL NOT NULL, executable TEXT NOT NULL, python_version TEXT NOT NULL,
            support TEXT NOT NULL, ended REAL, end_reason TEXT NOT NULL, server TEXT NOT NULL,
            PRIMARY KEY (session, generation))""",
        """CREATE INDEX kernel_alive ON kernel (server)
            WHERE ended IS NULL AND end_reason = ''""",
        """CREATE TABLE entry (
            id TEXT PRIMARY KEY, session TEXT NOT NULL REFERENCES session (id),
            number INTEGER NOT NULL, kind TEXT NOT NULL, source TEXT NOT NULL,
            outcome TEXT NOT NULL, title TEXT NOT NULL, author TEXT NOT NULL,
            generation INTEGER NOT NULL, execution_count INTEGER, queued REAL NOT NULL,
            started REAL, ended REAL, timing TEXT NOT NULL, file_path TEXT,
            details TEXT NOT NULL, server TEXT NOT NULL)""",
        "CREATE INDEX entry_by_number ON entry (session, number)",
        "CREATE INDEX entry_open ON entry (server) WHERE outcome IN ('queued', 'running')",
        """CREATE TABLE event (
            entry TEXT NOT NULL REFERENCES entry (id), n INTEGER NOT NULL, body TEXT, blob TEXT,
            PRIMARY KEY (entry, n), CHECK ((body IS NULL) <> (blob IS NULL)))""",
    ),
    ("CREATE INDEX event_by_blob ON event (blob) WHERE blob IS NOT NULL",),
    (
        "DROP TABLE server",  # a server that lives holds a lease
        "ALTER TABLE kernel ADD COLUMN origin TEXT NOT NULL DEFAULT 'needed'",
        "ALTER TABLE session ADD COLUMN announced REAL",
    ),
    (
        "ALTER TABLE session ADD COLUMN client TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE session ADD COLUMN folder TEXT NOT NULL DEFAULT ''",
    ),
    ("ALTER TABLE kernel ADD COLUMN sandbox TEXT NOT NULL DEFAULT '{}'",),
)

LAST_USES: Final = """SELECT session.id,
        CASE environment WHEN '' THEN 0.0 ELSE max(session.created, coalesce((
            SELECT max(queued, coalesce(started, 0), coalesce(ended, 0)) FROM entry
            WHERE entry.session = session.id ORDER BY number DESC LIMIT 1), 0)) END
    FROM session"""
"""When each session was used last: made, or its latest entry begun or ended."""

DOOMED: Final = 0.0
"""When a session was used last that is being removed: it has no environment."""


class HistoryFile:
    """`history.db` below `folder`; the thread that first uses it is the only one that may.

    `server` names this process among those that share the file. `notice` is for the user, such
    as that a corrupt file was set aside; "" when there is nothing. One that is not to `examine`
    finds a fault when it comes upon it.
    """

    def __init__(self, folder: Path, *, examine: bool = True) -> None:
        self.folder: Final = folder
        self.path: Final = Places(folder.parent).history
        self.server: Final = secrets.token_hex(8)
        self.notice = ""
        self._examined = _EXAMINED if examine else -1
        self._lease: Lease | None = None
        self._opened: tuple[int, int] | None = None

    @property
    def is_replaced(self) -> bool:
        """True once the file that was opened is gone, or another has its name."""
        return self._opened is not None and self._opened != _identity(self.path)

    def notify(self, notice: str) -> None:
        """Add a sentence to `notice`."""
        _log.warning("%s", notice)
        self.notice = f"{self.notice}; {notice}" if self.notice else notice

    def open(self, *, wait: float, fault: str) -> sqlite3.Connection:
        """A connection to write with, which waits for others so many seconds.

        `fault` is what is known to be wrong with the file. Raises `sqlite3.Error`, `OSError` or
        `StorageError`.
        """
        self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.folder.chmod(0o700)
        with self._alone(wait):
            self._hold_lease()
            if fault:
                self._set_aside(fault)
            try:
                connection = self._join(wait)
            except sqlite3.DatabaseError as error:
                if not is_corruption(error):
                    raise
                self._set_aside(str(error))
                connection = self._join(wait)
            self._opened = _identity(self.path)
        return connection

    def bury(self, connection: sqlite3.Connection, *, wait: float) -> None:
        """End what servers that have died had left open; raises as `open` does."""
        with self._alone(wait), transaction(connection, wait=wait):
            self._bury_dead(connection)

    def read(self, query: str, parameters: Sequence[Cell]) -> list[Row]:
        """What `query` finds where the file can't be opened for writing; nothing if that fails.

        SQLite can't look for what others write without files of its own there. So nobody may
        write: the folder does not let them, or there is no log of what they wrote.
        """
        log = Path(f"{self.path}-wal")
        location = f"{self.path.absolute().as_uri()}?mode=ro&immutable=1"
        try:
            if os.access(self.folder, os.W_OK) and log.exists() and log.stat().st_size:
                return []
            with closing(sqlite3.connect(location, uri=True)) as connection:
                _version(connection)  # which refuses what is not ours
                return connection.execute(query, parameters).fetchall()
        except (sqlite3.Error, OSError, StorageError):
            return []

    def release(self) -> None:
        """Let go of the lease: this server ends."""
        if self._lease is not None:
            self._lease.drop()
            self._lease = None

    def _alone(self, wait: float) -> FileLock:
        """What keeps other servers from opening the database, and from judging who lives."""
        return FileLock(self.folder / "history.lock", timeout=wait, mode=0o600)

    def _hold_lease(self) -> None:
        """Show others that we live, also in a folder that was made again."""
        if self._lease is not None and self._lease.is_valid:
            return
        self.release()
        servers = self.folder / "servers"
        servers.mkdir(mode=0o700, exist_ok=True)
        self._lease = take(servers / f"{self.server}.lock")
        if self._lease is None:
            raise StorageError(f"another process examines {str(servers)!r}: try again")

    def _join(self, wait: float) -> sqlite3.Connection:
        """Make the database ours to use: durable, examined, rid of what the dead left."""
        # Only a new file is opened by us: closing it again would drop SQLite's locks on it.
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        self.path.chmod(0o600)
        connection = sqlite3.connect(self.path, timeout=wait, isolation_level=None)
        try:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # heeded in a new file only
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            if self.path.stat().st_size <= self._examined:
                _examine(connection)
            with transaction(connection, wait=wait):
                migrate(connection)
                self._bury_dead(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _bury_dead(self, connection: sqlite3.Connection) -> None:
        """End what servers without a lease had left open; nobody may enlist meanwhile."""
        leases = (self.folder / "servers").glob("*.lock")
        living = json.dumps([path.stem for path in list(leases) if is_held(path)])
        of_dead = "server NOT IN (SELECT value FROM json_each(?))"
        entries = connection.execute(
            f"SELECT id, details FROM entry WHERE outcome IN ('queued', 'running') AND {of_dead}",
            (living,),
        ).fetchall()
        connection.executemany(
            "UPDATE entry SET outcome = ?, details = ? WHERE id = ?",
            [(Outcome.INTERRUPTED.value, _with_reason(details), id_) for id_, details in entries],
        )
        connection.execute(
            "UPDATE kernel SET end_reason = ?"
            f" WHERE ended IS NULL AND end_reason = '' AND {of_dead}",
            (SERVER_DIED, living),
        )

    def _set_aside(self, fault: str) -> None:
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.corrupt-{number}")).exists():
            number += 1
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        self.notify(f"the history database was corrupt ({fault}); it was set aside as {aside}")


@contextmanager
def transaction(connection: sqlite3.Connection, *, wait: float) -> Iterator[None]:
    """A writing transaction, which waits for others so many seconds."""
    connection.execute(f"PRAGMA busy_timeout = {wait * 1000:.0f}")
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


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables up to date, inside the caller's transaction.

    Raises:
        StorageError: The database is another program's, or a newer kernel-exec's.
    """
    version = _version(connection)
    for statements in _MIGRATIONS[version:]:
        for statement in statements:
            connection.execute(statement)
    if version < len(_MIGRATIONS):
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")


def is_corruption(error: BaseException | None) -> bool:
    """True for an error that condemns the file."""
    return _code(error) in _CORRUPT


def is_passing(error: sqlite3.Error) -> bool:
    """True for an error that says nothing against the connection: a full disk, a lock."""
    return _code(error) in _PASSING


def _code(error: BaseException | None) -> int:
    """SQLite's primary result code; the module's own errors have none."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _identity(path: Path) -> tuple[int, int] | None:
    """The file's device and number, which another file of that name has not; None without one."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _version(connection: sqlite3.Connection) -> int:
    """The number of migrations that the tables have had; raises as `migrate` does."""
    ((owner,),) = connection.execute("PRAGMA application_id")
    ((version,),) = connection.execute("PRAGMA user_version")
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master")
    if owner != APPLICATION_ID and (owner or tables):
        raise StorageError("history.db belongs to another program; move it away")
    if version > len(_MIGRATIONS):
        raise StorageError(
            f"history.db was written by a newer kernel-exec (schema {version});"
            " update this one or use another storage root"
        )
    return int(version)


def _examine(connection: sqlite3.Connection) -> None:
    """Raise `sqlite3.DatabaseError` where pages of the database are damaged."""
    ((verdict,),) = connection.execute("PRAGMA quick_check(1)")
    if verdict != "ok":
        error = sqlite3.DatabaseError(" ".join(str(verdict).split())[:200])
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def _with_reason(details: Cell) -> str:
    try:
        kept: dict[str, JSON] = dict(decode(details))
    except (TypeError, ValueError, RecursionError):
        kept = {}
    return encode({**kept, "reason": SERVER_DIED})

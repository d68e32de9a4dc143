"""Connections to the history database: how they are opened, and what their errors mean."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from .schema import is_ours

_PATIENCE: Final = 2.0
"""Seconds that the check of a file waits for others."""

_EXAMINED: Final = 200_000_000
"""Bytes of a file up to which it is checked whole, which takes 1.7 s a gigabyte."""


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
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


def connect(path: Path, wait: float) -> sqlite3.Connection:
    """Open the file for durable writing, or create it for its owner alone."""
    # Only a new file is opened by us: closing it again would drop SQLite's locks on it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    path.chmod(0o600)
    connection = sqlite3.connect(path, timeout=wait, isolation_level=None)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # heeded in a new file only
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_for_reading(path: Path) -> sqlite3.Connection | None:
    """Open the file as it is, None where it is not ours; raises `sqlite3.Error`.

    Nobody writes it: SQLite need not look for what others add, which it could not do without
    files of its own there.
    """
    location = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    connection = sqlite3.connect(location, uri=True, isolation_level=None)
    try:
        if is_ours(connection):
            return connection
    except sqlite3.Error:
        connection.close()
        raise
    connection.close()
    return None


def is_at_rest(path: Path) -> bool:
    """True when there is a database that nobody writes: they can't, or have left no log."""
    log = Path(f"{path}-wal")
    if not path.exists():
        return False
    return not os.access(path.parent, os.W_OK) or not log.exists() or log.stat().st_size == 0


def examine(path: Path) -> str:
    """What is wrong with the database at `path`, or ""; raises what does not condemn it.

    A large one is not read as a whole: what is wrong with it is found when it is used.
    """
    check = "quick_check(1)" if path.stat().st_size <= _EXAMINED else "schema_version"
    with closing(sqlite3.connect(path, timeout=_PATIENCE)) as connection:
        try:
            ((verdict,),) = connection.execute(f"PRAGMA {check}")
        except sqlite3.DatabaseError as error:
            if not is_corruption(error):
                raise
            return str(error)
    return (
        "" if verdict == "ok" or isinstance(verdict, int) else " ".join(str(verdict).split())[:200]
    )


def result_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; the module's own errors have none."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def is_corruption(error: sqlite3.Error) -> bool:
    return result_code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another that took its name, None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino

"""The tables of the history database, the migrations that led to them, and values as their rows.

Text is kept as TEXT; where it holds lone surrogates, which SQLite has no text for, as a BLOB.
Objects are kept as JSON in ASCII, so that whatever a kernel sent comes back as it was.
Functions that read raise `ValueError` or `TypeError` for what none of these wrote.
"""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from kernel_exec.errors import StorageError
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import OutputEvent, Stream

from .entries import (
    Entry,
    EntryKind,
    KernelRecord,
    Origin,
    SessionRecord,
    decode_event,
    encode_event,
)

_T = TypeVar("_T")

APPLICATION_ID: Final = 0x6B78_6878
"""Stands in the file's header, and tells our databases from those of others."""

Cell: TypeAlias = str | bytes | int | float | None
Row: TypeAlias = tuple[Cell, ...]

_INTEGER_LIMIT: Final = 2**63  # SQLite holds no larger one; a kernel may send any count

_OVERHEAD: Final = 200
"""Bytes that a row costs in memory beside its text, roughly."""

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
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as it is written and read: the first `key` columns name a row, `order` sorts."""

    name: str
    columns: tuple[str, ...]
    key: int
    order: str

    @property
    def upsert(self) -> str:
        """The statement that inserts a row, or replaces what stands under its key."""
        marks = ", ".join("?" * len(self.columns))
        changes = ", ".join(f"{name} = excluded.{name}" for name in self.columns[self.key :])
        return (
            f"INSERT INTO {self.name} ({', '.join(self.columns)}) VALUES ({marks})"
            f" ON CONFLICT ({', '.join(self.columns[: self.key])}) DO UPDATE SET {changes}"
        )

    def select(self, *where: str) -> str:
        """The query for rows by these columns, the last in order first, with a limit."""
        condition = " AND ".join(f"{name} = ?" for name in where)
        return (
            f"SELECT {', '.join(self.columns)} FROM {self.name}"
            f"{' WHERE ' + condition if condition else ''}"
            f" ORDER BY {self.order} DESC, rowid DESC LIMIT ?"
        )

    def position(self, row: Row) -> float:
        """Where `row` stands in the table's order."""
        cell = row[self.columns.index(self.order)]
        return cell if isinstance(cell, (int, float)) else 0.0


SESSION: Final = Table(
    name="session", columns=("id", "name", "environment", "created"), key=1, order="created"
)
KERNEL: Final = Table(
    name="kernel",
    columns=(
        *("session", "generation", "started", "executable", "python_version", "support"),
        *("ended", "end_reason", "server", "origin"),
    ),
    key=2,
    order="generation",
)
ENTRY: Final = Table(
    name="entry",
    columns=(
        *("id", "session", "number", "kind", "source", "outcome", "title", "author"),
        *("generation", "execution_count", "queued", "started", "ended", "timing"),
        *("file_path", "details", "server"),
    ),
    key=1,
    order="number",
)
EVENT: Final = Table(name="event", columns=("entry", "body", "blob"), key=0, order="n")
"""Rows of this one are only added (`ADD_EVENT`), never replaced."""

ADD_EVENT: Final = """INSERT INTO event (entry, n, body, blob)
    VALUES (?, (SELECT COALESCE(MAX(n), -1) + 1 FROM event WHERE entry = ?), ?, ?)"""


DOOMED: Final = 0.0
"""When a session was used last that is being removed: it has no environment."""

LAST_USES: Final = """SELECT session.rowid, session.id,
        CASE environment WHEN '' THEN 0.0 ELSE max(session.created, coalesce((
            SELECT max(queued, coalesce(started, 0), coalesce(ended, 0)) FROM entry
            WHERE entry.session = session.id ORDER BY number DESC LIMIT 1), 0)) END
    FROM session"""
"""When each session was used last: made, or its latest entry begun or ended."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables up to date, inside the caller's transaction.

    Raises:
        StorageError: The database is another program's, or a newer kernel-exec's.
    """
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
    for statements in _MIGRATIONS[version:]:
        for statement in statements:
            connection.execute(statement)
    if version < len(_MIGRATIONS):
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")


def is_ours(connection: sqlite3.Connection) -> bool:
    """True when the tables are ours, and such as this program can read."""
    ((owner,),) = connection.execute("PRAGMA application_id")
    ((version,),) = connection.execute("PRAGMA user_version")
    return bool(owner == APPLICATION_ID and 0 < version <= len(_MIGRATIONS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A row to be written; `live` when later rows may refer to it.

    Live are sessions, kernels and entries that have not ended: a database begun anew while a
    server runs needs them first.
    """

    table: Table
    row: Row
    live: bool = True

    @property
    def key(self) -> tuple[str, Row]:
        """What tells this row from every other, events aside."""
        return self.table.name, self.row[: self.table.key]

    @property
    def size(self) -> int:
        """Bytes it takes in memory, roughly."""
        return _OVERHEAD + sum(len(cell) for cell in self.row if isinstance(cell, (str, bytes)))


def write_session(record: SessionRecord) -> Write:
    """`record` as a row."""
    texts = (as_cell(text) for text in (record.id, record.name, record.environment))
    return Write(table=SESSION, row=(*texts, record.created))


def write_kernel(record: KernelRecord, server: str) -> Write:
    """`record` as a row that belongs to `server`."""
    row = (
        as_cell(record.session_id),
        record.generation,
        record.started,
        as_cell(record.executable),
        as_cell(record.python_version),
        as_cell(record.support),
        record.ended,
        as_cell(record.end_reason),
        server,
        record.origin.value,
    )
    return Write(table=KERNEL, row=row)


def write_entry(entry: Entry, server: str) -> Write:
    """`entry` as a row that belongs to `server`."""
    row = (
        as_cell(entry.id),
        as_cell(entry.session_id),
        entry.number,
        entry.kind.value,
        as_cell(entry.source),
        entry.outcome.value,
        as_cell(entry.title),
        as_cell(entry.author),
        entry.generation,
        _storable(entry.execution_count),
        entry.queued,
        entry.started,
        entry.ended,
        encode(entry.timing),
        None if entry.file_path is None else as_cell(entry.file_path),
        encode(entry.details),
        server,
    )
    return Write(table=ENTRY, row=row, live=not entry.outcome.ended)


def write_event(entry_id: str, event: OutputEvent) -> Write:
    """`event` as a row; one that JSON can't hold becomes a line that says so."""
    try:
        body = _dumps(encode_event(event))
    except (TypeError, ValueError, RecursionError) as error:
        body = _dumps(encode_event(lost(f"could not be kept: {error}")))
    return Write(table=EVENT, row=(as_cell(entry_id), body, None), live=False)


def read_session(row: Row) -> SessionRecord:
    """The session in a row of `SESSION`."""
    id_, name, environment, created = row
    return SessionRecord(
        id=as_text(id_),
        name=as_text(name),
        environment=as_text(environment),
        created=_real(created),
    )


def read_kernel(row: Row) -> KernelRecord:
    """The kernel in a row of `KERNEL`."""
    session, generation, started, executable, version, support, ended, reason, _, origin = row
    return KernelRecord(
        session_id=as_text(session),
        generation=_integer(generation),
        started=_real(started),
        executable=as_text(executable),
        python_version=as_text(version),
        support=as_text(support),
        ended=_maybe(_real, ended),
        end_reason=as_text(reason),
        origin=Origin(as_text(origin)),
    )


def read_entry(row: Row) -> Entry:
    """The entry in a row of `ENTRY`."""
    cell = dict(zip(ENTRY.columns, row, strict=True))
    return Entry(
        id=as_text(cell["id"]),
        session_id=as_text(cell["session"]),
        number=_integer(cell["number"]),
        kind=EntryKind(as_text(cell["kind"])),
        source=as_text(cell["source"]),
        outcome=Outcome(as_text(cell["outcome"])),
        title=as_text(cell["title"]),
        author=as_text(cell["author"]),
        generation=_integer(cell["generation"]),
        execution_count=_maybe(_integer, cell["execution_count"]),
        queued=_real(cell["queued"]),
        started=_maybe(_real, cell["started"]),
        ended=_maybe(_real, cell["ended"]),
        timing={name: str(time) for name, time in decode(cell["timing"]).items()},
        file_path=_maybe(as_text, cell["file_path"]),
        details=decode(cell["details"]),
    )


def read_event(body: Cell) -> OutputEvent:
    """The event in a body; one that can't be read becomes a line that says so."""
    try:
        return decode_event(decode(body))
    except (TypeError, ValueError, RecursionError) as error:
        return lost(f"can't be read: {error}")


def lost(why: str) -> OutputEvent:
    """What stands for an output that is not to be had."""
    return Stream(name="stderr", text=f"[kernel-exec: an output {why}]\n")


def encode(value: Mapping[str, object]) -> str:
    """`value` as JSON in ASCII; where JSON can't hold it, an object that says why."""
    try:
        return _dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        return _dumps({"unkept": str(error)})


def decode(cell: Cell) -> JSONObject:
    """The object that `encode` wrote."""
    value = json.loads(as_text(cell))
    if not isinstance(value, dict):
        raise TypeError(f"expected a JSON object, found {type(value).__name__}")
    return value


def as_cell(text: str) -> Cell:
    """`text` as SQLite can hold it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="surrogatepass")
    return text


def as_text(cell: Cell) -> str:
    """The text that `as_cell` wrote."""
    if isinstance(cell, bytes):
        return cell.decode(errors="surrogatepass")
    if isinstance(cell, str):
        return cell
    raise TypeError(f"expected text, found {cell!r}")


def _storable(count: int | None) -> int | None:
    return None if count is None or abs(count) >= _INTEGER_LIMIT else count


def _dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _maybe(read: Callable[[Cell], _T], cell: Cell) -> _T | None:
    return None if cell is None else read(cell)


def _real(cell: Cell) -> float:
    if isinstance(cell, (int, float)):
        return float(cell)
    raise TypeError(f"expected a number, found {cell!r}")


def _integer(cell: Cell) -> int:
    if isinstance(cell, int):
        return cell
    raise TypeError(f"expected a whole number, found {cell!r}")

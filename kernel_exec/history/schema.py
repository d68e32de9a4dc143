"""Values as rows of the history database, one table for each class of values.

Columns have the names and order of the values' fields. Text is kept as TEXT; where it holds lone
surrogates, which SQLite has no text for, as a BLOB. Objects are kept as JSON in ASCII, so that
whatever a kernel sent comes back as it was. Reading raises `ValueError` or `TypeError` for what
nothing here wrote.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Final, Generic, TypeAlias, TypeVar

from kernel_exec.jsons import JSON, JSONObject, count, items, mapping, text
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import (
    Clear,
    DisplayData,
    ErrorOutput,
    ExecuteResult,
    OutputEvent,
    Spill,
    Stream,
    Update,
)

from .entries import Entry, EntryKind, KernelRecord, Origin, SessionRecord

Cell: TypeAlias = str | bytes | int | float | None
Row: TypeAlias = tuple[Cell, ...]

_INTEGER_LIMIT: Final = 2**63  # SQLite holds no larger one; a kernel may send any count

_OVERHEAD: Final = 200
"""Bytes that a row costs in memory beside its text, roughly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptEvent:
    """An output event of an entry as JSON, inline or in the file named `blob`."""

    entry: str
    n: int
    body: str | None
    blob: str | None = None


Record: TypeAlias = SessionRecord | KernelRecord | Entry | KeptEvent
T = TypeVar("T", bound=Record)


@dataclass(frozen=True, slots=True)
class _Form:
    """How a field of one type becomes a cell, and is read from one."""

    write: Callable[[Any], Cell]
    read: Callable[[Cell], object]

    @property
    def optional(self) -> "_Form":
        """The same for a field that may be None."""
        return _Form(
            lambda value: None if value is None else self.write(value),
            lambda cell: None if cell is None else self.read(cell),
        )


@dataclass(frozen=True, kw_only=True)
class Table(Generic[T]):
    """A table whose rows are values of one class: the first `key` columns name a row.

    `order` sorts those that belong together. Rows of an `owned` table name the server that wrote
    them in one column more.
    """

    name: str
    record: type[T]
    key: int
    order: str
    owned: bool = False

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns; a session's id is `session` in other tables."""
        names = (each.name.removesuffix("_id") for each in fields(self.record))
        return (*names, "server") if self.owned else tuple(names)

    @cached_property
    def _forms(self) -> list[tuple[str, _Form]]:
        return [(each.name, _FORMS[each.type]) for each in fields(self.record)]

    @cached_property
    def upsert(self) -> str:
        """The statement that inserts a row, or replaces what stands under its key."""
        marks = ", ".join("?" * len(self.columns))
        changes = ", ".join(f"{name} = excluded.{name}" for name in self.columns[self.key :])
        return (
            f"INSERT INTO {self.name} ({', '.join(self.columns)}) VALUES ({marks})"
            f" ON CONFLICT ({', '.join(self.columns[: self.key])}) DO UPDATE SET {changes}"
        )

    def position(self, row: Row) -> float:
        """Where `row` stands in the table's order."""
        cell = row[self.columns.index(self.order)]
        return cell if isinstance(cell, (int, float)) else 0.0

    def row(self, value: T, server: str) -> Row:
        """`value` as a row that `server` writes."""
        cells = [form.write(getattr(value, name)) for name, form in self._forms]
        return (*cells, server) if self.owned else tuple(cells)

    def read(self, row: Row) -> T:
        """The value in a row."""
        make: Callable[..., T] = self.record
        cells = zip(self._forms, row, strict=not self.owned)
        return make(**{name: form.read(cell) for (name, form), cell in cells})


@dataclass(frozen=True, kw_only=True)
class Query(Generic[T]):
    """The rows of a table whose columns have one of the values in `where`, in its order.

    Those behind `after` only; of these at most the `last`.
    """

    table: Table[T]
    where: Mapping[str, Collection[str]] = field(default_factory=dict)
    after: int | None = None
    last: int | None = None

    def select(self, columns: Sequence[str]) -> tuple[str, list[Cell]]:
        """The statement that finds `columns` of these rows, and its values.

        The `last` rows come in reverse.
        """
        order = self.table.order
        # By the whole key where the order ends it: no index has another one for several owners.
        sorting = (*self.table.columns[: self.table.key - 1], order, "rowid")
        conditions = [f"{name} IN ({', '.join('?' * len(cells))})" for name, cells in self._where]
        values = [cell for _, cells in self._where for cell in cells]
        if self.after is not None:
            conditions.append(f"{order} > ?")
            values.append(self.after)
        limit, way = (-1, "ASC") if self.last is None else (self.last, "DESC")
        statement = (
            f"SELECT {', '.join(columns)} FROM {self.table.name}"
            f"{' WHERE ' + ' AND '.join(conditions) if conditions else ''}"
            f" ORDER BY {', '.join(f'{name} {way}' for name in sorting)} LIMIT {limit}"
        )
        return statement, values

    def means(self, row: Row) -> bool:
        """Whether it finds `row`, limits aside."""
        columns = self.table.columns
        return all(row[columns.index(name)] in cells for name, cells in self._where) and (
            self.after is None or self.table.position(row) > self.after
        )

    def merged(self, rows: Sequence[Row], waiting: Sequence[Row]) -> list[Row]:
        """`rows` as they are once those that are `waiting` have been written, in their order."""
        # Of two states of one row the later one counts, which stands behind the other.
        latest = {row[: self.table.key]: row for row in (*rows, *waiting)}
        ordered = sorted(latest.values(), key=self.table.position)
        skipped = 0 if self.last is None else max(0, len(ordered) - self.last)
        return ordered[skipped:]

    @cached_property
    def _where(self) -> list[tuple[str, set[Cell]]]:
        return [(name, {as_cell(each) for each in values}) for name, values in self.where.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A row to be written; `live` when later rows may refer to it. `size` is in bytes, roughly.

    Live are sessions, kernels and entries that have not ended: a database begun anew while a
    server runs needs them first.
    """

    table: Table[Any]
    row: Row
    live: bool = True
    size: int = field(init=False)

    def __post_init__(self) -> None:
        """Find the size once, as it is counted where the row comes and where it goes."""
        size = _OVERHEAD + sum(len(cell) for cell in self.row if isinstance(cell, (str, bytes)))
        object.__setattr__(self, "size", size)

    @property
    def key(self) -> tuple[str, Row]:
        """Table and key of the row, which no other row has."""
        return self.table.name, self.row[: self.table.key]


def encode_event(event: OutputEvent) -> JSONObject:
    """`event` as a JSON object, for keeping: its type, and its fields by their names."""
    body: dict[str, JSON] = {name: getattr(event, name) for name, _ in _FIELDS[type(event)]}
    if isinstance(event, ErrorOutput):
        body["traceback"] = list(event.traceback)
        if event.path is None:  # it is whole, as nearly all are
            del body["path"], body["characters"]
    return {"type": _NAMES[type(event)], **body}


def decode_event(body: JSONObject) -> OutputEvent:
    """The event that `encode_event` wrote; raises `ValueError` for anything else."""
    make = _EVENTS.get(text(body, "type"))
    if make is None:
        raise ValueError(f"no output event has type {body.get('type')!r}")
    return make(**{name: read(body, name) for name, read in _FIELDS[make]})


def kept(entry_id: str, number: int, event: OutputEvent) -> KeptEvent:
    """`event` as it is kept; one that JSON can't hold becomes a line that says so."""
    try:
        body = _dumps(encode_event(event))
    except (TypeError, ValueError, RecursionError) as error:
        body = _dumps(encode_event(lost(f"could not be kept: {error}")))
    return KeptEvent(entry=entry_id, n=number, body=body)


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
        return _dumps(value) if value else "{}"
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


def _dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _same(value: Cell) -> Cell:
    return value


def _real(cell: Cell) -> float:
    if isinstance(cell, (int, float)):
        return float(cell)
    raise TypeError(f"expected a number, found {cell!r}")


def _storable(number: int) -> int | None:
    return number if abs(number) < _INTEGER_LIMIT else None


def as_integer(cell: Cell) -> int:
    """A whole number."""
    if isinstance(cell, int):
        return cell
    raise TypeError(f"expected a whole number, found {cell!r}")


def _names(cell: Cell) -> Mapping[str, str]:
    return {name: str(value) for name, value in decode(cell).items()}


def _word(kind: type[EntryKind | Outcome | Origin]) -> _Form:
    return _Form(_same, lambda cell: kind(as_text(cell)))


_TEXT: Final = _Form(as_cell, as_text)
_REAL: Final = _Form(_same, _real)
_INTEGER: Final = _Form(_storable, as_integer)

_FORMS: Final[Mapping[object, _Form]] = {
    str: _TEXT,
    str | None: _TEXT.optional,
    float: _REAL,
    float | None: _REAL.optional,
    int: _INTEGER,
    int | None: _INTEGER.optional,
    JSONObject: _Form(encode, decode),
    Mapping[str, str]: _Form(encode, _names),
    **{word: _word(word) for word in (EntryKind, Outcome, Origin)},
}
"""How a field of each type is kept."""

SESSION: Final = Table(name="session", record=SessionRecord, key=1, order="created")
KERNEL: Final = Table(name="kernel", record=KernelRecord, key=2, order="generation", owned=True)
ENTRY: Final = Table(name="entry", record=Entry, key=1, order="number", owned=True)
EVENT: Final = Table(name="event", record=KeptEvent, key=2, order="n")


def _text_or_none(body: JSONObject, key: str) -> str | None:
    return text(body, key) if isinstance(body.get(key), str) else None


_NAMES: Mapping[type[OutputEvent], str] = {
    Stream: "stream",
    DisplayData: "display_data",
    ExecuteResult: "execute_result",
    ErrorOutput: "error",
    Spill: "spill",
    Clear: "clear_output",
    Update: "update_display_data",
}

_Reader: TypeAlias = Callable[[JSONObject, str], object]

_READERS: Mapping[object, _Reader] = {
    str: text,
    str | None: _text_or_none,
    bool: lambda body, key: body.get(key) is True,
    int: lambda body, key: count(body, key) or 0,
    int | None: count,
    JSONObject: mapping,
    tuple[str, ...]: lambda body, key: tuple(map(str, items(body, key))),
}
"""How a field of each type is read, for which absent is what has another type."""

_EVENTS: Mapping[str, Callable[..., OutputEvent]] = {name: event for event, name in _NAMES.items()}

_FIELDS: Mapping[Callable[..., OutputEvent], list[tuple[str, _Reader]]] = {
    event: [(each.name, _READERS[each.type]) for each in fields(event)] for event in _NAMES
}

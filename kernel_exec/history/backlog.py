"""What is not in the database yet, and what reads find there and in it together."""

import logging
import sqlite3
from collections import deque
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Final

from kernel_exec.errors import StorageError
from kernel_exec.kernels.outputs import OutputEvent

from .database import FAILURES, Database
from .entries import Entry, EntryKind, KernelRecord, SessionRecord
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
)

_log = logging.getLogger(__name__)

BATCH_LIMIT: Final = 4 * 1024 * 1024
"""Bytes in one transaction, which is what an attempt on a full disk costs."""

_PENDING_LIMIT: Final = 64 * 1024 * 1024
"""Bytes kept in memory while writing fails, before outputs are dropped."""


class Backlog:
    """The database, and before it the rows that are not in it yet. Used by the thread alone."""

    def __init__(self, database: Database) -> None:
        self.database: Final = database
        self.degraded = ""
        self._pending: deque[Write] = deque()
        self._size = 0
        self._dropped = 0
        self.finished = 0
        """Bytes of all that was written, or given up."""

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
                    self.finished += write.size
        except Exception as error:  # noqa: BLE001 - what stays must be told, whatever held it up
            if not isinstance(error, FAILURES):
                _log.exception("history could not be written")
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

    def last_uses(self) -> dict[str, float]:
        """When each session was used last."""
        used = {session: at for page in self.database.last_uses() for session, at in page}
        for write in self._pending:
            if write.table is SESSION:
                record = read_session(write.row)
                used[record.id] = max(record.created, used.get(record.id, 0.0))
        for write in self._pending:
            if write.table is ENTRY:
                entry = read_entry(write.row)
                latest = max(entry.queued, entry.started or 0.0, entry.ended or 0.0)
                used[entry.session_id] = max(latest, used.get(entry.session_id, 0.0))
        return used

    def kernels(self, session_id: str) -> list[KernelRecord]:
        return [read_kernel(row) for row in self._rows(KERNEL, None, {"session": session_id})]

    def entries(self, *, last: int | None = None, **where: str) -> list[Entry]:
        return [read_entry(row) for row in self._rows(ENTRY, last, where)]

    def latest(self, session_id: str, kinds: Collection[EntryKind]) -> Entry | None:
        """The session's entry with the highest number among those of these kinds."""
        marks = ", ".join("?" * len(kinds))
        query = (
            f"SELECT {', '.join(ENTRY.columns)} FROM entry WHERE session = ? AND kind IN ({marks})"
            " ORDER BY number DESC, rowid DESC LIMIT 1"
        )
        rows = self.database.select(query, (as_cell(session_id), *(kind.value for kind in kinds)))
        rows += [write.row for write in self._pending if write.table is ENTRY]
        found = [read_entry(row) for row in rows]
        ours = [entry for entry in found if entry.session_id == session_id and entry.kind in kinds]
        # of two states of one entry the later one, which stands behind
        return max(reversed(ours), key=lambda entry: entry.number, default=None)

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
            if size > BATCH_LIMIT:
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
                self.finished += write.size
                self._dropped += 1
            else:
                kept.append(write)
        self._pending = kept


def describe(error: BaseException) -> str:
    """What `error` says, in one phrase."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"history.db: {error}" if isinstance(error, sqlite3.Error) else str(error)

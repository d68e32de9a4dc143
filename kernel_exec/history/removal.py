"""What is taken out of history, in small transactions that give way to whoever writes."""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from .database import Database
from .schema import LAST_USES, Cell, as_cell, as_text

_SHRINK_PAGES: Final = 500
"""Pages that are given back to the file system at a time."""

_SPARE_PAGES: Final = 1000
"""Free pages that stay in the file, for what comes next."""

_FIRST_ENTRIES: Final = 100
"""Entries that are removed at a time, at most."""

_INCREMENTAL: Final = 2
"""What `auto_vacuum` says of a file that can give pages back."""


class Removal:
    """Removes rows, and the files that only they referred to. Raises `FAILURES`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def size(self) -> int:
        """Bytes of the database that hold something."""
        with self._database.aside() as connection:
            ((size,),) = connection.execute(
                "SELECT (page_count - freelist_count) * page_size"
                " FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
            )
        return int(size)

    def shrink(self) -> bool:
        """Give some of the file's free pages back; False when there are few."""
        with self._database.aside() as connection:
            ((spare, mode),) = connection.execute(
                "SELECT freelist_count, auto_vacuum FROM pragma_freelist_count, pragma_auto_vacuum"
            )
            if spare <= _SPARE_PAGES or mode != _INCREMENTAL:
                return False
            for _ in range(_SHRINK_PAGES):  # the module takes one step of the pragma, for one page
                connection.execute("PRAGMA incremental_vacuum(1)")
        return True

    def announce(self, sessions: Collection[str], at: float) -> dict[str, float]:
        """Announce that `sessions` will be removed; when each of them was announced first.

        An announcement from after `at` came from a clock that was wrong, and counts for nothing.
        """
        with self._database.aside() as connection:
            connection.execute("UPDATE session SET announced = NULL WHERE announced > ?", (at,))
            connection.executemany(
                "UPDATE session SET announced = ? WHERE id = ? AND announced IS NULL",
                [(at, as_cell(session)) for session in sessions],
            )
            found = connection.execute(
                "SELECT id, announced FROM session WHERE announced IS NOT NULL"
            ).fetchall()
        announced = {as_text(id_): float(told) for id_, told in found}
        return {session: announced[session] for session in sessions if session in announced}

    def knows(self, session: str) -> bool:
        """True when there is such a session."""
        return self.last_use(session) is not None

    def last_use(self, session: str) -> float | None:
        """When a session was used last."""
        with self._database.aside() as connection:
            found = connection.execute(
                f"{LAST_USES} WHERE session.id = ?", (as_cell(session),)
            ).fetchone()
        return None if found is None else float(found[2])

    def first_entries(self, session: str, events: int) -> Sequence[Cell]:
        """The first entries of a session with at most so many events, or the first alone."""
        chosen: list[Cell] = []
        with self._database.aside() as connection:
            for entry, count in connection.execute(
                "SELECT id, (SELECT count(*) FROM event WHERE event.entry = entry.id) FROM entry"
                " WHERE session = ? ORDER BY number LIMIT ?",
                (as_cell(session), _FIRST_ENTRIES),
            ):
                events -= count
                if chosen and events < 0:
                    break
                chosen.append(entry)
        return chosen

    def remove_entries(self, entries: Sequence[Cell]) -> Iterable[str]:
        """Remove entries with their events; the names of the files that these had."""
        wanted = [(entry,) for entry in entries]
        names: set[str] = set()
        with self._database.aside() as connection:
            for entry in wanted:
                query = "SELECT blob FROM event WHERE entry = ? AND blob IS NOT NULL"
                names.update(as_text(name) for (name,) in connection.execute(query, entry))
            connection.executemany("DELETE FROM event WHERE entry = ?", wanted)
            connection.executemany("DELETE FROM entry WHERE id = ?", wanted)
        return names

    def doom(self, session: str) -> None:
        """Mark a session as one that goes: it is not found by its name any more."""
        with self._database.aside() as connection:
            connection.execute(
                "UPDATE session SET environment = '' WHERE id = ?", (as_cell(session),)
            )

    def remove_session(self, session: str) -> None:
        """Remove a session that has no entries any more."""
        with self._database.aside() as connection:
            connection.execute("DELETE FROM kernel WHERE session = ?", (as_cell(session),))
            connection.execute("DELETE FROM session WHERE id = ?", (as_cell(session),))

    def drop_files(self, names: Iterable[str]) -> int:
        """Remove those large outputs that no row refers to; the bytes that they took."""
        freed = 0
        # Nobody can come to refer to one meanwhile: rows are written under the same lock.
        with self._database.aside() as connection:
            for name in names:
                query = "SELECT 1 FROM event WHERE blob = ? LIMIT 1"
                if connection.execute(query, (name,)).fetchone() is None:
                    freed += self._database.blobs.remove(name)
        return freed

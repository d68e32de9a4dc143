"""History within its limits: whole sessions are removed, the least recently used ones first.

Everything else stays whole: sessions that a server holds, files that a remaining row refers to,
all scripts and notebooks. A session that is too old is announced first, and removed by a server
that starts at least a day later, if it is still too old by then: a clock that was wrong at one
start removes nothing. The limit on size needs no clock.

A sweep is a generator of small steps, so that its thread is free for others between any two. It
may be killed after each: a session is marked first, its entries are removed from the first on,
each with all its outputs, files after the rows that refer to them, and the next sweep begins with
the rest. One server sweeps at a time.
"""

import logging
import os
import re
import stat
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from kernel_exec.files import UNFINISHED
from kernel_exec.leases import is_held, take
from kernel_exec.places import Places

from .database import FAILURES, Database, last_uses
from .opening import DOOMED, LAST_USES

_log = logging.getLogger(__name__)

_EVERY: Final = 6 * 3600.0
"""Seconds between two sweeps."""

_AGAIN: Final = 60.0
"""Seconds after which a sweep that failed is tried again."""

_PAUSE: Final = 0.01
"""Seconds between two steps: others are to have the interpreter and the disk as well."""

_JUST_USED: Final = 24 * 3600.0
"""Seconds before the latest use of any session in which a session's use protects it from the
limit on size: somebody may want its notebook."""

_NOTICE: Final = 24 * 3600.0
"""Seconds from the announcement that a session is removed to the start of the server that may."""

_ORPHANED: Final = 7 * 24 * 3600.0
"""Seconds after which a file that no row refers to goes; a database may be put back meanwhile."""

_UNFINISHED_FOR: Final = 3600.0
"""Seconds after which an unfinished file can only be that of a process that was killed."""

_UNFINISHED = re.compile(r"\.unfinished-(?:[a-z0-9_]{8}|[0-9a-f]{16})")
_FOLDERS_LIMIT: Final = 2000
"""Folders below the storage root that are looked at for unfinished files."""

_FIRST: Final = "(SELECT id FROM entry WHERE session = ? ORDER BY number LIMIT 10)"
"""The entries of a session that one transaction removes."""

_SHRINK_PAGES: Final = 500
"""Pages that are given back to the file system at a time."""

_SPARE_PAGES: Final = 1000
"""Free pages that stay in the file, for what comes next."""

_INCREMENTAL: Final = 2
"""What `auto_vacuum` says of a file that can give pages back."""

_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What history may hold: sessions used within `age` seconds, `size` bytes; None for no limit.

    A session used on the last day of use stays whatever the size.
    """

    age: float | None = None
    size: float | None = None


def keep_within(database: Database, limits: Limits) -> Iterator[float]:
    """A sweep at once, and then one now and then; yields the seconds until it wants to go on."""
    born, began = time.time(), time.monotonic()
    while True:
        # A clock that is set while we run must not age what was used meanwhile.
        now = born + time.monotonic() - began
        try:
            for _ in sweep(database, limits, now=now, born=born):
                yield _PAUSE
        except FAILURES as error:
            _log.info("history is swept later: %s", error)
            yield _AGAIN
        else:
            yield _EVERY


def sweep(database: Database, limits: Limits, *, now: float, born: float) -> Generator[None]:
    """Bring history within `limits` at the time `now`; nothing when another server does.

    `born` is when this server started.

    Raises one of `FAILURES` where the database can't be used.
    """
    with database.tidying():
        pass  # the folder is there, and ours
    folder = database.file.folder
    lease = take(folder / "retention.lock")
    if lease is None:
        return
    try:
        yield from _unfinished(folder.parent, now)
        yield from _Sweep(database, limits, now, born).steps()
    finally:
        lease.drop()


@contextmanager
def leased(folder: Path, session_id: str) -> Iterator[bool]:
    """Hold a session's lease; False when a server has it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    lease = take(folder / f"{session_id}.lock")
    try:
        yield lease is not None
    finally:
        if lease is not None:
            lease.drop()


class _Sweep:
    """One sweep; `_files` is how many bytes the files take that rows refer to.

    All changes are small transactions.
    """

    def __init__(self, database: Database, limits: Limits, now: float, born: float) -> None:
        self._database = database
        self._limits = limits
        self._now = now
        self._born = born
        places = Places(database.file.folder.parent)
        self._leases, self._spill = places.leases, places.spill
        self._spilled: dict[str, int] = {}
        self._files = 0

    def steps(self) -> Iterator[None]:
        # A name that is no plain one leads to files elsewhere: nobody but a user made it.
        uses = last_uses(self._database)
        used = {session: at for session, at in uses.items() if _PLAIN.fullmatch(session)}
        yield
        yield from self._measure_blobs()
        yield from self._measure_spilled(used)
        newest = max(used.values(), default=0.0)
        due = self._announce(used)
        for session, at in sorted(used.items(), key=lambda each: each[1]):
            spare = at > newest - _JUST_USED
            if at == DOOMED or session in due or (not spare and self._is_too_much()):
                yield from self._remove(session, at)
        while self._shrink():
            yield

    def _announce(self, used: dict[str, float]) -> set[str]:
        """Tell which sessions are too old; those of them that were announced long enough ago.

        An announcement of the future came from a clock that was wrong, and counts for nothing.
        """
        age = self._limits.age
        old = [
            session
            for session, at in used.items()
            if age is not None
            and DOOMED < at < self._now - age
            and not is_held(self._leases / f"{session}.lock")
        ]
        with self._database.tidying() as connection:
            connection.execute(
                "UPDATE session SET announced = NULL WHERE announced > ?", (self._now,)
            )
            announced = connection.executemany(
                "UPDATE session SET announced = ? WHERE id = ? AND announced IS NULL",
                [(self._now, session) for session in old],
            ).rowcount
            due = connection.execute(
                "SELECT id FROM session WHERE announced <= ?", (self._born - _NOTICE,)
            ).fetchall()
        if age is not None and announced > 0:
            after = time.strftime("%Y-%m-%d %H:%M", time.gmtime(self._now + _NOTICE))
            self._database.file.notify(
                f"{announced} session{'s' if announced > 1 else ''} not used for"
                f" {age / 86400:.0f} days will be deleted by a server that starts after {after}"
                " UTC; to keep them, raise KERNEL_EXEC_HISTORY_DAYS"
            )
        return set(old).intersection(session for (session,) in due)

    def _is_too_much(self) -> bool:
        """Whether rows and files take more than they may."""
        if self._limits.size is None:
            return False
        ((rows,),) = self._database.select(
            "SELECT (page_count - freelist_count) * page_size"
            " FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
        )
        return self._files + float(rows or 0) > self._limits.size

    def _measure_blobs(self) -> Iterator[None]:
        """Count the files of large outputs; those that no row refers to go, in time."""
        for folder in self._database.blobs.folders():
            orphans = []
            for path in _files(folder):
                status = path.lstat()
                self._files += status.st_size
                if path.name.startswith(UNFINISHED):
                    if status.st_mtime < self._now - _UNFINISHED_FOR:
                        path.unlink(missing_ok=True)
                elif status.st_mtime < self._now - _ORPHANED:
                    orphans.append(path.name)
            self._drop_blobs(orphans)
            yield

    def _measure_spilled(self, used: dict[str, float]) -> Iterator[None]:
        """The same for the files that streams went on in, by session."""
        with suppress(OSError):
            for folder in list(self._spill.iterdir()):
                if folder.is_symlink() and not folder.exists():  # a kernel's, of a removed session
                    folder.unlink()
                if not _PLAIN.fullmatch(folder.name) or not _is_folder(folder):
                    continue
                size = sum(path.lstat().st_size for path in _files(folder))
                self._spilled[folder.name] = size
                self._files += size
                old = folder.lstat().st_mtime < self._now - _ORPHANED
                if old and folder.name not in used:
                    with leased(self._leases, folder.name) as ours:
                        if ours:
                            yield from self._remove_spilled(folder.name)
                yield

    def _remove(self, session: str, used: float) -> Iterator[None]:
        """Remove a session, unless a server has it or had it meanwhile."""
        with leased(self._leases, session) as ours:
            if not ours or not self._doom(session, used):
                return
            while self._remove_entries(session):
                yield
            yield from self._remove_spilled(session)
            with self._database.tidying() as connection:
                connection.execute("DELETE FROM kernel WHERE session = ?", (session,))
                connection.execute("DELETE FROM session WHERE id = ?", (session,))

    def _doom(self, session: str, used: float) -> bool:
        """Mark a session as one that goes, which no name finds; False if it was used since."""
        with self._database.tidying() as connection:
            found = connection.execute(f"{LAST_USES} WHERE session.id = ?", (session,)).fetchone()
            if found is None or found[1] != used:
                return False
            connection.execute("UPDATE session SET environment = '' WHERE id = ?", (session,))
        return True

    def _remove_entries(self, session: str) -> bool:
        """Remove a session's first entries with all that they have put out; False if none is left.

        Files go once the rows that refer to them are gone for sure.
        """
        with self._database.tidying() as connection:
            find = f"SELECT DISTINCT blob FROM event WHERE entry IN {_FIRST} AND blob IS NOT NULL"
            blobs = [blob for (blob,) in connection.execute(find, (session,))]
            connection.execute(f"DELETE FROM event WHERE entry IN {_FIRST}", (session,))
            removed = connection.execute(f"DELETE FROM entry WHERE id IN {_FIRST}", (session,))
        self._drop_blobs(blobs)
        return removed.rowcount > 0

    def _drop_blobs(self, names: Iterable[str]) -> None:
        """Remove those large outputs that no row refers to."""
        # Nobody can come to refer to one meanwhile: rows are written under the same lock.
        with self._database.tidying() as connection:
            for name in names:
                query = "SELECT 1 FROM event WHERE blob = ? LIMIT 1"
                if connection.execute(query, (name,)).fetchone() is None:
                    self._files -= self._database.blobs.remove(name)

    def _remove_spilled(self, session: str) -> Iterator[None]:
        """Remove the files that a session's streams went on in."""
        folder = self._spill / session
        if _is_folder(folder):
            for path in _files(folder):
                with suppress(OSError):
                    path.unlink()
                yield
            with suppress(OSError):  # somebody put more into it
                for each in filter(_is_folder, folder.iterdir()):
                    each.rmdir()
                folder.rmdir()
        self._files -= self._spilled.pop(session, 0)

    def _shrink(self) -> bool:
        """Give some of the file's free pages back; False when there are few."""
        with self._database.tidying() as connection:
            ((spare, mode),) = connection.execute(
                "SELECT freelist_count, auto_vacuum FROM pragma_freelist_count, pragma_auto_vacuum"
            )
            if spare <= _SPARE_PAGES or mode != _INCREMENTAL:
                return False
            for _ in range(_SHRINK_PAGES):  # the module takes one step of the pragma, for one page
                connection.execute("PRAGMA incremental_vacuum(1)")
        return True


def _unfinished(root: Path, now: float) -> Iterator[None]:
    """Remove what killed writes of scripts left below the storage root."""
    for here, folders, files in islice(os.walk(root), _FOLDERS_LIMIT):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in filter(_UNFINISHED.fullmatch, files):
            path = Path(here, name)
            with suppress(OSError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode) and status.st_mtime < now - _UNFINISHED_FOR:
                    path.unlink()
        yield


def _is_folder(path: Path) -> bool:
    """True for a folder itself: what a link leads to is not ours."""
    return path.is_dir() and not path.is_symlink()


def _files(folder: Path) -> list[Path]:
    """The plain files in a folder and below it, none when it is gone."""
    found = (Path(here, name) for here, _, names in os.walk(folder) for name in names)
    return [path for path in found if path.is_file() and not path.is_symlink()]

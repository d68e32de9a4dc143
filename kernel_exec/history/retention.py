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
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from kernel_exec.leases import is_held, take
from kernel_exec.places import Places

from .database import FAILURES, Database
from .removal import Removal
from .schema import DOOMED

_log = logging.getLogger(__name__)

_EVERY: Final = 6 * 3600.0
"""Seconds between two sweeps."""

_AGAIN: Final = 60.0
"""Seconds after which a sweep that failed is tried again."""

_PAUSE: Final = 0.01
"""Seconds between two steps: others are to have the interpreter and the disk as well."""

_QUIET: Final = 0.25
"""Seconds that nothing was asked of history before a step, so that no result waits for one."""

_PATIENCE: Final = 1.0
"""Seconds after which a step is due all the same: history that is never quiet is swept, too."""

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

_STEP_EVENTS: Final = 500
"""Outputs that one transaction removes, unless a single entry has more."""

_STEP_SESSIONS: Final = 500
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What history may hold: sessions used within `age` seconds, `size` bytes; None for no limit.

    A session used on the last day of use stays whatever the size.
    """

    age: float | None = None
    size: float | None = None


class Upkeep:
    """A sweep at once, and then one now and then; for the store's thread, while it is idle."""

    def __init__(self, database: Database, limits: Limits | None) -> None:
        """Without `limits` nothing is ever done."""
        self._database = database
        self._limits = limits
        self._steps: Iterator[None] | None = None
        self._due = self._stepped = self._began = time.monotonic()
        self._born = time.time()

    @property
    def wait(self) -> float | None:
        """Seconds until the next step; None for never."""
        return None if self._limits is None else max(0.0, self._due - time.monotonic())

    def give_way(self) -> None:
        """Something was asked of history; more of it may follow."""
        now = time.monotonic()
        if now < self._stepped + _PATIENCE:
            self._due = max(self._due, now + _QUIET)

    def step(self) -> None:
        """Do a little."""
        if self._limits is None:
            return
        now = self._stepped = time.monotonic()
        if self._steps is None:
            # A clock that is set while we run must not age what was used meanwhile.
            at = self._born + now - self._began
            self._steps = sweep(self._database, self._limits, now=at, born=self._born)
        self._due = now + _PAUSE
        try:
            next(self._steps)
        except StopIteration:
            self._steps, self._due = None, now + _EVERY
        except FAILURES as error:
            _log.info("history is swept later: %s", error)
            self._steps, self._due = None, now + _AGAIN


def sweep(database: Database, limits: Limits, *, now: float, born: float) -> Generator[None]:
    """Bring history within `limits` at the time `now`; nothing when another server does.

    `born` is when this server started.

    Raises one of `FAILURES` where the database can't be used.
    """
    with database.aside():
        pass  # the folder is there, and ours
    lease = take(database.folder / "retention.lock")
    if lease is None:
        return
    try:
        yield from _unfinished(database.folder.parent, now)
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
    """One sweep; `_files` is how many bytes the files take that rows refer to."""

    def __init__(self, database: Database, limits: Limits, now: float, born: float) -> None:
        self._database = database
        self._removal = Removal(database)
        self._limits = limits
        self._now = now
        self._born = born
        self._newest = 0.0
        places = Places(database.folder.parent)
        self._leases, self._spill = places.leases, places.spill
        self._spilled: dict[str, int] = {}
        self._files = 0

    def steps(self) -> Iterator[None]:
        yield from self._measure_blobs()
        yield from self._measure_spilled()
        used: list[tuple[float, str]] = []
        for page in self._database.last_uses(_STEP_SESSIONS):
            used += [(at, session) for session, at in page]
            yield
        self._newest = max(used, default=(0.0, ""))[0]
        announced = self._announce(used)
        for at, session in sorted(used):
            if at == DOOMED or self._is_announced(announced.get(session)) or self._is_too_much(at):
                yield from self._remove(session, at)
        while self._removal.shrink():
            yield

    def _announce(self, used: Iterable[tuple[float, str]]) -> Mapping[str, float]:
        """Tell which sessions are too old; when that was told of each first."""
        if (age := self._limits.age) is None:
            return self._removal.announce((), self._now)
        old = [
            session
            for at, session in used
            if DOOMED < at < self._now - age
            and _PLAIN.fullmatch(session)
            and not is_held(self._leases / f"{session}.lock")
        ]
        announced = self._removal.announce(old, self._now)
        if new := sum(at == self._now for at in announced.values()):
            after = time.strftime("%Y-%m-%d %H:%M", time.gmtime(self._now + _NOTICE))
            self._database.tell(
                f"{new} session{'s' if new > 1 else ''} not used for {age / 86400:.0f} days will"
                f" be deleted by a server that starts after {after} UTC; to keep them, raise"
                " KERNEL_EXEC_HISTORY_DAYS"
            )
        return announced

    def _is_announced(self, at: float | None) -> bool:
        return at is not None and at + _NOTICE <= self._born

    def _is_too_much(self, used: float) -> bool:
        """Whether history is too large, and a session used then may be removed for that."""
        size = self._limits.size
        if size is None or used > self._newest - _JUST_USED:
            return False
        return self._files + self._removal.size() > size

    def _measure_blobs(self) -> Iterator[None]:
        """Count the files of large outputs; those that no row refers to go, in time."""
        for folder in self._database.blobs.folders():
            sizes, orphans = {}, []
            for path in _files(folder):
                status = path.lstat()
                sizes[path.name] = status.st_size
                if status.st_mtime < self._now - _ORPHANED:
                    orphans.append(path.name)
            self._files += sum(sizes.values()) - self._drop(orphans)
            yield

    def _measure_spilled(self) -> Iterator[None]:
        """The same for the files that streams went on in, by session."""
        with suppress(OSError):
            for folder in list(self._spill.iterdir()):
                if not _PLAIN.fullmatch(folder.name) or not _is_folder(folder):
                    continue
                size = sum(path.lstat().st_size for path in _files(folder))
                self._spilled[folder.name] = size
                self._files += size
                old = folder.lstat().st_mtime < self._now - _ORPHANED
                if old and not self._removal.knows(folder.name):
                    yield from self._remove_orphaned(folder.name)
                yield

    def _remove_orphaned(self, session: str) -> Iterator[None]:
        with leased(self._leases, session) as ours:
            if ours:
                yield from self._remove_files(session)

    def _remove(self, session: str, used: float) -> Iterator[None]:
        """Remove a session, unless a server has it or had it meanwhile."""
        if not _PLAIN.fullmatch(session):
            return
        with leased(self._leases, session) as ours:
            if not ours or self._removal.last_use(session) != used:
                return
            self._removal.doom(session)
            while entries := self._removal.first_entries(session, _STEP_EVENTS):
                self._drop(self._removal.remove_entries(entries), counted=True)
                yield
            yield from self._remove_files(session)
            self._removal.remove_session(session)

    def _remove_files(self, session: str) -> Iterator[None]:
        """Remove the files that a session's streams went on in."""
        folder = self._spill / session
        if _is_folder(folder):
            for path in _files(folder):
                with suppress(OSError):
                    path.unlink()
                yield
            with suppress(OSError):  # somebody put more into it
                folder.rmdir()
        self._files -= self._spilled.pop(session, 0)

    def _drop(self, names: Iterable[str], *, counted: bool = False) -> int:
        freed = self._removal.drop_files(names)
        if counted:
            self._files -= freed
        return freed


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
    """The plain files in a folder, none when it is gone."""
    try:
        return [path for path in folder.iterdir() if path.is_file() and not path.is_symlink()]
    except OSError:
        return []

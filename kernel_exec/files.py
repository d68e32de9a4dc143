"""Files and folders in places where user code could put something else, a link for example."""

import errno
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final

UNFINISHED: Final = ".unfinished-"
"""How the name of a file begins that is not whole yet, or never will be; history removes those."""

_LEFT: Final = 86400.0
"""Seconds after which nobody works in a folder any more; all that do have a limit."""

_ON_THE_WAY: Final = (
    getattr(os, "O_PATH", os.O_RDONLY)
    | getattr(os, "O_DIRECTORY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
)
"""`O_PATH`, as Linux has it, needs no permission to list a folder."""


@contextmanager
def held(folder: Path, *, missing: int | None = None) -> Iterator[int | None]:
    """A descriptor of the folder that has this real path, and stays it if it is moved.

    Each folder on the way is opened from the one above it without following links, so what was
    found out about the path holds. Those that are missing are made if `missing` is their mode. It
    is None on Windows, which has no such way, and no walls. Raises `OSError`.
    """
    if os.open not in os.supports_dir_fd:
        if missing is not None:
            folder.mkdir(mode=missing, parents=True, exist_ok=True)
        yield None
        return
    here = os.open(folder.anchor, _ON_THE_WAY)
    try:
        for part in folder.parts[1:]:
            above = here
            try:
                here = _step(above, part, missing)
            finally:
                if here != above:
                    os.close(above)
        yield here
    finally:
        os.close(here)


def _step(above: int, part: str, missing: int | None) -> int:
    try:
        return os.open(part, _ON_THE_WAY, dir_fd=above)
    except FileNotFoundError:
        if missing is None:
            raise
    with suppress(FileExistsError):
        os.mkdir(part, missing, dir_fd=above)
    return os.open(part, _ON_THE_WAY, dir_fd=above)


def write_whole(
    path: Path,
    content: bytes,
    *,
    mode: int | None = None,
    owner: tuple[int, int] | None = None,
    missing: int | None = None,
) -> None:
    """Put a file at `path`, durable, where its folder is now; see `held` and `write_in`."""
    with held(Path(os.path.realpath(path.parent)), missing=missing) as folder:
        write_in(folder, path, content, mode=mode, owner=owner)


def write_in(
    folder: int | None,
    path: Path,
    content: bytes,
    *,
    mode: int | None = None,
    owner: tuple[int, int] | None = None,
    durable: bool = True,
) -> None:
    """Put a file at `path`, whose folder is `held`, in the place of what is there.

    A file that is replaced keeps its mode, others have `mode`, by default as the umask has it. A
    link is not followed. `owner` are the numbers of a user and a group. Raises `OSError`.
    """
    place = path if folder is None else Path(path.name)
    unfinished = place.with_name(f"{UNFINISHED}{os.urandom(8).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with suppress(FileNotFoundError):
        before = os.stat(place, dir_fd=folder, follow_symlinks=False).st_mode
        mode = before & 0o777 if stat.S_ISREG(before) else mode
    private = 0o666 if mode is None else 0o600
    try:
        with os.fdopen(os.open(unfinished, flags, private, dir_fd=folder), "wb") as file:
            # by the descriptor, as what has the name may be another file by now
            by = file.fileno() if os.chmod in os.supports_fd else unfinished
            made = os.fstat(file.fileno())
            if owner is not None and owner != (made.st_uid, made.st_gid):
                os.chown(by, *owner)
            if mode is not None:
                os.chmod(by, mode)  # noqa: PTH101 - a path has no descriptor
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(unfinished, place, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(unfinished, dir_fd=folder)
        raise


@contextmanager
def work_folder(private: Path | None, prefix: str) -> Iterator[Path]:
    """A temporary folder in our own `private` one, which no code can reach.

    The system's may be anywhere, as `TMPDIR` is the user's; it serves who has no private folder.
    Raises `OSError`.
    """
    place = None if private is None else private / "tmp"
    if place is not None:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in place.iterdir():  # by one that was killed
            with suppress(FileNotFoundError):
                if left.lstat().st_mtime < time.time() - _LEFT:
                    shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(prefix=prefix, dir=place) as name:
        yield Path(name)


def open_plain(path: str | Path, access: int = os.O_RDONLY) -> BinaryIO:
    """A file that a kernel writes, for reading or with the `access` that is asked for.

    User code could put anything in its place: a link, or a pipe that never ends.

    Raises:
        OSError: It is gone, or no plain file any more.
    """
    flags = access | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "it is no plain file", path)
    if access == os.O_RDONLY:
        return os.fdopen(descriptor, "rb")
    return os.fdopen(descriptor, "r+b", buffering=0)

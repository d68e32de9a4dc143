"""Files that are there whole or not at all, and those that a kernel could have replaced."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

UNFINISHED: Final = ".unfinished-"
"""How the name of a file begins that is not whole yet, or never will be; history removes those."""


def write_whole(
    path: Path, content: bytes, *, mode: int | None = None, owner: tuple[int, int] | None = None
) -> None:
    """Put a file at `path`, durable, in the place of what is there; a link is not followed.

    Its `mode` is by default as the umask has it; `owner` are the numbers of a user and a group.
    Raises `OSError`.
    """
    unfinished = path.with_name(f"{UNFINISHED}{os.urandom(8).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(unfinished, flags, 0o666 if mode is None else 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        made = unfinished.stat()
        if owner is not None and owner != (made.st_uid, made.st_gid):
            os.chown(unfinished, *owner)
        if mode is not None:
            unfinished.chmod(mode)
        unfinished.replace(path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise


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

"""Leases: files that are locked for as long as their holder lives.

The system releases a lease when its process ends, whatever killed it. It knows so in every
container that shares the folder, where a process number means nothing. Children never inherit
one.
"""

import errno
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import anyio

from kernel_exec.errors import StorageError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_HELD = {errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK}
_POLL: Final = 0.05
"""Seconds between two attempts; what is made under a lock takes a tenth of one or more."""

_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class Lease:
    """Held until `drop`, or until the process ends. `take` makes one."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @property
    def is_valid(self) -> bool:
        """False once somebody has removed the file: then others can take a lease of that name."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self.path.stat())
        except OSError:
            return False

    def drop(self) -> None:
        """Release the lease and remove its file."""
        if self.is_valid:
            with suppress(OSError):  # the folder can't be written; an unlocked file means nothing
                self.path.unlink()
        os.close(self._descriptor)


def take(path: Path, *, wait: bool = False) -> Lease | None:
    """The lease at `path`, None while somebody holds it, for whose end one may `wait`.

    Raises:
        OSError: The file can't be opened or made.
        StorageError: The file system has no locks.
    """
    while True:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(path, flags, 0o600)
        try:
            locked = lock(path, descriptor, wait=wait)
        except BaseException:
            os.close(descriptor)
            raise
        lease = Lease(path, descriptor)
        if locked and lease.is_valid:
            return lease
        os.close(descriptor)
        if not locked:
            return None
        # its holder dropped it between our opening the file and locking it: make a new one


@asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    """Hold the lease at `path`, whose folder is made if need be; others wait their turn.

    An attempt never waits in a thread, where one that is cancelled would get the lease and keep it.
    Raises as `take` does.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lease = take(path)
    while lease is None:
        await anyio.sleep(_POLL)
        lease = take(path)
    try:
        yield
    finally:
        lease.drop()


def is_held(path: Path) -> bool:
    """True while somebody, perhaps this process, holds the lease at `path`; else its file goes.

    Raises as `take` does.
    """
    if not path.exists():
        return False
    lease = take(path)
    if lease is not None:
        lease.drop()
    return lease is None


def lock(path: Path, descriptor: int, *, wait: bool = False) -> bool:
    """Lock an open file until it is closed; False while somebody else has locked it.

    Raises as `take` does.
    """
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in _HELD:
            return False
        if error.errno in _UNSUPPORTED:
            raise StorageError(
                f"the file system of {str(path.parent)!r} has no file locks (flock); use a folder"
                " on a local disk"
            ) from error
        raise
    return True

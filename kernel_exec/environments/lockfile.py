"""One process at a time: a file that is locked while something is made."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
from filelock import FileLock, Timeout

_POLL: Final = 0.05
"""Seconds between two attempts; what is made under a lock takes a tenth of one or more."""


@asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    """Hold the lock file `path`, whose folder is made if need be; others wait their turn.

    The system lets go of it when a process dies, so a lock file that exists means nothing. An
    attempt never waits in a thread, where one that is cancelled would get the lock and keep it.

    Raises:
        OSError: The file can't be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(path, thread_local=False)
    while not lock.is_locked:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            await anyio.sleep(_POLL)
    try:
        yield
    finally:
        lock.release()

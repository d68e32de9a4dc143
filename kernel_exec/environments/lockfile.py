"""One process at a time: a file that is locked while something is made."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from filelock import AsyncFileLock


@asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    """Hold the lock file `path`, in a folder that is made if need be; others wait their turn.

    The system lets go of it when a process dies, so a lock file that is there means nothing.

    Raises:
        OSError: The file can't be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = AsyncFileLock(path, thread_local=False)
    await lock.acquire()
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await lock.release()

"""How far we have come with what a kernel sent; its other side is in `_shared.py`.

A kernel that displays faster than we can keep would fill our memory. So it counts the bytes that
it sends, we write down how many of them are dealt with, and it waits while the two are too far
apart. Nothing is dropped, and nobody has to ask.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from kernel_exec.files import open_plain

_UNWRITTEN = 32_000_000
"""Bytes on their way to history beyond which a kernel is told of no progress."""

_LOOK_AGAIN = 0.02
"""Seconds until we look whether there are fewer."""


class Flow:
    """Writes to `path`, which the kernel makes; `unwritten` are bytes that history has to keep."""

    def __init__(self, path: Path, unwritten: Callable[[], int]) -> None:
        """Nothing was sent yet. Belongs to the running event loop."""
        self._path = path
        self._unwritten = unwritten
        self._loop = asyncio.get_running_loop()
        self._file: BinaryIO | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._taken = 0

    def take(self, size: int) -> None:
        """So many more bytes came, and have been passed on."""
        self._taken += size
        if self._timer is None:
            self._tell()

    def close(self) -> None:
        """The kernel is gone."""
        if self._timer is not None:
            self._timer.cancel()
        if self._file is not None:
            self._file.close()
        self._file = None

    def _tell(self) -> None:
        self._timer = None
        if self._unwritten() > _UNWRITTEN:
            self._timer = self._loop.call_later(_LOOK_AGAIN, self._tell)
            return
        with suppress(OSError):  # a kernel without the file does not wait
            if self._file is None:
                self._file = open_plain(self._path, os.O_RDWR)
            self._file.seek(0)
            self._file.write(self._taken.to_bytes(8, "little"))

"""The client's end of stdin and stdout: lines in, lines out, and nobody else on either.

While the wire is open, descriptor 0 is the null device and 1 is stderr: what anybody prints, here
or in a child, can't reach the protocol, and no child inherits it. The protocol runs on private
duplicates and on no thread, so that leaving never waits for a reader.
"""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import anyio
from anyio import to_thread

_CHUNK = 1 << 18
"""Bytes of one read; a pipe holds 64 KiB, a socket a little more."""

_LINE_LIMIT = 1 << 27
"""Bytes of one line; a client that sends more has lost its way, and the line is left out."""


class Lines:
    """Puts together what arrives in pieces: bytes in, whole lines out."""

    def __init__(self, limit: int = _LINE_LIMIT) -> None:
        """A line of more than `limit` bytes is left out."""
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that `chunk` completes, without their ends."""
        first, *others = chunk.split(b"\n")
        self._add(first)
        for other in others:
            yield from self.rest()
            self._add(other)

    def rest(self) -> Iterator[bytes]:
        """What has come of a line so far, and begin the next one."""
        pieces, size = self._pieces, self._size
        self._pieces, self._size = [], 0
        if 0 < size <= self._limit:
            yield b"".join(pieces)

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            self._pieces.clear()
        elif piece:
            self._pieces.append(piece)


class Wire:
    """Both directions, as `open_wire` opens them."""

    def __init__(self, *, reading: int, writing: int) -> None:
        """Use these descriptors; `writing` does not block."""
        self._reading = reading
        self._writing = writing

    async def lines(self) -> AsyncIterator[bytes]:
        """What the client sends, line by line, to its end; empty lines are left out."""
        lines = Lines()
        try:
            while chunk := await self._read():
                for line in lines.feed(chunk):
                    yield line
        except ConnectionError:
            return
        for line in lines.rest():
            yield line

    async def send(self, line: bytes) -> None:
        """Write `line` and its end.

        Raises:
            OSError: The client is gone.
        """
        left = memoryview(line + b"\n")
        while left:
            try:
                left = left[os.write(self._writing, left) :]
            except BlockingIOError:
                await anyio.wait_writable(self._writing)

    async def _read(self) -> bytes:
        try:
            await anyio.wait_readable(self._reading)
        except OSError:  # no event loop can watch a file, and that of macOS no terminal
            return await to_thread.run_sync(os.read, self._reading, _CHUNK, abandon_on_cancel=True)
        return os.read(self._reading, _CHUNK)


@contextmanager
def open_wire() -> Iterator[Wire]:
    """Take stdin and stdout for the protocol, for good.

    Leaving closes the wire but does not put 0 and 1 back: what is printed while the process ends
    must not reach the client either.
    """
    reading, writing = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    # others may write through the same open file, so it must not stay as we make it
    blocking = os.get_blocking(writing)
    os.set_blocking(writing, False)
    try:
        yield Wire(reading=reading, writing=writing)
    finally:
        os.set_blocking(writing, blocking)
        os.close(reading)
        os.close(writing)


def fill_standard_descriptors() -> None:
    """Open what is closed of 0, 1 and 2, before anything else of ours gets such a number."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(opened)

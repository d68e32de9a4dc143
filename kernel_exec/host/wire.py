"""The client's end of stdin and stdout: lines in, lines out, and nobody else on either.

While the wire is open, descriptor 0 is the null device and 1 is stderr: what anybody prints, here
or in a child, can't reach the protocol, and no child inherits it. The protocol runs on private
duplicates and on no thread, so that leaving never waits for a reader.
"""

import asyncio
import os
import stat
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import anyio
from anyio import to_thread

from kernel_exec.signals import Signal

_CHUNK = 1 << 18
"""Bytes of one read; a pipe holds 64 KiB, a socket a little more."""

_LINE_LIMIT = 1 << 27
"""Bytes of one line; a longer one is refused, and nothing of it is kept but its ends."""

_AHEAD = 1 << 22
"""Bytes that are read before their requests are begun: some ten thousand short ones."""

_ENDS = 500
"""Bytes kept of the beginning and of the end of a line that is too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TooLong:
    """A line beyond the limit: its size and the limit in bytes, how it begins and how it ends."""

    size: int
    limit: int
    begins: bytes
    ends: bytes


class Lines:
    """Puts together what arrives in pieces: bytes in, whole lines out."""

    def __init__(self, limit: int = _LINE_LIMIT) -> None:
        """A line of more than `limit` bytes is `TooLong`."""
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[bytes | TooLong]:
        """The lines that `chunk` completes, without their ends."""
        first, *others = chunk.split(b"\n")
        self._add(first)
        for other in others:
            yield from self.rest()
            self._add(other)

    def rest(self) -> Iterator[bytes | TooLong]:
        """What has come of a line so far, and begin the next one."""
        kept, size = b"".join(self._pieces), self._size
        self._pieces, self._size = [], 0
        if size > self._limit:
            ends = kept[-_ENDS:]
            yield TooLong(size=size, limit=self._limit, begins=kept[:_ENDS], ends=ends)
        elif size:
            yield kept

    def _add(self, piece: bytes) -> None:
        if not piece:
            return
        self._size += len(piece)
        self._pieces.append(piece)
        if self._size > self._limit:
            kept = b"".join(self._pieces)
            self._pieces = [kept[:_ENDS], kept[_ENDS:][-_ENDS:]]


class ReadAhead:
    """Bytes that have come and are not used yet: a few megabytes, then the sender must wait."""

    def __init__(self, limit: int = _AHEAD) -> None:
        """No more is taken once `limit` bytes are here."""
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0
        self._over = False
        self._changed = Signal()

    async def fill(self, chunks: AsyncIterable[bytes]) -> None:
        """Take all of `chunks`, as fast as they are used."""
        async for chunk in chunks:
            self._pieces.append(chunk)
            self._size += len(chunk)
            self._changed.fire()
            while self._size >= self._limit:
                await self._changed.wait()
        self._over = True
        self._changed.fire()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """What has come, to the end."""
        while self._pieces or not self._over:
            if self._pieces:
                pieces, self._pieces, self._size = self._pieces, [], 0
                self._changed.fire()
                for piece in pieces:
                    yield piece
            else:
                await self._changed.wait()


async def lines_of(chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes | TooLong, None]:
    """The lines in `chunks`; empty ones are left out."""
    lines = Lines()
    async for chunk in chunks:
        for line in lines.feed(chunk):
            yield line
    for line in lines.rest():
        yield line


class Wire:
    """Both directions, as `open_wire` opens them. Belongs to the running event loop."""

    def __init__(self, *, reading: int, writing: int) -> None:
        """Use these descriptors; neither blocks where that can be waited for."""
        self._reading = reading
        self._writing = writing
        self._unsent: deque[memoryview] = deque()
        self._sent = 0
        self._fault: OSError | None = None
        self._changed = Signal()

    @property
    def unsent(self) -> int:
        """Lines that wait for the client to read."""
        return len(self._unsent)

    async def chunks(self) -> AsyncIterator[bytes]:
        """What the client sends, in the pieces in which it arrives, to its end."""
        with suppress(ConnectionError):
            while chunk := await self._read():
                yield chunk

    async def send(self, line: bytes) -> None:
        """Write `line` and its end; who stops waiting for that has it written all the same.

        Raises:
            OSError: The client is gone.
        """
        self._unsent.append(memoryview(line + b"\n"))
        last = self._sent + len(self._unsent)
        if len(self._unsent) == 1:
            self._write()
        while self._sent < last and self._fault is None:
            await self._changed.wait()
        if self._fault is not None:
            raise self._fault

    async def wait_sent(self) -> None:
        """Wait until all was written, or the client is gone."""
        while self._unsent and self._fault is None:
            await self._changed.wait()

    def close(self) -> None:
        """Write nothing more."""
        if self._unsent:
            asyncio.get_running_loop().remove_writer(self._writing)

    def _write(self) -> None:
        """Write what waits, as far as the client takes it; go on when it takes more."""
        loop = asyncio.get_running_loop()
        before = self._sent
        try:
            while self._unsent:
                left = self._unsent[0][os.write(self._writing, self._unsent[0]) :]
                if left:
                    self._unsent[0] = left
                else:
                    self._unsent.popleft()
                    self._sent += 1
            loop.remove_writer(self._writing)
        except BlockingIOError:
            loop.add_writer(self._writing, self._write)
        except OSError as error:
            self._fault = error
            loop.remove_writer(self._writing)
        if self._sent > before or self._fault is not None:
            self._changed.fire()

    async def _read(self) -> bytes:
        while True:
            try:
                await anyio.wait_readable(self._reading)
            except OSError:  # no event loop can watch a file, and that of macOS no terminal
                read = partial(os.read, self._reading, _CHUNK)
                return await to_thread.run_sync(read, abandon_on_cancel=True)
            with suppress(BlockingIOError):  # somebody else has read it
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
    try:
        with wire_on(reading, writing) as wire:
            yield wire
    finally:
        os.close(reading)
        os.close(writing)


@contextmanager
def wire_on(reading: int, writing: int) -> Iterator[Wire]:
    """The wire on a client's descriptors, which stay open, and as they are."""
    with _unblocked(reading, os.O_RDONLY) as one, _unblocked(writing, os.O_WRONLY) as other:
        wire = Wire(reading=one, writing=other)
        try:
            yield wire
        finally:
            wire.close()


@contextmanager
def _unblocked(descriptor: int, access: int) -> Iterator[int]:
    """A descriptor of the same thing that does not block.

    The mode belongs to the open file, through which others may read and write as well. A pipe can
    be opened once more, for us alone; of all else the mode is put back.
    """
    mode = os.fstat(descriptor).st_mode
    own = None
    if stat.S_ISFIFO(mode):
        with suppress(OSError):  # on Linux; not a pipe of another user, or one that nobody reads
            own = os.open(f"/proc/self/fd/{descriptor}", access | os.O_NONBLOCK)
    if own is not None:
        try:
            yield own
        finally:
            os.close(own)
        return
    blocking = os.get_blocking(descriptor)
    if access == os.O_WRONLY or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        os.set_blocking(descriptor, False)
    try:
        yield descriptor
    finally:
        os.set_blocking(descriptor, blocking)

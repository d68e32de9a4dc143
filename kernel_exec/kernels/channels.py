"""The ZMQ sockets to one kernel, read and written by the event loop.

Nothing here waits: what is sent is queued by libzmq, what comes is read when the loop hears of it,
a little at a time. No message is dropped (`RCVHWM` is 0), and none of them can break the channels.

libzmq reports only the change from "nothing to read" to "something to read", and only once. So a
socket is read until it is empty, or looked at again; as sending may also take in such a report, it
is looked at after that as well.

All kernels share one ZMQ context: each has threads of its own, which libzmq starts without asking
(when the system refuses, it aborts the process), and its destructor waits for every socket.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import zmq

from kernel_exec.errors import KernelStartError

from .flow import Flow
from .messages import Channel, Message, Outgoing
from .wire_protocol import ForgedError, Frames

logger = logging.getLogger(__name__)

_RECONNECT_MILLISECONDS = 2
_SILENCE = 0.05
"""Seconds without a message from a dead kernel: its last ones are in the socket's buffer already,
so this is ample."""

_AT_ONCE = 64 * 1024
"""Bytes that are read before others have their turn: some sixty short messages, or a long one."""

Deliver: TypeAlias = Callable[[Sequence[Message | None]], None]
"""Called with messages in order; None stands for one with a wrong signature."""


class Channels:
    """Shell, control and iopub of one kernel; open until `stop`. Belongs to the running loop."""

    def __init__(
        self,
        *,
        addresses: Mapping[Channel, str],
        key: bytes,
        flow: Flow,
        deliver: Deliver,
        on_closed: Callable[[], None],
    ) -> None:
        """Connect; the kernel may bind later. `addresses` are ZMQ endpoints.

        `flow` counts what was delivered; `on_closed` is called after the last of it.

        Raises:
            KernelStartError: The system has no room for the sockets.
        """
        self.failure = ""
        self._frames = Frames(key)
        self._flow = flow
        self._deliver = deliver
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._closing: asyncio.TimerHandle | None = None
        self._closed = asyncio.Event()
        self._sockets: dict[Channel, zmq.Socket[bytes]] = {}
        try:
            for channel, address in addresses.items():
                self._connect(channel, address)
        except zmq.ZMQError as error:
            self._closed.set()
            self._close_sockets()
            raise KernelStartError(f"no connection to the kernel's sockets: {error}") from error

    def send(self, outgoing: Outgoing) -> None:
        """Send a request; returns at once. Nothing is sent once the channels are closing."""
        if self._closing is not None:
            return
        try:
            self._sockets[outgoing.channel].send_multipart(self._frames.pack(outgoing), zmq.NOBLOCK)
            self._look_again(outgoing.channel)
        except zmq.ZMQError as error:
            self._break(error)

    def stop(self, *, drain: bool) -> None:
        """Begin to close, with `drain` once nothing more comes."""
        if self._closing is None:
            self._closing = self._loop.call_later(_SILENCE if drain else 0, self._close)

    async def wait_closed(self) -> None:
        """Wait until the sockets are closed and all was delivered."""
        await self._closed.wait()

    def _connect(self, channel: Channel, address: str) -> None:
        kind = zmq.SUB if channel is Channel.IOPUB else zmq.DEALER
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        connection = context.socket(kind)
        self._sockets[channel] = connection
        connection.linger = 0
        connection.set(zmq.RECONNECT_IVL, _RECONNECT_MILLISECONDS)
        if channel is Channel.IOPUB:
            connection.set(zmq.RCVHWM, 0)
            connection.set(zmq.SUBSCRIBE, b"")
        else:
            connection.set(zmq.SNDHWM, 0)  # we must not wait for a kernel that hangs
            connection.set(zmq.IDENTITY, self._frames.identity)
        connection.connect(address)
        self._loop.add_reader(connection.FD, self._hear, channel)
        self._look_again(channel)

    def _look_again(self, channel: Channel) -> None:
        """Read a socket soon if there is something to be read, of which nothing else may tell."""
        events = self._sockets[channel].get(zmq.EVENTS)
        if isinstance(events, int) and events & zmq.POLLIN:
            self._loop.call_soon(self._hear, channel)

    def _hear(self, channel: Channel) -> None:
        if self._closed.is_set():
            return
        try:
            messages = self._read(channel)
        except zmq.ZMQError as error:
            self._break(error)
            return
        if not messages:
            return
        if self._closing is not None and self._closing.when() > self._loop.time():
            self._closing.cancel()
            self._closing = self._loop.call_later(_SILENCE, self._close)
        self._deliver(messages)
        heard = [each for each in messages if each is not None and each.channel is Channel.IOPUB]
        self._flow.take(sum(each.size for each in heard))

    def _read(self, channel: Channel) -> list[Message | None]:
        messages: list[Message | None] = []
        size = 0
        while size < _AT_ONCE:
            try:
                frames = self._sockets[channel].recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return messages
            size += sum(map(len, frames))
            messages += self._unpack(channel, frames)
        self._look_again(channel)
        return messages

    def _unpack(self, channel: Channel, frames: list[bytes]) -> list[Message | None]:
        try:
            return [*self._frames.unpack(channel, frames)]
        except ForgedError:
            return [None]
        except Exception:
            logger.exception("a message of %d frames was left out", len(frames))
            return []

    def _break(self, error: Exception) -> None:
        logger.error("the connection to a kernel broke", exc_info=error)
        self.failure = f"kernel-exec lost its connection to it ({error})"
        self.stop(drain=False)

    def _close(self) -> None:
        self._close_sockets()
        self._flow.close()
        self._closed.set()
        self._on_closed()

    def _close_sockets(self) -> None:
        for connection in self._sockets.values():
            if not connection.closed:
                self._loop.remove_reader(connection.FD)
                connection.close(linger=0)

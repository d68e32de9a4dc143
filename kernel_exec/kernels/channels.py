"""The ZMQ sockets to one kernel, in a thread of their own.

The thread only moves and decodes messages, so it drains the kernel however busy the event loop
is; no message is dropped (`RCVHWM` is 0), and none of them can end the thread. Everything else
happens on the loop, in `deliver`.

All kernels share one ZMQ context: each has threads of its own, which libzmq starts without asking
(when the system refuses, it aborts the process), and its destructor waits for every socket.
"""

import asyncio
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias

import zmq

from kernel_exec.errors import KernelStartError

from .flow import Flow
from .messages import Channel, Message, Outgoing
from .wire_protocol import ForgedError, Frames

logger = logging.getLogger(__name__)

_RECONNECT_MILLISECONDS = 2
_DRAIN_MILLISECONDS = 50
"""A dead kernel's last messages are in the socket's buffer already; this is ample."""

_READ_AT_ONCE = 500

Deliver: TypeAlias = Callable[[Sequence[Message | None]], None]
"""Called on the loop with messages in order; None stands for one with a wrong signature."""


class Channels:
    """Shell, control and iopub of one kernel; open until `stop`."""

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

        `flow` counts what was delivered; `on_closed` is called on the loop after the last of it.

        Raises:
            KernelStartError: The system has no room for the sockets or the thread.
        """
        self.failure = ""
        self._frames = Frames(key)
        self._flow = flow
        self._deliver = deliver
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._outgoing: deque[tuple[Channel, list[bytes]]] = deque()
        self._closing = threading.Event()
        self._closed = asyncio.Event()
        self._drain = False
        self._sockets: dict[Channel, zmq.Socket[bytes]] = {}
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)
        try:
            for channel, address in addresses.items():
                self._connect(channel, address)
            threading.Thread(target=self._run, name="kernel-channels", daemon=True).start()
        except (zmq.ZMQError, RuntimeError) as error:  # RuntimeError: no thread can be started
            self._close_sockets()
            self._wake_receiver.close()
            self._wake_sender.close()
            raise KernelStartError(f"no connection to the kernel's sockets: {error}") from error

    def send(self, outgoing: Outgoing) -> None:
        """Send a request; returns at once. Nothing is sent once the channels are closing."""
        self._outgoing.append((outgoing.channel, self._frames.pack(outgoing)))
        self._wake()

    def stop(self, *, drain: bool) -> None:
        """Begin to close, after delivering what has already come when `drain`."""
        if not self._closing.is_set():
            self._drain = drain
            self._closing.set()
            self._wake()

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
            connection.set(zmq.SNDHWM, 0)  # the thread must not wait for a kernel that hangs
            connection.set(zmq.IDENTITY, self._frames.identity)
        connection.connect(address)

    def _wake(self) -> None:
        with suppress(OSError):  # it has been woken many times already, or is closed
            self._wake_sender.send(b"\0")

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:
            logger.exception("the connection to a kernel broke")
            self.failure = f"kernel-exec lost its connection to it ({error})"
        finally:
            self._close_sockets()
            self._on_loop(self._note_closed)

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._wake_receiver, zmq.POLLIN)
        for connection in self._sockets.values():
            poller.register(connection, zmq.POLLIN)
        while not self._closing.is_set():
            poller.poll()
            with suppress(BlockingIOError):
                while self._wake_receiver.recv(4096):
                    pass
            self._send_all()
            self._receive_all()
        if self._drain:
            poller.unregister(self._wake_receiver)
            while poller.poll(_DRAIN_MILLISECONDS):
                self._receive_all()

    def _close_sockets(self) -> None:
        for connection in self._sockets.values():
            connection.close(linger=0)

    def _note_closed(self) -> None:
        self._wake_receiver.close()
        self._wake_sender.close()
        self._flow.close()
        self._closed.set()
        self._on_closed()

    def _send_all(self) -> None:
        while self._outgoing:
            channel, frames = self._outgoing.popleft()
            self._sockets[channel].send_multipart(frames)

    def _receive_all(self) -> None:
        messages: list[Message | None] = []
        for channel, connection in self._sockets.items():
            for _ in range(_READ_AT_ONCE):
                try:
                    frames = connection.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                messages += self._unpack(channel, frames)
        if messages:
            self._on_loop(self._pass_on, messages)

    def _pass_on(self, messages: Sequence[Message | None]) -> None:
        self._deliver(messages)
        heard = [each for each in messages if each is not None and each.channel is Channel.IOPUB]
        self._flow.take(sum(each.size for each in heard))

    def _unpack(self, channel: Channel, frames: list[bytes]) -> list[Message | None]:
        try:
            return [*self._frames.unpack(channel, frames)]
        except ForgedError:
            return [None]
        except Exception:
            logger.exception("a message of %d frames was left out", len(frames))
            return []

    def _on_loop(self, function: Callable[..., object], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            self._closing.set()  # the loop is closed: nobody listens any more

"""The ZMQ sockets to one kernel, in a thread of their own.

The thread only moves and decodes messages, so it drains the kernel however busy the event loop
is; no message is dropped (`RCVHWM` is 0). Everything else happens on the loop, in `deliver`.
"""

import asyncio
import hmac
import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeAlias

import zmq
from jupyter_client.session import DELIM, Session

from kernel_exec.errors import KernelStartError

from .messages import Channel, Message, Outgoing, text

_RECONNECT_MILLISECONDS = 2
_DRAIN_MILLISECONDS = 50
"""A dead kernel's last messages are in the socket's buffer already; this is ample."""

_READ_AT_ONCE = 500

Deliver: TypeAlias = Callable[[Sequence[Message], int], None]
"""Called on the loop with a batch of messages and the number of unreadable ones."""


class Channels:
    """Shell, control and iopub of one kernel; open until `stop`."""

    def __init__(
        self,
        *,
        addresses: dict[Channel, str],
        key: bytes,
        deliver: Deliver,
        on_closed: Callable[[], None],
    ) -> None:
        """Connect; the kernel may bind later. `addresses` are ZMQ endpoints.

        `on_closed` is called on the loop after the last `deliver`.
        """
        self._session = Session(key=key, username="kernel-exec")
        self._deliver = deliver
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._outgoing: deque[Outgoing] = deque()
        self._closing = threading.Event()
        self._closed = asyncio.Event()
        self._drain = False
        self._context = zmq.Context()
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)
        try:
            self._sockets = {
                channel: self._connect(channel, address) for channel, address in addresses.items()
            }
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise KernelStartError(f"no connection to the kernel's sockets: {error}") from error
        self._thread = threading.Thread(target=self._run, name="kernel-channels", daemon=True)
        self._thread.start()

    def send(self, outgoing: Outgoing) -> None:
        """Send a request; returns at once. Nothing is sent once the channels are closing."""
        self._outgoing.append(outgoing)
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

    def _connect(self, channel: Channel, address: str) -> zmq.Socket[bytes]:
        kind = zmq.SUB if channel is Channel.IOPUB else zmq.DEALER
        connection = self._context.socket(kind)
        connection.linger = 0
        connection.set(zmq.RECONNECT_IVL, _RECONNECT_MILLISECONDS)
        if channel is Channel.IOPUB:
            connection.set(zmq.RCVHWM, 0)
            connection.set(zmq.SUBSCRIBE, b"")
        else:
            connection.set(zmq.IDENTITY, self._session.bsession)
        connection.connect(address)
        return connection

    def _wake(self) -> None:
        with suppress(OSError):  # it has been woken many times already, or is closed
            self._wake_sender.send(b"\0")

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._wake_receiver, zmq.POLLIN)
        for connection in self._sockets.values():
            poller.register(connection, zmq.POLLIN)
        try:
            while not self._closing.is_set():
                poller.poll()
                self._take_wakes()
                self._send_all()
                self._receive_all()
            if self._drain:
                poller.unregister(self._wake_receiver)
                while poller.poll(_DRAIN_MILLISECONDS):
                    self._receive_all()
        finally:
            self._context.destroy(linger=0)
            self._on_loop(self._note_closed)

    def _note_closed(self) -> None:
        self._wake_receiver.close()
        self._wake_sender.close()
        self._closed.set()
        self._on_closed()

    def _take_wakes(self) -> None:
        with suppress(BlockingIOError):
            while self._wake_receiver.recv(4096):
                pass

    def _send_all(self) -> None:
        while self._outgoing:
            outgoing = self._outgoing.popleft()
            header = self._session.msg_header(outgoing.msg_type)
            header["msg_id"] = outgoing.msg_id
            if outgoing.subshell_id is not None:
                header["subshell_id"] = outgoing.subshell_id
            message = self._session.msg(
                outgoing.msg_type,
                content=dict(outgoing.content),
                header=header,
                metadata=dict(outgoing.metadata),
            )
            self._session.send(self._sockets[outgoing.channel], message)

    def _receive_all(self) -> None:
        messages: list[Message] = []
        unreadable = 0
        for channel, connection in self._sockets.items():
            for _ in range(_READ_AT_ONCE):
                try:
                    frames = connection.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                message = self._read(channel, frames)
                if message is None:
                    unreadable += 1
                else:
                    messages.append(message)
        if messages or unreadable:
            self._on_loop(self._deliver, messages, unreadable)

    def _read(self, channel: Channel, frames: list[bytes]) -> Message | None:
        """The message in `frames`, or None when its signature or its form is wrong.

        `Session.deserialize` would do, but parses every date, which costs more than all the rest.
        """
        try:
            at = frames.index(DELIM)
            signature, parts = frames[at + 1], frames[at + 2 : at + 6]
            if not hmac.compare_digest(signature, self._session.sign(parts)):
                return None
            header, parent, metadata, content = [json.loads(part) for part in parts]
            return Message(
                channel=channel,
                msg_type=text(header, "msg_type"),
                content=content if isinstance(content, dict) else {},
                parent_id=text(parent, "msg_id"),
                metadata=metadata if isinstance(metadata, dict) else {},
                date=text(header, "date"),
                size=sum(map(len, frames)),
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def _on_loop(self, function: Callable[..., object], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            self._closing.set()  # the loop is closed: nobody listens any more

"""The sockets to a kernel: nothing is overlooked, dropped or late, and others have their turn."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
import zmq

from kernel_exec.errors import KernelStartError
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.channels import Channels
from kernel_exec.kernels.flow import Flow
from kernel_exec.kernels.messages import Channel, Message, Outgoing, new_request
from kernel_exec.kernels.wire_protocol import Frames
from tests.waits import patient

KEY = b"key"


class Peer:
    """The kernel's end: it answers each request with one like it, and says what it is told to."""

    def __init__(self, folder: Path) -> None:
        self.addresses = {channel: f"ipc://{folder / channel.value}" for channel in Channel}
        self.context = zmq.Context[zmq.Socket[bytes]]()
        self.iopub = self.context.socket(zmq.XPUB)
        self.iopub.sndhwm = 0
        self.iopub.bind(self.addresses[Channel.IOPUB])
        self.shell = self.context.socket(zmq.ROUTER)
        self.shell.bind(self.addresses[Channel.SHELL])

    def say(self, count: int, size: int = 1000) -> None:
        """Publish so many messages, which are numbered."""
        for number in range(count):
            content: JSONObject = {"number": number, "text": "x" * size}
            said = Outgoing(
                channel=Channel.IOPUB, msg_type="stream", msg_id="m", content=content, metadata={}
            )
            self.iopub.send_multipart([b"stream", *Frames(KEY).pack(said)])

    def answer(self) -> None:
        """Send back what comes, and publish it as well, up to a request to stop."""
        frames: list[bytes] = []
        while not any(b'"stop"' in frame for frame in frames):
            frames = self.shell.recv_multipart()
            self.iopub.send_multipart(frames[1:])
            self.shell.send_multipart(frames)


@contextmanager
def peer_in(folder: Path) -> Iterator[Peer]:
    peer = Peer(folder)
    try:
        yield peer
    finally:
        peer.context.destroy(linger=0)


class Listener:
    """Hears what is delivered, and when it is over."""

    def __init__(self, peer: Peer, folder: Path) -> None:
        self.heard: list[Message] = []
        self.deliveries = 0
        self.over_after: int | None = None
        self._news = asyncio.Event()
        self.channels = Channels(
            addresses=peer.addresses,
            key=KEY,
            flow=Flow(folder / "taken", lambda: 0),
            deliver=self.deliver,
            on_closed=self.end,
        )

    def deliver(self, messages: object) -> None:
        assert isinstance(messages, list)
        self.heard += messages
        self.deliveries += 1
        self._news.set()

    def end(self) -> None:
        self.over_after = len(self.heard)

    async def wait(self, count: int) -> None:
        """Wait until so many messages were heard."""
        with anyio.fail_after(patient(10)):
            while len(self.heard) < count:
                self._news.clear()
                await self._news.wait()


async def subscribed(peer: Peer) -> None:
    """Wait until the other end hears what is published."""
    with anyio.fail_after(patient(10)):
        while not peer.iopub.poll(0):
            await anyio.lowlevel.checkpoint()


async def test_a_flood_is_heard_in_order_and_leaves_the_loop_to_others(tmp_path: Path) -> None:
    with peer_in(tmp_path) as peer:
        listener = Listener(peer, tmp_path)
        await subscribed(peer)
        await anyio.to_thread.run_sync(peer.say, 2000)
        await listener.wait(2000)
        assert [each.content["number"] for each in listener.heard] == list(range(2000))
        assert listener.deliveries >= 20
        listener.channels.stop(drain=False)
        await listener.channels.wait_closed()


async def test_what_was_sent_before_the_end_is_heard_before_it(tmp_path: Path) -> None:
    with peer_in(tmp_path) as peer:
        listener = Listener(peer, tmp_path)
        await subscribed(peer)
        peer.say(500)
        listener.channels.stop(drain=True)
        listener.channels.send(new_request(Channel.SHELL, "stop"))  # nothing is sent any more
        await listener.channels.wait_closed()
        assert (listener.over_after, len(listener.heard)) == (500, 500)
        assert not peer.shell.poll(0)


async def test_no_answer_is_overlooked_however_it_meets_the_next_request(tmp_path: Path) -> None:
    """A report of libzmq that comes while something is sent comes only once."""
    with peer_in(tmp_path) as peer:
        answering = threading.Thread(target=peer.answer)
        answering.start()
        listener = Listener(peer, tmp_path)
        await subscribed(peer)
        try:
            for round_ in range(1, 301):
                for _ in range(2):
                    listener.channels.send(new_request(Channel.SHELL, "kernel_info_request"))
                await listener.wait(4 * round_)
        finally:
            listener.channels.send(new_request(Channel.SHELL, "stop"))
            await anyio.to_thread.run_sync(answering.join)
        listener.channels.stop(drain=False)
        await listener.channels.wait_closed()


async def test_sockets_that_can_not_be_made_are_a_kernel_that_can_not_start(tmp_path: Path) -> None:
    with peer_in(tmp_path) as peer:
        peer.addresses[Channel.CONTROL] = "nowhere://x"
        with pytest.raises(KernelStartError, match="no connection"):
            Listener(peer, tmp_path)

"""MCP over stdin and stdout: from the first message to an end in order."""

import asyncio
import math
import os
import signal
import sys
from collections.abc import AsyncIterable, Callable
from contextlib import suppress
from typing import Any, NoReturn

import anyio
import mcp_types as types
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from mcp.server.lowlevel import Server
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from kernel_exec.relay.relay import LEAVE
from kernel_exec.signals import Signal

from .frames import Refusal, decode, encode, probed
from .wire import ReadAhead, Wire, lines_of

_FAREWELL = 0.05
"""Seconds for answers to requests that are under way when the client closes stdin."""

_MOST_UNDER_WAY = 1000
"""Requests that may be under way at once; further ones wait until others are answered."""

_MOST_UNSENT = 16
"""Messages that may wait for the client to read before none of its requests is begun."""

_CLOSE_LIMIT = 5.0
"""Seconds that closing may take after a signal; what is left then is ended by the guardians."""


def exit_now(code: int) -> NoReturn:
    """Leave without the interpreter's own clean-up: all of ours is done, and clients wait."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def leave_on_signal(scope: anyio.CancelScope) -> None:
    """Cancel `scope` when the process is asked to end.

    Hosts send a second signal within 0.1 seconds; it must not cut the closing short, nor meet the
    process when its loop is closed, so it is ignored.
    """
    loop = asyncio.get_running_loop()

    def leave() -> None:
        for number in LEAVE:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        scope.cancel()
        loop.call_later(_CLOSE_LIMIT, exit_now, 1)

    for number in LEAVE:
        with suppress(NotImplementedError):  # on Windows
            loop.add_signal_handler(number, leave)


async def converse(server: Server[Any], wire: Wire) -> None:
    """Serve the client on `wire` until it closes one of its ends."""
    read = ReadAhead()
    pace = Pace(wire)
    async with anyio.create_task_group() as tasks:

        async def read_ahead() -> None:
            await read.fill(wire.chunks())
            pace.client_left()

        def note_end() -> None:
            # the server ends by itself now, unless the client does not take its last answers
            tasks.cancel_scope.deadline = anyio.current_time() + _FAREWELL

        tasks.start_soon(read_ahead)
        outgoing = _Outgoing(wire, pace, on_gone=tasks.cancel_scope.cancel)
        incoming = _Incoming(server, read, outgoing, pace, on_end=note_end)
        await server.run(incoming, outgoing, server.create_initialization_options())
        await wire.wait_sent()  # also what nobody waits for: a part of it may have been written


class _Outgoing(ObjectSendStream[SessionMessage]):
    """What the server says, as the SDK sends it."""

    def __init__(self, wire: Wire, pace: "Pace", *, on_gone: Callable[[], None]) -> None:
        """`on_gone` is called when there is nobody to read it any more."""
        self._wire = wire
        self._pace = pace
        self._on_gone = on_gone

    async def send(self, item: SessionMessage) -> None:
        """Send a message; return when the client has taken it."""
        try:
            await self._wire.send(encode(item.message))
        except OSError as error:
            self._on_gone()
            raise anyio.BrokenResourceError from error
        finally:
            self._pace.sent(item.message)

    async def aclose(self) -> None:
        """Leave the wire to whoever has opened it."""


class Pace:
    """Requests are begun no faster than their answers are taken.

    A client that sends and does not read would otherwise fill the server's memory with answers.
    What it sends meanwhile waits in a few megabytes of ours, then in its own pipe. Both limits
    are far from what clients do that read: they can cancel and ping at any time.
    """

    def __init__(self, wire: Wire) -> None:
        """The client on `wire` is who takes them."""
        self._wire = wire
        self._under_way = 0
        self._left = False
        self._changed = Signal()

    async def begin(self) -> bool:
        """Wait until one more request may begin; False when its client has left for good."""
        while self._is_full():
            with anyio.move_on_after(_FAREWELL if self._left else math.inf) as scope:
                await self._changed.wait()
            if scope.cancelled_caught:
                return False
        self._under_way += 1
        return True

    def sent(self, message: types.JSONRPCMessage) -> None:
        """Note what the client has taken, or will never."""
        self._under_way -= isinstance(message, types.JSONRPCResponse | types.JSONRPCError)
        self._changed.fire()

    async def settled(self) -> None:
        """Note that a request was cancelled, which gets no answer."""
        self._under_way -= 1
        self._changed.fire()

    def client_left(self) -> None:
        """Note that the client sends nothing more."""
        self._left = True
        self._changed.fire()

    def _is_full(self) -> bool:
        return self._under_way >= _MOST_UNDER_WAY or self._wire.unsent >= _MOST_UNSENT


class _Incoming(ObjectReceiveStream[SessionMessage | Exception]):
    """What the client sends, as the SDK reads it; the first request that is no probe sets the era.

    The SDK locks a connection to the newest protocol at `server/discover`; clients that probe
    with it and then send `initialize` would be refused (github/copilot-cli#4525).
    """

    def __init__(
        self,
        server: Server[Any],
        chunks: AsyncIterable[bytes],
        answers: _Outgoing,
        pace: Pace,
        *,
        on_end: Callable[[], None],
    ) -> None:
        """Read `chunks`; `on_end` is called behind the last of them."""
        self._server = server
        self._lines = lines_of(chunks)
        self._answers = answers
        self._pace = pace
        self._on_end = on_end
        self._undecided = True

    async def receive(self) -> SessionMessage:
        """The next message that is the server's to deal with."""
        async for line in self._lines:
            message = decode(line)
            if message is None:
                continue
            if not isinstance(message, types.JSONRPCRequest | Refusal):
                return SessionMessage(message)
            if not await self._pace.begin():
                break
            if isinstance(message, Refusal):
                await self._answers.send(SessionMessage(message.answer))
            elif self._undecided and (version := probed(message)):
                found = _discovered(self._server, message.id, version)
                await self._answers.send(SessionMessage(found))
            else:
                self._undecided = False
                metadata = ServerMessageMetadata(on_request_unanswered=self._pace.settled)
                return SessionMessage(message, metadata)
        self._on_end()
        raise anyio.EndOfStream

    async def aclose(self) -> None:
        """Read nothing more."""
        await self._lines.aclose()


def _discovered(
    server: Server[Any], request_id: types.RequestId, version: str
) -> types.JSONRPCResponse:
    """The answer to a probe, as the SDK would give it."""
    result = types.DiscoverResult(
        supported_versions=list(MODERN_PROTOCOL_VERSIONS),
        capabilities=server.get_capabilities(protocol_version=version),
        instructions=server.instructions,
        _meta={types.SERVER_INFO_META_KEY: server.server_info_stamp},
    )
    return types.JSONRPCResponse(
        jsonrpc="2.0",
        id=request_id,
        result=result.model_dump(by_alias=True, mode="json", exclude_none=True),
    )

"""MCP over stdin and stdout: from the first message to an end in order."""

import asyncio
import math
import os
import signal
import sys
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, NoReturn

import anyio
import mcp_types as types
from anyio.abc import ObjectSendStream
from anyio.streams.memory import MemoryObjectReceiveStream
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from kernel_exec.app import open_app
from kernel_exec.connection import Connection
from kernel_exec.content.plain import clean
from kernel_exec.errors import KernelExecError, bare
from kernel_exec.processes import raise_descriptor_limit
from kernel_exec.relay.relay import fill_standard_descriptors
from kernel_exec.relay.secrecy import hide_variables
from kernel_exec.server.create import create_server, refusing_server
from kernel_exec.settings import Settings, process_variables

from .frames import Probe, Refusal, decode, encode, probed
from .wire import ReadAhead, Wire, lines_of, open_wire

_FAREWELL = 0.05
"""Seconds for answers to requests that are under way when the client closes stdin."""

_MOST_UNDER_WAY = 1000
"""Requests that may be under way at once; further ones wait until others are answered."""

_MOST_UNSENT = 16
"""Messages that may wait for the client to read before none of its requests is begun."""

_CLOSE_LIMIT = 5.0
"""Seconds that closing may take after a signal; what is left then is ended by the guardians."""

_LEAVE = ("SIGTERM", "SIGINT", "SIGHUP")


def run(read: Callable[[], Settings]) -> NoReturn:
    """Serve with the settings that `read` returns, or tell the client what it raises."""

    def begin() -> Settings:
        settings = read()
        if os.isatty(0):
            sys.stderr.write("waiting for an MCP client on stdin; Ctrl-D ends it\n")
        hide_variables(process_variables())
        return settings

    fill_standard_descriptors()
    raise_descriptor_limit()
    exit_now(anyio.run(serve, begin, backend="asyncio"))


async def serve(begin: Callable[[], Settings]) -> int:
    """Serve one client until it leaves or a signal comes; 0 when all was closed in order.

    Both are how clients end a server, so neither is an error. A client gets to see why a server
    can't work only from a server: where the settings that `begin` reads are refused or the
    services can't be opened, all tools answer with the reason, stderr has it too, and the result
    is 2.

    Raises:
        KernelExecError: That is so, and there is a terminal in place of a client.
    """
    on_terminal = os.isatty(0)  # where a person reads stderr
    with anyio.CancelScope() as scope:
        leave_on_signal(scope)
        async with AsyncExitStack() as stack:
            talk = await stack.enter_async_context(_conversation())
            try:
                settings = begin()
                app = await stack.enter_async_context(open_app(settings.host))
            except (KernelExecError, OSError, ExceptionGroup) as error:
                reason = bare(error)
                if on_terminal or not isinstance(reason, KernelExecError | OSError):
                    raise
                message = clean(str(reason)).rstrip(".")
                with suppress(OSError, ValueError, AttributeError):
                    sys.stderr.write(f"error: {message}\n")
                    sys.stderr.flush()
                await talk(refusing_server(message))
                return 2
            await talk(create_server(Connection(app=app, settings=settings.connection)))
    return 0


@asynccontextmanager
async def _conversation() -> AsyncIterator[Callable[[Server[Any]], Awaitable[None]]]:
    """The client's end, and how a server speaks with it until it leaves."""
    if os.name == "nt":  # there is no waiting for a pipe
        async with stdio_server() as (incoming, outgoing):
            yield lambda server: server.run(
                incoming, outgoing, server.create_initialization_options()
            )
    else:
        with open_wire() as wire:
            yield lambda server: converse(server, wire)


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
    numbers = [getattr(signal, name) for name in _LEAVE if hasattr(signal, name)]

    def leave() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        scope.cancel()
        loop.call_later(_CLOSE_LIMIT, exit_now, 1)

    for number in numbers:
        with suppress(NotImplementedError):  # on Windows
            loop.add_signal_handler(number, leave)


async def converse(server: Server[Any], wire: Wire) -> None:
    """Serve the client on `wire` until it closes one of its ends."""
    to_server, incoming = anyio.create_memory_object_stream[SessionMessage | Exception]()
    outgoing, from_server = anyio.create_memory_object_stream[SessionMessage]()
    read = ReadAhead()
    pace = Pace(from_server)
    async with anyio.create_task_group() as tasks:

        async def speak() -> None:
            try:
                async with from_server:
                    async for sent in from_server:
                        await wire.send(encode(sent.message))
                        pace.sent(sent.message)
            except OSError:  # the client is gone
                tasks.cancel_scope.cancel()

        async def read_ahead() -> None:
            await read.fill(wire.chunks())
            pace.client_left()

        async def listen() -> None:
            async with to_server, outgoing.clone() as answers:
                await _listen(server, read, to_server, answers, pace)
            # the server ends by itself now, unless the client does not take its last answers
            tasks.cancel_scope.deadline = anyio.current_time() + _FAREWELL

        for each in (speak, read_ahead, listen):
            tasks.start_soon(each)
        await server.run(incoming, outgoing, server.create_initialization_options())


class Pace:
    """Requests are begun no faster than their answers are taken.

    A client that sends and does not read would otherwise fill the server's memory with answers.
    What it sends meanwhile waits in a few megabytes of ours, then in its own pipe. Both limits
    are far from what clients do that read: they can cancel and ping at any time.
    """

    def __init__(self, unsent: MemoryObjectReceiveStream[SessionMessage]) -> None:
        """`unsent` is where the server's messages wait for the client to read."""
        self._unsent = unsent
        self._under_way = 0
        self._left = False
        self._changed = anyio.Event()

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
        """Note what the client has taken."""
        self._under_way -= isinstance(message, types.JSONRPCResponse | types.JSONRPCError)
        self._wake()

    async def settled(self) -> None:
        """Note that a request was cancelled, which gets no answer."""
        self._under_way -= 1
        self._wake()

    def client_left(self) -> None:
        """Note that the client sends nothing more."""
        self._left = True
        self._wake()

    def _is_full(self) -> bool:
        unsent = self._unsent.statistics().tasks_waiting_send
        return self._under_way >= _MOST_UNDER_WAY or unsent >= _MOST_UNSENT

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


async def _listen(
    server: Server[Any],
    chunks: AsyncIterable[bytes],
    to_server: ObjectSendStream[SessionMessage | Exception],
    answers: ObjectSendStream[SessionMessage],
    pace: Pace,
) -> None:
    """Pass on what the client sends, and let the first request that is no probe decide the era.

    The SDK locks a connection to the newest protocol at `server/discover`; clients that probe
    with it and then send `initialize` would be refused (github/copilot-cli#4525).
    """
    undecided = True
    async for line in lines_of(chunks):
        message = decode(line)
        if message is None:
            continue
        if not isinstance(message, types.JSONRPCRequest | Refusal):
            await to_server.send(SessionMessage(message))
        elif not await pace.begin():
            return
        elif isinstance(message, Refusal):
            await answers.send(SessionMessage(message.answer))
        elif undecided and (probe := probed(message)) is not None:
            await answers.send(SessionMessage(_discovered(server, probe)))
        else:
            undecided = False
            metadata = ServerMessageMetadata(on_request_unanswered=pace.settled)
            await to_server.send(SessionMessage(message, metadata))


def _discovered(server: Server[Any], probe: Probe) -> types.JSONRPCResponse:
    """The answer to a probe, as the SDK would give it."""
    result = types.DiscoverResult(
        supported_versions=list(MODERN_PROTOCOL_VERSIONS),
        capabilities=server.get_capabilities(protocol_version=probe.version),
        instructions=server.instructions,
        _meta={types.SERVER_INFO_META_KEY: server.server_info_stamp},
    )
    return types.JSONRPCResponse(
        jsonrpc="2.0",
        id=probe.id,
        result=result.model_dump(by_alias=True, mode="json", exclude_none=True),
    )

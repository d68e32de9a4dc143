"""MCP over stdin and stdout: from the first message to an end in order."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from typing import Any

import anyio
import mcp_types as types
from anyio.abc import ObjectSendStream
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from kernel_exec.app import open_app
from kernel_exec.server.create import create_server
from kernel_exec.settings import Settings

from .frames import Probe, Refusal, decode, encode, probed
from .wire import Wire, open_wire

_FAREWELL = 0.05
"""Seconds for answers to requests that are under way when the client closes stdin."""

_CLOSE_LIMIT = 5.0
"""Seconds that closing may take after a signal; what is left then is ended by the guardians."""

_LEAVE = ("SIGTERM", "SIGINT", "SIGHUP")


async def serve(settings: Settings) -> int:
    """Serve one client until it leaves or a signal comes; 0 when all was closed in order.

    Both are how clients end a server, so neither is an error.

    Raises:
        KernelExecError: The services can't be opened.
    """
    with anyio.CancelScope() as scope:
        leave_on_signal(scope)
        if os.name == "nt":  # there is no waiting for a pipe
            async with stdio_server() as (incoming, outgoing), open_app(settings) as app:
                server = create_server(app)
                await server.run(incoming, outgoing, server.create_initialization_options())
        else:
            with open_wire() as wire:
                async with open_app(settings) as app:
                    await converse(create_server(app), wire)
    return 0


def exit_now(code: int) -> None:
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
    async with anyio.create_task_group() as tasks:

        async def speak() -> None:
            try:
                async with from_server:
                    async for sent in from_server:
                        await wire.send(encode(sent.message))
            except OSError:  # the client is gone
                tasks.cancel_scope.cancel()

        tasks.start_soon(speak)
        tasks.start_soon(_listen, server, wire, to_server, outgoing.clone(), tasks.cancel_scope)
        await server.run(incoming, outgoing, server.create_initialization_options())


async def _listen(
    server: Server[Any],
    wire: Wire,
    to_server: ObjectSendStream[SessionMessage | Exception],
    answers: ObjectSendStream[SessionMessage],
    conversation: anyio.CancelScope,
) -> None:
    """Pass on what the client sends, and let the first request that is no probe decide the era.

    The SDK locks a connection to the newest protocol at `server/discover`; clients that probe
    with it and then send `initialize` would be refused (github/copilot-cli#4525).
    """
    undecided = True
    async with to_server, answers:
        async for line in wire.lines():
            message = decode(line)
            if message is None:
                continue
            if isinstance(message, Refusal):
                await answers.send(SessionMessage(message.answer))
            elif undecided and (probe := probed(message)) is not None:
                await answers.send(SessionMessage(_discovered(server, probe)))
            else:
                undecided = undecided and not isinstance(message, types.JSONRPCRequest)
                await to_server.send(SessionMessage(message))
    # the server ends by itself now, unless the client does not take its last answers
    conversation.deadline = anyio.current_time() + _FAREWELL


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

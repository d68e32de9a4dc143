"""MCP over stdin and stdout.

While serving, descriptor 0 is the null device and 1 is stderr: what anybody prints, here or in a
child, can't reach the protocol, and no child inherits it. The protocol runs on private duplicates
without threads, so that leaving never waits for a reader.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared._context_streams import (
    ContextReceiveStream,
    ContextSendStream,
    create_context_streams,
)
from mcp.shared.message import SessionMessage
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from kernel_exec.app import open_app
from kernel_exec.settings import Settings

from .create import create_server

_LINE_LIMIT = 1 << 28
"""Bytes of one message; a client that sends more has lost its way."""

_VERSION = "io.modelcontextprotocol/protocolVersion"
_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"

_Incoming = ContextReceiveStream[SessionMessage | Exception]
_Outgoing = ContextSendStream[SessionMessage]


async def serve(settings: Settings) -> int:
    """Serve one client until it leaves or a signal comes; 0 when all was closed in order."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_leave_on_signal, tasks.cancel_scope)
        async with open_app(settings) as app, _connection() as (incoming, outgoing):
            server = create_server(app)
            await _run(server, incoming, outgoing)
        tasks.cancel_scope.cancel()
    return 0


def exit_now(code: int) -> None:
    """Leave without the interpreter's own clean-up: all of ours is done, and clients wait."""
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(code)


async def _leave_on_signal(scope: anyio.CancelScope) -> None:
    signals = [signal.SIGTERM, signal.SIGINT]
    if sys.platform != "win32":
        signals.append(signal.SIGHUP)
    with anyio.open_signal_receiver(*signals) as received:
        async for _ in received:
            scope.cancel()


async def _run(server: Server[Any], incoming: _Incoming, outgoing: _Outgoing) -> None:
    """Serve, and let the first request that is no probe decide the protocol's era.

    The SDK locks a connection to the newest protocol at `server/discover`; clients that probe
    with it and then send `initialize` would be refused (github/copilot-cli#4525).
    """
    passed_on, served = create_context_streams[SessionMessage | Exception](0)

    async def relay() -> None:
        deciding = True
        async with passed_on:
            async for item in incoming:
                request = item.message if isinstance(item, SessionMessage) else None
                if deciding and isinstance(request, types.JSONRPCRequest):
                    if (answer := _probed(server, request)) is not None:
                        await outgoing.send(SessionMessage(answer))
                        continue
                    deciding = False
                await passed_on.send(item)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(relay)
        await server.run(served, outgoing, server.create_initialization_options())
        tasks.cancel_scope.cancel()


def _probed(server: Server[Any], request: types.JSONRPCRequest) -> types.JSONRPCResponse | None:
    """The answer to a probe; None for every other request."""
    meta = (request.params or {}).get("_meta") or {}
    version = meta.get(_VERSION)
    if (
        request.method != "server/discover"
        or version not in MODERN_PROTOCOL_VERSIONS
        or not isinstance(meta.get(_CAPABILITIES), dict)
    ):
        return None
    capabilities = server.get_capabilities(protocol_version=version)
    result: dict[str, Any] = {
        "resultType": "complete",
        "supportedVersions": list(MODERN_PROTOCOL_VERSIONS),
        "capabilities": capabilities.model_dump(by_alias=True, mode="json", exclude_none=True),
        "instructions": server.instructions,
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": {"io.modelcontextprotocol/serverInfo": server.server_info_stamp},
    }
    return types.JSONRPCResponse(jsonrpc="2.0", id=request.id, result=result)


@asynccontextmanager
async def _connection() -> AsyncIterator[tuple[_Incoming, _Outgoing]]:
    """The client's messages, and the way back."""
    try:
        reader, writer = await _open_pipes()
    except (ValueError, OSError, NotImplementedError):
        # the loop can't watch a regular file, nor anything on Windows
        async with stdio_server() as (slow_incoming, slow_outgoing):
            yield slow_incoming, slow_outgoing
        return
    to_server, incoming = create_context_streams[SessionMessage | Exception](0)
    outgoing, from_server = create_context_streams[SessionMessage](0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_read, reader, to_server)
        tasks.start_soon(_write, writer, from_server)
        try:
            yield incoming, outgoing
        finally:
            tasks.cancel_scope.cancel()
            writer.close()


async def _open_pipes() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LINE_LIMIT)
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(0), "rb", 0)
    )
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(os.dup(1), "wb", 0)
    )
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return reader, asyncio.StreamWriter(transport, protocol, None, loop)


async def _read(
    reader: asyncio.StreamReader, to_server: ContextSendStream[SessionMessage | Exception]
) -> None:
    async with to_server:
        while True:
            try:
                line = await reader.readline()
            except (OSError, ValueError) as error:
                if isinstance(error, OSError):
                    return
                await to_server.send(error)
                continue
            if not line:
                return
            if line.strip():
                await to_server.send(_decoded(line))


def _decoded(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(types.jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValidationError as error:
        return error


async def _write(
    writer: asyncio.StreamWriter, from_server: ContextReceiveStream[SessionMessage]
) -> None:
    async with from_server:
        async for sent in from_server:
            written = sent.message.model_dump_json(by_alias=True, exclude_unset=True)
            try:
                writer.write(written.encode() + b"\n")
                await writer.drain()
            except OSError:
                return  # the client is gone; its end of stdin will say so, too

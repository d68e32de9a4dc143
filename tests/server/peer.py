"""The other end of the wire: a client that sends and reads raw lines."""

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp.server.lowlevel import Server

from kernel_exec.host.stdio import converse
from kernel_exec.host.wire import Wire
from tests.waits import patient


def request(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": f"a {method}", "method": method, "params": params}


def call(tool: str, **arguments: object) -> dict[str, Any]:
    return request("tools/call", name=tool, arguments=arguments)


def handshake(version: str = "2025-06-18", *, name: str = "test") -> dict[str, Any]:
    return request(
        "initialize",
        protocolVersion=version,
        capabilities={},
        clientInfo={"name": name, "version": "1"},
    )


INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


class Peer:
    """Speaks to a server in this process, line by line."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self._lines = BufferedByteReceiveStream(stream)

    async def say(self, message: dict[str, Any] | bytes) -> None:
        line = message if isinstance(message, bytes) else json.dumps(message).encode()
        await self.stream.send(line + b"\n")

    async def hear(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(await self._lines.receive_until(b"\n", 1 << 30))
        return answer

    async def ask(self, message: dict[str, Any] | bytes) -> dict[str, Any]:
        await self.say(message)
        return await self.hear()

    async def begin(self, *, name: str = "test") -> dict[str, Any]:
        answer = await self.ask(handshake(name=name))
        await self.say(INITIALIZED)
        return answer

    async def call(self, tool: str, **arguments: object) -> str:
        answer = await self.ask(call(tool, **arguments))
        said: str = answer["result"]["content"][0]["text"]
        return said

    async def run(self, code: str, **arguments: object) -> str:
        """All of the text that running some code returns, its last line included."""
        answer = await self.ask(call("execute_code", code=code, **arguments))
        return "".join(block["text"] for block in answer["result"]["content"])


@asynccontextmanager
async def served(server: Server[Any]) -> AsyncIterator[Peer]:
    """A peer of `server`, on the other end of a socket that is both its stdin and its stdout."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)

    async def serve() -> None:
        with theirs:
            number = theirs.fileno()
            await converse(server, Wire(reading=number, writing=number))

    with anyio.fail_after(patient(30)):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            async with await SocketStream.from_socket(ours) as stream:
                yield Peer(stream)

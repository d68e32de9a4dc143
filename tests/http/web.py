"""A door that is open in this process, and what clients of all eras say there."""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from itertools import count
from pathlib import Path
from typing import Any, Self

import anyio
import httpx2
from anyio import to_thread
from anyio.abc import SocketAttribute, SocketStream
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from kernel_exec.http.door import open_door
from kernel_exec.http.rules import Asked
from tests.server.house import House, house
from tests.server.peer import INITIALIZED, call, handshake
from tests.waits import patient, wait_until

NEWEST = "2026-07-28"


def envelope(name: str) -> dict[str, Any]:
    """What each request of the newest protocol says of its client."""
    return {
        "io.modelcontextprotocol/protocolVersion": NEWEST,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": name, "version": "1"},
    }


def message_in(response: httpx2.Response) -> dict[str, Any]:
    """The last message of an answer, be it one or a stream of them."""
    text = response.text
    if response.headers["content-type"].startswith("text/event-stream"):
        text = [line[5:] for line in text.splitlines() if line.startswith("data:")][-1]
    message: dict[str, Any] = json.loads(text)
    return message


def text_in(message: dict[str, Any]) -> str:
    """All that a tool has said."""
    return "".join(block.get("text", "") for block in message["result"]["content"])


class Line:
    """A client apart from its server, with one connection and one request at a time."""

    def __init__(self, address: str, token: str, version: str = NEWEST) -> None:
        self._connection = HTTPConnection(address, timeout=patient(60))
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }
        if version != NEWEST:
            self._headers["Mcp-Session-Id"] = self._post(handshake(version))[0]["mcp-session-id"]
            self._post(INITIALIZED)
        self._headers["MCP-Protocol-Version"] = version

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def run(self, code: str, **headers: str) -> str:
        """The line that some code puts out."""
        message = call("execute_code", code=code)
        if self._headers["MCP-Protocol-Version"] == NEWEST:
            message["params"]["_meta"] = envelope("test")
            headers |= {"Mcp-Method": "tools/call", "Mcp-Name": "execute_code"}
        body = self._post(message, **headers)[1].rpartition("data: ")[2]
        return text_in(json.loads(body)).partition("\n")[0]

    def health(self, host: str) -> int:
        """The status of an answer to who names us `host`."""
        self._connection.request("GET", "/health", headers={"Host": host})
        response = self._connection.getresponse()
        response.read()
        return response.status

    def _post(self, message: dict[str, Any], **headers: str) -> tuple[HTTPMessage, str]:
        headers = {**self._headers, **headers}
        self._connection.request("POST", "/mcp", json.dumps(message), headers)
        response = self._connection.getresponse()
        body = response.read().decode()
        assert response.status in {200, 202}, body
        return response.headers, body


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """An open door, its `url` and `token`, and the services behind it."""

    url: str
    token: str
    here: House

    @property
    def address(self) -> tuple[str, int]:
        """For a bare socket."""
        parsed = httpx2.URL(self.url)
        assert parsed.port is not None
        return parsed.host, parsed.port

    @property
    def headers(self) -> dict[str, str]:
        """What every request of a client carries."""
        return {
            "Authorization": f"Bearer {self.token}",
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
        }

    def head(self, length: int, **more: str) -> bytes:
        """The head of a request whose body has `length` bytes."""
        given = {"Host": "{}:{}".format(*self.address), **self.headers, **more}
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in given.items()]
        return "\r\n".join(
            ["POST /mcp HTTP/1.1", *lines, f"Content-Length: {length}", "", ""]
        ).encode()

    @asynccontextmanager
    async def caller(self, name: str = "agent", version: str = NEWEST) -> AsyncIterator["Caller"]:
        """A client that says what we want, greeted where its era greets."""
        async with httpx2.AsyncClient(headers=self.headers, timeout=patient(30)) as client:
            caller = Caller(self, client, name, version)
            if version != NEWEST:
                await caller.begin()
            yield caller

    @asynccontextmanager
    async def sdk(self, mode: str, url: str = "") -> AsyncIterator[Client]:
        """The client of the SDK."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with httpx2.AsyncClient(headers=headers, timeout=patient(30)) as http:
            transport = streamable_http_client(url or self.url, http_client=http)
            async with Client(transport, mode=mode, read_timeout_seconds=patient(30)) as client:
                yield client


class Caller:
    """Sends one request at a time, as raw as we want it."""

    def __init__(self, web: Web, client: httpx2.AsyncClient, name: str, version: str) -> None:
        self.web = web
        self.http = client
        self.name = name
        self.version = version
        self.begun: dict[str, Any] = {}
        self._ids = count(1)

    async def begin(self) -> None:
        """Initialize a session, and carry it from now on."""
        self.http.headers.pop("Mcp-Session-Id", None)
        response = await self.http.post(self.web.url, json=handshake(self.version, name=self.name))
        assert response.status_code == 200, response.text
        self.begun = message_in(response)["result"]
        self.http.headers["Mcp-Session-Id"] = response.headers["mcp-session-id"]
        if self.begun["protocolVersion"] >= "2025-06-18":
            self.http.headers["MCP-Protocol-Version"] = self.begun["protocolVersion"]
        assert (await self.http.post(self.web.url, json=INITIALIZED)).status_code == 202

    def request(self, tool: str, **arguments: object) -> dict[str, Any]:
        """The arguments of `httpx2` for a call."""
        message = call(tool, **arguments) | {"id": next(self._ids)}
        headers = {}
        if self.version == NEWEST:
            message["params"]["_meta"] = envelope(self.name)
            headers = {"MCP-Protocol-Version": NEWEST, "Mcp-Method": "tools/call", "Mcp-Name": tool}
        return {"json": message, "headers": headers}

    async def call(self, tool: str, **arguments: object) -> str:
        response = await self.http.post(self.web.url, **self.request(tool, **arguments))
        assert response.status_code == 200, response.text
        return text_in(message_in(response))

    async def run(self, code: str, **arguments: object) -> str:
        return await self.call("execute_code", code=code, **arguments)

    async def vanish_during(self, code: str, until: Path) -> None:
        """Have code run, and hang up once `until` is there, in the middle of it."""
        sent = self.http.stream("POST", self.web.url, **self.request("execute_code", code=code))

        async def wait() -> None:
            async with sent as response:
                await response.aread()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await to_thread.run_sync(wait_until, until.exists)
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def door_to(here: House, **asked: Any) -> AsyncIterator[Web]:
    """A door to services that are there."""
    async with open_door(here.app, here.settings, Asked(**{"port": 0, **asked})) as door:
        token = asked.get("token") or Path(door.token_file).read_text().strip()
        yield Web(url=door.url, token=token, here=here)


@asynccontextmanager
async def opened(folder: Path, **asked: Any) -> AsyncIterator[Web]:
    """A door of services that keep what they have below `folder`."""
    async with house(folder) as here, door_to(here, **asked) as web:
        yield web


class Wire:
    """Passes on what goes to a door and comes from it, until it breaks.

    As a proxy would, it names the door as the host, and carries the token where clients do not.
    """

    def __init__(self, web: Web, *, carries_token: bool = False) -> None:
        self._web = web
        self._ends: list[SocketStream] = []
        self._head = re.compile(rb"\r\n(?=host: )", re.IGNORECASE)
        token = f"\r\nAuthorization: Bearer {web.token}\r\n" if carries_token else "\r\n"
        self._instead = token.encode()

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        self._listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self._port = self._listener.extra(SocketAttribute.local_port)
        self.url = f"http://localhost:{self._port}/mcp"
        self._tasks.start_soon(self._listener.serve, self._serve)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)
        await self._listener.aclose()

    async def _serve(self, near: SocketStream) -> None:
        host, port = self._web.address
        ours, theirs = f":{self._port}".encode(), f":{port}".encode()
        async with near, await anyio.connect_tcp(host, port) as far:
            self._ends += [near, far]
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(
                    _pass, near, far,
                    lambda chunk: self._head.sub(self._instead, chunk.replace(ours, theirs)),
                )  # fmt: skip
                await _pass(far, near, lambda chunk: chunk.replace(theirs, ours))
                tasks.cancel_scope.cancel()

    def break_all(self) -> None:
        """Close every connection without a word."""
        for end in self._ends:
            with suppress(OSError):  # it is closed
                end.extra(SocketAttribute.raw_socket).shutdown(2)
        self._ends.clear()


async def _pass(one: SocketStream, other: SocketStream, change: Callable[[bytes], bytes]) -> None:
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async for chunk in one:
            await other.send(change(chunk))
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        await other.send_eof()

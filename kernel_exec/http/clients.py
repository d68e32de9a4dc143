"""Whose connection a request belongs to, in both eras of the protocol.

A client that begins with a handshake gets a session of MCP, and with it a connection of its own,
as over stdin and stdout. In the newest protocol requests stand alone: there a connection belongs
to all that comes under one client's name.
"""

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import anyio
from anyio.abc import TaskGroup, TaskStatus
from mcp.server.context import ServerRequestContext
from mcp.server.streamable_http import StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kernel_exec.connection import Connection
from kernel_exec.server.create import create_server, create_shared_server
from kernel_exec.settings import ConnectionSettings

from .events import Events
from .guard import refuse
from .rules import Refusal

_IDLE_LIMIT = 1800.0
"""Seconds without a request after which a client counts as gone; its kernels stay."""

_MOST_SESSIONS = 100
_MOST_NAMES = 100
"""Clients at once; beyond it the one that is idle for longest makes room."""

_log = logging.getLogger(__name__)


@asynccontextmanager
async def serve_clients(
    connect: Callable[[], Connection], settings: ConnectionSettings
) -> AsyncIterator[ASGIApp]:
    """What answers the requests of all clients, each on a connection that `connect` makes."""
    callers = Callers(connect)
    shared = create_shared_server(settings, callers.connection_of)
    single = StreamableHTTPSessionManager(shared, stateless=True)
    try:
        async with single.run(), anyio.create_task_group() as tasks:
            handshakes = Handshakes(connect, tasks)

            async def answer(scope: Scope, receive: Receive, send: Send) -> None:
                version = dict(scope["headers"]).get(b"mcp-protocol-version")
                if version is None or version.decode("latin-1") in HANDSHAKE_PROTOCOL_VERSIONS:
                    await handshakes(scope, receive, send)
                else:  # also a version that nobody knows: it is refused there, with those that are
                    await single.handle_request(scope, receive, send)

            yield answer
            tasks.cancel_scope.cancel()
    finally:
        callers.close()


class Callers:
    """The connections of clients whose requests stand alone, by their names."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._known: OrderedDict[str, tuple[Connection, asyncio.TimerHandle]] = OrderedDict()

    def connection_of(self, ctx: ServerRequestContext[Any, Any]) -> Connection:
        """That of whoever sent a request; it counts as connected for a while from now on."""
        introduced = ctx.session.client_params
        name = introduced.client_info.name if introduced is not None else ""
        connection, timer = self._known.pop(name, (None, None))
        if timer is not None:
            timer.cancel()
        connection = connection or self._connect()
        leave = asyncio.get_running_loop().call_later(_IDLE_LIMIT, connection.close)
        self._known[name] = connection, leave
        while len(self._known) > _MOST_NAMES:
            self._forget(self._known.popitem(last=False)[1])
        return connection

    def close(self) -> None:
        """All of them are gone."""
        while self._known:
            self._forget(self._known.popitem()[1])

    def _forget(self, known: tuple[Connection, asyncio.TimerHandle]) -> None:
        connection, timer = known
        timer.cancel()
        connection.close()


class Handshakes:
    """The sessions of clients that begin with a handshake, by the id that each is given."""

    def __init__(self, connect: Callable[[], Connection], tasks: TaskGroup) -> None:
        """Sessions run in `tasks`."""
        self._connect = connect
        self._tasks = tasks
        self._open: dict[str, _Session] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        given = dict(scope["headers"]).get(b"mcp-session-id")
        if given is None and scope["method"] == "POST":
            await self._begin(scope, receive, send)
        elif given is None:
            missing = Refusal(status=400, message="Mcp-Session-Id is missing")
            await refuse(missing, scope, receive, send)
        elif (session := self._open.get(given.decode("latin-1"))) is not None:
            await session.answer(scope, receive, send)
        else:
            unknown = Refusal(status=404, message="no such session: it has ended; initialize again")
            await refuse(unknown, scope, receive, send)

    async def _begin(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what may be the request that begins a session; drop the session if it is not."""
        if len(self._open) >= _MOST_SESSIONS and not self._make_room():
            full = Refusal(status=503, message=f"all of {_MOST_SESSIONS} sessions are in use")
            await refuse(full, scope, receive, send)
            return
        session = _Session(self._connect())
        self._open[session.id] = session
        status = 500
        try:
            await self._tasks.start(self._run, session)
            status = await session.answer(scope, receive, send)
        finally:
            if status >= 400:
                session.end()

    def _make_room(self) -> bool:
        """End the session that is idle for longest; False when none is."""
        longest = min(self._open.values(), key=lambda each: each.expires)
        if longest.expires == math.inf:
            return False
        del self._open[longest.id]
        longest.end()
        return True

    async def _run(
        self, session: "_Session", *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        try:
            await session.run(task_status)
        finally:
            self._open.pop(session.id, None)


class _Session:
    """One session of MCP, on a connection of its own."""

    def __init__(self, connection: Connection) -> None:
        self.id = uuid4().hex
        self._connection = connection
        self._events = Events()
        self._transport = StreamableHTTPServerTransport(
            self.id, event_store=self._events, idle_timeout=_IDLE_LIMIT
        )
        self._requests = 0

    @property
    def expires(self) -> float:
        """When it ends unless it is used before, infinite while a request is under way."""
        scope = self._transport.idle_scope
        return scope.deadline if scope is not None else math.inf

    def end(self) -> None:
        """Let it end; its client is told so by its next request."""
        if self._transport.idle_scope is not None:
            self._transport.idle_scope.cancel()

    async def run(self, task_status: TaskStatus[None]) -> None:
        """Serve its client until that ends it, or is idle for too long."""
        server = create_server(self._connection)
        options = server.create_initialization_options()
        try:
            async with self._transport.connect() as (incoming, outgoing):
                assert self._transport.idle_scope is not None
                task_status.started()
                with self._transport.idle_scope:
                    await server.run(incoming, outgoing, options)
                await self._transport.terminate()
        except Exception:  # noqa: BLE001 - a defect must not cost the others their sessions
            _log.exception("a session over HTTP failed")
        finally:
            self._events.close()
            self._connection.close()

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Answer a request; the status that it got.

        A client whose stream breaks, and who has no other one, has gone: what it comes back with
        may be a new session, which then finds what it has left.
        """
        status, is_whole = 500, False

        async def note(message: Message) -> None:
            nonlocal status, is_whole
            status = message.get("status", status)
            is_whole = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        self._requests += 1
        try:
            await self._transport.handle_request(scope, receive, note)
        finally:
            self._requests -= 1
            if not (self._requests or is_whole):
                self._connection.close()
        return status

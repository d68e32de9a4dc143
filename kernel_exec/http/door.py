"""Opens MCP over HTTP, for as long as somebody wants it open."""

import asyncio
import errno
import hashlib
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple, NoReturn

import anyio
import h11
import uvicorn
from anyio import to_thread
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from kernel_exec.app import App, open_app
from kernel_exec.connection import Connection
from kernel_exec.errors import BusyError, InvalidArgumentError
from kernel_exec.places import Places
from kernel_exec.settings import ConnectionSettings, Settings

from .clients import serve_clients
from .guard import Guard
from .rules import Asked, gate_of
from .tokens import own_token

_MOST_CONNECTIONS = 300
"""Requests at once, streams that are open among them; further ones are answered with 503."""

_MOST_WAITING = 2 * _MOST_CONNECTIONS
"""Connections at once, also those that have not said anything; further ones are closed."""

_HEAD_SECONDS = 10.0
"""For the head of a request, from its first byte on."""

_HEAD_BYTES = 32_768
"""Of a head: proxies send 8 to 16 KB at most."""

_KEPT_ALIVE = 65
"""Seconds for which a connection stays open between two requests; proxies have 60."""

_CLOSE_SECONDS = 1
"""For requests to notice that their connection is gone."""


class Opened(NamedTuple):
    """Where clients find us, and in which file the token is; "" when they were given one."""

    url: str
    token_file: str


@asynccontextmanager
async def open_door(app: App, settings: ConnectionSettings, asked: Asked) -> AsyncIterator[Opened]:
    """Serve clients over HTTP, each with these settings; what they began goes on afterwards."""
    file = Places(app.settings.storage_root).http_token
    token = asked.token or await to_thread.run_sync(own_token, file)
    via = f" over HTTP ({hashlib.sha256(token.encode()).hexdigest()[:6]})"

    def connect() -> Connection:
        return Connection(app=app, settings=settings, via=via)

    context = await to_thread.run_sync(_tls, asked)
    with _listening(asked) as listener:
        port = listener.getsockname()[1]
        async with serve_clients(connect, settings) as clients:
            guard = Guard(gate_of(asked, token, port), clients)
            async with _serving(guard, listener, context):
                yield Opened(asked.url(port), "" if asked.token else str(file))


def run(settings: Settings, asked: Asked, announce: Callable[[Opened], None]) -> None:
    """Serve over HTTP in this process until it is told to end; `announce` what was opened."""
    anyio.run(_until_told, settings, asked, announce, backend="asyncio")


async def _until_told(settings: Settings, asked: Asked, announce: Callable[[Opened], None]) -> None:
    async with open_app(settings.host) as app, open_door(app, settings.connection, asked) as opened:
        announce(opened)
        if os.name == "nt":  # Ctrl-C is an exception there
            await anyio.sleep_forever()
        # a second signal finds it gone: who sends it does not want to wait for kernels to end
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async for _ in signals:
                return


def _tls(asked: Asked) -> ssl.SSLContext | None:
    if not asked.tls_cert:
        return None

    def refuse_password() -> NoReturn:
        raise InvalidArgumentError(
            f"TLS key {asked.tls_key!r} is protected by a password; pass one that is not"
        )

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(asked.tls_cert, asked.tls_key, password=refuse_password)
    except OSError as error:
        reason = error.strerror or error
        raise InvalidArgumentError(
            f"TLS files {asked.tls_cert!r} and {asked.tls_key!r} can't be used ({reason}); pass the"
            " certificate and its key, both in PEM format"
        ) from error
    return context


def _listening(asked: Asked) -> socket.socket:
    family = socket.AF_INET6 if ":" in asked.bind else socket.AF_INET
    try:
        listener = socket.create_server((asked.bind, asked.port), family=family)
        # asyncio does so only for sockets that name their protocol; else each answer takes 40 ms
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        where = f"port {asked.port} of {asked.bind}"
        if isinstance(error, PermissionError):
            raise InvalidArgumentError(
                f"{where} is not for this user; pass --port with one from 1024 on"
            ) from error
        if error.errno == errno.EADDRINUSE:
            raise BusyError(
                f"{where} is in use; end what listens there, or pass another --port, 0 for any"
            ) from error
        raise InvalidArgumentError(
            f"{where} can't be listened on ({error.strerror}); pass --bind with an address of this"
            " machine"
        ) from error


@asynccontextmanager
async def _serving(
    app: ASGIApp, listener: socket.socket, context: ssl.SSLContext | None
) -> AsyncIterator[None]:
    """Answer requests, without the signals and the polling of uvicorn's own main loop."""
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_KEPT_ALIVE,
        timeout_graceful_shutdown=_CLOSE_SECONDS,
        h11_max_incomplete_event_size=_HEAD_BYTES,
    )
    config.load()
    config.ssl = context
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            for connection in list(server.server_state.connections):
                connection.transport.abort()
            await server.shutdown(sockets=[listener])


class _Protocol(H11Protocol):
    """Does not wait for those who only occupy a connection.

    The head of a request must come in time, also the first one, and so must the rest of a body
    that nobody reads because its request was refused.
    """

    _timer: asyncio.TimerHandle | None = None
    _has_answered = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        super().connection_made(transport)
        if len(self.connections) > _MOST_WAITING:
            transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        self._has_answered = True
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_timer()

    def _watch(self) -> None:
        theirs = self.conn.their_state
        is_begun = not self._has_answered or self.conn.trailing_data[0]
        is_late = (theirs is h11.IDLE and is_begun) or (
            theirs is h11.SEND_BODY and self.cycle.response_complete
        )
        if not is_late or self.transport.is_closing():
            self._stop_timer()
        elif self._timer is None:
            self._timer = self.loop.call_later(_HEAD_SECONDS, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

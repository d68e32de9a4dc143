"""All that tools need, and the server that has it in its own process.

The host process imports this when its first client has been greeted: it takes half as long to
import as what greets.
"""

import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from kernel_exec.app import App, open_app
from kernel_exec.connection import Connection
from kernel_exec.content.plain import clean
from kernel_exec.errors import KernelExecError, RefusedSettingError, bare
from kernel_exec.jsons import JSONObject
from kernel_exec.log import begin as begin_log
from kernel_exec.log import note
from kernel_exec.places import Places
from kernel_exec.processes import raise_descriptor_limit
from kernel_exec.relay.relay import fill_standard_descriptors
from kernel_exec.relay.secrecy import hide_variables
from kernel_exec.server.create import ConnectionTools, create_server, refusing_server
from kernel_exec.settings import ConnectionSettings, HostSettings, Settings, process_variables

from .control import Reply, answer
from .stdio import converse, exit_now, leave_on_signal
from .wire import open_wire

_ENDED = "the host process ended"
"""Why kernels end that live to its end, though their clients may come back."""

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_services(settings: HostSettings, stopping: anyio.Event) -> AsyncIterator["Services"]:
    """What a host process serves its clients with; to end once `stopping` is set."""
    raise_descriptor_limit()
    async with open_app(settings, ending=_ENDED, stopping=stopping) as app:
        yield Services(app)


class Services:
    """What a host process serves its clients with."""

    def __init__(self, app: App) -> None:
        self._app = app

    @property
    def are_used(self) -> bool:
        """True while there is a kernel."""
        return self._app.sessions.slots.any_taken

    def leave_to_warden(self, place: Path) -> None:
        """See `App`."""
        self._app.leave_to_warden(place)

    @contextmanager
    def tools(self, settings: ConnectionSettings, news: str) -> Iterator[ConnectionTools]:
        """Those of a new connection, whose first result mentions the `news`."""
        with closing(Connection(app=self._app, settings=settings)) as connection:
            if news:
                connection.tell(news)
            yield ConnectionTools(settings, lambda ctx: connection)

    async def answer(self, request: JSONObject, reply: Reply) -> None:
        """Do what the command line asks for."""
        await answer(self._app, request, reply)


def run(read: Callable[[], Settings], log: Callable[[], Path]) -> NoReturn:
    """Serve with the settings that `read` returns, or tell the client what it raises.

    `log` is where what goes wrong is written when there are no settings.
    """

    def begin() -> Settings:
        settings = read()
        if os.isatty(0):
            sys.stderr.write("waiting for an MCP client on stdin; Ctrl-D ends it\n")
        hide_variables(process_variables())
        begin_log(Places(settings.host.storage_root).log, settings.host.log_level)
        return settings

    fill_standard_descriptors()
    raise_descriptor_limit()
    try:
        exit_now(anyio.run(serve, begin, log, backend="asyncio"))
    except Exception as error:
        if not isinstance(bare(error), KernelExecError | OSError):
            _log.exception("the server fails")
        raise


async def serve(begin: Callable[[], Settings], log: Callable[[], Path]) -> int:
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
                message = clean(str(reason)).rstrip(".") + _logged(reason, log())
                with suppress(OSError, ValueError, AttributeError):
                    sys.stderr.write(f"error: {message}\n")
                    sys.stderr.flush()
                await talk(refusing_server(message))
                return 2
            client = Connection(app=app, settings=settings.connection)
            with closing(client):
                await talk(create_server(client))
    return 0


def _logged(reason: Exception, log: Path) -> str:
    """Write why a server can't work into the log; the end of a sentence, which names that."""
    words = reason.unquoted if isinstance(reason, RefusedSettingError) else str(reason)
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        note(log, f"a server can't start: {words}")
    except OSError:
        return f"; run `kernel-exec doctor` to check the rest; the log {log} can't be written"
    return f"; run `kernel-exec doctor` to check the rest; log: {log}"


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

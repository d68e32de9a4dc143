"""The MCP server of one connection: one way through all of its tools."""

import logging
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult

from kernel_exec.connection import Connection
from kernel_exec.content.plain import one_line
from kernel_exec.errors import KernelExecError, bare
from kernel_exec.places import Places
from kernel_exec.settings import ConnectionSettings

from .call import Call
from .greeting import instructions, serve_tools
from .presenting import Presenter
from .results import bounded, failed
from .tools import TOOLS
from .validation import parse

REFUSAL = "kernel-exec can't run:"
"""How the instructions of a server begin that can't work."""

_NAME_SHOWN = 100
"""Characters of an unknown tool's name that its refusal repeats."""

_LONGEST_REASON = 1500
"""Characters of a reason in the instructions, which clients cut at 2 KB."""

_TIMED_OUT = re.compile(r"time[d ]?-? ?out|-32001", re.IGNORECASE)
"""In the reason of a cancellation: the client gave up waiting, nobody wants the work to stop."""

ConnectionOf = Callable[[ServerRequestContext[Any, Any]], Connection]
"""Finds the connection that a request belongs to."""

_log = logging.getLogger(__name__)


def create_server(connection: Connection) -> Server[Any]:
    """A server for one connection."""
    settings = connection.settings
    return serve_tools(ConnectionTools(settings, lambda ctx: connection), instructions(settings))


def create_shared_server(settings: ConnectionSettings, connection_of: ConnectionOf) -> Server[Any]:
    """A server for requests of many clients, each on the connection that it belongs to."""
    tools = ConnectionTools(settings, connection_of)
    return serve_tools(tools, instructions(settings, shared=True))


def refusing_server(reason: str) -> Server[Any]:
    """A server that can't work and says so: each of its tools answers with `reason`."""
    tools = RefusingTools(reason)
    return serve_tools(tools, tools.refusal[:_LONGEST_REASON])


class ConnectionTools:
    """Validates a call, carries it out, and keeps its result within bounds."""

    def __init__(self, settings: ConnectionSettings, connection_of: ConnectionOf) -> None:
        """The tools of one connection, or of several with the same settings."""
        self._connection_of = connection_of
        self._presenter = Presenter(settings.variables)
        self._specs = {spec.name: spec for spec in TOOLS}

    def greeted(self, ctx: ServerRequestContext[Any, Any]) -> None:
        """Prepare a kernel ahead; note who the client is when it has introduced itself."""
        connection = self._connection_of(ctx)
        connection.ahead.begin()
        introduced = ctx.session.client_params
        if introduced is not None and not connection.name:
            client = introduced.client_info
            connection.client = f"{client.name[:_NAME_SHOWN]}{connection.via}"
            connection.name = f"{client.name} {client.version}".strip()
            _log.info("connection %s is of %s", connection.owner.id, one_line(connection.name))

    async def list_tools(self) -> ListToolsResult:
        return _listed()

    async def call_tool(
        self, ctx: ServerRequestContext[Any, Any], params: CallToolRequestParams
    ) -> CallToolResult:
        spec = self._specs.get(params.name)
        if spec is None:
            name = params.name[:_NAME_SHOWN]
            return failed(f"unknown tool {name!r}: the tools are {', '.join(self._specs)}")
        call = self._call(ctx)
        try:
            asked = parse(spec.model, params.arguments)
            result = bounded(await spec.handler(call, asked))
        except Exception as error:  # noqa: BLE001 - a defect of ours must not cost the session
            log = Places(call.connection.host.storage_root).log
            result = _refused(params.name, bare(error), log)
        # some clients cancel requests that were answered already; their work goes on on purpose
        call.connection.requests.take(ctx.request_id)
        return result

    def cancelled(self, ctx: ServerRequestContext[Any, Any]) -> None:
        """Stop what the request had begun, unless its client only gave up waiting."""
        params = ctx.params or {}
        request = params.get("requestId")
        requests = self._connection_of(ctx).requests
        begun = requests.take(request) if isinstance(request, int | str) else None
        if begun is not None and not _TIMED_OUT.search(str(params.get("reason") or "")):
            begun.session.interrupt(begun.entry.id)

    def _call(self, ctx: ServerRequestContext[Any]) -> Call:
        async def progress(elapsed: float, message: str) -> None:
            await ctx.session.report_progress(elapsed, None, message)

        return Call(
            connection=self._connection_of(ctx),
            presenter=self._presenter,
            progress=progress,
            request=ctx.request_id,
        )


class RefusingTools:
    """Tools of which none works, and each says why."""

    def __init__(self, reason: str) -> None:
        """`refusal` is what they say."""
        self.refusal = f"{REFUSAL} {reason}\nCorrect this, then restart the server."

    def greeted(self, ctx: ServerRequestContext[Any, Any]) -> None:
        """Nothing: there is nothing to prepare."""

    async def list_tools(self) -> ListToolsResult:
        return _listed()

    async def call_tool(
        self, ctx: ServerRequestContext[Any, Any], params: CallToolRequestParams
    ) -> CallToolResult:
        """The refusal."""
        return failed(self.refusal)

    def cancelled(self, ctx: ServerRequestContext[Any, Any]) -> None:
        """Nothing: nothing is ever begun."""


@cache
def _listed() -> ListToolsResult:
    """Made once: the schemas take as long as all else that a client is greeted with."""
    return ListToolsResult(tools=[spec.listed() for spec in TOOLS])


def _refused(tool: str, error: Exception, log: Path) -> CallToolResult:
    if isinstance(error, KernelExecError):
        return failed(str(error))
    _log.error("%s failed", tool, exc_info=error)
    return failed(f"internal error in kernel-exec: {error!r}; the details are in {log}")

"""The MCP server of one connection: one way through all of its tools."""

import importlib.metadata
import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
)

from kernel_exec.connection import Connection
from kernel_exec.content.plain import one_line
from kernel_exec.errors import KernelExecError, bare
from kernel_exec.places import Places
from kernel_exec.settings import ConnectionSettings

from .call import Call
from .instructions import instructions
from .presenting import Presenter
from .results import bounded, failed
from .tools import TOOLS
from .validation import explain_malformed, parse

VERSION = importlib.metadata.version("kernel-exec")

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

_CallTool = Callable[[ServerRequestContext[Any], CallToolRequestParams], Awaitable[CallToolResult]]

_log = logging.getLogger(__name__)


def create_server(connection: Connection) -> Server[Any]:
    """A server for one connection."""
    return _dispatching(connection.settings, lambda ctx: connection)


def create_shared_server(settings: ConnectionSettings, connection_of: ConnectionOf) -> Server[Any]:
    """A server for requests of many clients, each on the connection that it belongs to."""
    return _dispatching(settings, connection_of, shared=True)


def _dispatching(
    settings: ConnectionSettings, connection_of: ConnectionOf, *, shared: bool = False
) -> Server[Any]:
    dispatch = _Dispatch(settings, connection_of)
    server = _server(instructions(settings, shared=shared), dispatch.call_tool)
    # in the place of the SDK's own, which traces each message for whoever may have set that up
    server.middleware[:] = [dispatch.watch, explain_malformed]
    return server


def refusing_server(reason: str) -> Server[Any]:
    """A server that can't work and says so: each of its tools answers with `reason`."""
    refusal = f"{REFUSAL} {reason}\nCorrect this, then restart the server."

    async def call_tool(
        ctx: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        return failed(refusal)

    return _server(refusal[:_LONGEST_REASON], call_tool)


def _server(instructions: str, call_tool: _CallTool) -> Server[Any]:
    tools = ListToolsResult(tools=[spec.listed() for spec in TOOLS])

    async def list_tools(
        ctx: ServerRequestContext[Any], params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return tools

    return Server(
        "kernel-exec",
        version=VERSION,
        title="kernel-exec",
        instructions=instructions,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


class _Dispatch:
    """Validates a call, carries it out, and keeps its result within bounds."""

    def __init__(self, settings: ConnectionSettings, connection_of: ConnectionOf) -> None:
        self._connection_of = connection_of
        self._presenter = Presenter(settings.variables)
        self._specs = {spec.name: spec for spec in TOOLS}

    async def call_tool(
        self, ctx: ServerRequestContext[Any], params: CallToolRequestParams
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

    async def watch(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Note who the client is, and stop what a cancelled request had begun.

        Not when its client only gave up waiting. What comes after the handshake, or without one,
        is from a client that will need a kernel.
        """
        if ctx.method != "initialize":
            self._connection_of(ctx).ahead.begin()
        if ctx.method == "notifications/cancelled":
            params = ctx.params or {}
            request = params.get("requestId")
            requests = self._connection_of(ctx).requests
            begun = requests.take(request) if isinstance(request, int | str) else None
            if begun is not None and not _TIMED_OUT.search(str(params.get("reason") or "")):
                begun.session.interrupt(begun.entry.id)
        result = await call_next(ctx)
        self._meet(ctx)
        return result

    def _meet(self, ctx: ServerRequestContext[Any, Any]) -> Connection:
        """The connection of a request; its client is noted when it has introduced itself."""
        connection = self._connection_of(ctx)
        introduced = ctx.session.client_params
        if introduced is not None and not connection.name:
            client = introduced.client_info
            connection.client = f"{client.name[:_NAME_SHOWN]}{connection.via}"
            connection.name = f"{client.name} {client.version}".strip()
            _log.info("connection %s is of %s", connection.owner.id, one_line(connection.name))
        return connection

    def _call(self, ctx: ServerRequestContext[Any]) -> Call:
        connection = self._meet(ctx)

        async def progress(elapsed: float, message: str) -> None:
            await ctx.session.report_progress(elapsed, None, message)

        return Call(
            connection=connection,
            presenter=self._presenter,
            progress=progress,
            request=ctx.request_id,
        )


def _refused(tool: str, error: Exception, log: Path) -> CallToolResult:
    if isinstance(error, KernelExecError):
        return failed(str(error))
    _log.error("%s failed", tool, exc_info=error)
    return failed(f"internal error in kernel-exec: {error!r}; the details are in {log}")

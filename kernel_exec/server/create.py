"""The MCP server of one connection: one way through all of its tools."""

import importlib.metadata
import logging
import re
from collections.abc import Awaitable, Callable
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
from kernel_exec.errors import KernelExecError, bare

from .call import Call
from .instructions import instructions
from .presenting import Presenter
from .results import bounded, failed
from .tools import TOOLS
from .validation import explain_malformed, parse

VERSION = importlib.metadata.version("kernel-exec")

_NAME_SHOWN = 100
"""Characters of an unknown tool's name that its refusal repeats."""

_LONGEST_REASON = 1500
"""Characters of a reason in the instructions, which clients cut at 2 KB."""

_TIMED_OUT = re.compile(r"time[d ]?-? ?out|-32001", re.IGNORECASE)
"""In the reason of a cancellation: the client gave up waiting, nobody wants the work to stop."""

_CallTool = Callable[[ServerRequestContext[Any], CallToolRequestParams], Awaitable[CallToolResult]]

_log = logging.getLogger(__name__)


def create_server(connection: Connection) -> Server[Any]:
    """A server for one connection."""
    dispatch = _Dispatch(connection)
    server = _server(instructions(connection.settings), dispatch.call_tool)
    # in the place of the SDK's own, which traces each message for whoever may have set that up
    server.middleware[:] = [dispatch.watch_messages, explain_malformed]
    return server


def refusing_server(reason: str) -> Server[Any]:
    """A server that can't work and says so: each of its tools answers with `reason`."""
    refusal = f"kernel-exec can't run: {reason}\nCorrect this, then restart the server."

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

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._presenter = Presenter(connection.settings.variables)
        self._specs = {spec.name: spec for spec in TOOLS}

    async def call_tool(
        self, ctx: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        spec = self._specs.get(params.name)
        if spec is None:
            name = params.name[:_NAME_SHOWN]
            return failed(f"unknown tool {name!r}: the tools are {', '.join(self._specs)}")
        try:
            asked = parse(spec.model, params.arguments)
            result = bounded(await spec.handler(self._call(ctx), asked))
        except Exception as error:  # noqa: BLE001 - a defect of ours must not cost the session
            result = _refused(params.name, bare(error))
        # some clients cancel requests that were answered already; their work goes on on purpose
        self._connection.requests.take(ctx.request_id)
        return result

    async def watch_messages(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Stop what a cancelled request had begun, unless its client only gave up waiting.

        What comes after the handshake, or without one, is from a client that will need a kernel.
        """
        if ctx.method != "initialize":
            self._connection.ahead.begin()
        if ctx.method == "notifications/cancelled":
            params = ctx.params or {}
            request = params.get("requestId")
            begun = (
                self._connection.requests.take(request) if isinstance(request, int | str) else None
            )
            if begun is not None and not _TIMED_OUT.search(str(params.get("reason") or "")):
                begun.session.interrupt(begun.entry.id)
        return await call_next(ctx)

    def _call(self, ctx: ServerRequestContext[Any]) -> Call:
        introduced = ctx.session.client_params
        if introduced is not None and not self._connection.name:
            client = introduced.client_info
            self._connection.client = client.name[:_NAME_SHOWN]
            self._connection.name = f"{client.name} {client.version}".strip()

        async def progress(elapsed: float, message: str) -> None:
            await ctx.session.report_progress(elapsed, None, message)

        return Call(
            connection=self._connection,
            presenter=self._presenter,
            progress=progress,
            request=ctx.request_id,
        )


def _refused(tool: str, error: Exception) -> CallToolResult:
    if isinstance(error, KernelExecError):
        return failed(str(error))
    _log.error("%s failed", tool, exc_info=error)
    return failed(f"internal error in kernel-exec: {error!r}; the server's log has the details")

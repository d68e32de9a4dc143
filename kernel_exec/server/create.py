"""The MCP server of one connection: one way through all of its tools."""

import logging
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult

from kernel_exec.connection import Connection
from kernel_exec.errors import KernelExecError, bare

from .call import Call
from .greeting import instructions, serve_tools
from .presenting import Presenter
from .results import bounded, failed
from .tools import TOOLS
from .validation import parse

_NAME_SHOWN = 100
"""Characters of an unknown tool's name that its refusal repeats."""

_LONGEST_REASON = 1500
"""Characters of a reason in the instructions, which clients cut at 2 KB."""

_TIMED_OUT = re.compile(r"time[d ]?-? ?out|-32001", re.IGNORECASE)
"""In the reason of a cancellation: the client gave up waiting, nobody wants the work to stop."""

_log = logging.getLogger(__name__)


def create_server(connection: Connection) -> Server[Any]:
    """A server for one connection."""
    return serve_tools(ConnectionTools(connection), instructions(connection.settings))


def refusing_server(reason: str) -> Server[Any]:
    """A server that can't work and says so: each of its tools answers with `reason`."""
    tools = RefusingTools(reason)
    return serve_tools(tools, tools.refusal[:_LONGEST_REASON])


class ConnectionTools:
    """Validates a call, carries it out, and keeps its result within bounds."""

    def __init__(self, connection: Connection) -> None:
        """The tools of `connection`."""
        self._connection = connection
        self._presenter = Presenter(connection.settings.variables)
        self._specs = {spec.name: spec for spec in TOOLS}

    def greeted(self) -> None:
        """Nothing: they are ready."""

    async def list_tools(self) -> ListToolsResult:
        """See `Tools`."""
        return _listed()

    async def call_tool(
        self, ctx: ServerRequestContext[Any, Any], params: CallToolRequestParams
    ) -> CallToolResult:
        """See `Tools`."""
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

    def cancelled(self, params: Mapping[str, Any]) -> None:
        """Stop what the request had begun, unless its client only gave up waiting."""
        request = params.get("requestId")
        begun = self._connection.requests.take(request) if isinstance(request, int | str) else None
        if begun is not None and not _TIMED_OUT.search(str(params.get("reason") or "")):
            begun.session.interrupt(begun.entry.id)

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


class RefusingTools:
    """Tools of which none works, and each says why."""

    def __init__(self, reason: str) -> None:
        """`refusal` is what they say."""
        self.refusal = f"kernel-exec can't run: {reason}\nCorrect this, then restart the server."

    def greeted(self) -> None:
        """Nothing: there is nothing to prepare."""

    async def list_tools(self) -> ListToolsResult:
        """See `Tools`."""
        return _listed()

    async def call_tool(
        self, ctx: ServerRequestContext[Any, Any], params: CallToolRequestParams
    ) -> CallToolResult:
        """The refusal."""
        return failed(self.refusal)

    def cancelled(self, params: Mapping[str, Any]) -> None:
        """Nothing: nothing is ever begun."""


@cache
def _listed() -> ListToolsResult:
    """Made once: the schemas take as long as all else that a client is greeted with."""
    return ListToolsResult(tools=[spec.listed() for spec in TOOLS])


def _refused(tool: str, error: Exception) -> CallToolResult:
    if isinstance(error, KernelExecError):
        return failed(str(error))
    _log.error("%s failed", tool, exc_info=error)
    return failed(f"internal error in kernel-exec: {error!r}; the server's log has the details")

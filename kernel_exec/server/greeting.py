"""What the server says of itself, and how its tools are asked for.

Imports what it takes to answer `initialize`, and nothing that tools need: while a host starts, its
first client waits for that answer.
"""

import importlib.metadata
from collections.abc import Mapping
from typing import Any, Protocol

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
)
from pydantic import ValidationError

from kernel_exec.content.plain import one_line
from kernel_exec.settings import ConnectionSettings

VERSION = importlib.metadata.version("kernel-exec")

_LONGEST_PATH = 500
"""Characters of a path in the instructions, which clients cut at 2 KB."""

_SHARED = (
    "\nClients that give the same name share variables: where others may be at work, pass a session"
    " of your own with every call."
)


class Tools(Protocol):
    """What a server's tools are asked for: those of a connection, or what says that none work."""

    def greeted(self, ctx: ServerRequestContext[Any, Any]) -> None:
        """A message comes after the handshake, or without one: its client will need them soon."""

    async def list_tools(self) -> ListToolsResult:
        """All of them."""

    async def call_tool(
        self, ctx: ServerRequestContext[Any, Any], params: CallToolRequestParams
    ) -> CallToolResult:
        """Carry out a call; what goes wrong is its result."""

    def cancelled(self, ctx: ServerRequestContext[Any, Any]) -> None:
        """A request was cancelled, which the parameters of this notification name."""


def serve_tools(tools: Tools, instructions: str) -> Server[Any]:
    """A server with these tools."""

    async def list_tools(
        ctx: ServerRequestContext[Any], params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return await tools.list_tools()

    async def watch(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.method != "initialize":
            tools.greeted(ctx)
        if ctx.method == "notifications/cancelled":
            tools.cancelled(ctx)
        return await call_next(ctx)

    server = Server(
        "kernel-exec",
        version=VERSION,
        title="kernel-exec",
        instructions=instructions,
        on_list_tools=list_tools,
        on_call_tool=tools.call_tool,
    )
    # in the place of the SDK's own, which traces each message for whoever may have set that up
    server.middleware[:] = [watch, _explain_malformed]
    return server


def instructions(settings: ConnectionSettings, *, shared: bool = False) -> str:
    """Under 2 KB, and true for this connection; `shared` by all clients of one name, or its own."""
    limit = (
        f"for up to {settings.time_limit:g} s (timeout_seconds)"
        if settings.time_limit is not None
        else "without a time limit (set timeout_seconds for one)"
    )
    return (
        "Work in small steps, each with a title; do not repeat earlier ones.\n"
        f"A call returns within {settings.wait_seconds:g} s (wait_seconds). The code keeps running"
        f" {limit}: follow it with get_execution or stop it with interrupt_execution; do not send"
        " it again.\n"
        "Install packages with install_dependencies, not with pip.\n"
        "The last line of an execution gives the outcome and whether variables survived: trust it"
        " rather than re-checking. Similar lines above it are output of the code.\n"
        f"Relative file paths start at {one_line(settings.working_directory, _LONGEST_PATH)}."
        f"{_SHARED if shared else ''}"
    )


async def _explain_malformed(
    ctx: ServerRequestContext[Any, Any], call_next: CallNext
) -> HandlerResult:
    """Name what is wrong with a call, where the SDK says that its parameters are invalid."""
    try:
        return await call_next(ctx)
    except ValidationError:
        if ctx.method == "tools/call":
            _explain(ctx.params or {})
        raise


def _explain(params: Mapping[str, Any]) -> None:
    try:
        CallToolRequestParams.model_validate(params, by_name=False)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        message = f"invalid parameters of tools/call: {place}: {problem['msg']}"
        raise MCPError(code=INVALID_PARAMS, message=message) from error

"""A server that can't work and says so: over MCP, since that is where its user looks."""

import importlib.metadata
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
)

from .results import failed
from .tools import TOOLS

_LONGEST = 1500
"""Characters of a reason in the instructions, which clients cut at 2 KB."""


def refusing_server(reason: str) -> Server[Any]:
    """A server with the tools of any other, each of which answers with `reason`."""
    told = f"kernel-exec can't run: {reason}\nCorrect this, then restart the server."

    async def list_tools(
        ctx: ServerRequestContext[Any], params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=[spec.listed() for spec in TOOLS])

    async def call_tool(
        ctx: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        return failed(told)

    return Server(
        "kernel-exec",
        version=importlib.metadata.version("kernel-exec"),
        title="kernel-exec",
        instructions=told[:_LONGEST],
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )

"""A server with tools for the tests of the wire: `python -m tests.host.tiny`."""

import os
import subprocess
import sys
from typing import Any

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)

from kernel_exec.host.stdio import converse, exit_now, leave_on_signal
from kernel_exec.host.wire import open_wire

CHILD = "import sys; print('from a child'); print(repr(sys.stdin.read()))"
LISTING = "import os; print(*sorted(os.listdir('/proc/self/fd')))"


def run(program: str, stdout: int | None = None) -> None:
    """A child that inherits whatever can be inherited."""
    subprocess.run([sys.executable, "-c", program], stdout=stdout, close_fds=False, check=True)


def listing() -> str:
    """The descriptors that a child has, its own for the listing included."""
    read, write = os.pipe()
    run(LISTING, stdout=write)
    os.close(write)
    with os.fdopen(read) as listed:
        return listed.read()


async def list_tools(
    ctx: ServerRequestContext[Any], params: PaginatedRequestParams | None
) -> ListToolsResult:
    return ListToolsResult(tools=[Tool(name="echo", input_schema={"type": "object"})])


async def call_tool(
    ctx: ServerRequestContext[Any], params: CallToolRequestParams
) -> CallToolResult:
    text = str((params.arguments or {}).get("text", ""))
    match params.name:
        case "count":
            text = f"{len(text):,}"
        case "repeat":
            text *= 1_000_000
        case "stay":
            sys.stderr.write("staying\n")
            sys.stderr.flush()
            await anyio.sleep_forever()
        case "wait":
            await anyio.sleep_forever()
        case "print":
            print("from print", flush=True)
            os.write(1, b"from descriptor 1\n")
            run(CHILD)
        case "descriptors":
            text = listing()
        case _:
            pass
    return CallToolResult(content=[TextContent(text=text)])


def tiny() -> Server[Any]:
    return Server(
        "tiny",
        version="1",
        instructions="be brief",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def main() -> None:
    with anyio.CancelScope() as scope:
        leave_on_signal(scope)
        with open_wire() as wire:
            await converse(tiny(), wire)
    print("printed after the end", flush=True)
    sys.stderr.write("closed in order\n")


if __name__ == "__main__":
    anyio.run(main)
    exit_now(0)

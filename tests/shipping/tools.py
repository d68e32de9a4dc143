"""Programs that build, check and install what we ship, and a client for what they have installed.

What takes minutes runs when `KERNEL_EXEC_TEST_SHIPPING=1` is set, as in one job of the workflow.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp_types import TextContent
from uv import find_uv_bin

ROOT = Path(__file__).parents[2]
HEAVY = os.environ.get("KERNEL_EXEC_TEST_SHIPPING") == "1"
UV = find_uv_bin()


def run(*argv: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """What a program says, which has to succeed."""
    done = subprocess.run(
        argv,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{argv}: {done.stdout}"
    return done.stdout


def uvx(package: str, *argv: str) -> str:
    """What a program of a package says; uv keeps the package in its cache."""
    return run(UV, "tool", "run", "--python", sys.executable, "--from", package, *argv)


async def serves(command: str, args: Sequence[str], storage: Path, **env: str) -> str:
    """The version of the server that a client starts like this, once a cell has run there."""
    server = StdioServerParameters(
        command=command,
        args=[*args, "serve", "--in-process"],
        env={**os.environ, "CODE_STORAGE_DIR": str(storage), **env},
        cwd=storage,
    )
    async with Client(server) as client:
        assert client.server_info is not None
        for code, printed in (("answer = 6 * 7", ""), ("print(answer)", "42\n")):
            arguments = {"code": code, "wait_seconds": 120}
            result = await client.call_tool("execute_code", arguments)
            first = result.content[0]
            assert isinstance(first, TextContent)
            assert not result.is_error, first.text
            assert first.text.startswith(printed)
        return client.server_info.version

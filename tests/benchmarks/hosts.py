"""From the start of a relay to its first answer, with a host that runs and without one."""

import json
import os
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from tests.wire import LATEST, end_host

from .timing import Figure, in_turn

_HELLO = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {
        "protocolVersion": LATEST, "capabilities": {}, "clientInfo": {"name": "b", "version": "1"}
    },
}  # fmt: skip


async def host_figures(folder: Path, rounds: int) -> list[Figure]:
    """Each beside the Python that could do nothing of it sooner."""
    runs, none = folder / "runs", folder / "none"

    def begin(after: AsyncExitStack, root: Path, *arguments: str) -> None:
        client = subprocess.Popen(
            [sys.executable, "-m", "kernel_exec", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "CODE_STORAGE_DIR": str(root)},
        )  # fmt: skip
        after.callback(client.communicate)
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(json.dumps(_HELLO).encode() + b"\n")
        client.stdin.flush()
        assert "result" in json.loads(client.stdout.readline())

    async def begin_with(after: AsyncExitStack) -> None:
        begin(after, runs)

    async def begin_without(after: AsyncExitStack) -> None:
        after.callback(end_host, none)
        begin(after, none)

    async def begin_with_settings(after: AsyncExitStack) -> None:
        begin(after, runs, "serve", "--working-directory", ".")

    async def light(*command: str) -> None:
        subprocess.run(
            [Path(sys.executable).with_name("kernel-exec"), *command], stdout=subprocess.DEVNULL,
            env={**os.environ, "CODE_STORAGE_DIR": str(runs)}, check=True,
        )  # fmt: skip

    async def plain(program: str) -> None:
        subprocess.run([sys.executable, "-c", program], check=True)

    async with AsyncExitStack() as after:
        begin(after, runs)
        many = max(5, rounds // 4)
        quick, bare = await in_turn(many, begin_with, lambda _: plain("pass"))
        with_settings, bare_too = await in_turn(many, begin_with_settings, lambda _: plain("pass"))
        listed, again = await in_turn(many, lambda _: light("sessions"), lambda _: plain("pass"))
        helped, once_more = await in_turn(many, lambda _: light("--help"), lambda _: plain("pass"))
    end_host(runs)
    slow, mcp = await in_turn(
        max(3, rounds // 20), begin_without, lambda _: plain("import mcp.server.lowlevel")
    )
    what = "start to `initialize` answered"
    return [
        Figure(
            what=f"{what}, a host running",
            ours=quick, theirs=bare, measure="`python -c pass`", aim="100 ms at most",
        ),
        Figure(
            what=f"{what}, a host running, with settings",
            ours=with_settings, theirs=bare_too, measure="`python -c pass`", aim="100 ms at most",
        ),
        Figure(
            what=f"{what}, no host running",
            ours=slow, theirs=mcp, measure="`import mcp`", aim="1.15 at most",
        ),
        Figure(
            what="`kernel-exec sessions`, a host running",
            ours=listed, theirs=again, measure="`python -c pass`", aim="200 ms at most",
        ),
        Figure(
            what="`kernel-exec --help`",
            ours=helped, theirs=once_more, measure="`python -c pass`", aim="200 ms at most",
        ),
    ]  # fmt: skip

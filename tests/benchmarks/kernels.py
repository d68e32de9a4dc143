"""A cell, a start and 100 MB of output, beside a stock ipykernel."""

import subprocess
import sys
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path

from jupyter_client.manager import AsyncKernelManager
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp_types import EmptyResult, PingRequest

from kernel_exec.kernels.outcomes import Request
from tests.real import local_kernels

from .bare import BareClient, stock_kernel
from .timing import Figure, in_turn, server_process, spread

_PRINT_100_MB = "for _ in range(100): print(('x' * 99 + '\\n') * 10_000, end='')"
_PRINT_LINES = "for each in range(1_000_000): print(each)"


async def kernel_figures(folder: Path, rounds: int) -> list[Figure]:
    """Those of a server over stdio, and those of a kernel without one."""
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "kernel_exec", "serve", "--in-process", "--python-path", sys.executable],
        env={"CODE_STORAGE_DIR": str(folder)},
        cwd=Path.cwd(),
    )
    with stock_kernel() as bare:
        # ping is of the handshake's era
        async with Client(server, mode="legacy") as client:
            found = [
                await _round_trip(client, bare, rounds),
                *await _print_much(client, bare, max(3, rounds // 40)),
                await _print_lines(client, bare, max(2, rounds // 100)),
            ]
    return [*found, await _start(folder, max(5, rounds // 20))]


async def _round_trip(client: Client, bare: BareClient, rounds: int) -> Figure:
    async def stock(after: AsyncExitStack) -> None:
        bare.execute("1+1")

    await client.call_tool("execute_code", {"code": "1+1"})
    plain, ping, ours = await in_turn(
        rounds,
        stock,
        lambda _: client.session.send_request(PingRequest(), EmptyResult),
        lambda _: client.call_tool("execute_code", {"code": "1+1"}),
    )
    return Figure(
        what="execute_code('1+1') over stdio",
        ours=ours,
        theirs=plain + ping,
        measure="a bare client on a stock ipykernel plus an MCP ping",
        aim="0.9 at most",
    )


async def _print_much(client: Client, bare: BareClient, rounds: int) -> list[Figure]:
    server = server_process()
    sizes = [server.memory_info().rss]
    numbers = count()

    async def stock(after: AsyncExitStack) -> None:
        assert bare.execute(_PRINT_100_MB) == 100_000_000

    async def ours(after: AsyncExitStack) -> None:
        code = f"# {next(numbers)}\n{_PRINT_100_MB}"
        result = await client.call_tool("execute_code", {"code": code, "wait_seconds": 300})
        assert "(100,000,000 characters)" in str(result.content), result
        sizes.append(server.memory_info().rss)

    plain, took = await in_turn(rounds, stock, ours)
    grown = spread([(max(sizes) - sizes[0]) / 1e6])
    return [
        Figure(what="100 MB printed", ours=took, theirs=plain, measure="bare", aim="1.2 at most"),
        Figure(
            what="growth of the server while printing", ours=grown, unit="MB", aim="less than 10 MB"
        ),
    ]


async def _print_lines(client: Client, bare: BareClient, rounds: int) -> Figure:
    numbers = count()

    async def stock(after: AsyncExitStack) -> None:
        assert bare.execute(_PRINT_LINES) == 6_888_890

    async def ours(after: AsyncExitStack) -> None:
        code = f"# {next(numbers)}\n{_PRINT_LINES}"
        result = await client.call_tool("execute_code", {"code": code, "wait_seconds": 300})
        assert "(6,888,890 characters)" in str(result.content), result

    plain, took = await in_turn(rounds, stock, ours)
    return Figure(
        what="a million lines printed", ours=took, theirs=plain, measure="bare", aim="1.2 at most"
    )


async def _start(folder: Path, rounds: int) -> Figure:
    """From nothing to the result of `1+1`."""
    starter, numbers = await local_kernels(folder), count()

    async def ours(after: AsyncExitStack) -> None:
        kernel = await after.enter_async_context(starter(lambda event: None))
        await kernel.execute(Request(id=f"b{next(numbers)}", source="1+1"))

    async def stock(after: AsyncExitStack) -> None:
        manager = AsyncKernelManager()
        await manager.start_kernel(stderr=subprocess.DEVNULL)
        after.push_async_callback(manager.shutdown_kernel, now=True)
        client = manager.client()
        client.start_channels()
        after.callback(client.stop_channels)
        await client.wait_for_ready()
        await client.execute("1+1", reply=True)

    took, plain = await in_turn(rounds, ours, stock)
    return Figure(
        what="kernel start to first result",
        ours=took,
        theirs=plain,
        measure="stock",
        aim="0.6 at most",
    )

"""Prints the figures that the README promises: `python -m tests.benchmarks`.

With the word `environments` or `notebooks` only what concerns them, with a number so many rounds.
Every figure is a ratio of medians from rounds that alternate in one run, because a shared machine
drifts. Nothing here asserts anything.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import anyio
import psutil
from jupyter_client.manager import AsyncKernelManager
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp_types import EmptyResult, PingRequest
from rich.console import Console
from rich.table import Table

from kernel_exec.history.entries import Entry, EntryKind, SessionRecord
from kernel_exec.history.store import open_store
from kernel_exec.kernels.outcomes import Outcome, Request
from kernel_exec.kernels.outputs import Stream
from tests.real import local_kernels

from .bare import BareClient, stock_kernel
from .environments import environment_rows
from .notebooks import notebook_rows
from .review import review_rows
from .timing import median_ms, timed

PING = PingRequest()
_PRINT_100_MB = "for _ in range(100): print(('x' * 99 + '\\n') * 10_000, end='')"


def server_parameters(folder: Path) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "kernel_exec", "--python-path", sys.executable],
        env={"CODE_STORAGE_DIR": str(folder)},
        cwd=Path.cwd(),
    )


def server_process() -> psutil.Process:
    """The server that the client has just started."""
    children = psutil.Process().children()
    return next(child for child in children if "kernel_exec" in child.cmdline())


async def round_trip(client: Client, bare: BareClient, rounds: int) -> tuple[float, float, float]:
    """Medians (ms): `execute_code("1+1")`, a bare round trip, an MCP ping."""
    ours, stock, pings = [], [], []
    for _ in range(rounds):
        began = time.perf_counter()
        bare.execute("1+1")
        stock.append(time.perf_counter() - began)
        pings.append(await timed(lambda: client.session.send_request(PING, EmptyResult)))
        ours.append(await timed(lambda: client.call_tool("execute_code", {"code": "1+1"})))
    return median_ms(ours), median_ms(stock), median_ms(pings)


async def start(folder: Path, rounds: int) -> tuple[float, float]:
    """Medians (ms) from nothing to the result of `1+1`: ours, and jupyter_client's own way."""
    starter = await local_kernels(folder)
    ours, stock = [], []
    for at in range(rounds):
        began = time.perf_counter()
        async with starter(lambda event: None) as kernel:
            await kernel.execute(Request(id=f"b{at}", source="1+1"))
            ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        manager = AsyncKernelManager()
        await manager.start_kernel()
        client = manager.client()
        client.start_channels()
        await client.wait_for_ready()
        await client.execute("1+1", reply=True)
        stock.append(time.perf_counter() - began)
        client.stop_channels()
        await manager.shutdown_kernel(now=True)
    return median_ms(ours), median_ms(stock)


async def print_much(
    client: Client, bare: BareClient, server: psutil.Process, rounds: int
) -> tuple[float, float, float]:
    """Medians (ms) for 100 MB printed: ours, bare; and by how many MB the server grew."""
    ours, stock = [], []
    before = server.memory_info().rss
    grown = 0
    for at in range(rounds):
        began = time.perf_counter()
        received = bare.execute(_PRINT_100_MB)
        stock.append(time.perf_counter() - began)
        assert received == 100_000_000, received
        code = {"code": f"# {at}\n{_PRINT_100_MB}", "wait_seconds": 300}
        began = time.perf_counter()
        result = await client.call_tool("execute_code", code)
        ours.append(time.perf_counter() - began)
        assert "(100,000,000 characters)" in str(result.content), result
        grown = max(grown, server.memory_info().rss - before)
    return median_ms(ours), median_ms(stock), grown / 1e6


async def history(folder: Path, count: int) -> tuple[float, float]:
    """Medians (ms) of keeping one execution: over the first 100, and over the last 100."""
    took = []
    async with open_store(folder) as store:
        store.put_session(SessionRecord(id="s", name="s", environment="e", created=0.0))
        for number in range(count):
            entry = Entry(
                id=f"e{number}",
                session_id="s",
                number=number,
                kind=EntryKind.CODE,
                source="1+1",
                outcome=Outcome.RUNNING,
                queued=0.0,
            )
            began = time.perf_counter()
            store.put_entry(entry)
            store.add_event(entry.id, Stream(name="stdout", text="2\n"))
            store.put_entry(entry)
            await store.settle()
            took.append(time.perf_counter() - began)
    return median_ms(took[:100]), median_ms(took[-100:])


async def add_kernel_rows(table: Table, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="kx") as name, stock_kernel() as bare:
        folder = Path(name)
        # ping is of the handshake's era
        async with Client(server_parameters(folder / "server"), mode="legacy") as client:
            await client.call_tool("execute_code", {"code": "1+1"})
            server = server_process()
            ours, stock, ping = await round_trip(client, bare, rounds)
            much = await print_much(client, bare, server, max(3, rounds // 40))
        (folder / "start").mkdir()
        begin, begin_stock = await start(folder / "start", max(5, rounds // 20))
        (folder / "history").mkdir()
        first, last = await history(folder / "history", rounds * 50)
    add = table.add_row
    add(
        "execute_code('1+1') over stdio",
        f"{ours:.2f} ms",
        f"{stock:.2f} ms bare + {ping:.2f} ms ping",
        f"{ours / (stock + ping):.2f}",
        "≤ 1.0, aim 0.75",
    )
    add(
        "kernel start to first result",
        f"{begin:.0f} ms",
        f"{begin_stock:.0f} ms stock",
        f"{begin / begin_stock:.2f}",
        "≤ 0.6",
    )
    add(
        "100 MB printed",
        f"{much[0]:.0f} ms",
        f"{much[1]:.0f} ms bare",
        f"{much[0] / much[1]:.2f}",
        "≤ 1.2",
    )
    add("  growth of the server", f"{much[2]:.0f} MB", "", "", "< 50 MB")
    add("history, first 100", f"{first:.2f} ms", "", "", "< 1 ms")
    add(f"history, at {rounds * 50:,}", f"{last:.2f} ms", "", f"{last / first:.2f}", "the same")


async def main(only: str, rounds: int) -> None:
    table = Table("what", "ours", "measure", "ratio", "aim")
    if not only:
        await add_kernel_rows(table, rounds)
    if only in {"", "notebooks"}:
        for page in review_rows(rounds):
            table.add_row(*page)
    for topic, rows in (("environments", environment_rows), ("notebooks", notebook_rows)):
        if only in {"", topic}:
            with tempfile.TemporaryDirectory(prefix="kx") as name:
                for row in await rows(Path(name), rounds):
                    table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    for each in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"):
        os.environ.pop(each, None)
    words = sys.argv[1:]
    rounds = next((int(word) for word in words if word.isdecimal()), 200)
    only = next((word for word in words if word in {"environments", "notebooks"}), "")
    anyio.run(main, only, rounds)

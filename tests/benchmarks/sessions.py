"""What a session costs that is old, that has company, or that works with pandas."""

import subprocess
import sys
import time
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path

import anyio
import psutil
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from .bare import stock_kernel
from .timing import Figure, in_turn, server_process, spread

_OLD, _YOUNG = 2000, 100
"""Executions of the sessions that are compared; each has made a name."""

_TOGETHER = 12
_PAUSE = 0.2
"""Seconds from one call of a session to its next: an agent reads what it gets."""

_CALM = 3.0
"""Seconds after which the next kernel has been made ready."""

_MORE = 4
"""Sessions that are added to two when memory is measured."""

_STEPS = (
    "import pandas as pd, numpy as np",
    "rng = np.random.default_rng(0)\n"
    "df = pd.DataFrame({'g': rng.integers(0, 9, 100_000), 'x': rng.normal(size=100_000)})",
    "df.describe()",
    "df['y'] = df.x * 2 + df.g",
    "means = df.groupby('g').agg(['mean', 'std'])",
    "means",
    "top = df[df.y > 3].sort_values('y', ascending=False)",
    "top.head(10)",
    "import matplotlib\nmatplotlib.use('agg')\nimport matplotlib.pyplot as plt",
    "figure = plt.figure()\nfigure.gca().hist(df.x, bins=30)\nfigure.savefig('hist.png')",
)


async def session_figures(folder: Path, rounds: int) -> list[Figure]:
    """Those of one server over stdio."""
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "kernel_exec", "serve", "--in-process", "--python-path", sys.executable],
        env={"CODE_STORAGE_DIR": str(folder), "KERNEL_EXEC_MAX_KERNELS": "100"},
        cwd=Path.cwd(),
    )
    async with Client(server, mode="legacy") as client:
        found = [
            await _age(client, "numbers", "{0}", rounds),
            await _age(client, "lists", "[{0}]", rounds),
            await _company(client, max(5, rounds // 10)),
            *await _pandas(client, folder, max(3, rounds // 40)),
        ]
    async with Client(server, mode="legacy") as client:
        return [
            *found,
            await _first(client, max(5, rounds // 20)),
            await _memory(client, "idle", "1+1", "30 MB at most"),
            await _memory(
                client, "with pandas and matplotlib", "import pandas, matplotlib.pyplot", "35 MB"
            ),
        ]


async def _run(client: Client, session: str, code: str) -> None:
    result = await client.call_tool("execute_code", {"code": code, "session": session})
    assert not result.is_error, result
    assert "[ok" in str(result.content), result


async def _age(client: Client, what: str, value: str, rounds: int) -> Figure:
    """The two take turns, as a machine is not the same after 2,000 executions."""
    numbers = count()

    async def make(session: str) -> None:
        number = next(numbers)
        await _run(client, session, f"n{number} = {value.format(number)}")

    for _ in range(_YOUNG):
        await make(f"young-{what}")
    for _ in range(_OLD):
        await make(f"old-{what}")
    young, old = await in_turn(
        min(rounds, _YOUNG), lambda _: make(f"young-{what}"), lambda _: make(f"old-{what}")
    )
    return Figure(
        what=f"a cell that makes a name, after {_OLD:,} of {what}",
        ours=old,
        theirs=young,
        measure=f"after {_YOUNG}",
        aim="1.1 at most",
    )


async def _company(client: Client, rounds: int) -> Figure:
    """The slowest in twenty of the calls."""
    names = [f"s{at}" for at in range(_TOGETHER)]
    for name in names:
        await _run(client, name, "1+1")

    async def work(name: str, took: list[float]) -> None:
        await _think(_PAUSE * names.index(name) / _TOGETHER)
        for _ in range(rounds):
            began = time.perf_counter()
            await _run(client, name, "sum(range(100_000))")
            took.append((time.perf_counter() - began) * 1000)
            await _think(_PAUSE)

    alone: list[float] = []
    together: list[float] = []
    await work(names[0], alone)
    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(work, name, together)
    return Figure(
        what=f"{_TOGETHER} sessions at work at once, a call of 1 ms each {_PAUSE} s, 95 %",
        ours=spread([_slowest(together)]),
        theirs=spread([_slowest(alone)]),
        measure="one alone",
        aim="1.7 at most",
    )


async def _first(client: Client, rounds: int) -> Figure:
    """Both after as long a pause: a virtual machine may take pages of idle processes away."""
    numbers = count()
    took: list[float] = []
    plain: list[float] = []
    with stock_kernel() as bare:
        for _ in range(rounds):
            await _think(_CALM)
            began = time.perf_counter()
            await _run(client, f"first{next(numbers)}", "1+1")
            took.append((time.perf_counter() - began) * 1000)
            await _think(_CALM)
            began = time.perf_counter()
            bare.execute("1+1")
            plain.append((time.perf_counter() - began) * 1000)
    return Figure(
        what=f"first result of a new session, {_CALM:.0f} s after the last call",
        ours=spread(took),
        theirs=spread(plain),
        measure="a bare client, a stock ipykernel that runs",
        aim="150 ms at most",
    )


async def _memory(client: Client, what: str, code: str, aim: str) -> Figure:
    """The share of memory (PSS) of one more session, with all of its processes."""
    sizes: list[float] = []
    for at in range(2 + _MORE):
        await _run(client, f"{what.rsplit(maxsplit=1)[-1]}{at}", code)
        if at in {1, 1 + _MORE}:
            await _think(_CALM)
            sizes.append(_shares(server_process()) / 1e6)
    each = (sizes[1] - sizes[0]) / _MORE
    return Figure(what=f"one more session, {what}", ours=spread([each]), unit="MB", aim=aim)


def _shares(server: psutil.Process) -> int:
    tree = [server, *server.children(recursive=True)]
    return sum(int(each.memory_full_info().pss) for each in tree)


async def _think(seconds: float) -> None:
    with anyio.move_on_after(seconds):
        await anyio.sleep_forever()


def _slowest(took: list[float]) -> float:
    return sorted(took)[len(took) * 95 // 100]


async def _pandas(client: Client, folder: Path, rounds: int) -> list[Figure]:
    """Ten steps in a new session, in one process, and each with all before it in a fresh one."""
    numbers = count()

    async def ours(_: AsyncExitStack) -> None:
        name = f"p{next(numbers)}"
        for step in _STEPS:
            await _run(client, name, step)

    async def plain(_: AsyncExitStack) -> None:
        await _python(folder, "\n".join(_STEPS))

    async def fresh(_: AsyncExitStack) -> None:
        for end in range(1, len(_STEPS) + 1):
            await _python(folder, "\n".join(_STEPS[:end]))

    took, one, each = await in_turn(rounds, ours, plain, fresh)
    what = "ten steps with pandas, a new session"
    return [
        Figure(what=what, ours=took, theirs=one, measure="one process", aim="1.25 at most"),
        Figure(what=what, ours=took, theirs=each, measure="a process a step", aim="0.13 at most"),
    ]


async def _python(folder: Path, code: str) -> None:
    done = await anyio.run_process([sys.executable, "-c", code], cwd=folder, check=False)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, done.args, stderr=done.stderr)

"""What walls cost: a start, a cell and an import behind them, beside the same without."""

from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

from kernel_exec.kernels.kernel import Kernel, KernelStarter
from kernel_exec.kernels.outcomes import Request
from kernel_exec.sandbox.walls import Sandbox, Walls
from tests.real import all_kernels, prepared

from .timing import Figure, Spread, in_turn

_numbers = count()


async def wall_figures(folder: Path, rounds: int) -> list[Figure]:
    """Those of both words, in turn with those of none."""
    (folder / "spill").mkdir()
    here = await prepared(folder)
    starters = [
        partial(
            all_kernels().open,
            replace(here, sandbox=Sandbox(walls=walls)),
            working_directory=folder,
            spill_dir=folder / "spill",
        )
        for walls in Walls
    ]
    starts = max(5, rounds // 10)
    found = _figures(
        "kernel start to first result",
        await in_turn(starts, *(partial(_started, each, "1+1") for each in starters)),
        "60 ms more at most",
    )
    async with AsyncExitStack() as kernels:
        used = [await kernels.enter_async_context(each(lambda event: None)) for each in starters]
        found += _figures(
            "a cell `1+1`",
            await in_turn(5 * rounds, *(partial(_run, each, "1+1") for each in used)),
            "ratio 1.05 at most",
        )
        imports = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import pandas'])"
        found += _figures(
            "`import pandas` in a new process",
            await in_turn(starts, *(partial(_run, each, imports) for each in used)),
            "ratio 1.05 at most",
        )
    return found


async def _started(start: KernelStarter, source: str, after: AsyncExitStack) -> None:
    await _run(await after.enter_async_context(start(lambda event: None)), source, after)


async def _run(kernel: Kernel, source: str, after: AsyncExitStack) -> None:
    await kernel.execute(Request(id=f"b{next(_numbers)}", source=source))


def _figures(what: str, took: list[Spread], aim: str) -> list[Figure]:
    plain, *walled = took
    return [
        Figure(what=f"{what}, {walls}", ours=ours, theirs=plain, measure="without walls", aim=aim)
        for walls, ours in zip((Walls.WORKSPACE, Walls.ISOLATED), walled, strict=True)
    ]

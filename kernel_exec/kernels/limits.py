"""Ends a kernel whose processes take more than they may, and names what was largest.

For Linux, whose control groups could end a kernel too, but not say what it held. A look costs a
fraction of a millisecond, and is taken while code runs only.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
import psutil

from kernel_exec.errors import BusyError, KernelDeadError
from kernel_exec.sandbox.walls import Sandbox

from .kernel import Kernel, Variable

INTERVAL = 0.25
"""Seconds between looks: at 1 GB/s a limit is passed by a quarter of a gigabyte."""

_ASK_LIMIT = 0.3
"""Seconds that the kernel may take to say what it holds; it goes on growing meanwhile."""

_GROUPS = (
    ("", "memory.max", "memory.current"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Where control groups of both versions have the limit of a container, and what it takes."""

_NAMED, _WORTH_NAMING = 3, 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What all processes of a kernel may take: bytes, and their number; None for no limit."""

    memory: int | None
    processes: int | None

    def passed(self, root: int) -> str:
        """Which limit the processes below `root` have passed, and by what; "" for none."""
        pids = list(_tree(root))
        if self.processes is not None and len(pids) > self.processes:
            return f"process limit of {self.processes}: it had {len(pids)} processes"
        if self.memory is None:
            return ""
        if sum(_memory(pid, "status", "VmRSS:") for pid in pids) <= self.memory:
            return ""
        # forked children share pages, which counted for each of them
        taken = sum(_memory(pid, "smaps_rollup", "Pss:") for pid in pids)
        if taken <= self.memory:
            return ""
        return f"memory limit of {_shown(self.memory)}: its processes held {_shown(taken)}"


def limits_of(sandbox: Sandbox) -> Limits:
    """Those that hold for a kernel that starts now."""
    memory = sandbox.memory
    if memory is not None and memory <= 1:
        memory *= available_memory()
    # the system itself holds the number of processes, but not that of root
    counted = sandbox.walls and hasattr(os, "geteuid") and os.geteuid() == 0
    return Limits(
        memory=None if memory is None else int(memory),
        processes=sandbox.processes if counted else None,
    )


def available_memory(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that the machine has left, and the container, if there is one with a limit."""
    available = int(psutil.virtual_memory().available)
    for folder, limit, used in _GROUPS:
        with suppress(OSError, ValueError):  # no container, or one without a limit
            files = groups / folder
            statistics = (files / "memory.stat").read_text("ascii").split()
            cached = int(statistics[statistics.index("inactive_file") + 1])
            limited, taken = (int((files / each).read_text("ascii")) for each in (limit, used))
            available = min(available, max(0, limited - taken + cached))
    return available


async def watch(kernel: Kernel, root: int, limits: Limits) -> None:
    """End `kernel` once the processes below `root` pass a limit; until cancelled."""
    while True:
        if passed := limits.passed(root):
            kernel.kill(passed + await _largest(kernel))
            return
        await anyio.sleep(INTERVAL)


async def _largest(kernel: Kernel) -> str:
    try:
        with anyio.fail_after(_ASK_LIMIT):
            found = (await kernel.variables("*")).found
    except (BusyError, KernelDeadError, TimeoutError):
        return ""
    named = [
        f"{each.name} ({_shown(_size(each))})"
        for each in sorted(found, key=_size, reverse=True)[:_NAMED]
        if _size(each) >= _WORTH_NAMING
    ]
    return f"; its largest names were {', '.join(named)}" if named else ""


def _tree(pid: int) -> Iterator[int]:
    """The process and all below it; psutil would read every process of the machine for that."""
    yield pid
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in file.read_text("ascii").split():
                yield from _tree(int(child))


def _memory(pid: int, name: str, key: str) -> int:
    with suppress(OSError, StopIteration):  # it has just ended
        lines = Path(f"/proc/{pid}/{name}").read_text("ascii", "replace").splitlines()
        return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024
    return 0


def _size(variable: Variable) -> int:
    return variable.size or 0


def _shown(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"

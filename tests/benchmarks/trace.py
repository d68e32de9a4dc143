"""One execution hop by hop: `python -m tests.benchmarks.trace [ROUNDS]`.

The server and its kernel note when they come to which hop; the product knows nothing of this. Each
row is a hop: how many milliseconds after the one before it was reached, the processor time that all
threads of its process took since the last hop of that process, and the time since the client began.
Medians.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from rich.console import Console
from rich.table import Table

from tests.shared import CACHE
from tests.wire import IN_PROCESS, Server

from . import stamps

_HOPS = (
    *("client", "transport in", "decode", "SDK in", "validation", "script stored"),
    *("history begin", "queue and worker", "pack and send"),
    *("kernel: request has come", "kernel: request is read"),
    *("kernel: before user code", "kernel: user code", "kernel: after user code"),
    *("kernel: names and hints", "kernel: reply", "kernel: idle"),
    *("wire", "conversation", "history end", "waiter wakes", "render", "commit begins", "commit"),
    *("presented", "bounded", "SDK out", "encode", "transport out", "client has it"),
)

_Stamped: TypeAlias = tuple[str, int, int, str]
"""A hop, the time, the processor time of its process, and that process."""


def main(rounds: int) -> None:
    """Run so many executions and print the table."""
    with tempfile.TemporaryDirectory(prefix="kx") as folder:
        _run(Path(folder), rounds)
        files = [
            (each.stem, json.loads(each.read_text())) for each in Path(folder).glob("*.stamps")
        ]
    stamped: list[_Stamped] = [(*each, pid) for pid, noted in files for each in noted]
    trips = list(_trips(sorted(stamped, key=lambda each: each[1])))
    table = Table("hop", "after", "of its process", "in all", title=f"{len(trips)} executions")
    total = 0.0
    for hop in _HOPS:
        here = [trip[hop] for trip in trips if hop in trip]
        if here:
            wall, cpu = (statistics.median(each) / 1e6 for each in zip(*here, strict=True))
            total += wall
            table.add_row(hop, f"{wall:.3f}", f"{cpu:.3f}", f"{total:.2f}")
    Console(width=100).print(table)


def _trips(stamped: Sequence[_Stamped]) -> Iterator[dict[str, tuple[int, int]]]:
    """For each execution its hops: time since the hop before, own time since its own last one."""
    begins = [at for at, each in enumerate(stamped) if each[0] == "client"]
    for begin, end in itertools.pairwise(begins):
        last = {each[0]: at for at, each in enumerate(stamped[begin:end], begin)}
        kept = [stamped[at] for at in sorted(last.values()) if stamped[at][0] in _HOPS]
        own = {pid: cpu for _, _, cpu, pid in stamped[:begin]}
        trip, before = {}, kept[0][1]
        for hop, at, cpu, pid in kept:
            trip[hop] = (at - before, cpu - own.get(pid, cpu))
            before, own[pid] = at, cpu
        yield trip


def _run(folder: Path, rounds: int) -> None:
    stamped = [sys.executable, "-m", "tests.benchmarks.stamped_server", str(folder)]
    variables = {"CODE_STORAGE_DIR": str(folder / "storage"), "KERNEL_EXEC_CACHE": str(CACHE)}
    with (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [*stamped, "serve", IN_PROCESS, "--python-path", sys.executable],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **variables},
        )
    server = Server(process, folder / "stderr")
    try:
        server.initialize()
        for _ in range(rounds):
            stamps.stamp("client")
            server.run("1+1")
            stamps.stamp("client has it")
        stamps.stamp("client")
        server.run(f"import sys; sys.modules['stamps'].write({str(folder)!r})")
        server.leave()
    finally:
        server.close()
    stamps.write(str(folder))


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    main(next((int(word) for word in sys.argv[1:] if word.isdecimal()), 300))

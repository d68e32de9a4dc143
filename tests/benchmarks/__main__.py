"""Prints the figures that the README promises: `python -m tests.benchmarks`.

With words (hosts, kernels, sessions, history, notebooks, environments) only those, with a number
so many rounds.
Nothing here asserts anything about time.
"""

import os
import sys
import tempfile
from pathlib import Path

import anyio
from rich.console import Console
from rich.table import Table

from .environments import environment_figures
from .hosts import host_figures
from .kernels import kernel_figures
from .notebooks import history_figures, notebook_figures
from .sessions import session_figures

_TOPICS = {
    "hosts": host_figures,
    "kernels": kernel_figures,
    "sessions": session_figures,
    "history": history_figures,
    "notebooks": notebook_figures,
    "environments": environment_figures,
}


async def main(words: list[str]) -> None:
    """Measure what `words` name, or all."""
    rounds = next((int(word) for word in words if word.isdecimal()), 200)
    table = Table("what", "ours", "measured against", "ratio", "aim")
    for topic in [topic for topic in _TOPICS if topic in words] or _TOPICS:
        with tempfile.TemporaryDirectory(prefix="kx") as folder:
            for figure in await _TOPICS[topic](Path(folder), rounds):
                table.add_row(*figure.cells())
    Console(width=140).print(table)


if __name__ == "__main__":
    for each in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"):
        os.environ.pop(each, None)
    anyio.run(main, sys.argv[1:])

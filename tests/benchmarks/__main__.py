"""Measures the figures of the README: `python -m tests.benchmarks [TOPIC…] [ROUNDS]`.

Prints one table. A run of all topics also writes figures.json beside this file, from which
`python -m tests.readme` makes the README's table. Nothing here asserts anything about time.
"""

import os
import sys
import tempfile
from pathlib import Path

import anyio

from .environments import environment_figures
from .hosts import host_figures
from .kernels import kernel_figures
from .notebooks import history_figures, notebook_figures
from .report import Report, print_table, save
from .sessions import session_figures
from .timing import Figure
from .walls import wall_figures

_TOPICS = {
    "hosts": host_figures,
    "kernels": kernel_figures,
    "sessions": session_figures,
    "history": history_figures,
    "notebooks": notebook_figures,
    "environments": environment_figures,
    "walls": wall_figures,
}


async def main(words: list[str]) -> None:
    """Measure what `words` name, or all."""
    topics = [topic for topic in _TOPICS if topic in words]
    rounds = next((int(word) for word in words if word.isdecimal()), 200)
    figures: list[Figure] = []
    for topic in topics or _TOPICS:
        with tempfile.TemporaryDirectory(prefix="kx") as folder:
            figures += await _TOPICS[topic](Path(folder), rounds)
    report = Report.of(figures, command=" ".join(["python -m tests.benchmarks", *words]))
    print_table(report)
    if not topics:
        save(report)


if __name__ == "__main__":
    for each in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"):
        os.environ.pop(each, None)
    anyio.run(main, sys.argv[1:])

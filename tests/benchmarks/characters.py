"""What a model reads: characters by step and kind, `python -m tests.benchmarks.characters`.

Twenty steps of an ordinary session through a real server. With `show` the results are printed, too.
Nothing here asserts anything about a number.
"""

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.waits import Gate
from tests.wire import Result, Server, started

_STATUS = re.compile(r"\[.* · .*\]$")
_OURS = re.compile(r"(names|working directory|hint): |\[(?:picture|continued|line|new kernel)|\[…")
"""How lines begin that are not the code's."""

_DATA = """\
import numpy as np
import pandas as pd
rng = np.random.default_rng(7)
days = pd.date_range('2025-01-01', periods=365)
sales = pd.DataFrame({'day': np.tile(days, 4), 'shop': np.repeat(['N', 'S', 'E', 'W'], 365),
    'visits': rng.integers(50, 900, 1460), 'revenue': rng.normal(1200.5, 310.25, 1460).round(2)})
sales.loc[::97, 'revenue'] = None
sales.to_csv('sales.csv', index=False)
"""
_PLOT = """\
import matplotlib.pyplot as plt
fig, ax = plt.subplots()
weekly.plot(ax=ax, title='Revenue by week')
fig"""
_WARN = """\
import warnings
with warnings.catch_warnings(action='always'):
    for row in range(40):
        warnings.warn('a column is deprecated')
        print('retrying')"""
_STEPS: list[tuple[str, str, dict[str, Any]]] = [
    ("make the data", "execute_code", {"code": _DATA}),
    ("list files", "execute_code", {"code": "import os\nsorted(os.listdir())"}),
    (
        "load the data",
        "execute_code",
        {"code": "df = pd.read_csv('sales.csv', parse_dates=['day'])\ndf.shape"},
    ),
    ("head", "execute_code", {"code": "df.head()"}),
    ("describe", "execute_code", {"code": "df.describe()"}),
    ("types", "execute_code", {"code": "df.dtypes"}),
    ("nulls", "execute_code", {"code": "df.isna().sum()"}),
    ("a wrong column", "execute_code", {"code": "df.groupby('store')['revenue'].mean()"}),
    ("groupby", "execute_code", {"code": "df.groupby('shop')['revenue'].agg(['mean', 'sum'])"}),
    (
        "weekly",
        "execute_code",
        {"code": "weekly = df.set_index('day').resample('W')['revenue'].sum()\nweekly.tail(3)"},
    ),
    ("a plot", "execute_code", {"code": _PLOT}),
    ("functions", "execute_code", {"code": "def share(x):\n    return x / x.sum()\nimport math"}),
    ("print in a loop", "execute_code", {"code": "for n in df['shop'].unique(): print(n)"}),
    ("warnings", "execute_code", {"code": _WARN}),
    ("an error in a function", "execute_code", {"code": "def f(x): return 1 / x\nf(0)"}),
    ("a long output", "execute_code", {"code": "for n in range(400): print('row', n, n ** 2)"}),
    ("is it installed", "check_installed_packages", {"packages": ["pandas", "polars"]}),
    ("variables", "kernel_status", {"variables": True}),
]
"""A name, a tool and its arguments."""


def _steps(server: Server, folder: Path) -> Iterator[tuple[str, Result]]:
    path = ""
    for name, tool, arguments in _STEPS:
        result = server.call(tool, **arguments)
        path = result.meta.get("file_path") or path
        yield name, result
    yield "read a file", server.call("read_code_file", file_path=path)
    yield from _polled(server, folder)
    yield "a text", server.run("weekly.idxmax().strftime('%d %B'), share(weekly).max().round(4)")


def _polled(server: Server, folder: Path) -> Iterator[tuple[str, Result]]:
    """A loop that prints while it is looked at three times, and ends."""
    gates = [Gate(folder / f"gate {number}") for number in range(3)]
    said = "for n in range({}, {}): print('epoch', n, 'loss', round(1 / (n + 1), 5))\n"
    code = "".join(
        said.format(at * 30, (at + 1) * 30) + gate.passing for at, gate in enumerate(gates)
    )
    running = server.run(code, wait_seconds=1)
    yield "a long loop", running
    for number, gate in enumerate(gates, 1):
        polled = server.call("get_execution", execution_id=running.id, wait_seconds=1)
        yield f"poll {number}", polled
        gate.open()
    yield "its end", server.call("get_execution", execution_id=running.id, wait_seconds=30)


def _around(text: str) -> int:
    """Characters of the lines of a result that are not the code's."""
    lines = text.splitlines(keepends=True)
    return sum(len(line) for line in lines if _OURS.match(line) or _STATUS.match(line))


def _fields_first(result: Result) -> int:
    """Characters where a client shows the fields of a result, if it has any, and not its text."""
    fields = json.dumps(result.structured, ensure_ascii=False, separators=(",", ":"))
    return len(fields if result.structured else result.text)


def main(words: list[str]) -> None:
    """Run the steps and print the table; `show` prints the results as well."""
    console, table = (
        Console(width=100),
        Table("step", "value", "lines around", "all", "fields first"),
    )
    totals = [0, 0, 0, 0]
    with tempfile.TemporaryDirectory(prefix="kx") as name, started(Path(name)) as server:
        greeting = server.initialize()["result"]["instructions"]
        tools = json.dumps(server.request("tools/list")["result"]["tools"])
        for step, result in _steps(server, Path(name)):
            if "show" in words:
                console.print(f"--- {step}\n{result.text}", markup=False, highlight=False)
            around = _around(result.text)
            sizes = [len(result.text) - around, around, len(result.text), _fields_first(result)]
            totals = [sum(pair) for pair in zip(totals, sizes, strict=True)]
            table.add_row(step, *map(str, sizes))
    table.add_row("all steps", *map(str, totals), style="bold")
    table.add_row("tools and instructions", "", "", str(len(tools) + len(greeting)), "")
    console.print(table)


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    main(sys.argv[1:])

"""What a model reads: characters by step and kind, `python -m tests.benchmarks.characters`.

Twenty questions about a table, with mistakes, and what surrounds them; through a real server, and
the way of a server without state, whose scripts repeat what they need and print what is asked. With
`show` the results are printed. Nothing here asserts anything about a number.
"""

import json
import os
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.stateless import Stateless
from tests.waits import Gate
from tests.wire import Server, started

_STATUS = re.compile(r"\[.* · .*\]$")
_OURS = re.compile(r"(names|working directory|hint): |\[(?:picture|continued|line|new kernel)|\[…")
"""How lines begin that are not the code's."""

_QUIET = "import warnings; warnings.simplefilter('ignore')\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A question: code that later ones build on, and what shows the answer.

    A script prints the answer, or does what `script` says. What is `lost` is of no use later.
    """

    kind: str
    name: str
    code: str = ""
    answer: str = ""
    script: str = ""
    lost: bool = False

    @property
    def cell(self) -> str:
        """The step as a cell."""
        return "\n".join(filter(None, (self.code, self.answer)))

    @property
    def printing(self) -> str:
        """The step as the end of a script."""
        shown = self.script or (f"print({self.answer})" if self.answer else "")
        return "\n".join(filter(None, (self.code, shown)))


_PLOT = """\
import matplotlib.pyplot as plt
fig, ax = plt.subplots()
weekly.plot(ax=ax, title='Revenue by week')"""
_STEPS = [
    _Step(kind="load", name="files", code="import os", answer="sorted(os.listdir())"),
    _Step(
        kind="mistake",
        name="a wrong file",
        code="import pandas as pd\ndf = pd.read_csv('sale.csv')",
        lost=True,
    ),
    _Step(
        kind="load",
        name="load",
        code="import pandas as pd\ndf = pd.read_csv('sales.csv')",
        answer="df.shape",
    ),
    _Step(kind="look", name="head", answer="df.head()"),
    _Step(kind="look", name="types", answer="df.dtypes"),
    _Step(kind="look", name="nulls", answer="df.isna().sum()"),
    _Step(kind="look", name="describe", answer="df.describe()"),
    _Step(kind="look", name="values", answer="df['shop'].value_counts()"),
    _Step(
        kind="clean",
        name="clean",
        code="df['day'] = pd.to_datetime(df['day'])\ndf['shop'] = df['shop'].str.strip()\n"
        "df = df.dropna(subset=['revenue']).drop_duplicates()",
        answer="df.shape",
    ),
    _Step(
        kind="mistake",
        name="a wrong column",
        answer="df.groupby('store')['revenue'].mean()",
        lost=True,
    ),
    _Step(
        kind="group",
        name="groups",
        answer="df.groupby('shop')['revenue'].agg(['mean', 'sum', 'count'])",
    ),
    _Step(
        kind="group",
        name="pivot",
        answer="df.pivot_table(index=df['day'].dt.month, columns='shop', values='revenue')",
    ),
    _Step(
        kind="group",
        name="weeks",
        code="weekly = df.set_index('day').resample('W')['revenue'].sum()",
        answer="weekly.tail(3)",
    ),
    _Step(
        kind="join",
        name="join",
        code="shops = pd.read_csv('shops.csv')\nboth = df.merge(shops, on='shop', how='left')",
        answer="both.head()",
    ),
    _Step(kind="mistake", name="a wrong method", answer="both.gropby('city').size()", lost=True),
    _Step(
        kind="join",
        name="not joined",
        answer="both[both['city'].isna()]['shop'].value_counts()",
    ),
    _Step(
        kind="join",
        name="a warning",
        code="both['opened'] = pd.to_datetime(both['opened'])",
        answer="both['opened'].min()",
    ),
    _Step(
        kind="group",
        name="one answer",
        answer="both.groupby('city')['revenue'].sum().idxmax()",
    ),
    _Step(
        kind="plot",
        name="a plot",
        code=_PLOT,
        answer="fig",
        script="fig.savefig('weekly.png')\nprint('weekly.png')",
    ),
    _Step(
        kind="save",
        name="save",
        code="both.to_csv('clean.csv', index=False)",
        answer="os.path.getsize('clean.csv')",
    ),
]
_LOOP = "for n in range({}, {}): print('epoch', n, 'loss', round(1 / (n + 1), 5))\n"
_EPOCHS = 30


def _write_data(folder: Path) -> None:
    """Two tables: sales with gaps, doubles and blanks, and shops of which one is missing."""
    folder.mkdir(exist_ok=True)
    numbers = random.Random(7)
    rows = []
    for at in range(1460):
        day = date(2025, 1, 1) + timedelta(days=at % 365)
        shop = ("North", "South", "East", "West ")[at // 365]
        revenue = round(numbers.gauss(1200.5, 310.25), 2) if at % 97 else ""
        rows.append(f"{day},{shop},{numbers.randrange(50, 900)},{revenue}\n")
    (folder / "sales.csv").write_text("day,shop,visits,revenue\n" + "".join(rows + rows[:7]))
    shops = "North,Oslo,May 2011\nSouth,Rome,June 2012\nEast,Riga,July 2009\n"
    (folder / "shops.csv").write_text("shop,city,opened\n" + shops)


class _Column:
    """What one of both servers sent, by kind and name of a step; and what it was sent."""

    def __init__(self) -> None:
        self.read: dict[tuple[str, str], list[str]] = {}
        self.calls = 0
        self.sent = 0

    def add(self, kind: str, name: str, result: str) -> None:
        """A result of a step."""
        self.read.setdefault((kind, name), []).append(result)

    def sizes(self, key: tuple[str, str]) -> tuple[int, int]:
        """Characters read in a step, and those of lines that are not the code's."""
        texts = self.read.get(key, ())
        return sum(map(len, texts)), sum(map(_around, texts))


def _with_state(server: Server, folder: Path) -> _Column:
    column, path = _Column(), ""
    for step in _STEPS:
        result = server.run(step.cell)
        path = result.meta.get("file_path") or path
        column.calls += 1
        column.sent += len(step.cell)
        column.add(step.kind, step.name, result.text)
    around = [
        ("installed", server.call("check_installed_packages", packages=["pandas", "polars"]).text),
        ("read a script", server.call("read_code_file", file_path=path).text),
        *(("a long loop", text) for text in _polled(server, folder)),
        ("variables", server.call("kernel_status", variables=True).text),
    ]
    for name, text in around:
        column.calls += 1
        column.add("around", name, text)
    return column


def _polled(server: Server, folder: Path) -> Iterator[str]:
    """A loop that prints while it is looked at three times, and ends."""
    gates = [Gate(folder / f"gate {number}") for number in range(3)]
    code = "".join(
        _LOOP.format(at * _EPOCHS, (at + 1) * _EPOCHS) + gate.passing
        for at, gate in enumerate(gates)
    )
    running = server.run(code, wait_seconds=1)
    yield running.text
    for gate in gates:
        yield server.call("get_execution", execution_id=running.id, wait_seconds=1).text
        gate.open()
    yield server.call("get_execution", execution_id=running.id, wait_seconds=30).text


def _without_state(server: Stateless) -> _Column:
    column, before, code = _Column(), "", ""
    for step in _STEPS:
        code = before + step.printing
        result = server.run(code)
        column.add(step.kind, step.name, result)
        if "Warning" in result and not step.lost:  # which stood in the place of the answer
            before = _QUIET + before
            column.add(step.kind, step.name, server.run(_QUIET + code))
        before += f"{step.code}\n" if step.code and not step.lost else ""
    column.add("around", "installed", server.installed(["pandas", "polars"]))
    column.add("around", "read a script", server.read(code))
    column.add("around", "a long loop", server.run(_LOOP.format(0, 3 * _EPOCHS)))
    column.calls, column.sent = server.calls, server.sent
    return column


def _around(text: str) -> int:
    """Characters of the lines of a result that are not the code's."""
    lines = text.splitlines(keepends=True)
    return sum(len(line) for line in lines if _OURS.match(line) or _STATUS.match(line))


def _table(ours: _Column, theirs: _Column, besides: int) -> Table:
    table = Table("kind", "step", "ours", "lines around", "stateless")
    kinds: dict[str, Counter[str]] = {}
    for kind, name in ours.read:
        read, around = ours.sizes((kind, name))
        sizes = {"ours": read, "around": around, "theirs": theirs.sizes((kind, name))[0]}
        kinds.setdefault(kind, Counter()).update(sizes)
        table.add_row(kind, name, *map(str, sizes.values()))
    table.add_section()
    questions = sum((sums for kind, sums in kinds.items() if kind != "around"), Counter())
    for kind, sums in (*kinds.items(), ("the twenty questions", questions)):
        table.add_row("", kind, *(str(sums[each]) for each in ("ours", "around", "theirs")))
    table.add_section()
    table.add_row("", "calls", str(ours.calls), "", str(theirs.calls))
    table.add_row("", "characters of code sent", str(ours.sent), "", str(theirs.sent))
    table.add_row("", "tools and instructions", str(besides), "", "")
    return table


def main(words: list[str]) -> None:
    """Ask the questions both ways and print the table; `show` prints the results as well."""
    console = Console(width=100)
    with tempfile.TemporaryDirectory(prefix="kx") as name, started(Path(name)) as server:
        for folder in ("storage", "scripts"):
            _write_data(Path(name, folder))
        greeting = server.initialize()["result"]["instructions"]
        tools = json.dumps(server.request("tools/list")["result"]["tools"])
        ours = _with_state(server, Path(name))
        theirs = _without_state(Stateless(Path(name, "scripts")))
    if "show" in words:
        for key, texts in ours.read.items():
            shown = "\n".join([f"--- {' · '.join(key)}", *texts, "--- stateless"])
            shown = "\n".join([shown, *theirs.read.get(key, ())])
            console.print(shown, markup=False, highlight=False)
    console.print(_table(ours, theirs, len(tools) + len(greeting)))


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    main(sys.argv[1:])

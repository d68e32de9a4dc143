"""How long history and exports take: of sessions without a failure, and with some.

The review page is measured beside nbconvert where that can be imported.
"""

import base64
import importlib
import importlib.util
import io
import json
import random
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from itertools import count
from pathlib import Path

from PIL import Image, ImageDraw

from kernel_exec.documents.export import export_session
from kernel_exec.history.entries import Entry, EntryKind, KernelRecord, SessionRecord
from kernel_exec.history.store import Store, open_store
from kernel_exec.jsons import JSON
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import ExecuteResult, Stream
from kernel_exec.review.page import review

from .timing import Figure, in_turn

_SESSION = SessionRecord(id="s" * 32, name="s", environment="python:/p", created=0.0)
_SOURCE = """\
import math
rows_{0} = [math.sqrt(n) for n in range({0})]
total = sum(rows_{0}, start=0.0)
print(total)
len(rows_{0})
"""
_CELLS, _PLOTS = 50, 20


async def history_figures(folder: Path, rounds: int) -> list[Figure]:
    """What it takes until one execution is kept: the first 100, and the last of very many."""
    numbers = count(1)
    async with open_store(folder) as store:
        _begin(store)

        async def keep(after: AsyncExitStack) -> None:
            _put(store, next(numbers), Outcome.OK)
            await store.settle()

        (first,) = await in_turn(100, keep)
        await in_turn(rounds * 50 - 200, keep)
        (last,) = await in_turn(100, keep)
    return [
        Figure(what="history of one execution, the first 100", ours=first, aim="less than 1 ms"),
        Figure(
            what=f"history of one execution, at {next(numbers) - 1:,}", ours=last, aim="the same"
        ),
    ]


async def notebook_figures(folder: Path, rounds: int) -> list[Figure]:
    """Each format that 1,000 executions are exported to, and a review page."""
    (folder / "page").mkdir()
    found = [await _page(folder / "page", max(3, rounds // 20))]
    for failing, words in ((0, ""), (20, ", some failed,")):
        place = folder / f"failing-{failing}"
        place.mkdir()
        async with open_store(place) as store:
            _begin(store)
            for number in range(1, 1001):
                has_failed = failing and number % failing == 0
                _put(store, number, Outcome.EXCEPTION if has_failed else Outcome.OK)
            await store.settle()
            for form in ("ipynb", "html", "py", "md"):
                export = partial(_export, store, place / f"n.{form}")
                (took,) = await in_turn(max(3, rounds // 40), export)
                what = f"1,000 executions{words} to {form}"
                found.append(Figure(what=what, ours=took, aim="less than 1,000 ms"))
    return found


def _begin(store: Store) -> None:
    store.put_session(_SESSION)
    store.put_kernel(
        KernelRecord(
            session_id=_SESSION.id,
            generation=1,
            started=0.0,
            executable="",
            python_version="3.12.1",
            support="own",
        )
    )


def _put(
    store: Store, number: int, outcome: Outcome, shown: Mapping[str, JSON] | None = None
) -> None:
    """An execution with a title, some text and a value."""
    entry = Entry(
        id=f"{number:032x}",
        session_id=_SESSION.id,
        number=number,
        kind=EntryKind.CODE,
        source=_SOURCE.format(number),
        outcome=outcome,
        title=f"Step {number}",
        generation=1,
        execution_count=number,
        queued=float(number),
        started=float(number),
        ended=number + 0.5,
    )
    value = dict(shown or {"text/plain": str(number)})
    store.put_entry(entry)
    store.add_event(entry.id, Stream(name="stdout", text=f"{number}\n" * 8))
    store.add_event(entry.id, ExecuteResult(data=value, metadata={}, execution_count=number))


async def _page(folder: Path, rounds: int) -> Figure:
    """Of a session as an agent makes one: a table or a plot for each step."""
    np, frame = importlib.import_module("numpy"), importlib.import_module("pandas").DataFrame
    async with open_store(folder) as store:
        _begin(store)
        for number in range(1, _CELLS + 1):
            table = {"text/html": frame(np.random.rand(10, 8)).to_html()}
            plot = {"image/png": _plot(number)}
            _put(store, number, Outcome.OK, plot if number <= _PLOTS else table)
        await store.settle()
        await _export(store, folder / "n.ipynb")
    text = (folder / "n.ipynb").read_text("utf-8")
    notebook = json.loads(text)

    async def ours(after: AsyncExitStack) -> None:
        review(notebook)

    measure, works = "", [ours]
    if importlib.util.find_spec("nbconvert"):
        exporter = importlib.import_module("nbconvert").HTMLExporter()
        node = importlib.import_module("nbformat").reads(text, 4)

        async def plain(after: AsyncExitStack) -> None:
            exporter.from_notebook_node(node)

        works.append(plain)
        measure = f"nbconvert, {len(exporter.from_notebook_node(node)[0]) / 1000:.0f} KB"
    took, *others = await in_turn(rounds, *works)
    return Figure(
        what=f"review page, {_CELLS} cells, {_PLOTS} plots, {len(review(notebook)) / 1000:.0f} KB",
        ours=took,
        theirs=others[0] if others else None,
        measure=measure,
        aim="less than 500 ms, 500 KB",
    )


async def _export(store: Store, path: Path, after: AsyncExitStack | None = None) -> None:
    await export_session(store, _SESSION, path, overwrite=True, limit=500_000, variables={})


def _plot(seed: int) -> str:
    """A scatter plot of few colours, as exports quantise them."""
    dots = random.Random(seed)
    image = Image.new("P", (640, 480), 0)
    image.putpalette([255, 255, 255, 0, 0, 0, 31, 119, 180, 255, 127, 14, 44, 160, 44])
    draw = ImageDraw.Draw(image)
    draw.rectangle((60, 20, 620, 430), outline=1)
    for _ in range(400):
        x, y = dots.gauss(340, 80), dots.gauss(225, 60)
        draw.ellipse((x, y, x + 6, y + 6), fill=2 + dots.randrange(3))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()

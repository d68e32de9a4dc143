"""How long the review page takes, beside nbconvert where that can be imported."""

import base64
import importlib
import importlib.util
import io
import json
import random
import time
from collections.abc import Callable
from typing import Any

from PIL import Image, ImageDraw

from kernel_exec.review.page import review

from .timing import median_ms

_CELLS, _PLOTS = 50, 20
_SOURCE = """\
import numpy as np

def smooth(values, width={0}):
    \"\"\"A running mean.\"\"\"
    return np.convolve(values, np.ones(width) / width, mode="valid")

for name, group in frame.groupby("species"):
    print(f"{{name}}: {{smooth(group.mass).max():.2f}}")  # in grams
frame.head()
"""


def review_rows(rounds: int) -> list[tuple[str, str, str, str, str]]:
    """A row for a page of 50 cells and 20 plots."""
    notebook = _notebook()
    ours = _median(lambda: review(notebook), rounds)
    size = len(review(notebook).encode()) / 1000
    plain, ratio = "nbconvert is not there", ""
    if importlib.util.find_spec("nbconvert"):
        exporter = importlib.import_module("nbconvert").HTMLExporter()
        node = importlib.import_module("nbformat").reads(json.dumps(notebook), 4)
        theirs = _median(lambda: exporter.from_notebook_node(node), rounds)
        kilobytes = len(exporter.from_notebook_node(node)[0].encode()) / 1000
        plain, ratio = f"{theirs:.0f} ms, {kilobytes:.0f} KB nbconvert", f"{ours / theirs:.2f}"
    what = f"review page, {_CELLS} cells, {_PLOTS} plots"
    return [(what, f"{ours:.0f} ms, {size:.0f} KB", plain, ratio, "< 500 ms, < 500 KB")]


def _median(work: Callable[[], object], rounds: int) -> float:
    took = []
    for _ in range(max(3, rounds // 20)):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return median_ms(took)


def _notebook() -> dict[str, Any]:
    """A session as an agent makes one: a title, some code, a table or a plot for each step."""
    cells: list[dict[str, Any]] = []
    for number in range(1, _CELLS + 1):
        about = {"number": number, "intent": f"Step {number}", "outcome": "ok", "seconds": 0.1}
        data = {"image/png": _plot(number)} if number <= _PLOTS else {"text/html": _table(number)}
        cells += [
            {
                "cell_type": "markdown",
                "id": f"t{number}",
                "metadata": {"kernel_exec": {**about, "role": "title"}},
                "source": f"### Step {number}",
            },
            {
                "cell_type": "code",
                "id": f"c{number}",
                "metadata": {"kernel_exec": about},
                "execution_count": number,
                "source": _SOURCE.format(number),
                "outputs": [
                    {"output_type": "stream", "name": "stdout", "text": "Adelie: 3700.66\n" * 8},
                    {"output_type": "display_data", "metadata": {}, "data": data},
                ],
            },
        ]
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernel_exec": {}}, "cells": cells}


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


def _table(seed: int) -> str:
    numbers = random.Random(seed)
    rows = "".join(
        f"<tr><th>{row}</th>{''.join(f'<td>{numbers.gauss(0, 1):.4f}</td>' for _ in range(8))}</tr>"
        for row in range(10)
    )
    heads = "".join(f"<th>column {at}</th>" for at in range(8))
    return (
        "<div><style scoped>.dataframe { }</style><table border='1' class='dataframe'><thead><tr>"
        f"<th></th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )

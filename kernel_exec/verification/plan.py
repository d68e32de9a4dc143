"""What a notebook runs, and in which order. Pure; works for any notebook in nbformat 4."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kernel_exec.errors import InvalidArgumentError
from kernel_exec.jsons import JSON, JSONObject, count, mapping, text
from kernel_exec.notebooks.provenance import OURS
from kernel_exec.notebooks.reading import (
    cells,
    is_code,
    objects,
    ours,
    outputs_of,
    role_of,
    source_of,
    tags,
    writable,
)

_HELP = re.compile(r"\?{1,2}[\w.]+|[\w.]+\?{1,2}")
_PYTHON = {"python", "python3", "ipython"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCell:
    """A code cell; `index` is its place among all cells.

    Its `number` is that of its step, in a notebook of others its place among those with a verdict.
    A `generated` one gets no verdict; it is run unless it is a comment, which would only move on
    the numbers that `Out` has.
    """

    index: int
    number: int
    id: str
    title: str
    source: str
    outputs: JSON
    may_fail: bool
    skipped: bool
    generated: bool

    @property
    def runs(self) -> bool:
        """True when there is something to run."""
        lines = [line.strip() for line in self.source.split("\n")]
        return any(line and not (self.generated and line.startswith("#")) for line in lines)

    @property
    def asks_for_help(self) -> bool:
        """True for `name?` without an answer: other kernels send none that a notebook keeps."""
        return _HELP.fullmatch(self.source.strip()) is not None and not objects(self.outputs)

    @property
    def had_late(self) -> bool:
        """True when some of what was recorded had come after the cell's end."""
        return any(role_of(output) == "late" for output in objects(self.outputs))


def make_plan(notebook: JSONObject) -> list[PlannedCell]:
    """The code cells in order.

    Raises:
        InvalidArgumentError: It is no notebook of format 4, or not in Python.
    """
    listed = notebook.get("cells")
    if notebook.get("nbformat") != 4 or isinstance(listed, str) or not isinstance(listed, Sequence):
        raise InvalidArgumentError("this is no notebook of format 4")
    _require_python(mapping(notebook, "metadata"))
    planned: list[PlannedCell] = []
    number, above = 0, ""
    for index, cell in enumerate(listed):
        for code in objects([cell]):
            source = source_of(code)
            generated = text(ours(code), "author") == OURS
            if code.get("cell_type") == "markdown" and not generated:
                above = _heading(source) or above
            if not is_code(code):
                continue
            number = count(ours(code), "number") or number + (not generated)
            planned.append(
                PlannedCell(
                    index=index,
                    number=number,
                    id=text(code, "id"),
                    title=str(writable(" ".join(text(ours(code), "intent").split()) or above)),
                    source=source,
                    outputs=code.get("outputs"),
                    may_fail="raises-exception" in tags(code),
                    skipped="skip-execution" in tags(code),
                    generated=generated,
                )
            )
            above = above if generated else ""
    return planned


def is_unrecorded(notebook: JSONObject) -> bool:
    """True for an export without outputs and a notebook that never ran: nothing to compare with."""
    return not any(
        outputs_of(cell) or cell.get("execution_count") is not None
        for cell in cells(notebook)
        if is_code(cell)
    )


def _require_python(metadata: JSONObject) -> None:
    for key, word in (("language_info", "name"), ("kernelspec", "language")):
        language = text(mapping(metadata, key), word)
        if language and language.casefold() not in _PYTHON:
            raise InvalidArgumentError(
                f"the notebook is in {language!r}: only notebooks in Python can be verified"
            )


def _heading(markdown: str) -> str:
    """The first heading in a Markdown cell, "" where there is none."""
    for line in markdown.split("\n"):
        if line.startswith("#") and (words := line.lstrip("#").strip()):
            return words
    return ""

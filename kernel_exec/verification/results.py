"""What came of running a notebook again, and how it is stamped into the notebook. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from kernel_exec.jsons import JSON, JSONObject, mapping, text
from kernel_exec.notebooks.reading import objects, ours

from .compare import Verdict
from .plan import PlannedCell


@dataclass(frozen=True, slots=True, kw_only=True)
class CellReport:
    """How one cell did."""

    cell: PlannedCell
    verdict: Verdict
    difference: str = ""
    seconds: float | None = None

    def as_json(self) -> dict[str, JSON]:
        """What `verify --json` says about it."""
        return {
            "number": self.cell.number,
            "id": self.cell.id,
            "title": self.cell.title,
            "verdict": self.verdict.value,
            "difference": self.difference,
            "seconds": self.seconds,
        }


OnCell: TypeAlias = Callable[[CellReport, int, int], None]
"""Called with a cell that was run, how many are done with it, and of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What came of running a notebook again; `reason` is why its end was not reached, if so."""

    cells: Sequence[CellReport]
    when: str
    seconds: float
    python: str = ""
    executable: str = ""
    environment: str = ""
    working_directory: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    reason: str = ""

    @property
    def verdict(self) -> str:
        """One for all: "same", "close", "different", or "failed" when the kernel died."""
        found = {cell.verdict for cell in self.cells}
        if self.reason:
            return "failed"
        if found & {Verdict.DIFFERENT, Verdict.FIXED, Verdict.NEW_ERROR}:
            return "different"
        return "close" if Verdict.CLOSE in found else "same"

    @property
    def counts(self) -> dict[str, int]:
        """How many cells had each verdict."""
        found = Counter(cell.verdict for cell in self.cells)
        return {verdict.value: found[verdict] for verdict in Verdict}

    @property
    def summary(self) -> str:
        """One line for a person."""
        counts = ", ".join(f"{number} {word}" for word, number in self.counts.items() if number)
        why = f" ({self.reason})" if self.reason else ""
        return f"{self.verdict}{why}: {counts or 'no cell to run'}"

    def stamped(self) -> dict[str, JSON]:
        """What the notebook keeps of it."""
        return {
            "verdict": self.verdict,
            "when": self.when,
            "seconds": self.seconds,
            "counts": dict(self.counts),
            "python": self.python,
            "environment": self.environment,
            "executable": self.executable,
            "packages": dict(self.packages),
            "kernel_exec": self.version,
            "working_directory": self.working_directory,
            "reason": self.reason,
        }

    def as_json(self) -> dict[str, JSON]:
        """What `verify --json` says."""
        return {**self.stamped(), "cells": [cell.as_json() for cell in self.cells]}


def recalled(report: JSONObject, plan: Sequence[PlannedCell]) -> Verification:
    """The verification whose `as_json` this is, for the cells as they stand in the notebook now."""
    judged = (cell for cell in plan if not cell.generated)
    reports = [
        CellReport(
            cell=cell,
            verdict=Verdict(text(each, "verdict")),
            difference=text(each, "difference"),
            seconds=_number(each, "seconds"),
        )
        for cell, each in zip(judged, objects(report.get("cells")), strict=True)
    ]
    words = ("when", "python", "executable", "environment", "working_directory", "reason")
    return Verification(
        cells=reports,
        seconds=_number(report, "seconds") or 0.0,
        packages={name: str(each) for name, each in mapping(report, "packages").items()},
        version=text(report, "kernel_exec"),
        **{word: text(report, word) for word in words},
    )


def _number(report: JSONObject, key: str) -> float | None:
    value = report.get(key)
    return float(value) if isinstance(value, int | float) else None


def stamp(notebook: JSONObject, verification: Verification) -> JSONObject:
    """The notebook with the verdicts in its metadata; any earlier ones are gone."""
    reports = {report.cell.index: report for report in verification.cells}
    cells = notebook.get("cells")
    stamped: list[JSON] = []
    for index, cell in enumerate(cells if isinstance(cells, Sequence) else ()):
        if not isinstance(cell, Mapping):
            stamped.append(cell)
            continue
        kept = {key: value for key, value in ours(cell).items() if key != "verdict"}
        if index in reports:
            report = reports[index]
            kept["verdict"] = {"verdict": report.verdict.value, "difference": report.difference}
        stamped.append(_with_ours(cell, kept))
    about = {**ours(notebook), "verification": verification.stamped()}
    return {**_with_ours(notebook, about), "cells": stamped}


def _with_ours(part: JSONObject, about: JSONObject) -> dict[str, JSON]:
    if not about and not ours(part):
        return dict(part)
    return {**part, "metadata": {**mapping(part, "metadata"), "kernel_exec": about}}

"""What came of running a notebook again, and how it is stamped into the notebook. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kernel_exec.jsons import JSON, JSONObject, mapping, text
from kernel_exec.notebooks.reading import objects, ours

from .compare import Verdict
from .plan import PlannedCell


@dataclass(frozen=True, slots=True, kw_only=True)
class CellDone:
    """A cell that was run: the number of its step, and how many of `total` are done."""

    number: int
    done: int
    total: int
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CellReport:
    """How one cell did; `index` is its place among all cells of the notebook."""

    index: int
    number: int
    id: str
    title: str
    verdict: Verdict
    difference: str = ""
    seconds: float | None = None

    def as_json(self) -> dict[str, JSON]:
        """What `verify --json` says about it."""
        return {
            "number": self.number,
            "id": self.id,
            "title": self.title,
            "verdict": self.verdict.value,
            "difference": self.difference,
            "seconds": self.seconds,
        }


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
        told = ", ".join(f"{number} {word}" for word, number in self.counts.items() if number)
        why = f" ({self.reason})" if self.reason else ""
        return f"{self.verdict}{why}: {told or 'no cell to run'}"

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


def recalled(told: JSONObject, plan: Sequence[PlannedCell]) -> Verification:
    """The verification that `as_json` told of, for the cells as they stand in the notebook now."""
    judged = (cell for cell in plan if not cell.generated)
    reports = [
        CellReport(
            index=cell.index,
            number=cell.number,
            id=cell.id,
            title=cell.title,
            verdict=Verdict(text(report, "verdict")),
            difference=text(report, "difference"),
            seconds=_number(report, "seconds"),
        )
        for cell, report in zip(judged, objects(told.get("cells")), strict=True)
    ]
    return Verification(
        cells=reports,
        when=text(told, "when"),
        seconds=_number(told, "seconds") or 0.0,
        python=text(told, "python"),
        executable=text(told, "executable"),
        environment=text(told, "environment"),
        working_directory=text(told, "working_directory"),
        packages={name: str(each) for name, each in mapping(told, "packages").items()},
        version=text(told, "kernel_exec"),
        reason=text(told, "reason"),
    )


def _number(told: JSONObject, key: str) -> float | None:
    value = told.get(key)
    return float(value) if isinstance(value, int | float) else None


def stamp(notebook: JSONObject, verification: Verification) -> JSONObject:
    """The notebook with the verdicts in its metadata; any earlier ones are gone."""
    reports = {report.index: report for report in verification.cells}
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
    told = {**ours(notebook), "verification": verification.stamped()}
    return {**_with_ours(notebook, told), "cells": stamped}


def _with_ours(part: JSONObject, told: JSONObject) -> dict[str, JSON]:
    if not told and not ours(part):
        return dict(part)
    return {**part, "metadata": {**mapping(part, "metadata"), "kernel_exec": told}}

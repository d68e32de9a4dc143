"""Figures, when and where they were measured: as a table, as figures.json, as Markdown."""

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass
from rich.console import Console
from rich.table import Table

from .timing import Figure

JSON = Path(__file__).with_name("figures.json")

_COLUMNS = ("what", "ours", "measured against", "ratio", "aim")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one run measured."""

    command: str
    date: str
    machine: str
    figures: list[Figure]

    @classmethod
    def of(cls, figures: Sequence[Figure], *, command: str) -> "Report":
        """These figures, measured just now on this machine."""
        return cls(
            command=command,
            date=datetime.now(UTC).date().isoformat(),
            machine=f"{psutil.cpu_count()} cores ({platform.machine()}), "
            f"{psutil.virtual_memory().total / 2**30:.0f} GB, {platform.system()}, "
            f"Python {platform.python_version()}",
            figures=list(figures),
        )

    def about(self) -> str:
        """When, where and how, in a sentence."""
        return f"Measured on {self.date} by `{self.command}` on {self.machine}."


_FORM = TypeAdapter(Report)


def print_table(report: Report) -> None:
    """Print all figures, none cut off."""
    table = Table(*_COLUMNS, title=report.about())
    for figure in report.figures:
        table.add_row(*figure.cells())
    Console(width=160).print(table)


def save(report: Report) -> None:
    """Write figures.json, from which the README has its table."""
    JSON.write_bytes(_FORM.dump_json(report, indent=1) + b"\n")


def saved() -> Report:
    """What figures.json says."""
    return _FORM.validate_json(JSON.read_bytes())


def as_markdown(report: Report) -> str:
    """The table of the README."""
    rows = [_COLUMNS, ("---",) * len(_COLUMNS), *(figure.cells() for figure in report.figures)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    return f"{report.about()} Medians with their quartiles.\n\n{table}"

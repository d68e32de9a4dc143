"""Figures: medians of rounds in which what is compared takes turns, as a shared machine drifts."""

import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TypeAlias

import psutil

Work: TypeAlias = Callable[[AsyncExitStack], Awaitable[object]]
"""What is timed; what it leaves to the stack is done when its time has been taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A median between its quartiles."""

    low: float
    median: float
    high: float

    def __add__(self, other: "Spread") -> "Spread":
        """Two things one after the other."""
        return Spread(
            low=self.low + other.low,
            median=self.median + other.median,
            high=self.high + other.high,
        )

    def __str__(self) -> str:
        """The median, and the quartiles where there are any."""
        median = _three_digits(self.median)
        if self.low == self.high:
            return median
        return f"{median} ({_three_digits(self.low)} to {_three_digits(self.high)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A row of the table: `ours`, and what it is measured against."""

    what: str
    ours: Spread
    measure: str = ""
    theirs: Spread | None = None
    aim: str = ""
    unit: str = "ms"

    def cells(self) -> tuple[str, ...]:
        """As the tables show it, with the ratio of the medians."""
        measure, ratio = self.measure, ""
        if self.theirs:
            measure += f": {self.theirs} {self.unit}"
            ratio = f"{self.ours.median / self.theirs.median:.3g}"
        return self.what, f"{self.ours} {self.unit}", measure, ratio, self.aim


def server_process() -> psutil.Process:
    """The server that was started last and runs below this process."""
    children = psutil.Process().children()
    return next(child for child in reversed(children) if "kernel_exec" in child.cmdline())


async def in_turn(rounds: int, *works: Work) -> list[Spread]:
    """How many milliseconds each of `works` takes."""
    took: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, times in zip(works, took, strict=True):
            async with AsyncExitStack() as after:
                began = time.perf_counter()
                await work(after)
                times.append((time.perf_counter() - began) * 1000)
    return [spread(times) for times in took]


def spread(values: Sequence[float]) -> Spread:
    """Where most of `values` lie; a single one is its own quartiles."""
    if len(values) == 1:
        return Spread(low=values[0], median=values[0], high=values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(low=low, median=median, high=high)


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

"""Figures: medians of rounds in which what is compared takes turns, as a shared machine drifts."""

import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TypeAlias

Work: TypeAlias = Callable[[AsyncExitStack], Awaitable[object]]
"""What is timed; what it leaves to the stack is done when its time has been taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A row of the table; times are in milliseconds."""

    what: str
    ours: float
    measure: str = ""
    theirs: float | None = None
    aim: str = ""
    unit: str = "ms"

    def cells(self) -> tuple[str, ...]:
        """As the table shows it, with the ratio."""
        theirs = "" if self.theirs is None else f"{self.theirs:.4g} ms {self.measure}"
        ratio = "" if self.theirs is None else f"{self.ours / self.theirs:.2g}"
        return self.what, f"{self.ours:.4g} {self.unit}", theirs or self.measure, ratio, self.aim


async def in_turn(rounds: int, *works: Work) -> list[float]:
    """The median of each of `works`."""
    took: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, times in zip(works, took, strict=True):
            async with AsyncExitStack() as after:
                began = time.perf_counter()
                await work(after)
                times.append((time.perf_counter() - began) * 1000)
    return [statistics.median(times) for times in took]

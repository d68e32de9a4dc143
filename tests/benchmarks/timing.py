"""Times things, and tells the median of what rounds took."""

import statistics
import time
from collections.abc import Awaitable, Callable


def median_ms(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1000


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began

"""How long tests wait, in one place, so that a busy machine fails none of them.

A wait that succeeds ends at once, so that a generous bound costs nothing where all is well. Where
speed itself is promised, the bound grows by as much as the machine is slower than an idle one at
that moment.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

import psutil

SCALE = float(os.environ.get("KERNEL_EXEC_TEST_PATIENCE", "5"))
"""What the bounds of the tests, which are those of an idle machine, are multiplied by."""

_POLL = 0.02
_START = 0.03
"""Seconds in which an idle machine starts a Python that does nothing."""


def patient(seconds: float) -> float:
    """A bound that holds on a busy machine, for a wait that takes `seconds` at most elsewhere."""
    return seconds * SCALE


def as_fast_as(seconds: float) -> float:
    """A bound for what is promised to take less than `seconds`, on this machine as it is now."""
    began = time.monotonic()
    for _ in range(3):
        subprocess.run([sys.executable, "-I", "-S", "-c", ""], check=True)
    return seconds * max(1.0, (time.monotonic() - began) / 3 / _START)


def wait_until(condition: Callable[[], object], *, within: float = 10, why: str = "") -> None:
    """Ask until `condition` holds, which must be within so many seconds of an idle machine."""
    limit = time.monotonic() + patient(within)
    while not condition():
        assert time.monotonic() < limit, why or f"not within {patient(within):g} s"
        time.sleep(_POLL)


def lives(process: psutil.Process) -> bool:
    """False for one that only waits to be reaped: its parent or init takes its time."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_gone(processes: Iterable[psutil.Process], *, within: float = 2) -> list[psutil.Process]:
    """Those of `processes` that are still alive after so many seconds of an idle machine."""
    limit = time.monotonic() + patient(within)
    while (alive := [each for each in processes if lives(each)]) and time.monotonic() < limit:
        time.sleep(_POLL)
    return alive

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
from pathlib import Path

import psutil

SCALE = float(os.environ.get("KERNEL_EXEC_TEST_PATIENCE", "5"))
"""What the bounds of the tests, which are those of an idle machine, are multiplied by."""

FOR_EVER = "import threading; threading.Event().wait()"
"""Code that only an interrupt ends."""

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


def comes_true(condition: Callable[[], object], *, within: float) -> bool:
    """Ask until `condition` holds, for so many seconds of an idle machine at most."""
    limit = time.monotonic() + patient(within)
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(_POLL)  # noqa: TID251 # other processes tell nobody that they have changed
    return True


def wait_until(condition: Callable[[], object], *, within: float = 10, why: str = "") -> None:
    """Ask until `condition` holds, which must be within so many seconds of an idle machine."""
    assert comes_true(condition, within=within), why or f"not within {patient(within):g} s"


def lives(process: psutil.Process) -> bool:
    """False for one that only waits to be reaped: its parent or init takes its time."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_gone(processes: Iterable[psutil.Process], *, within: float = 2) -> list[psutil.Process]:
    """Those of `processes` that are still alive after so many seconds of an idle machine."""
    alive = list(processes)
    comes_true(lambda: not any(map(lives, alive)), within=within)
    return list(filter(lives, alive))


class Gate:
    """A place where code waits until a test opens it: a pipe that has a name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        os.mkfifo(path)
        self.passing = f"open({str(path)!r}).read()\n"
        """The code that waits, or passes once the gate is open."""

    def open(self) -> None:
        """Let pass who waits, and whoever comes later."""
        writer = os.open(self._path, os.O_RDWR)  # opens at once, though nobody reads
        passed = self._path.with_name(f"{self._path.name} is open")
        passed.touch()
        passed.replace(self._path)  # for those who come from now on
        os.close(writer)  # those who came before find the end

"""Stamps: when a process has come to which hop of an execution. Standard library only.

The server and its kernels both import this; what they note is of one clock, and can be put side by
side.
"""

import functools
import inspect
import json
import os
import time
from pathlib import Path
from typing import Any

_STAMPS: list[tuple[str, int, int]] = []


def stamp(hop: str) -> None:
    """Note that this process has come to `hop`: the time, and its processor time."""
    _STAMPS.append((hop, time.perf_counter_ns(), time.process_time_ns()))


def around(owner: object, name: str, before: str = "", after: str = "") -> None:
    """Stamp the calls of a function as they begin, as they end, or both."""
    function = getattr(owner, name)

    def begin() -> None:
        if before:
            stamp(before)

    def end() -> None:
        if after:
            stamp(after)

    @functools.wraps(function)
    def stamped(*args: Any, **kwargs: Any) -> Any:
        begin()
        try:
            return function(*args, **kwargs)
        finally:
            end()

    @functools.wraps(function)
    async def stamped_async(*args: Any, **kwargs: Any) -> Any:
        begin()
        try:
            return await function(*args, **kwargs)
        finally:
            end()

    setattr(owner, name, stamped_async if inspect.iscoroutinefunction(function) else stamped)


def write(folder: str) -> None:
    """Write what was noted to a file of this process in `folder`."""
    Path(folder, f"{os.getpid()}.stamps").write_text(json.dumps(_STAMPS), "utf-8")

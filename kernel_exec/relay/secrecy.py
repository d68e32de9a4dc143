"""Keeps the server's variables, secrets among them, from the code that it runs.

Kernels get an allow-list, but a process of the same user may read `/proc/<pid>/environ` of the
server. Two things are done about it on Linux: the process is made one that others of the same
user may not look into, and, as that does not stop root, the memory that the file shows is wiped.
"""

import ctypes
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path

_PR_SET_DUMPABLE = 4
_ENV_START, _ENV_END = 47, 48
"""Places in `/proc/self/stat` behind the command's name; proc(5) counts them as 50 and 51."""


def hide_variables(variables: MutableMapping[str, str]) -> None:
    """Hide this process's `variables`, which it keeps itself; what can't be done is left."""
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, ValueError, IndexError):
        stat = Path("/proc/self/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        start, end = int(stat[_ENV_START]), int(stat[_ENV_END])
        for name, value in list(variables.items()):
            with suppress(OSError, ValueError):  # names that nobody can set
                variables[name] = value  # the C library now has a copy elsewhere
        if 0 < start < end:
            ctypes.memset(start, 0, end - start)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)

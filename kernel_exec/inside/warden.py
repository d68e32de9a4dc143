"""Ends what a server leaves behind when it is gone; started by `processes.warden`.

    python -I -S main.py warden VARIABLE MARK FOLDER

All that the server starts has MARK in an environment variable, and so has what that starts in
turn, whatever its session and whoever its parent. The server's end of stdin closes with the
server, however it ends, and has the paths of the server's sockets, each with a NUL behind it.
FOLDER holds psutil, which is imported only then.

Kernels end with their guardians before this has looked twice. What has no guardian needs it:
installers, probes, overlays that are tried, and daemons that any of them has started.
"""

import os
import signal
import stat
import sys
from contextlib import suppress
from typing import Any

_GRACE = 1.0
"""Seconds between SIGTERM and SIGKILL: installers remove what is half done, as far as they can."""

_ROUNDS = 50
"""Looks for more, at most: what is still there then can't be ended."""


def main() -> None:
    """Wait for the end of the server, then end the rest."""
    for name in ("SIGINT", "SIGHUP", "SIGTERM"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    variable, mark, folder = sys.argv[1:]
    sockets = sys.stdin.buffer.read().split(b"\0")[:-1]
    for path in sockets:
        remove(path)
    sys.path.append(folder)
    end(variable, mark)


def remove(path: bytes) -> None:
    """Remove a socket with its folder, and nothing that has taken its place."""
    with suppress(OSError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
    with suppress(OSError):
        os.rmdir(os.path.dirname(path))


def end(variable: str, mark: str) -> None:
    """End every process that has `mark` in `variable`: a request, a grace, then without asking."""
    import psutil

    def marked() -> list[Any]:
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):  # it has just ended, or is another user's
                if process.environ().get(variable) == mark:
                    found.append(process)
        return found

    def each(processes: list[Any], act: str) -> None:
        for process in processes:
            with suppress(psutil.Error, OSError):
                getattr(process, act)()

    asked = marked()
    each(asked, "terminate")
    psutil.wait_procs(asked, timeout=_GRACE)
    for _ in range(_ROUNDS):
        left = marked()
        if not left:
            return
        each(left, "suspend")  # or a fork bomb outruns us
        each(left, "kill")
        psutil.wait_procs(left, timeout=_GRACE)

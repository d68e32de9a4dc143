"""The folders with the sockets and files of running kernels: made, and swept when left behind.

A folder's name says which process it belongs to, so it is known from the very beginning, and a
server can tell those of killed ones from those of others that live.
"""

import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from kernel_exec import processes
from kernel_exec.errors import KernelStartError

_PREFIX = "kx-"

_SOCKET_PATH_LIMIT = 100
"""Bytes; the system allows 103 to 107 for the path of a Unix socket."""

_SHORT = Path("/tmp")
"""Where sockets lie when the configured folder is missing, or its path too long for them."""


def make_run_dir(runtime_dir: Path) -> Path:
    """A new folder of this process, below `runtime_dir` unless that can't be used.

    Raises:
        KernelStartError: There is no place for it.
    """
    prefix, trouble = f"{_PREFIX}{processes.identity()}-", ""
    for place in (runtime_dir, _SHORT):
        try:
            run_dir = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        except OSError as error:
            trouble = trouble or str(error)
            continue
        if len(os.fsencode(run_dir / "s-5")) <= _SOCKET_PATH_LIMIT:
            return run_dir
        run_dir.rmdir()
        trouble = trouble or f"the path {str(run_dir)!r} is too long for Unix sockets"
    raise KernelStartError(
        f"no place for the kernel's sockets: {trouble}; set TMPDIR or XDG_RUNTIME_DIR to a folder"
        " that can be written, with a short path"
    )


def sweep_run_dirs(runtime_dir: Path) -> None:
    """Remove the folders of processes that are gone; what is another user's is left alone."""
    for place in {runtime_dir, _SHORT}:
        with suppress(OSError):
            for folder in place.glob(f"{_PREFIX}*-*"):
                owner = folder.name.removeprefix(_PREFIX).rpartition("-")[0]
                if processes.is_gone(owner) and _is_ours(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and (os.name == "nt" or status.st_uid == os.getuid())

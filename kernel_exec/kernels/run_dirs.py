"""The folders with the sockets and files of running kernels: made, and swept when left behind.

Beside each lies a lease of the server that made it, so folders of killed servers can be told from
those of living ones. The lease is there before its folder and goes after it: whenever a server or
a sweep is killed, the next sweep finishes its work.
"""

import os
import secrets
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from kernel_exec.errors import KernelStartError, StorageError
from kernel_exec.leases import Lease, take

_PREFIX = "kx-"
_LEASE = ".lease"

_SOCKET_PATH_LIMIT = 100
"""Bytes; the system allows 103 to 107 for the path of a Unix socket."""

_SHORT = Path("/tmp")
"""Where sockets lie when the configured folder is missing, or its path too long for them."""


def make_run_dir(runtime_dir: Path) -> tuple[Path, Lease]:
    """A new folder below `runtime_dir`, or elsewhere if that can't be used, and its lease.

    Raises:
        KernelStartError: There is no place for it.
    """
    trouble = ""
    for place in (runtime_dir, _SHORT):
        try:
            run_dir, lease = _make(place)
        except (OSError, StorageError) as error:
            trouble = trouble or str(error)
            continue
        if len(os.fsencode(run_dir / "s-5")) <= _SOCKET_PATH_LIMIT:
            return run_dir, lease
        remove_run_dir(run_dir, lease)
        trouble = trouble or f"the path {str(run_dir)!r} is too long for Unix sockets"
    raise KernelStartError(
        f"no place for the kernel's sockets: {trouble}; set TMPDIR or XDG_RUNTIME_DIR to a"
        " writable folder with a short path"
    )


def remove_run_dir(run_dir: Path, lease: Lease) -> None:
    """Remove a folder whose kernel has ended."""
    shutil.rmtree(run_dir, ignore_errors=True)
    lease.drop()


def sweep_run_dirs(runtime_dir: Path) -> None:
    """Remove the folders that dead servers of this user left behind."""
    for place in {runtime_dir, _SHORT}:
        for path in place.glob(f"{_PREFIX}*{_LEASE}"):
            with suppress(OSError, StorageError):
                if _is_ours(path) and (lease := take(path)) is not None:
                    remove_run_dir(path.with_suffix(""), lease)


def _make(place: Path) -> tuple[Path, Lease]:
    run_dir = place / f"{_PREFIX}{secrets.token_hex(4)}"
    lease = take(run_dir.with_suffix(_LEASE))
    if lease is None:
        raise FileExistsError(f"{str(run_dir)!r} is somebody else's")
    try:
        run_dir.mkdir(mode=0o700)
    except BaseException:
        lease.drop()
        raise
    return run_dir, lease


def _is_ours(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and (os.name == "nt" or status.st_uid == os.getuid())

"""The folders with the sockets and files of running kernels: made, and swept when left behind.

Each holds a lease of the server that made it, so folders of killed servers can be told from those
of living ones. Deleting a folder begins with everything but the lease: a sweep that is killed is
finished by the next.
"""

import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from kernel_exec.errors import KernelStartError, StorageError
from kernel_exec.leases import Lease, take

_PREFIX = "kx-"
_LEASE = "lease"

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
    with suppress(OSError):
        for path in run_dir.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path != lease.path:
                path.unlink(missing_ok=True)
    lease.drop()
    shutil.rmtree(run_dir, ignore_errors=True)


def sweep_run_dirs(runtime_dir: Path) -> None:
    """Remove the folders that dead servers of this user left behind."""
    for place in {runtime_dir, _SHORT}:
        for folder in place.glob(f"{_PREFIX}*"):
            with suppress(OSError, StorageError):
                if (
                    _is_ours(folder)
                    and (folder / _LEASE).exists()
                    and (lease := take(folder / _LEASE)) is not None
                ):
                    remove_run_dir(folder, lease)


def _make(place: Path) -> tuple[Path, Lease]:
    while True:
        run_dir = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        try:
            lease = take(run_dir / _LEASE)
        except FileNotFoundError:
            continue  # swept, as a sweep found the folder before we held its lease
        except BaseException:
            shutil.rmtree(run_dir, ignore_errors=True)
            raise
        if lease is not None:
            return run_dir, lease


def _is_ours(folder: Path) -> bool:
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and (os.name == "nt" or status.st_uid == os.getuid())

"""The run directories of kernels: their sockets and files, made, read, and swept if left behind.

Beside each lies a lease of the server that made it, so folders of killed servers can be told from
those of living ones. The lease is there before its folder and goes after it: whenever a server or
a sweep is killed, the next sweep finishes its work.
"""

import os
import secrets
import shutil
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kernel_exec.errors import KernelStartError, StorageError
from kernel_exec.files import open_plain
from kernel_exec.leases import Lease, take

from .messages import CELL_NAME
from .outputs import Clear, OutputEvent, Stream

_PREFIX = "kx-"
_LEASE = ".lease"

_SOCKET_PATH_LIMIT = 100
"""Bytes; the system allows 103 to 107 for the path of a Unix socket."""

_SHORT = Path("/tmp")
"""Where sockets lie when the configured folder is missing, or its path too long for them."""

_HEAD = 40
_ENTRY = struct.Struct("<QcI")

_TAIL = 4000
"""Characters of a dead kernel's stderr (its end) and fault dump (its start) that are kept."""

_MOST = 1 << 20
"""Bytes that are read of a file, whatever user code has made of it."""

_NEXT_STACK = "\nStack (most recent call first)"
"""What another stack in the same file begins with."""


class RunDir:
    """Reads what the process of a kernel leaves in its folder; what is missing is ""."""

    def __init__(self, path: Path) -> None:
        """What runs inside writes to `path`."""
        self.path = path
        self._files: dict[str, str] = {}

    def name_cell(self, name: str, file: str) -> None:
        """Show `file` where the process writes `name`, under which it compiles the cell."""
        self._files[name] = file

    def stack_size(self) -> int:
        """Bytes of all stacks so far; what comes after them is new."""
        return _size(self.path / "stack")

    def stack(self, start: int) -> str:
        """The main thread's stack that was written first after byte `start`."""
        return self._read("stack", start).partition(_NEXT_STACK)[0]

    def fault(self) -> str:
        """Python's stack at a crash."""
        return self._read("fault")[:_TAIL]

    def stderr(self) -> str:
        """The end of what the process wrote to stderr outside of cells."""
        start = _size(self.path / "stderr") - 4 * _TAIL  # 4 bytes a character at most
        return self._read("stderr", max(0, start))[-_TAIL:]

    def journal(self) -> tuple[str, list[tuple[int, OutputEvent]]]:
        """An execution's id, and its last output, numbered; `inside/shared.py` has the layout."""
        try:
            with open_plain(self.path / "output.journal") as file:
                journal = file.read(_MOST)
        except OSError:
            return "", []
        end = min(len(journal), _HEAD + int.from_bytes(journal[32:_HEAD], "little"))
        found: list[tuple[int, OutputEvent]] = []
        at = _HEAD
        while at + _ENTRY.size <= end:
            number, kind, size = _ENTRY.unpack_from(journal, at)
            at += _ENTRY.size + size
            found.append((number, _output(kind, journal[at - size : at])))
        return journal[:32].decode("ascii", "replace").strip(), found

    def _read(self, name: str, start: int = 0) -> str:
        try:
            with open_plain(self.path / name) as file:
                file.seek(start)
                read = file.read(_MOST).decode("utf-8", "replace").strip()
        except OSError:
            return ""
        return CELL_NAME.sub(lambda found: self._files.get(found[0], found[0]), read)


@contextmanager
def made_run_dir(runtime_dir: Path) -> Iterator[RunDir]:
    """A new folder below `runtime_dir`, or elsewhere if that can't be used, for one kernel.

    Raises:
        KernelStartError: There is no place for it.
    """
    path, lease = _place(runtime_dir)
    try:
        yield RunDir(path)
    finally:
        _remove(path, lease)


def sweep_run_dirs(runtime_dir: Path) -> None:
    """Remove the folders that dead servers of this user left behind."""
    for place in {runtime_dir, _SHORT}:
        for path in place.glob(f"{_PREFIX}*{_LEASE}"):
            with suppress(OSError, StorageError):
                if _is_ours(path) and (lease := take(path)) is not None:
                    _remove(path.with_suffix(""), lease)


def _place(runtime_dir: Path) -> tuple[Path, Lease]:
    trouble = ""
    for place in (runtime_dir, _SHORT):
        try:
            run_dir, lease = _make(place)
        except (OSError, StorageError) as error:
            trouble = trouble or str(error)
            continue
        if len(os.fsencode(run_dir / "s-5")) <= _SOCKET_PATH_LIMIT:
            return run_dir, lease
        _remove(run_dir, lease)
        trouble = trouble or f"the path {str(run_dir)!r} is too long for Unix sockets"
    raise KernelStartError(
        f"no place for the kernel's sockets: {trouble}; set TMPDIR or XDG_RUNTIME_DIR to a"
        " writable folder with a short path"
    )


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


def _remove(run_dir: Path, lease: Lease) -> None:
    shutil.rmtree(run_dir, ignore_errors=True)
    lease.drop()


def _is_ours(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and (os.name == "nt" or status.st_uid == os.getuid())


def _output(kind: bytes, written: bytes) -> OutputEvent:
    if kind == b"c":
        return Clear(wait=False)
    name = "stderr" if kind == b"e" else "stdout"
    return Stream(name=name, text=written.decode("utf-8", "replace"))


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0

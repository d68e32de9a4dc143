"""Writes a document to a file: whole or not at all, and never over what is not ours."""

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from kernel_exec.errors import InvalidArgumentError, StorageError
from kernel_exec.files import write_whole
from kernel_exec.inherited import INHERITED
from kernel_exec.jsons import object_in
from kernel_exec.notebooks.provenance import marker
from kernel_exec.notebooks.reading import session_of

PRIVATE = 0o077
"""The umask of what only its owner may read."""

_TOP = 4096
"""Bytes of a document in which its mark stands."""


Check: TypeAlias = Callable[[Path], None]
"""Raises `InvalidArgumentError` for a folder that nothing may be written to."""

_DESCRIPTORS = Path("/proc/self/fd")
"""Where Linux has open folders by their descriptors."""


def write(
    path: Path,
    document: str,
    *,
    session: str,
    overwrite: bool,
    files: Mapping[str, bytes],
    umask: int = INHERITED.umask,
    check: Check | None = None,
) -> None:
    """Write `document` to `path`, and `files` to the folder beside it that `files_folder` names.

    An earlier export of the same session is replaced, anything else only with `overwrite`. A
    file that is replaced keeps its mode, that of a new one leaves out `umask`. `check` refuses a
    folder by its real path, whatever is put in its place meanwhile.

    Raises:
        InvalidArgumentError: The path is not allowed, or holds something else.
        StorageError: It can't be written.
    """
    if not overwrite:
        require_replaceable(path, session)
    with _explained(path):
        if check is not None:
            check(Path(os.path.realpath(path.parent)))
        path.parent.mkdir(mode=0o777 & ~umask, parents=True, exist_ok=True)
        with _held(path.parent, check) as folder:
            if files:
                _write_files(folder / files_folder(path), files, umask, check)
            place, content = folder / path.name, document.encode("utf-8", "backslashreplace")
            write_whole(place, content, mode=_mode(place, umask))


@contextmanager
def _held(folder: Path, check: Check | None) -> Iterator[Path]:
    """The folder that was checked, also when it is moved or a link takes its place."""
    if check is None or not _DESCRIPTORS.exists():
        yield folder
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        held = _DESCRIPTORS / str(descriptor)
        check(held.readlink())
        yield held
    finally:
        os.close(descriptor)


def require_replaceable(path: Path, session: str) -> None:
    """Refuse to write over anything but an earlier export of the session."""
    with _explained(path):
        replaceable = _replaceable(path, session)
    if not replaceable:
        raise InvalidArgumentError(
            f"{str(path)!r} already exists and was not exported from this session;"
            " choose another path or pass --overwrite (tool: overwrite=true)"
        )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{str(path)!r} can't be written: {error.strerror or error}; choose another path"
        ) from error
    except ValueError as error:  # a NUL character, or one that the file system can't hold
        raise InvalidArgumentError(f"path {str(path)!r} is not allowed: {error}") from error


def files_folder(path: Path) -> str:
    """The name of the folder beside a document that holds what is too large for it."""
    return f"{path.stem}_files"


def _write_files(folder: Path, files: Mapping[str, bytes], umask: int, check: Check | None) -> None:
    """Each is whole or not there; their names hold an execution's id, so they are its own."""
    if folder.is_symlink():
        raise InvalidArgumentError(
            f"{str(folder)!r} is a link, and large outputs would be written through it;"
            " remove it or choose another path"
        )
    folder.mkdir(mode=0o777 & ~umask, exist_ok=True)
    with _held(folder, check) as held:
        for name, content in files.items():
            write_whole(held / name, content, mode=_mode(held / name, umask))


def _mode(path: Path, umask: int) -> int:
    """The mode that a file must have."""
    with suppress(FileNotFoundError):
        before = path.lstat().st_mode
        if stat.S_ISREG(before):
            return stat.S_IMODE(before) & 0o777
    return 0o666 & ~umask


def _replaceable(path: Path, session: str) -> bool:
    """True when there is nothing at `path`, or an export of the same session."""
    try:
        # neither a link nor a pipe, which would be waited for
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        there = path.read_bytes()
    except FileNotFoundError:
        return True
    if not session:
        return False
    if path.suffix == ".ipynb":
        return session_of(object_in(there)) == session
    mark = re.escape(marker(session).encode())
    return re.search(rb"(?m)^(?:<!-- |# +# )" + mark + rb"(?: -->)?$", there[:_TOP]) is not None

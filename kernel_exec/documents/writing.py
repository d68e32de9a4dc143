"""Writes a document to a file: whole or not at all, and never over what is not ours."""

import json
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from kernel_exec.errors import InvalidArgumentError, StorageError
from kernel_exec.notebooks.value import session_of

from .percent import marker

_TOP = 4096
"""Bytes of a document in which its mark stands."""


def write(
    path: Path, document: str, *, session: str, overwrite: bool, files: Mapping[str, bytes]
) -> None:
    """Write `document` to `path`, and `files` to the folder beside it that `files_folder` names.

    An earlier export of the same session is replaced, anything else only with `overwrite`.

    Raises:
        InvalidArgumentError: The path is not allowed, or holds something else.
        StorageError: It can't be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not overwrite and not _replaceable(path, session):
            raise InvalidArgumentError(
                f"{str(path)!r} is there and no export of this session:"
                " choose another path, or set overwrite"
            )
        if files:
            _write_files(path.with_name(files_folder(path)), files)
        _write(path, document.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise StorageError(
            f"{str(path)!r} can't be written: {error.strerror or error}; choose another path"
        ) from error
    except ValueError as error:  # a NUL character, or one that the file system can't hold
        raise InvalidArgumentError(f"path {str(path)!r} is not allowed: {error}") from error


def files_folder(path: Path) -> str:
    """The name of the folder beside a document that holds what is too large for it."""
    return f"{path.stem}_files"


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Each is whole or not there; their names hold an execution's id, so they are its own."""
    if folder.is_symlink():
        raise InvalidArgumentError(
            f"{str(folder)!r} is a link, and large outputs would be written through it:"
            " remove it, or choose another path"
        )
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, content in files.items():
        _write(folder / name, content)


def _write(path: Path, content: bytes) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
        complete = Path(folder, path.name)
        with complete.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        complete.chmod(_mode(path))
        complete.replace(path)  # replaces a link, and never follows it


def _mode(path: Path) -> int:
    """Who may do what with the file: its owner alone, unless they gave the one there to others."""
    try:
        before = path.lstat().st_mode
    except FileNotFoundError:
        return 0o600
    return stat.S_IMODE(before) & 0o666 if stat.S_ISREG(before) else 0o600


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
        return _notebook_session(there) == session
    mark = re.escape(marker(session).encode())
    return re.search(rb"(?m)^(?:<!-- |# +# )" + mark + rb"(?: -->)?$", there[:_TOP]) is not None


def _notebook_session(there: bytes) -> str:
    try:
        notebook = json.loads(there)
    except (ValueError, RecursionError):
        return ""
    return session_of(notebook) if isinstance(notebook, dict) else ""

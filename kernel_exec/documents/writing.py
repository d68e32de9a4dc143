"""Writes a document to a file: whole or not at all, and never over what is not ours."""

import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from kernel_exec.errors import InvalidArgumentError, StorageError
from kernel_exec.files import held, open_plain, write_in
from kernel_exec.inherited import INHERITED
from kernel_exec.notebooks.provenance import marker

PRIVATE = 0o077
"""The umask of what only its owner may read."""

_TOP = 4096
"""Bytes of a document in which its mark stands."""

_END = 4_000_000
"""The same at both ends of a notebook: its metadata come first, and last once Jupyter saved it."""

Check: TypeAlias = Callable[[Path], None]
"""Raises `InvalidArgumentError` for a folder that nothing may be written to."""


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
    folder by its real path; a link that is put in its place meanwhile is not followed.

    Raises:
        InvalidArgumentError: The path is not allowed, or holds something else.
        StorageError: It can't be written.
    """
    if not overwrite:
        require_replaceable(path, session)
    with _explained(path):
        folder = Path(os.path.realpath(path.parent))
        if files:
            # their names hold an execution's id, so they are its own
            _write_all(_no_link(folder / files_folder(path)), files, umask, check)
        content = document.encode("utf-8", "backslashreplace")
        _write_all(folder, {path.name: content}, umask, check)


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


def _no_link(folder: Path) -> Path:
    if folder.is_symlink():
        raise InvalidArgumentError(
            f"{str(folder)!r} is a link, and large outputs would be written through it;"
            " remove it or choose another path"
        )
    return folder


def _write_all(folder: Path, files: Mapping[str, bytes], umask: int, check: Check | None) -> None:
    """Write files to a folder by its real path, which is made."""
    if check is not None:
        check(folder)
    with held(folder, missing=0o777 & ~umask) as place:
        for name, content in files.items():
            write_in(place, folder / name, content, mode=0o666 & ~umask)


def _replaceable(path: Path, session: str) -> bool:
    """True when there is nothing at `path`, or an export of the same session."""
    try:
        # neither a link nor a pipe, which would be waited for
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        with open_plain(path) as file:
            is_notebook = path.suffix == ".ipynb"
            there = file.read(_END if is_notebook else _TOP)
            if is_notebook:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _END))
                there += file.read(_END)
    except FileNotFoundError:
        return True
    if not session:
        return False
    if is_notebook:  # in whose text such quotes are escaped
        mark = re.escape(json.dumps(session).encode())
        return there.lstrip()[:1] == b"{" and bool(re.search(rb'"session":\s*' + mark, there))
    mark = re.escape(marker(session).encode())
    return re.search(rb"(?m)^(?:<!-- |# +# )" + mark + rb"(?: -->)?$", there) is not None

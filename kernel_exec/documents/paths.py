"""Where a session's document goes, and which format its name stands for."""

import re
from pathlib import Path, PurePath
from typing import Final

from kernel_exec.errors import InvalidArgumentError
from kernel_exec.history.entries import SessionRecord
from kernel_exec.places import PRIVATE_FOLDER, Places

FORMATS: Final = ("ipynb", "html", "py", "md")
"""What a document can be, each by the ending of its file."""

_NAME = 80
"""Characters of a session's name in a file name; file systems allow 255 in all."""


def default_path(storage_root: Path, session: SessionRecord, suffix: str) -> Path:
    """Where a session's document goes unless somebody says otherwise."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", session.name)[:_NAME].lstrip(".") or "session"
    return Places(storage_root).notebooks / f"{name}-{session.id[:8]}{suffix}"


def chosen_path(storage_root: Path, session: SessionRecord, path: str, format_: str) -> Path:
    """Where a document goes; a relative `path` is below the storage root, as is the default.

    An empty `format_` is that of the path's ending, or a notebook.
    """
    if not path:
        return default_path(storage_root, session, f".{format_ or 'ipynb'}")
    if not path.isprintable():
        raise InvalidArgumentError(
            f"path {path[:_NAME]!r} is not allowed: it holds a control or another invisible"
            " character"
        )
    given = PurePath(path)
    if not given.is_absolute():
        parts = given.parts
        if path.startswith("~") or ".." in parts or parts[:1] == (PRIVATE_FOLDER,):
            raise InvalidArgumentError(
                f"path {path!r} is not allowed: a relative path is below {str(storage_root)!r},"
                " without '..' and '~'; give an absolute path for any other place"
            )
    target = storage_root / path
    format_of(target, format_)
    return target


def format_of(path: Path, asked: str = "") -> str:
    """The format that a path's ending stands for, which must be the one `asked` for, if any is."""
    found = path.suffix.removeprefix(".")
    if found not in FORMATS or (asked and found != asked):
        endings = f".{asked}" if asked else ", ".join(f".{each}" for each in FORMATS)
        wanted = endings if asked else f"one of {endings}"
        raise InvalidArgumentError(f"path {str(path)!r} must be a file name that ends in {wanted}")
    return found

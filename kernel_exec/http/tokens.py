"""The secret that clients carry: a file that was given, or one of ours below the storage root."""

import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from kernel_exec.errors import InvalidArgumentError, NotFoundError, StorageError

from .rules import TOKEN_FORM, is_token

_LONGEST = 4096
"""Bytes of a file that holds a token, and nothing else."""


def read_token(path: Path) -> str:
    """The token in a file that somebody names, without the space around it.

    A file that others could have written is refused.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_LONGEST + 1)
    except OSError as error:
        raise NotFoundError(f"token file {str(path)!r} can't be read: {error.strerror}") from error
    if os.name != "nt" and stat.S_ISREG(mode) and mode & 0o022:
        raise InvalidArgumentError(
            f"token file {str(path)!r} can be written by other users; run `chmod go-w` on it"
        )
    try:
        token = content.decode("ascii").strip()
    except UnicodeDecodeError:
        token = ""
    if not is_token(token) or len(content) > _LONGEST:
        raise InvalidArgumentError(
            f"token file {str(path)!r} holds no token; write one line into it, of {TOKEN_FORM}"
        )
    return token


def own_token(path: Path) -> str:
    """The token in the file `path` of ours, which only its user may read; made if need be.

    It stays the same, as the configurations of clients hold it; who deletes the file gets another.

    A file that others may read is refused.
    """
    try:
        if not path.exists():
            _make(path)
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a link is not followed
            status = os.fstat(descriptor)
            token = file.read(_LONGEST).decode("ascii", "replace").strip()
    except OSError as error:
        raise StorageError(f"token file {str(path)!r} can't be used: {error.strerror}") from error
    is_private = os.name == "nt" or (status.st_uid == os.geteuid() and not status.st_mode & 0o077)
    if not is_private or not is_token(token):
        what = "holds no token" if is_private else "is not this user's alone"
        raise StorageError(f"token file {str(path)!r} {what}; delete it, and a new token is made")
    return token


def _make(path: Path) -> None:
    """Write a new token; whoever finds the file finds all of it, and of two writers one wins."""
    descriptor, name = tempfile.mkstemp(dir=path.parent)  # which only its user may read
    try:
        with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(f"{secrets.token_urlsafe(32)}\n")
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink(missing_ok=True)

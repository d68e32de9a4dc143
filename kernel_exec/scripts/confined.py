"""Files below one folder, named by paths from outside: which names are allowed, and opening them.

A check of a path says nothing about the file that is opened a moment later, as any part of it can
be a link by then. So the names are checked as text, and each folder on the way is opened from the
one above it, without following links.

All that opens raises
    InvalidArgumentError: It is a link, a folder, a pipe, a socket or a device, or leads through a
        link or a file.
    NotFoundError: There is no such file or folder.
    StorageError: It can't be opened or read.
"""

import errno
import os
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from kernel_exec.errors import (
    InvalidArgumentError,
    NotFoundError,
    StorageError,
)
from kernel_exec.files import held
from kernel_exec.places import PRIVATE_FOLDER

_PATH_LIMIT: Final = 1024
_PART_LIMIT: Final = 255
"""Bytes in UTF-8."""

_SHOWN: Final = 200
"""Characters of a refused path that its message repeats."""

_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a file is to be below `root`; whether it is there shows when it is opened."""

    root: Path
    parts: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The whole path, for people and models."""
        return self.root.joinpath(*self.parts)


def place_below(root: Path, given: str) -> Place:
    """The place that `given` names, relative to `root` or beginning with it, if that is allowed."""
    # kernels report their folder without links; this compares text, and nothing is opened by it
    roots = [f"{str(each).rstrip(os.sep)}{os.sep}" for each in (root, os.path.realpath(root))]
    inside = next((given[len(each) :] for each in roots if given.startswith(each)), given)
    objection = _objection(inside)
    if objection is not None:
        shown = given if len(given) <= _SHOWN else f"{given[:_SHOWN]}…"
        raise InvalidArgumentError(
            f"file_path {shown!r} is not allowed: {objection}; name a file below {str(root)!r},"
            " preferably by the file_path that a tool returned"
        )
    return Place(root=root, parts=tuple(inside.split("/")))


@contextmanager
def folder_of(place: Place) -> Iterator[int]:
    """A descriptor of the folder that the file is in, which stays that folder if it is moved."""
    with ExitStack() as stack:
        with _explained(place):
            real = Path(os.path.realpath(place.root), *place.parts[:-1])
            folder = stack.enter_context(held(real))
        if folder is None:
            raise StorageError(
                f"{str(place.path)!r} can't be opened: this system has no way to open a file"
                " without following links that are put in its way; use execute_code to read or"
                " write it"
            )
        yield folder


def open_in(folder: int, place: Place) -> BinaryIO:
    """The file itself in the folder of `folder_of`, for reading."""
    with _explained(place):
        # without O_NONBLOCK a pipe that nobody writes to would be waited for
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        file = os.open(place.parts[-1], flags, dir_fd=folder)
    mode = os.fstat(file).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(file, "rb")
    os.close(file)
    raise _refusal(place, "is a folder" if stat.S_ISDIR(mode) else "is a pipe or a device")


@contextmanager
def opened(place: Place, *, most: int) -> Iterator[BinaryIO]:
    """The file at `place` for reading; more than `most` bytes are an `InvalidArgumentError`."""
    with folder_of(place) as folder, open_in(folder, place) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > most:
            raise InvalidArgumentError(
                f"{str(place.path)!r} has {size:,} bytes, at most {most:,} are allowed;"
                " read the part you need with execute_code"
            )
        with _explained(place):
            yield stream


def _objection(inside: str) -> str | None:
    """Why a path is refused, None if it is not."""
    if not inside:
        return "it names no file"
    if any(unicodedata.category(character) in _INVISIBLE for character in inside):
        return "it has a control, format or surrogate character"
    if inside.startswith("/"):
        return "it is outside of the storage root"
    if inside.startswith("~"):
        return "'~' is not a folder here"
    if "\\" in inside:
        return "it has a backslash; folders are separated by '/'"
    parts = inside.split("/")
    if wrong := [part for part in parts if part in {"", ".", ".."}]:
        return f"{wrong[0]!r} is no name between two '/'"
    if any(part.startswith("-") for part in parts):
        return "one of its names begins with '-', as an option does"
    if any(part.casefold() == PRIVATE_FOLDER for part in parts):
        return f"{PRIVATE_FOLDER!r} is the server's own"
    if len(inside.encode()) > _PATH_LIMIT or max(len(p.encode()) for p in parts) > _PART_LIMIT:
        return f"it has more than {_PATH_LIMIT:,} bytes, or a name of more than {_PART_LIMIT}"
    return None


@contextmanager
def _explained(place: Place) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(
            f"no file {str(place.path)!r}; create one with initialize_code_file and"
            " use the file_path it returns"
        ) from error
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            what = "is a symbolic link, or leads through one or through a file"
            raise _refusal(place, what) from error
        if error.errno in {errno.ENXIO, errno.ENODEV}:
            raise _refusal(place, "is a socket or a device") from error
        raise StorageError(
            f"{str(place.path)!r} can't be read: {error.strerror}; let the server's user read it"
        ) from error


def _refusal(place: Place, what: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{str(place.path)!r} {what}, which is not opened: name a plain file below"
        f" {str(place.root)!r}"
    )

"""Files below one folder, named by paths from outside: which names are allowed, and opening them.

A check of a path says nothing about the file that is opened a moment later, as any part of it can
be a link by then. So the names are checked as text, and it is the kernel that follows no link and
never leaves the folder: `openat2` on Linux from 5.6 on, elsewhere `O_NOFOLLOW` part by part.
"""

import ctypes
import errno
import os
import platform
import re
import stat
import struct
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from kernel_exec.errors import (
    InvalidArgumentError,
    KernelExecError,
    NotFoundError,
    StorageError,
)
from kernel_exec.places import PRIVATE_FOLDER

_PATH_LIMIT: Final = 1024
_PART_LIMIT: Final = 255
"""Bytes in UTF-8."""

_SHOWN: Final = 200
"""Characters of a refused path that its message repeats."""

DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", "conin", "conout"}
    | {f"{port}{number}" for port in ("com", "lpt") for number in range(10)}
)
"""Names that Windows gives to devices, whatever follows the first dot."""

_SHORT_NAME: Final = re.compile(r".{1,6}~[0-9]{1,6}(\..{0,3})?")
"""A second name that Windows gives to files, also to our private folder."""

_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

_OPENAT2: Final = 437
"""Number of the system call, the same on all processors since it is younger than 2019."""

_BENEATH: Final = 0x08 | 0x04 | 0x02
"""RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS of linux/openat2.h."""

_NO_OPENAT2: Final = frozenset({errno.ENOSYS, errno.EPERM, errno.EAGAIN})
"""Not there, forbidden as in older containers, or disturbed by a rename: walk instead."""


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
    """The place that `given` names, relative to `root` or beginning with it.

    Raises:
        InvalidArgumentError: The path is not allowed, wherever it leads.
    """
    # kernels tell their folder without links; this compares text, and nothing is opened by it
    roots = dict.fromkeys((str(root), os.path.realpath(root)))
    return Place(root=root, parts=parts_below(given, list(roots)))


def parts_below(given: str, roots: Sequence[str]) -> tuple[str, ...]:
    """The names between a root and the file that `given` means, each sure to be one name.

    Raises:
        InvalidArgumentError: It is outside of `roots`, leads nowhere, or is no plain path.
    """
    inside = given
    for root in roots:
        beginning = root.rstrip(os.sep) + os.sep
        if given.startswith(beginning):
            inside = given.removeprefix(beginning)
            break
    if os.sep == "\\":
        inside = inside.replace("\\", "/")
    parts = tuple(inside.split("/"))
    objection = _objection(inside) or next(filter(None, map(_objection_to_part, parts)), None)
    if objection is not None:
        shown = given if len(given) <= _SHOWN else f"{given[:_SHOWN]}…"
        raise InvalidArgumentError(
            f"file_path {shown!r} is not allowed: {objection}; name a file below {roots[0]!r},"
            " preferably by the file_path that a tool returned"
        )
    return parts


@contextmanager
def folder_of(place: Place) -> Iterator[int]:
    """A descriptor of the folder that the file is in, which stays that folder if it is moved.

    Raises:
        InvalidArgumentError: A link or a file is in the way.
        NotFoundError: There is no such folder.
        StorageError: It can't be opened.
    """
    if os.open not in os.supports_dir_fd:
        raise StorageError(
            f"{str(place.path)!r} can't be opened: this system has no way to open a file without"
            " following links that are put in its way; use execute_code to read or write it"
        )
    with _explained(place):
        root = os.open(place.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if len(place.parts) == 1:
            yield root
            return
        with _explained(place):
            folder = _open_below(root, place.parts[:-1], os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield folder
        finally:
            os.close(folder)
    finally:
        os.close(root)


def open_in(folder: int, place: Place) -> BinaryIO:
    """The file itself in the folder of `folder_of`, for reading.

    Raises:
        InvalidArgumentError: It is a link, a folder, a pipe, a socket or a device.
        NotFoundError: There is none.
        StorageError: It can't be opened.
    """
    with _explained(place):
        # without O_NONBLOCK a pipe that nobody writes to would be waited for
        file = _open_below(folder, place.parts[-1:], os.O_RDONLY | os.O_NONBLOCK)
    mode = os.fstat(file).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(file, "rb")
    os.close(file)
    raise _not_plain(place, "is a folder" if stat.S_ISDIR(mode) else "is a pipe or a device")


@contextmanager
def opened(place: Place) -> Iterator[BinaryIO]:
    """The file at `place` for reading; raises what `folder_of` and `open_in` raise."""
    with folder_of(place) as folder, open_in(folder, place) as stream:
        yield stream


def _objection(inside: str) -> str | None:
    """Why a path as a whole is refused, None if it is not."""
    if not inside:
        return "it names no file"
    if "\\" in inside:
        return "it has a backslash; folders are separated by '/'"
    if any(unicodedata.category(character) in _INVISIBLE for character in inside):
        return "it has a control, format or surrogate character"
    if inside[0] == "/":
        return "it is outside of the storage root"
    if inside[0] == "~":
        return "'~' is not a folder here"
    if ":" in inside:
        return "it has a ':', which is a drive or a stream for Windows"
    try:
        size = len(os.fsencode(inside))
    except UnicodeEncodeError as error:
        return f"this system's file names are in {error.encoding}"
    return f"it has more than {_PATH_LIMIT:,} bytes" if size > _PATH_LIMIT else None


def _objection_to_part(part: str) -> str | None:
    """Why one name in a path is refused, None if it is not."""
    if part in {"", ".", ".."}:
        return f"{part!r} is no name between two '/'"
    if part.casefold() == PRIVATE_FOLDER:
        return f"{PRIVATE_FOLDER!r} is the server's own"
    if len(os.fsencode(part)) > _PART_LIMIT:
        return f"one of its names has more than {_PART_LIMIT} bytes"
    if part[0] == "-":
        return f"{part!r} begins with '-', as an option does"
    if part[-1] in ". ":
        return f"{part!r} ends in a dot or a space, which Windows drops"
    if part.partition(".")[0].casefold().strip() in DEVICES:
        return f"Windows reserves {part!r} for a device"
    if _SHORT_NAME.fullmatch(part):
        return f"{part!r} is a short name of Windows, which can stand for another file"
    return None


def _open_below(folder: int, parts: Sequence[str], flags: int) -> int:
    """Open what `parts` lead to from `folder`, without any link; raises `OSError`."""
    if platform.system() == "Linux":
        try:
            return _openat2(folder, "/".join(parts), flags)
        except OSError as error:
            if error.errno not in _NO_OPENAT2:
                raise
    return _walk(folder, parts, flags)


def _openat2(folder: int, path: str, flags: int) -> int:
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    call.argtypes = [
        ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t
    ]  # fmt: skip
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, _BENEATH)
    file = int(call(_OPENAT2, folder, os.fsencode(path), how, len(how)))
    if file < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return file


def _walk(folder: int, parts: Sequence[str], flags: int) -> int:
    """What `_openat2` does, one part after the other; raises `OSError`."""
    *parents, last = parts
    within = os.dup(folder)
    try:
        for part in parents:
            below = os.open(
                part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within
            )
            os.close(within)
            within = below
        return os.open(last, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within)
    finally:
        os.close(within)


@contextmanager
def _explained(place: Place) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _explanation(error, place) from error


def _explanation(error: OSError, place: Place) -> KernelExecError:
    match error.errno:
        case errno.ENOENT:
            return NotFoundError(
                f"no file {str(place.path)!r}; create one with initialize_code_file and"
                " use the file_path it returns"
            )
        case errno.ELOOP | errno.EXDEV | errno.ENOTDIR:
            return _not_plain(place, "is a symbolic link, or leads through one or through a file")
        case errno.ENXIO | errno.ENODEV:
            return _not_plain(place, "is a socket or a device")
        case _:
            return StorageError(
                f"{str(place.path)!r} can't be opened: {error.strerror};"
                " let the server's user read it"
            )


def _not_plain(place: Place, what: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{str(place.path)!r} {what}, which is not opened: name a plain file below"
        f" {str(place.root)!r}"
    )

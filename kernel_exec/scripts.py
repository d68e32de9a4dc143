"""Stored `.py` files below the storage root: what ran, under a name that tracebacks can show."""

import hashlib
import os
import re
import secrets
import stat
import tempfile
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from filelock import FileLock, Timeout

from kernel_exec.confined import (
    DEVICES,
    Place,
    folder_of,
    open_in,
    opened,
    place_below,
)
from kernel_exec.errors import (
    BusyError,
    InvalidArgumentError,
    StorageError,
    UnencodableError,
)
from kernel_exec.lines import ScriptPage, declared_encoding, extended, read_page
from kernel_exec.places import PRIVATE_FOLDER

_SOURCE_LIMIT: Final = 10_000_000
"""Characters of a script; more than that is data, and belongs in a file of its own."""

_NAME_LIMIT: Final = 200
"""Bytes of a name in UTF-8; file systems take 255, and we add our own."""

_UNUSABLE = re.compile("[\0\ud800-\udfff]")

_LINE_END = re.compile(b"\r\n|\r|\n")

_PUNCTUATION: Final = frozenset("_-. ")

_FILE_LIMIT: Final = 10_000_000
"""Bytes that a script may grow to; each append writes all of it."""

_READ_LIMIT: Final = 4_000_000_000
"""Bytes of a file that is read; its lines are counted, and nobody waits for more."""

_UNFINISHED: Final = ".unfinished-"
"""How the names of files begin that are still written, or whose writer was killed."""

_ABANDONED: Final = 3600.0
"""Seconds after which nobody writes a file any more; the longest takes less than one."""

_LOCK_WAIT: Final = 20.0
"""Seconds to wait for others who append; one append takes milliseconds."""

_LOCK_POLL: Final = 0.005
"""Seconds between two attempts to get the lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """A script that was added to, and how long it is now."""

    path: Path
    lines: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A stored file as it is run; `sha256` is that of its bytes."""

    path: Path
    source: str
    sha256: str


class ScriptStore:
    """The scripts below `root`, which is made when the first one is saved."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._swept = False

    def save(self, source: str, stem: str = "") -> Path:
        """Store `source` as `<stem>_<8 hex>.py`, or `code_<8 hex>.py` when `stem` is empty.

        The file holds `source` as it is, in the encoding that it declares, and is there whole or
        not at all. It is 0600, and not synced to the disk: history is what survives a power cut.

        Raises:
            InvalidArgumentError: The stem is not a plain name, or the source is not Python text.
            UnencodableError: The encoding that the source declares does not have it.
            StorageError: It can't be written.
        """
        checked_source(source)
        name = _plain_name(stem.removesuffix(".py")) if stem else "code"
        content = _encoded(b"", source, "no file was created")
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sweep()
            while (path := self._root / f"{name}_{secrets.token_hex(4)}.py").exists():
                pass
            _write(path, content)
        except OSError as error:
            raise StorageError(
                f"the script can't be stored in {str(self._root)!r}: {error.strerror};"
                " free some space, or set CODE_STORAGE_DIR to a writable folder"
            ) from error
        return path

    def append(self, file_path: str, content: str) -> Appended:
        """Add `content` to a script below the root, beginning a new line if its end is none.

        It is written as it is, in the encoding that the file declares, after an end of line like
        the file's others where one is needed. Who reads the file meanwhile sees it before or
        after; of several who append, through this server or another, one comes after the other.
        The mode stays, hard links do not.

        Raises:
            InvalidArgumentError: The path is not allowed, the file or the content is not Python
                text, or the file would be too large.
            NotFoundError: There is no such file.
            BusyError: Others append all the time.
            StorageError: It can't be written; the file is as it was.
        """
        checked_source(content)
        place = place_below(self._root, file_path)
        try:
            with folder_of(place) as folder, self._lock():
                return _append(folder, place, content)
        except Timeout as error:
            raise BusyError(
                f"{str(place.path)!r} can't be appended to because another process is writing;"
                " try again"
            ) from error
        except OSError as error:
            raise StorageError(
                f"{str(place.path)!r} can't be appended to: {error.strerror}; it is unchanged."
                " Free some space and let the server's user write there"
            ) from error

    def read(self, file_path: str, *, offset: int = 0, limit: int) -> ScriptPage:
        """At most `limit` lines of a file below the root, and as many as fit one result.

        Raises:
            InvalidArgumentError: The path is not allowed, or the file is too large.
            NotFoundError: There is no such file.
            StorageError: It can't be read.
        """
        place = place_below(self._root, file_path)
        try:
            with opened(place) as stream:
                _refuse_larger(stream, place, _READ_LIMIT)
                return read_page(stream, place.path, offset, limit)
        except OSError as error:
            raise StorageError(f"{str(place.path)!r} can't be read: {error.strerror}") from error

    def source(self, file_path: str) -> Script:
        """The code of a file below the root, in the encoding it declares.

        Raises:
            InvalidArgumentError: The path is not allowed, or the file is no code or too long.
            NotFoundError: There is no such file.
            StorageError: It can't be read.
        """
        place = place_below(self._root, file_path)
        try:
            with opened(place) as stream:
                most = 4 * _SOURCE_LIMIT  # bytes of that many characters
                _refuse_larger(stream, place, most)
                content = stream.read(most)
        except OSError as error:
            raise StorageError(f"{str(place.path)!r} can't be read: {error.strerror}") from error
        source = _text(content, place)
        sha256 = hashlib.sha256(content).hexdigest()
        return Script(path=place.path, source=checked_source(source), sha256=sha256)

    def _sweep(self) -> None:
        """Remove, once and where that is possible, what writers left that were killed."""
        if self._swept:
            return
        self._swept = True
        before = time.time() - _ABANDONED
        for path in self._root.glob(f"{_UNFINISHED}*"):
            with suppress(OSError):
                if path.stat(follow_symlinks=False).st_mtime < before:
                    path.unlink()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Be the only one who appends, of all servers; raises `OSError`."""
        folder = self._root / PRIVATE_FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        with FileLock(
            folder / "scripts.lock", timeout=_LOCK_WAIT, poll_interval=_LOCK_POLL, mode=0o600
        ):
            yield


def checked_source(source: str) -> str:
    r"""`source` as it is run: no byte order mark, and `\n` at the end of each line.

    Python reads `\r\n` and `\r` as `\n` anyhow, but `%%bash` and `name?` fail on a `\r`.

    Raises:
        InvalidArgumentError: It holds a NUL or half a surrogate pair, or is too long.
    """
    if len(source) > _SOURCE_LIMIT:
        raise InvalidArgumentError(
            f"the code has {len(source):,} characters, at most {_SOURCE_LIMIT:,} are allowed;"
            " put data into a file and read it from there"
        )
    text = source.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if (found := _UNUSABLE.search(text)) is not None:
        line = text.count("\n", 0, found.start()) + 1
        column = found.start() - (text.rfind("\n", 0, found.start()) + 1) + 1
        character = found[0]
        what = "NUL" if character == "\0" else f"the lone surrogate U+{ord(character):04X}"
        raise InvalidArgumentError(
            f"the code has {what} in line {line}, column {column}; write it as an escape,"
            f" such as {character!a}"
        )
    return text


def _plain_name(stem: str) -> str:
    """`stem` in its composed form, once it is sure to be one name and nothing else.

    An allow-list, so that separators, drives, wildcards, shell syntax, control characters and
    those that change the direction of text are refused alike.
    """
    name = unicodedata.normalize("NFC", stem)
    if not name or name[0] in "-. " or name[-1] in ". " or not all(map(_is_plain, name)):
        raise InvalidArgumentError(
            f"filename {stem[:_NAME_LIMIT]!r} is not allowed: use letters, digits, '_', '-', '.'"
            " and spaces, beginning with a letter, a digit or '_', without a folder"
        )
    if name.partition(".")[0].casefold().strip() in DEVICES:
        raise InvalidArgumentError(
            f"filename {stem!r} is not allowed: Windows reserves that name for a device"
        )
    try:
        size = len(os.fsencode(name))
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(
            f"filename {stem!r} can't be written by this system, whose file names are in"
            f" {error.encoding}: use ASCII"
        ) from error
    if size > _NAME_LIMIT:
        raise InvalidArgumentError(
            f"filename {stem[:_NAME_LIMIT]!r} is too long: at most {_NAME_LIMIT} bytes are allowed"
        )
    return name


def _is_plain(character: str) -> bool:
    return character in _PUNCTUATION or unicodedata.category(character)[0] in "LNM"


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, for its owner only; raises `OSError`."""
    file, unfinished = tempfile.mkstemp(prefix=_UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(content)
        Path(unfinished).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(unfinished).unlink()
        raise


def _refuse_larger(stream: BinaryIO, place: Place, most: int) -> None:
    size = os.fstat(stream.fileno()).st_size
    if size > most:
        raise InvalidArgumentError(
            f"{str(place.path)!r} has {size:,} bytes, at most {most:,} are allowed;"
            " read the part you need with execute_code"
        )


def _append(folder: int, place: Place, added: str) -> Appended:
    """Append while nobody else does; raises `OSError`."""
    with open_in(folder, place) as stream:
        before = os.fstat(stream.fileno())
        content = stream.read(_FILE_LIMIT + 1)
    if len(content) <= _FILE_LIMIT:
        content = _continuation(content, added, place)
    if len(content) > _FILE_LIMIT:
        raise InvalidArgumentError(
            f"{str(place.path)!r} would have more than the {_FILE_LIMIT:,} bytes that are"
            " allowed; begin another file with initialize_code_file"
        )
    if added:
        _replace(folder, place.parts[-1], content, stat.S_IMODE(before.st_mode) & 0o777)
    lines = content.count(b"\n") + (content[-1:] not in {b"", b"\n"})
    return Appended(path=place.path, lines=lines, size=len(content))


def _continuation(content: bytes, added: str, place: Place) -> bytes:
    """`content` and `added`, which begins on a line of its own."""
    _text(content, place)
    if content:
        added = added.removeprefix("\ufeff")
    if added and content[-1:] not in {b"", b"\n", b"\r"}:
        end = _LINE_END.search(content) or _LINE_END.search(added.encode())
        added = (end[0].decode() if end is not None else "\n") + added
    return _encoded(content, added, f"{str(place.path)!r} is unchanged")


def _text(content: bytes, place: Place) -> str:
    try:
        return content.decode(declared_encoding(content))
    except ValueError as error:
        raise UnencodableError(
            f"{str(place.path)!r} is not text in the encoding it declares ({error});"
            " save it as UTF-8"
        ) from error


def _encoded(content: bytes, added: str, state: str) -> bytes:
    try:
        return extended(content, added)
    except ValueError as error:
        raise UnencodableError(
            f"the text can't be stored in the encoding that it declares: {error}; {state}."
            " Declare UTF-8, or write the character as an escape"
        ) from error


def _replace(folder: int, name: str, content: bytes, mode: int) -> None:
    """Put a file in place of another one, whole or not at all; raises `OSError`.

    It is synced, as what the file held before is at stake.
    """
    unfinished = f"{_UNFINISHED}{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(unfinished, flags, 0o600, dir_fd=folder)
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fchmod(file, mode)
            os.fsync(file)
        os.replace(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(unfinished, dir_fd=folder)
        raise

"""Stored `.py` files below the storage root: what ran, under a name that tracebacks can show."""

import hashlib
import os
import re
import secrets
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from kernel_exec.errors import (
    BusyError,
    InvalidArgumentError,
    NotFoundError,
    StorageError,
    UnencodableError,
)
from kernel_exec.files import held, write_in
from kernel_exec.places import CELLS_FOLDER, PRIVATE_FOLDER

from .confined import Place, folder_of, open_in, opened, place_below
from .encodings import decoded, extended
from .finding import found_below
from .pages import ScriptPage, read_page

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A script that has its name, and is not stored yet."""

    path: Path
    content: bytes


class ScriptStore:
    """The scripts below `root`, which is made when the first one is saved.

    All raise `InvalidArgumentError` for a path, a name or a text that is not allowed, and for what
    is no plain file or too large; `UnencodableError` for text that its declared encoding does not
    have; `NotFoundError` where there is no such file; `BusyError` while others append all the time;
    `StorageError` for what can't be read or written. A file that was there stays as it was.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    def save(self, source: str, stem: str = "") -> Path:
        """Store `source` as `<stem>_<8 hex>.py`, or `code_<8 hex>.py` when `stem` is empty.

        The file holds `source` as it is, in the encoding that it declares, and is there whole or
        not at all. It is 0600, and not synced to the disk: history is what survives a power cut.
        """
        return self.write(self._draft(source, stem, self._root))

    def draft(self, source: str, stem: str = "") -> Draft:
        """What `write` will store; code without a name has a folder of its own."""
        return self._draft(source, stem, self._root if stem else self._cells())

    def write(self, draft: Draft) -> Path:
        """Store it, and return its path."""
        below = draft.path.parent.relative_to(self._root)
        try:
            with held(Path(os.path.realpath(self._root), below), missing=0o700) as folder:
                write_in(folder, draft.path, draft.content, mode=0o600, durable=False)
        except OSError as error:
            raise self._unstored(error) from error
        return draft.path

    def replace(self, source: str, stem: str) -> Path:
        """Store `source` as `<stem>.py`, also in place of a file of that name, whose mode stays."""
        checked_source(source)
        place = place_below(self._root, f"{_plain_name(stem)}.py")
        content = _encoded(b"", source, "no file was written")
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked(place) as folder:
                with suppress(NotFoundError):
                    open_in(folder, place).close()  # only a plain file is replaced
                write_in(folder, place.path, content, mode=0o600)
        except OSError as error:
            raise self._unstored(error) from error
        return place.path

    def append(self, file_path: str, content: str) -> Appended:
        """Add `content` to a script below the root, beginning a new line if its end is none.

        It is written as it is, in the encoding that the file declares, after an end of line like
        the file's others where one is needed. Who reads the file meanwhile sees it before or
        after; of several who append, through this server or another, one comes after the other.
        The mode stays, hard links do not.
        """
        checked_source(content)
        place = found_below(self._root, file_path)
        try:
            with self._locked(place) as folder:
                return _append(folder, place, content)
        except OSError as error:
            raise StorageError(
                f"{str(place.path)!r} can't be appended to: {error.strerror}; it is unchanged."
                " Free some space and let the server's user write there"
            ) from error

    def read(self, file_path: str, *, offset: int = 0, limit: int) -> ScriptPage:
        """At most `limit` lines of a file below the root, and as many as fit one result."""
        place = found_below(self._root, file_path)
        with opened(place, most=_READ_LIMIT) as stream:
            return read_page(stream, place.path, offset, limit)

    def source(self, file_path: str) -> Script:
        """The code of a file below the root, in the encoding it declares."""
        place = found_below(self._root, file_path)
        most = 4 * _SOURCE_LIMIT  # bytes of that many characters
        with opened(place, most=most) as stream:
            content = stream.read(most)  # also of a file that grows meanwhile
        source = _text(content, place)
        sha256 = hashlib.sha256(content).hexdigest()
        return Script(path=place.path, source=checked_source(source), sha256=sha256)

    def _draft(self, source: str, stem: str, folder: Path) -> Draft:
        name = _plain_name(stem) if stem else "code"
        checked_source(source)
        content = _encoded(b"", source, "no file was created")
        try:
            while (path := folder / f"{name}_{secrets.token_hex(4)}.py").exists():
                pass
        except OSError as error:
            raise self._unstored(error) from error
        return Draft(path=path, content=content)

    def _cells(self) -> Path:
        """The folder for cells, which need not exist; the root if something else has its name."""
        folder = self._root / CELLS_FOLDER
        with suppress(OSError):
            if not stat.S_ISDIR(folder.lstat().st_mode):
                return self._root
        return folder

    def _unstored(self, error: OSError) -> StorageError:
        return StorageError(
            f"the script can't be stored in {str(self._root)!r}: {error.strerror};"
            " free some space, or set CODE_STORAGE_DIR to a writable folder"
        )

    @contextmanager
    def _locked(self, place: Place) -> Iterator[int]:
        """The folder of a file, while no other server writes there; raises `OSError`."""
        private = self._root / PRIVATE_FOLDER
        lock = FileLock(
            private / "scripts.lock", timeout=_LOCK_WAIT, poll_interval=_LOCK_POLL, mode=0o600
        )
        with folder_of(place) as folder:
            private.mkdir(mode=0o700, exist_ok=True)
            try:
                with lock:
                    yield folder
            except Timeout as error:
                raise BusyError(
                    f"{str(place.path)!r} can't be written because another process is writing;"
                    " try again"
                ) from error


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
    """`stem` in its composed form and without `.py`, sure to be one name and nothing else.

    An allow-list, so that separators, drives, wildcards, shell syntax, control characters and
    those that change the direction of text are refused alike.
    """
    name = unicodedata.normalize("NFC", stem.removesuffix(".py"))
    is_plain = name and name[0] not in "-. " and name[-1] not in ". " and all(map(_is_plain, name))
    if not is_plain or len(name.encode()) > _NAME_LIMIT:
        raise InvalidArgumentError(
            f"filename {stem[:_NAME_LIMIT]!r} is not allowed: use at most {_NAME_LIMIT} bytes of"
            " letters, digits, '_', '-', '.' and spaces, beginning with a letter, a digit or '_',"
            " without a folder"
        )
    return name


def _is_plain(character: str) -> bool:
    return character in _PUNCTUATION or unicodedata.category(character)[0] in "LNM"


def _append(folder: int, place: Place, added: str) -> Appended:
    """Append while nobody else does; raises `OSError`."""
    with open_in(folder, place) as stream:
        content = stream.read(_FILE_LIMIT + 1)
    if len(content) <= _FILE_LIMIT:
        content = _continuation(content, added, place)
    if len(content) > _FILE_LIMIT:
        raise InvalidArgumentError(
            f"{str(place.path)!r} would have more than the {_FILE_LIMIT:,} bytes that are"
            " allowed; begin another file with initialize_code_file"
        )
    if added:
        write_in(folder, place.path, content, mode=0o600)
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
        return decoded(content)
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

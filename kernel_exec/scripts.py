"""Stored `.py` files below the storage root: what ran, under a name that tracebacks can show."""

import os
import re
import secrets
import tempfile
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import Final

from kernel_exec.errors import InvalidArgumentError, StorageError

_SOURCE_LIMIT: Final = 10_000_000
"""Characters of a script; more than that is data, and belongs in a file of its own."""

_NAME_LIMIT: Final = 200
"""Bytes of a name in UTF-8; file systems take 255, and we add our own."""

_UNUSABLE = re.compile("[\0\ud800-\udfff]")

_PUNCTUATION: Final = frozenset("_-. ")

_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", "conin", "conout"}
    | {f"{port}{number}" for port in ("com", "lpt") for number in range(10)}
)
"""Names that Windows gives to devices, whatever follows the first dot."""


class ScriptStore:
    """The scripts below `root`, which is made when the first one is saved."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def save(self, source: str, stem: str = "") -> Path:
        """Store `source` as `<stem>_<8 hex>.py`, or `code_<8 hex>.py` when `stem` is empty.

        The file holds `checked_source(source)` and is there whole or not at all. It is 0600, and
        not synced to the disk: history is what survives a power cut.

        Raises:
            InvalidArgumentError: The stem is not a plain name, or the source is not Python text.
            StorageError: It can't be written.
        """
        content = checked_source(source).encode()
        name = _plain_name(stem.removesuffix(".py")) if stem else "code"
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            while (path := self._root / f"{name}_{secrets.token_hex(4)}.py").exists():
                pass
            _write(path, content)
        except OSError as error:
            raise StorageError(
                f"the script can't be stored in {str(self._root)!r}: {error.strerror};"
                " make room there, or set CODE_STORAGE_DIR to a folder that can be written"
            ) from error
        return path


def checked_source(source: str) -> str:
    r"""`source` as it is stored and run: no byte order mark, and `\n` at the end of each line.

    Python reads `\r\n` and `\r` as `\n` anyhow, but `%%bash` and `name?` fail on a `\r`.

    Raises:
        InvalidArgumentError: It holds a NUL or half a surrogate pair, or is too long.
    """
    if len(source) > _SOURCE_LIMIT:
        raise InvalidArgumentError(
            f"the code has {len(source):,} characters, and {_SOURCE_LIMIT:,} are allowed:"
            " put data into a file and read it from there"
        )
    text = source.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if (found := _UNUSABLE.search(text)) is not None:
        line = text.count("\n", 0, found.start()) + 1
        column = found.start() - (text.rfind("\n", 0, found.start()) + 1) + 1
        character = found[0]
        what = "NUL" if character == "\0" else f"the lone surrogate U+{ord(character):04X}"
        raise InvalidArgumentError(
            f"the code holds {what} in line {line}, column {column}: write it as an escape,"
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
    if name.partition(".")[0].casefold().strip() in _DEVICES:
        raise InvalidArgumentError(
            f"filename {stem!r} is not allowed: Windows keeps that name for a device"
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
    file, unfinished = tempfile.mkstemp(prefix=".unfinished-", dir=path.parent)
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(content)
        Path(unfinished).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(unfinished).unlink()
        raise

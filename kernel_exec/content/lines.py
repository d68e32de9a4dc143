"""What an execution put out, as lines: from memory, or from the file that a long text goes on in.

A line longer than `ROW` characters is several rows, and rows are what pages count, so that every
character can be reached. A file shows what the page of a short text would show: what a terminal
makes of it, without escape sequences. It is read in pieces and never held whole.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from kernel_exec.files import open_plain
from kernel_exec.terminal import carry_out

from .plain import clean

ROW = 8000
"""Characters of one row."""

_CHUNK = 1 << 18
_LONGEST = 125 * ROW
"""Bytes of a line without an end, after which it is given away in parts."""

_BYTES_EACH = 4
"""Bytes that one character takes at most."""

_REMEMBERED = 64
"""Files of which the places of lines are remembered."""

_CONTROLS = bytes({*range(0x20), 0x7F} - {0x09, 0x0A})
_GONE = "[the file that holds all of this is gone; only its beginning is left]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A text, or the beginning of one that is whole in the file at `path`."""

    text: str
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How long a text is, as it is shown."""

    rows: int = 0
    characters: int = 0

    def __add__(self, other: "Size") -> "Size":
        """Both together."""
        return Size(rows=self.rows + other.rows, characters=self.characters + other.characters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line, or a part of one; `goes_on` when the next row is more of the same line."""

    text: str
    goes_on: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Lines in a row, the number of their first row, and how the last one ends.

    It `goes_on` with the next lines, or ends the text, with a line end or without (`ended`).
    """

    lines: Sequence[str]
    number: int = 0
    goes_on: bool = False
    ended: bool = True
    end: int | None = None
    """The byte at which the next line begins, None within a line and in memory."""

    @property
    def size(self) -> Size:
        """How much this is."""
        long = max(map(len, self.lines), default=0) > ROW
        rows = sum(map(row_count, self.lines)) if long else len(self.lines)
        ends = len(self.lines) - (self.goes_on or not self.ended)
        return Size(rows=rows, characters=sum(map(len, self.lines)) + ends)


def row_count(line: str) -> int:
    """How many rows a line takes."""
    return -(-len(line) // ROW) or 1


class Texts:
    """Reads sources, and remembers where in their files the lines are."""

    def __init__(self) -> None:
        self._indexes: Mapping[str, _Index] = {}

    def size(self, source: Source) -> Size:
        """How much there is to be read; of a file that has grown only what is new is read."""
        if source.path:
            try:
                return self._measured(source.path).size
            except OSError:
                pass
        return sum((lines.size for lines in self.lines(source)), Size())

    def end(self, path: str, characters: int) -> str:
        """The last characters of a file; raises `OSError` when it is gone."""
        with open_plain(path) as file:
            file.seek(max(0, _end(file) - _BYTES_EACH * characters))
            written = file.read(_BYTES_EACH * characters).decode("utf-8", "ignore")
        return clean(carry_out(written))[-characters:]

    def bytes_of(self, path: str) -> int | None:
        """The size of a file, None when it is gone."""
        try:
            with open_plain(path) as file:
                return _end(file)
        except OSError:
            return None

    def rows(self, source: Source, start: int) -> Iterator[Row]:
        """The rows from number `start` on."""
        for lines in self.lines(source, start):
            number = lines.number
            for place, line in enumerate(lines.lines, 1):
                count = row_count(line)
                for at in range(max(0, start - number), count):
                    goes_on = at < count - 1 or (place == len(lines.lines) and lines.goes_on)
                    yield Row(text=line[at * ROW : (at + 1) * ROW], goes_on=goes_on)
                number += count

    def lines(self, source: Source, start: int = 0) -> Iterator[Lines]:
        """All lines, at the latest from that of row `start` on."""
        if not source.path:
            yield Lines(lines=_split(source.text), ended=source.text[-1:] in {"", "\n"})
            return
        try:
            file = open_plain(source.path)
        except OSError:
            yield Lines(lines=[_GONE, *_split(source.text)])
            return
        with file:
            place = self._place(source.path, file, start)
            yield from _read(file, place.position, place.size.rows)

    def _place(self, path: str, file: BinaryIO, start: int) -> "_Place":
        """The last known place in a file that is not behind row `start`."""
        index = self._indexes.get(path)
        if index is None or index.identity != _identity(file):
            return _Place()
        return next(each for each in reversed(index.places) if each.size.rows <= start)

    def _measured(self, path: str) -> "_Index":
        with open_plain(path) as file:
            end, identity = _end(file), _identity(file)
            index = self._indexes.get(path)
            if index is None or index.identity != identity or index.end > end:
                index = _Index(identity=identity)
            if index.end < end:
                index = _read_on(file, index, end)
        others = [each for each in self._indexes.items() if each[0] != path]
        # a new table, since several threads may read at once
        self._indexes = dict([*others[1 - _REMEMBERED :], (path, index)])
        return index


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """The beginning of a row: its byte in the file, and how much is before it."""

    position: int = 0
    size: Size = Size()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    """What is known of a file that was read up to byte `end`."""

    identity: tuple[int, int]
    places: tuple[_Place, ...] = (_Place(),)
    size: Size = Size()
    end: int = 0


def _read_on(file: BinaryIO, index: _Index, end: int) -> _Index:
    """What is known after what was added to the file."""
    places = [*index.places]
    size = places[-1].size
    for lines in _read(file, places[-1].position, size.rows):
        size += lines.size
        if lines.end is not None:
            places.append(_Place(position=lines.end, size=size))
    return _Index(identity=index.identity, places=tuple(places), size=size, end=end)


def _read(file: BinaryIO, start: int, number: int) -> Iterator[Lines]:
    """The lines from byte `start`, which begins row `number`, to where the file ends now."""
    end = _end(file)
    position = file.seek(start)
    rest = b""
    while position < end and (more := file.read(min(_CHUNK, end - position))):
        position += len(more)
        if cut := more.rfind(b"\n") + 1:
            after = position - len(more) + cut
            read = Lines(lines=_shown(rest + more[:cut]), number=number, end=after)
            rest = more[cut:]
        else:
            rest = _without_what_was_written_over(rest + more)
            if len(rest) <= _LONGEST:
                continue
            begun, rest = _parted(rest)
            if not begun:  # it is all escape sequences
                continue
            read = Lines(lines=[begun], number=number, goes_on=True)
        yield read
        number += read.size.rows
    if rest:
        yield Lines(lines=_shown(rest), number=number, ended=False)


def _parted(line: bytes) -> tuple[str, bytes]:
    """The whole rows of a line that has not ended, and what is left of it."""
    begun = "".join(_shown(line))
    whole = len(begun) // ROW * ROW
    return begun[:whole], begun[whole:].encode()


def _without_what_was_written_over(line: bytes) -> bytes:
    """A line that is being written, such as a progress bar, as far as it can be seen."""
    returned = line.rfind(b"\r")
    if returned < 1:
        return line
    seen = carry_out(line[:returned].decode("utf-8", "replace"))
    return seen.encode() + line[returned:]


def _shown(written: bytes) -> list[str]:
    """Bytes as lines of clean text."""
    text = written.decode("utf-8", "replace")
    if written.isascii() and len(written.translate(None, _CONTROLS)) == len(written):
        return text.removesuffix("\n").split("\n")
    return _split(carry_out(text))


def _split(text: str) -> list[str]:
    return clean(text).removesuffix("\n").split("\n") if text else []


def _identity(file: BinaryIO) -> tuple[int, int]:
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino


def _end(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size

"""Pages of a file, counted in lines; no file is ever read whole."""

import codecs
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from .encodings import BEGINNING, declared_encoding

_PAGE_LIMIT: Final = 25_000
"""Characters of a page: several hosts cut results of 30 KB and more."""

_LINE_LIMIT: Final = 10_000
"""Characters of a line; what is longer is data, and its beginning shows what it is."""

_LINE_BYTES: Final = 4 * (_LINE_LIMIT + 1)
"""Bytes that are sure to have one character more than a line may."""

_CHUNK: Final = 1 << 20

_Decoder: TypeAlias = Callable[[str], codecs.IncrementalDecoder]

_UTF8: Final = codecs.getincrementaldecoder("utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptPage:
    """Lines of a script, from `offset` (0 is the first) up to `next_offset`, None at the end.

    `cut_lines` are the offsets of lines that are shown in part; `encoding_errors` is true when
    bytes were replaced that are not in the file's encoding. A byte order mark is left out.
    """

    path: Path
    text: str
    offset: int
    next_offset: int | None
    total_lines: int
    cut_lines: tuple[int, ...]
    encoding_errors: bool


def read_page(stream: BinaryIO, path: Path, offset: int, limit: int) -> ScriptPage:
    """The lines from `offset` on, as many as fit one page. Raises `OSError`."""
    total = _count_lines(stream)
    decoder = _decoder(stream)
    shown: list[str] = []
    cut: list[int] = []
    replaced = False
    room = _PAGE_LIMIT
    for begin, size in islice(_lines(stream), offset, offset + limit):
        text, is_replaced = _decoded(begin, decoder, whole=len(begin) >= size)
        is_cut = len(text.removesuffix("\n")) > _LINE_LIMIT
        if is_cut:
            text = f"{text[:_LINE_LIMIT]} [line cut here: it has {size:,} bytes]\n"
        room -= len(text)
        if shown and room < 0:
            break
        cut += [offset + len(shown)] * is_cut
        replaced |= is_replaced
        shown.append(text)
    end = offset + len(shown)
    return ScriptPage(
        path=path,
        text="".join(shown),
        offset=offset,
        next_offset=end if end < total else None,
        total_lines=total,
        cut_lines=tuple(cut),
        encoding_errors=replaced,
    )


def _count_lines(stream: BinaryIO) -> int:
    """The number of lines; the last one may have no end. Raises `OSError`."""
    lines, last = 0, b"\n"
    for chunk in iter(partial(stream.read, _CHUNK), b""):
        lines += chunk.count(b"\n")
        last = chunk[-1:]
    return lines + (last != b"\n")


def _decoder(stream: BinaryIO) -> _Decoder:
    """What makes text of the file's lines; goes to the first of them. Raises `OSError`."""
    stream.seek(0)
    beginning = stream.read(BEGINNING)
    stream.seek(len(codecs.BOM_UTF8) if beginning.startswith(codecs.BOM_UTF8) else 0)
    try:
        return codecs.getincrementaldecoder(declared_encoding(beginning))
    except (ValueError, LookupError):
        return _UTF8


def _lines(stream: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """The beginning of each line from here on, and how many bytes it has without its end.

    Raises `OSError`.
    """
    while begin := stream.readline(_LINE_BYTES):
        size, piece = len(begin), begin
        # a line that is longer than one piece goes on in the next ones, which nobody sees
        while not piece.endswith(b"\n") and (piece := stream.readline(_CHUNK)):
            size += len(piece)
        yield begin, size - piece.endswith(b"\n")


def _decoded(line: bytes, decoder: _Decoder, *, whole: bool) -> tuple[str, bool]:
    """Text, and whether bytes that are none were replaced in it."""
    try:
        return decoder("strict").decode(line, final=whole), False
    except UnicodeError:
        return _UTF8("replace").decode(line, final=whole), True

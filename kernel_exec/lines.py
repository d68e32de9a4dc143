"""Files of text by pages of lines, and the encoding they declare; none is ever read whole."""

import codecs
import io
import json
import os
import tokenize
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

_PAGE_LIMIT: Final = 100_000
"""Characters of a page as JSON writes them, so that a result stays below what hosts take.

Those that need an escape beyond ASCII count half of it: a result has it once, as text.
"""

_LINE_LIMIT: Final = 10_000
"""Characters of a line; what is longer is data, and its beginning shows what it is."""

_CHUNK: Final = 1 << 20

_BEGINNING: Final = 4096
"""Bytes in which a file declares its encoding, if it does."""

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


def declared_encoding(beginning: bytes) -> str:
    """The encoding of a file that begins so, as Python reads it (PEP 263).

    Raises:
        ValueError: It declares none that is one of text, or does not keep to it.
    """
    lines = beginning.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(lines).readline)
        b" ".decode(encoding)  # rot13 and its like are codecs, too, but not of text
    except UnicodeDecodeError as error:
        raise ValueError(f"{error.encoding} is no encoding of Python files") from error
    except (SyntaxError, LookupError) as error:
        raise ValueError(str(error)) from error
    return encoding.removesuffix("-sig")  # whose encoder would put the mark wherever it begins


def extended(content: bytes, added: str) -> bytes:
    """`content` with text after it, in the encoding that the whole declares.

    Raises:
        ValueError: That is none, or one that does not have a character of the text; says where.
    """
    before = content.decode(declared_encoding(content))
    encoding = declared_encoding((before + added)[:_BEGINNING].encode())
    try:
        whole = content + added.encode(encoding)
    except UnicodeEncodeError as error:
        line = (before + added[: error.start]).count("\n") + 1
        raise ValueError(
            f"{encoding} has no {added[error.start]!a}, which is in line {line}"
        ) from error
    # a declaration counts for what precedes it, too
    if declared_encoding(whole) != encoding or whole.decode(encoding) != before + added:
        raise ValueError(f"what is before the declaration of {encoding} is not in that encoding")
    return whole


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A line as it is shown."""

    text: str
    cut: bool
    invalid: bool


def read_page(stream: BinaryIO, path: Path, offset: int, limit: int) -> ScriptPage:
    """The lines from `offset` on; the others are only counted. Raises `OSError`."""
    decoder = _decoder(stream)
    passed = _pass_lines(stream, offset)
    lines: list[_Line] = []
    room = _PAGE_LIMIT
    while len(lines) < limit:
        start = stream.tell()
        line = _next_line(stream, decoder)
        if line is None:
            break
        room -= max(len(json.dumps(line.text, ensure_ascii=False)), len(json.dumps(line.text)) // 2)
        if lines and room < 0:
            stream.seek(start)
            break
        lines.append(line)
    rest = _pass_lines(stream, None)
    return ScriptPage(
        path=path,
        text="".join(line.text for line in lines),
        offset=offset,
        next_offset=offset + len(lines) if rest else None,
        total_lines=passed + len(lines) + rest,
        cut_lines=tuple(offset + at for at, line in enumerate(lines) if line.cut),
        encoding_errors=any(line.invalid for line in lines),
    )


def _pass_lines(stream: BinaryIO, wanted: int | None) -> int:
    """Go on by `wanted` lines, or to the end, and tell by how many it was; raises `OSError`."""
    passed = 0
    ended = True
    while wanted is None or passed < wanted:
        chunk = stream.read(_CHUNK)
        if not chunk:
            return passed if ended else passed + 1
        count = chunk.count(b"\n")
        ended = chunk.endswith(b"\n")
        if wanted is None or passed + count < wanted:
            passed += count
            continue
        at = -1
        for _ in range(wanted - passed):
            at = chunk.index(b"\n", at + 1)
        stream.seek(at + 1 - len(chunk), os.SEEK_CUR)
        return wanted
    return passed


def _next_line(stream: BinaryIO, decoder: _Decoder) -> _Line | None:
    """The line that begins here, None at the end; raises `OSError`."""
    most = 4 * (_LINE_LIMIT + 1)
    begin = stream.readline(most)
    if not begin:
        return None
    whole = begin.endswith(b"\n") or len(begin) < most
    text, invalid = _decoded(begin, decoder, whole)
    size = len(begin.removesuffix(b"\n"))
    while not whole and (more := stream.readline(_CHUNK)):
        whole = more.endswith(b"\n")
        size += len(more.removesuffix(b"\n"))
    cut = len(text.removesuffix("\n")) > _LINE_LIMIT
    if cut:
        text = f"{text[:_LINE_LIMIT]} [line cut here: it has {size:,} bytes]\n"
    return _Line(text=text, cut=cut, invalid=invalid)


def _decoded(line: bytes, decoder: _Decoder, whole: bool) -> tuple[str, bool]:
    """Text, and whether bytes that are none were replaced in it."""
    try:
        return decoder("strict").decode(line, final=whole), False
    except UnicodeError:
        return _UTF8("replace").decode(line, final=whole), True


def _decoder(stream: BinaryIO) -> _Decoder:
    """What makes text of the file's lines; passes a byte order mark; raises `OSError`."""
    beginning = stream.read(_BEGINNING)
    stream.seek(len(codecs.BOM_UTF8) if beginning.startswith(codecs.BOM_UTF8) else 0)
    try:
        return codecs.getincrementaldecoder(declared_encoding(beginning))
    except (ValueError, LookupError):
        return _UTF8

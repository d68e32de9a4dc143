"""Pages of files, and the encodings that files can declare."""

import io
import os
from pathlib import Path

import pytest

from kernel_exec.scripts.encodings import declared_encoding
from kernel_exec.scripts.pages import ScriptPage, read_page

PATH = Path("a.py")


def page_of(content: bytes, offset: int = 0, limit: int = 2000) -> ScriptPage:
    return read_page(io.BytesIO(content), PATH, offset, limit)


@pytest.mark.parametrize(
    ("beginning", "encoding"),
    [
        (b"", "utf-8"),
        (b"\xef\xbb\xbf# coding: utf-8\n", "utf-8"),
        (b"# -*- coding: latin-1 -*-\n\xe9", "iso-8859-1"),
        (b"#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\n", "cp1252"),
        (b"a = 1\n\n# coding: latin-1\n", "utf-8"),
        (b"# coding: moon\n", None),
        (b"# coding: rot13\n", None),
        (b"# coding: zlib\n", None),
        (b"# coding: utf-16\n", None),
        (b"# coding: undefined\n", None),
        (b"\xef\xbb\xbf# coding: latin-1\n", None),
        (b"\xff\xfea\0", None),
    ],
)
def test_a_file_declares_its_encoding_as_for_python(beginning: bytes, encoding: str | None) -> None:
    if encoding is not None:
        assert declared_encoding(beginning) == encoding
        return
    with pytest.raises(ValueError, match=r".+"):
        declared_encoding(beginning)


@pytest.mark.parametrize(
    ("content", "text", "wrong"),
    [
        (b"# coding: latin-1\n\xe9\n", "# coding: latin-1\n\xe9\n", False),
        (b"# coding: shift-jis\n\x83\x65\n", "# coding: shift-jis\n\u30c6\n", False),
        (b"# coding: ascii\n\xc3\xa9\n", "# coding: ascii\n\xe9\n", True),
        (b"# coding: rot13\nn\n", "# coding: rot13\nn\n", False),
        (b"\xef\xbb\xbfa\r\nb\n\n\xc3\xa9", "a\r\nb\n\n\xe9", False),
        (b"a\xffb\n", "a\ufffdb\n", True),
        (b"a\n\xe2\x82", "a\n\ufffd", True),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd", True),
    ],
)
def test_a_page_is_in_the_encoding_that_the_file_declares(
    content: bytes, text: str, wrong: bool
) -> None:
    page = page_of(content)
    assert (page.text, page.encoding_errors) == (text, wrong)
    lines = text.splitlines(keepends=True)
    assert [page_of(content, offset, 1).text for offset in range(page.total_lines)] == lines


@pytest.mark.parametrize(
    ("content", "offset", "limit", "text", "next_offset", "total"),
    [
        (b"", 0, 5, "", None, 0),
        (b"", 3, 5, "", None, 0),
        (b"\n", 0, 5, "\n", None, 1),
        (b"a", 0, 1, "a", None, 1),
        (b"a\nb\nc\n", 0, 2, "a\nb\n", 2, 3),
        (b"a\nb\nc\n", 2, 2, "c\n", None, 3),
        (b"a\nb\nc\n", 3, 2, "", None, 3),
        (b"a\nb\nc", 1, 1, "b\n", 2, 3),
        (b"a\nb\nc", 9, 1, "", None, 3),
        (b"x\n" * 3_000_000 + b"end", 3_000_000, 1, "end", None, 3_000_001),
    ],
    ids=range(10),
)
def test_pages_are_counted_in_lines(
    content: bytes, offset: int, limit: int, text: str, next_offset: int | None, total: int
) -> None:
    assert page_of(content, offset, limit) == ScriptPage(
        path=PATH, text=text, offset=offset, next_offset=next_offset,
        total_lines=total, cut_lines=(), encoding_errors=False,
    )  # fmt: skip


def test_pages_put_together_are_the_file() -> None:
    content = "".join(f"{n} {'é' * (n % 977)}\n" for n in range(3000))
    offset: int | None = 0
    pages = []
    while offset is not None:
        page = page_of(content.encode(), offset)
        assert 0 < len(page.text) <= 100_000
        pages.append(page.text)
        offset = page.next_offset

    assert "".join(pages) == content
    assert len(pages) > 10


@pytest.mark.parametrize("character", ["x", "é", "🙂"])
def test_a_line_that_is_too_long_is_cut_and_says_so(character: str) -> None:
    size = 3_000_000 * len(character.encode())
    shown = f"a\n{character * 10_000} [line cut here: it has {size:,} bytes]\n"
    for end, rest in ((b"", ""), (b"\nb\n", "b\n")):
        page = page_of(b"a\n" + character.encode() * 3_000_000 + end)
        assert page.text == shown + rest
        assert (page.cut_lines, page.total_lines) == ((1,), 2 + bool(rest))
        assert not page.encoding_errors
    assert page_of(character.encode() * 10_000 + b"\n").cut_lines == ()
    assert page_of(character.encode() * 10_001).cut_lines == (0,)


def test_a_file_of_gigabytes_is_read_by_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"first\n")
    os.truncate(tmp_path / "a.py", 50_000_000)
    with (tmp_path / "a.py").open("rb") as stream:
        page = read_page(stream, PATH, 0, 1)
    assert (page.text, page.next_offset, page.total_lines) == ("first\n", 1, 2)

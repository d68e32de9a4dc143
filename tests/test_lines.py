"""Which encodings a file can declare; pages are tested through `ScriptStore.read`."""

import io
from pathlib import Path

import pytest

from kernel_exec.lines import declared_encoding, read_page


@pytest.mark.parametrize(
    ("beginning", "encoding"),
    [
        (b"", "utf-8"),
        (b"a = 1\n", "utf-8"),
        (b"\xef\xbb\xbfa = 1\n", "utf-8"),
        (b"\xef\xbb\xbf# coding: utf-8\n", "utf-8"),
        (b"# -*- coding: latin-1 -*-\n\xe9", "iso-8859-1"),
        (b"#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\n", "cp1252"),
        (b"a = 1\n\n# coding: latin-1\n", "utf-8"),
    ],
)
def test_a_file_declares_its_encoding_as_for_python(beginning: bytes, encoding: str) -> None:
    assert declared_encoding(beginning) == encoding


@pytest.mark.parametrize(
    "beginning",
    [
        b"# coding: moon\n",
        b"# coding: rot13\n",
        b"# coding: zlib\n",
        b"# coding: utf-16\n",
        b"# coding: undefined\n",
        b"\xef\xbb\xbf# coding: latin-1\n",
        b"\xff\xfea\0",
    ],
)
def test_what_is_no_encoding_of_text_is_refused(beginning: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        declared_encoding(beginning)


@pytest.mark.parametrize(
    ("content", "text", "wrong"),
    [
        (b"# coding: latin-1\n\xe9\n", "# coding: latin-1\n\xe9\n", False),
        (b"# coding: shift-jis\n\x83\x65\n", "# coding: shift-jis\n\u30c6\n", False),
        (b"# coding: ascii\n\xc3\xa9\n", "# coding: ascii\n\xe9\n", True),
        (b"# coding: rot13\nn\n", "# coding: rot13\nn\n", False),
        (b"\xef\xbb\xbfa\n", "a\n", False),
        (b"\xff\n", "\ufffd\n", True),
    ],
)
def test_a_page_is_in_the_encoding_that_the_file_declares(
    content: bytes, text: str, wrong: bool
) -> None:
    page = read_page(io.BytesIO(content), Path("a.py"), 0, 10)
    assert (page.text, page.encoding_errors) == (text, wrong)
    for offset in range(page.total_lines):
        one = read_page(io.BytesIO(content), Path("a.py"), offset, 1)
        assert one.text == text.splitlines(keepends=True)[offset]

"""Bytes of Python files as text and back, in the encoding that they declare (PEP 263). Pure."""

import io
import tokenize
from typing import Final

BEGINNING: Final = 4096
"""Bytes in which a file declares its encoding, if it does."""


def declared_encoding(beginning: bytes) -> str:
    """The encoding of a file that begins so, as Python reads it.

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


def decoded(content: bytes) -> str:
    """All of a file as text, with its byte order mark; raises `ValueError` when it is none."""
    return content.decode(declared_encoding(content))


def extended(content: bytes, added: str) -> bytes:
    """`content` with text after it, in the encoding that the whole declares.

    Raises:
        ValueError: That is none, or one that does not have a character of the text; says where.
    """
    if not content and "coding" not in added[:BEGINNING]:
        return added.encode()  # it declares none
    before = decoded(content)
    encoding = declared_encoding((before + added)[:BEGINNING].encode())
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

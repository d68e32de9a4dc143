"""Identifiers that a library makes up for a page or a drawing, and dates of its creation. Pure.

They mean nothing but which parts belong together, so each is named by its place: two documents
that differ only in such names are equal, and two whose parts are joined otherwise are not. What a
reader sees stays as it is, also when it looks like an identifier. All of it takes linear time.
"""

import base64
import binascii
import re
from collections.abc import Iterator

_QUOTE = r"(?:\\?[\"']|&(?:quot|#34|#39|#x27);)?"
_DECLARED = re.compile(
    rf"(?:(?<![A-Za-z])(?:doc|element|model_|root[_-]|div_)?ids?{_QUOTE}\s?[=:]\s?\[?\s?{_QUOTE}"
    r"|\b(?:var|let|const)\s"
    r"|\#(?![0-9a-fA-F]{3,8}(?![\w-])))"  # what is no colour is a reference
    r"([\w:.-]{1,200})"
)
_MADE_UP = (
    r"[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}"  # plotly, bokeh, xarray
    r"|(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,64}"  # altair, folium
    r"|(?:image|[hmp])[0-9a-f]{10}|C[0-9a-f]+_[0-9a-f]+_[0-9a-f]{10}"  # matplotlib
    r"|el\d{6,}[0-9a-f]*|\d{12,}"  # a moment, or a place in memory
    r"|T_[0-9a-f]{5}"  # pandas
    r"|sk-(?:container|estimator)-id-\d+"
    r"|p\d{4,}"  # bokeh
    r"|i?[A-Z]{16,}"  # shap
)
_TOKEN, _TABLE_TOKEN = (
    re.compile(rf"(?:(?<![0-9A-Za-z])(?:{pattern})|(?<=[g-z])[0-9a-f]{{32}})(?![0-9A-Za-z])")
    for pattern in (_MADE_UP, rf"{_MADE_UP}|[a-z]{{10}}")
)
_TABLE = "gt_table"
"""A class of the tables whose identifiers are ten letters, as many a word is."""

_TAGS = re.compile(r"(<[^<>]*>)")
_UNSEEN = re.compile(r"<(/?)(style|script)\b", re.IGNORECASE)
_CREATED = re.compile(r"(?<=<dc:date>)[^<]*")
_CREATED_PDF = re.compile(
    rb"/(?:CreationDate|ModDate)\s?\([^()]*\)|/ID\s?\[[^\[\]]*\]|<xmp:\w+Date>[^<]*"
)


def renamed(text: str, *, markup: bool) -> str:
    """`text` with made-up identifiers named in order; of `markup` a part is text to be read."""
    if markup and "<dc:date>" in text:
        text = _CREATED.sub("…", text)
    token = _TABLE_TOKEN if _TABLE in text else _TOKEN
    declared = {
        made_up for value in set(_DECLARED.findall(text)) for made_up in token.findall(value)
    }
    if not declared:
        return text
    names: dict[str, str] = {}

    def name(found: re.Match[str]) -> str:
        word = found[0]
        return names.setdefault(word, f"…{len(names) + 1}") if word in declared else word

    parts = _parts(text) if markup else [(text, False)]
    return "".join(part if is_read else token.sub(name, part) for part, is_read in parts)


def _parts(markup: str) -> Iterator[tuple[str, bool]]:
    """Tags and what stands between them, each with whether it is read by a person."""
    unseen = ""
    for part in _TAGS.split(markup):
        tag = _UNSEEN.match(part)
        if tag and not unseen and not tag[1]:
            unseen = tag[2].lower()
        elif tag and tag[1] and tag[2].lower() == unseen:
            unseen = ""
        yield part, not unseen and not part.startswith("<")


def undated(pdf: str) -> str:
    """A PDF in base64 without the date of its creation."""
    try:
        content = base64.b64decode(pdf)
    except (binascii.Error, ValueError):
        return pdf
    return base64.b64encode(_CREATED_PDF.sub(b"", content)).decode("ascii")

"""Media within foreign HTML, named in words, and the words within a drawing. Pure.

A model can't see or hear what HTML embeds, and what stands between the tags of an audio element is
for browsers that can't play it. Here the element is what says what it is: kind, source, size.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from html import escape, unescape

from .plain import one_line

_MEDIA = re.compile(r"<(audio|embed|iframe|img|object|video)\b", re.IGNORECASE)
_INSIDE = re.compile(r"""((?:[^<>"']|"[^"]*"|'[^']*')*+)>""")
"""The attributes of a tag, to its end."""

_ATTRIBUTE = re.compile(
    r"""(?<![\w-])([a-z][\w-]*+)\s*+=\s*+(?:"([^"]*)"|'([^']*)'|([^\s"'>]++))""", re.IGNORECASE
)
_SOURCE = re.compile(r"\s*+<source\b", re.IGNORECASE)
_ENCODED = re.compile(r"(data:[\w.+-]{1,80}/[\w.+-]{1,80};base64,)([A-Za-z0-9+/=\s]{200,})")
_PICTURE = re.compile(
    r"""(?:src=["']?|\]\()data:(image/(?:png|jpeg));base64,([A-Za-z0-9+/=\s]{200,})["')]"""
)
_PART = re.compile(r"<(/?)([a-z]+)[^<>]*>|<[^<>]*>", re.IGNORECASE)
_ADDRESS = 200
"""Characters of an address that are shown."""

_MOST_WORDS = 1_000
"""Characters of the words within a drawing that are shown."""

_WAV_HEAD = 60
"""Characters of base64 that hold what a WAV file says of itself."""


def named_media(html: str, *, pages: bool = True) -> str:
    """`html` with each medium named before it; `pages` that it embeds become a part of it."""
    parts: list[str] = []
    start = 0
    while found := _MEDIA.search(html, start):
        parts.append(html[start : found.start()])
        start = found.end()
        if (tag := _INSIDE.match(html, start)) is None:
            continue
        kind, start = found[1].lower(), tag.end()
        attributes = _attributes(tag[1])
        if (source := _SOURCE.match(html, start)) and (inner := _INSIDE.match(html, source.end())):
            attributes = _attributes(inner[1]) | attributes
        parts.append(escape(_name(kind, attributes)))
        page = attributes.get("srcdoc", "") if pages else ""
        parts.append(named_media(page, pages=False) if page else "")
        parts.append("" if kind in {"embed", "img"} else f"<{kind}>")
    return "".join([*parts, html[start:]])


def without_data(written: str) -> str:
    """`written` with each encoded file in it as the number of its bytes."""
    return _ENCODED.sub(lambda found: f"{found[1]}… ({decoded_size(found[2]):,} bytes)", written)


def pictures_within(page: str) -> list[tuple[str, str]]:
    """The pictures that HTML or Markdown carries along, each with its type."""
    return [(mime, "".join(encoded.split())) for mime, encoded in _PICTURE.findall(page)]


def drawing_words(svg: str) -> str:
    """The titles and labels of a drawing, each of them once."""
    words = dict.fromkeys(" ".join(unescape(each).split()) for each in _labels(svg))
    return one_line("; ".join(each for each in words if each), _MOST_WORDS)


def _labels(svg: str) -> Iterator[str]:
    """What is between the tags of each title, and of each text with its parts."""
    label: list[str] = []
    inside = ""
    start = 0
    for part in _PART.finditer(svg):
        name = (part[2] or "").lower()
        if inside:
            label.append(svg[start : part.start()])
        start = part.end()
        if name != (inside or name) or name not in {"text", "title"}:
            continue
        if inside and part[1]:
            yield "".join(label)
        inside, label = "" if part[1] else name, []


def _attributes(inside: str) -> dict[str, str]:
    found = _ATTRIBUTE.findall(inside)
    return {name.lower(): unescape(one or two or bare) for name, one, two, bare in found}


def _name(kind: str, attributes: Mapping[str, str]) -> str:
    source = attributes.get("src") or attributes.get("data") or ""
    about = one_line(attributes.get("alt") or attributes.get("title") or "")
    words = ["image" if kind == "img" else kind, repr(about) if about else ""]
    if source.startswith("data:"):
        how, _, payload = source.partition(",")
        seconds = _seconds(payload) if ";base64" in how else None
        facts = [f"{how[5:].partition(';')[0]}", f"{decoded_size(payload):,} bytes"]
        facts += [] if seconds is None else [f"{seconds:.1f} s"]
        return f"[{' '.join(filter(None, words))}: {', '.join(filter(None, facts))}]"
    address = f": {one_line(source, _ADDRESS)}" if source else ""
    if page := attributes.get("srcdoc"):
        address = f": {len(page):,} characters of HTML"
    return f"[{' '.join(filter(None, words))}{address}]"


def decoded_size(encoded: str) -> int:
    """The number of bytes that a text in base64 stands for."""
    return len(encoded.rstrip("=")) * 3 // 4


def _seconds(encoded: str) -> float | None:
    """How long a WAV file plays, None for all else."""
    try:
        head = base64.b64decode(encoded[:_WAV_HEAD])
    except binascii.Error:
        return None
    rate = int.from_bytes(head[28:32], "little")
    if head[:4] != b"RIFF" or head[8:16] != b"WAVEfmt " or not rate:
        return None
    return max(0, decoded_size(encoded) - 44) / rate

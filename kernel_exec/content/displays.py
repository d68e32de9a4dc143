"""What is displayed, in text: the form that says most per character. Pure."""

import json
import re
from collections import Counter
from collections.abc import Mapping

from kernel_exec.jsons import JSON, JSONObject, text
from kernel_exec.kernels.outputs import (
    Clear,
    DisplayData,
    ErrorOutput,
    ExecuteResult,
    OutputEvent,
    Spill,
    Stream,
    Update,
)

from .charts import describe_chart
from .markup import html_text
from .media import decoded_size, drawing_words, pictures_within, without_data
from .paging import PICTURES, written_out
from .plain import one_line

_PLACEHOLDER = re.compile(r"<IPython[\w.]+ object>$|Output\(\)$")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_WIDGET = "application/vnd.jupyter.widget-view+json"
_LOADERS = ("application/vnd.bokehjs_load.", "application/vnd.holoviews_load.")
"""What libraries send so that a browser can draw their charts."""

_ENCODED = ("application/pdf", "audio/", "image/", "video/")
"""Types whose forms are in base64."""

_SHORT = 1_500
"""Characters of JSON that are shown as they are."""

_LONGEST_LINE = 300
"""Characters of a text in one line that is meant to be read."""

_FLAT = 50_000
"""Characters that the work on a form counts for that is no text."""

_MOST = 12


def readable(data: JSONObject) -> str:
    """The text of a display; "" for a picture without one, and for what shows nothing."""
    if any(mime in data for mime in PICTURES):
        plain = _plain(data)
        return "" if _is_name(plain) else plain
    words = without_data(_words(data))
    if summary := describe_chart(data):
        return summary
    if any(mime.startswith(_LOADERS) for mime in data):
        return ""
    if words and not _is_vague(words):
        return words
    read = html_text(text(data, "text/html"))
    if words and not _is_name(words):
        return read if read and len(read) < len(words) else words
    if read or (words and not _ADDRESS.search(words)):
        return read or words
    return (
        _drawing(text(data, "image/svg+xml")) or text(data, "text/latex") or words or _other(data)
    )


def said(output: OutputEvent) -> str:
    """What a person reads of an output: its text, or a traceback as it was written."""
    match output:
        case Stream():
            return output.text
        case ErrorOutput():
            return "\n".join(output.traceback) or f"{output.ename}: {output.evalue}"
        case DisplayData(data=data) | ExecuteResult(data=data):
            return f"{shown}\n" if (shown := readable(data)) else ""
        case Spill():
            return f"[it goes on in {output.path}]\n"
        case Clear() | Update():
            return ""


def pictures(data: JSONObject) -> list[tuple[str, str]]:
    """The pictures of a display, each with its type: itself, or those within the page it is."""
    for mime in PICTURES:
        if picture := text(data, mime):
            return [(mime, picture)]
    words = _words(data)
    is_read = "text/markdown" not in data and (not words or _is_vague(words))
    return pictures_within(text(data, "text/html" if is_read else "text/markdown"))


def work(data: JSONObject) -> int:
    """About how many characters `readable` reads."""
    words = _words(data)
    if any(mime in data for mime in PICTURES) or (words and not _is_vague(words)):
        return len(words)
    return sum(len(each) if isinstance(each, str) else _FLAT for each in data.values())


def _words(data: JSONObject) -> str:
    """The text that a library gives."""
    return text(data, "text/llm+plain") or text(data, "text/markdown") or _plain(data)


def _plain(data: JSONObject) -> str:
    plain = text(data, "text/plain")
    return "" if _PLACEHOLDER.match(plain) else plain


def _is_vague(words: str) -> bool:
    """True for a mere name, and for a dump of attributes: a page may say the same in less."""
    is_dump = len(words) > _LONGEST_LINE and "\n" not in words
    return is_dump or _is_name(words) or _ADDRESS.search(words) is not None


def _is_name(words: str) -> bool:
    """True for `<a.B object at 0x7f00>` and its like, which have nothing of what a page shows."""
    return words.startswith("<") and words.endswith(">") and "\n" not in words


def _drawing(svg: str) -> str:
    if not svg:
        return ""
    words = drawing_words(svg)
    return f"[drawing, {len(svg):,} characters of SVG{f': {words}' if words else ''}]"


def _other(data: JSONObject) -> str:
    """The JSON of a display, or the names of its forms."""
    if "application/json" in data:
        return _json(data["application/json"])
    if "text/html" in data or _WIDGET in data:
        return ""
    return "".join(
        f"[{one_line(mime)}, {_size(mime, value)}]"
        for mime, value in data.items()
        if mime != "text/plain"
    )


def _size(mime: str, value: JSON) -> str:
    if isinstance(value, str) and mime.startswith(_ENCODED):
        return f"{decoded_size(value):,} bytes"
    return f"{len(written_out(value)):,} characters"


def _json(value: JSON) -> str:
    written = written_out(value)
    if len(written) <= _SHORT:
        return written
    return f"[JSON of {len(written):,} characters: {_outline(value, 3)}]"


def _outline(value: JSON, depth: int) -> str:
    """Keys and lengths instead of values."""
    if isinstance(value, str):
        return f"str {len(value):,}" if len(value) > _MOST else json.dumps(value)
    if isinstance(value, Mapping):
        if not depth:
            return f"object of {len(value):,}"
        pairs = [f"{key}: {_outline(each, depth - 1)}" for key, each in [*value.items()][:_MOST]]
        return f"{{{', '.join(pairs)}{', …' if len(value) > _MOST else ''}}}"
    if isinstance(value, (list, tuple)):
        kinds = Counter(type(each).__name__ for each in value)
        first = value[0] if value and depth else None
        of = _outline(first, depth - 1) if isinstance(first, (Mapping, list)) else ", ".join(kinds)
        return f"list of {len(value):,} {of}".rstrip()
    return json.dumps(value)

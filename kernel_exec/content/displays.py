"""What is displayed, in text: the form that says most per character. Pure."""

import json
import re
from collections import Counter
from collections.abc import Mapping

from kernel_exec.kernels.messages import JSON, JSONObject, text

from .charts import describe_chart
from .markup import html_text
from .paging import PICTURES, written_out
from .plain import one_line

_TEXTS = ("text/llm+plain", "text/latex", "text/markdown", "text/plain")
_PLACEHOLDER = re.compile(r"<IPython[\w.]+ object>$|Output\(\)$")
_NAMELESS = re.compile(r"<[\w.]+(?: object)? at 0x[0-9a-f]+>$")
_WIDGET = "application/vnd.jupyter.widget-view+json"
_LOADERS = ("application/vnd.bokehjs_load.", "application/vnd.holoviews_load.")
"""What libraries send so that a browser can draw their charts."""

_SHORT = 1_500
"""Characters of JSON that are shown as they are."""

_FLAT = 50_000
"""Characters that the work on a form counts for that is no text."""

_MOST = 12


def readable(data: JSONObject) -> str:
    """The text of a display; "" for a picture, and for what shows nothing."""
    if any(mime in data for mime in PICTURES):
        return ""
    if summary := describe_chart(data):
        return summary
    if any(mime.startswith(_LOADERS) for mime in data):
        return ""
    best = _best(data)
    html = text(data, "text/html")
    if html and (not best or _NAMELESS.match(best)):
        return html_text(html) or best
    if best:
        return best
    if "application/json" in data:
        return _json(data["application/json"])
    if html or _WIDGET in data:
        return ""
    return "".join(
        f"[{one_line(mime)}, {len(written_out(value)):,} characters]"
        for mime, value in data.items()
        if mime != "text/plain"
    )


def work(data: JSONObject) -> int:
    """About how many characters `readable` reads."""
    if any(mime in data for mime in PICTURES):
        return 0
    if (best := _best(data)) and not _NAMELESS.match(best):
        return len(best)
    return sum(len(each) if isinstance(each, str) else _FLAT for each in data.values())


def _best(data: JSONObject) -> str:
    told = [text(data, mime) for mime in _TEXTS]
    return next((words for words in told if words and not _PLACEHOLDER.match(words)), "")


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
        told = [f"{key}: {_outline(each, depth - 1)}" for key, each in [*value.items()][:_MOST]]
        return f"{{{', '.join(told)}{', …' if len(value) > _MOST else ''}}}"
    if isinstance(value, (list, tuple)):
        kinds = Counter(type(each).__name__ for each in value)
        first = value[0] if value and depth else None
        of = _outline(first, depth - 1) if isinstance(first, (Mapping, list)) else ", ".join(kinds)
        return f"list of {len(value):,} {of}".rstrip()
    return json.dumps(value)

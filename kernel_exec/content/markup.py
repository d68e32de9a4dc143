"""Foreign HTML as text, a line for each block and tables as rows; and what can't be read. Pure.

Parsing is left to nh3, which keeps to the standard and whose time grows with the length, but for
tags in tags in tags. Those, and the parts that nobody reads, are found out before.
"""

import re
from collections import Counter
from html import unescape

import nh3

_SILENT = {
    *("audio", "canvas", "embed", "head", "iframe", "math", "noembed", "noframes", "noscript"),
    *("object", "script", "select", "style", "svg", "template", "textarea", "title", "video"),
}
"""Tags that go with what is in them."""

_BLOCKS = {
    *("address", "article", "aside", "blockquote", "br", "caption", "center", "dd", "details"),
    *("div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3"),
    *("h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section"),
    *("summary", "table", "tr", "ul"),
}
_CELLS = {"td", "th"}
_TAG = re.compile(r"<(/?)([a-z0-9]+)>")
_DRAWN = re.compile(r"<(iframe|img|svg|video|audio|canvas|object|embed)\b", re.IGNORECASE)
_LONGEST = 200_000
"""Characters of HTML that are read: a result shows a few thousand, and some take their square."""

_DEEPEST = 300
_NESTING = re.compile(
    r"<(/?)(?!(?:area|base|br|col|embed|hr|img|input|link|meta|source|track|wbr"
    r"|d[dt]|li|option|p|t[dhr]|tbody|tfoot|thead)\b)([a-z][a-z0-9]*)",
    re.IGNORECASE,
)
"""Tags that stay open until something ends them."""

_RAW = re.compile(r"<(/?)(script|style|svg|math|textarea|title|!--)|--(>)", re.IGNORECASE)


def html_text(html: str) -> str:
    """What a reader sees of `html` in plain text; what is drawn there is named."""
    shown = without_raw(html)
    words = "\n".join(_lines(shown[:_LONGEST]))
    if len(shown) > _LONGEST:
        words += f"\n[… the rest of {len(html):,} characters of HTML]"
    drawn = {found.lower(): None for found in _DRAWN.findall(html)}
    if words or not drawn:
        return words
    return f"[HTML with {', '.join(drawn)}, {len(html):,} characters]"


def is_too_deep(markup: str) -> bool:
    """True for tags in tags in tags, for which a parser takes time that grows with their square."""
    opened: Counter[str] = Counter()
    depth = 0
    for tag in _NESTING.finditer(markup):
        name = tag[2].lower()
        if not tag[1]:
            opened[name] += 1
            depth += 1
        elif opened[name]:
            opened[name] -= 1
            depth -= 1
        if depth > _DEEPEST:
            return True
    return False


def without_raw(markup: str) -> str:
    """HTML without comments, and without elements in which tags are none or others."""
    markup = markup.encode("utf-8", "replace").decode("utf-8")
    if not _RAW.search(markup):
        return markup
    kept: list[str] = []
    inside, start = "", 0
    for found in _RAW.finditer(markup):
        name = (found[2] or "!--").lower()
        if not inside and not found[1] and not found[3]:
            kept.append(markup[start : found.start()])
            inside, start = name, found.start()
        elif inside == name and (found[1] or found[3]):
            start = found.end() if found[3] else markup.find(">", found.end()) + 1 or len(markup)
            inside = ""
    # what nothing ends may be words in an attribute
    return "".join([*kept, markup[start:]])


def _lines(markup: str) -> list[str]:
    """The lines that are not empty."""
    if is_too_deep(markup):
        return ["[HTML that is nested too deeply to be read]"]
    clean = nh3.clean(
        markup,
        tags=_BLOCKS | _CELLS,
        clean_content_tags=_SILENT,
        attributes={},
        link_rel=None,
    )
    lines: list[tuple[list[str], bool]] = [([], False)]
    kept = 0
    parts = _TAG.split(clean)
    for at in range(0, len(parts), 3):
        words = unescape(parts[at])
        first, *others = words.split("\n") if kept else [words]
        lines[-1][0].append(first)
        lines += [([line], True) for line in others]
        if at + 2 >= len(parts):
            break
        closing, tag = parts[at + 1], parts[at + 2]
        kept += {"pre": -1 if closing else 1}.get(tag, 0)
        if tag in _CELLS:
            lines[-1][0].append(" | " if closing else "")
        elif any(lines[-1][0]):
            lines.append(([], kept > 0))
        else:
            lines[-1] = ([], kept > 0)
    written = ["".join(parts) if keeps else " ".join("".join(parts).split())
               for parts, keeps in lines]  # fmt: skip
    return [line.rstrip(" |") for line in written if line.strip(" |")]

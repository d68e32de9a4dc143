"""Foreign HTML as text, a line for each block and tables as rows; and what can't be read. Pure.

Parsing is left to nh3, which keeps to the standard and whose time grows with the length, but for
tags in tags in tags. Those, and the parts that nobody reads, are found out before.
"""

import re
from collections import Counter
from html import unescape

import nh3

from .media import named_media

_SILENT = {
    *("audio", "button", "canvas", "datalist", "embed", "head", "iframe", "math", "noembed"),
    *("noframes", "noscript", "object", "script", "select", "style", "svg", "template"),
    *("textarea", "title", "video"),
}
"""Tags that go with what is in them."""

_BLOCKS = {
    *("address", "article", "aside", "blockquote", "br", "caption", "center", "dd", "details"),
    *("div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3"),
    *("h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section"),
    *("summary", "table", "tr", "ul"),
}
_CELLS = {"td", "th"}
_INLINE = {"a", "b", "i", "label", "small", "span", "sub", "sup", "tbody", "tfoot", "thead"}
"""Tags that are read only to see whether they are hidden."""

_EMPTY = {"br", "hr"}
_TAG = re.compile(r'<(/?)([a-z0-9]+)((?: [a-z]+="[^"]*")*)>')
_SPAN = re.compile(r'(row|col)span="(\d{1,4})"')
_UNSEEN = re.compile(r'(?i)hidden="|style="[^"]*(?:display:\s*none|visibility:\s*hidden)')
_FOR_LATER = re.compile(
    r"(<\w+ id=[^<>]*>)\s*Loading [^<>]*"
    r"|(<span[^<>]*>)Make this Notebook Trusted to load map: File -> Trust Notebook"
)
"""What is shown until a script has run."""

_MOST_COLUMNS = 100
"""Columns of a table that cells of other rows may take."""

_DRAWN = re.compile(r"<(canvas|script|svg)\b", re.IGNORECASE)
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
    """What a reader sees of `html` in plain text; of a page without words, what draws it."""
    shown = without_raw(named_media(_FOR_LATER.sub(r"\1\2", html)))
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
        tags=_BLOCKS | _CELLS | _INLINE,
        clean_content_tags=_SILENT,
        attributes={"*": {"colspan", "hidden", "rowspan", "style"}},
        link_rel=None,
    )
    page = _Page()
    parts = _TAG.split(clean)
    for at in range(0, len(parts), 4):
        page.write(unescape(parts[at]))
        if at + 3 < len(parts):
            closing, tag, attributes = parts[at + 1 : at + 4]
            page.tag(tag, is_end=bool(closing), attributes=attributes)
    return page.lines()


class _Page:
    """The words that are seen of a page, as they come between its tags."""

    def __init__(self) -> None:
        self._lines: list[tuple[list[str], bool]] = [([], False)]
        self._preformatted = 0
        self._unseen = 0
        self._table = _Table()

    def lines(self) -> list[str]:
        """The lines that are not empty."""
        written = ("".join(parts) if keeps else " ".join("".join(parts).split())
                   for parts, keeps in self._lines)  # fmt: skip
        return [line.rstrip(" |") for line in written if line.strip(" |")]

    def write(self, words: str) -> None:
        if self._unseen:
            return
        first, *others = words.split("\n") if self._preformatted else [words]
        self._lines[-1][0].append(first)
        self._lines += [([line], True) for line in others]

    def tag(self, name: str, *, is_end: bool, attributes: str) -> None:
        """Go on after the beginning or the end of an element."""
        if self._unseen or (not is_end and _UNSEEN.search(attributes)):
            self._unseen += 0 if name in _EMPTY else -1 if is_end else 1
            return
        if name in _CELLS:
            borders = self._table.end_cell() if is_end else self._table.begin_cell(attributes)
            self._lines[-1][0].append(" | " * borders)
        elif name in _BLOCKS:
            self._preformatted += {"pre": -1 if is_end else 1}.get(name, 0)
            if name in {"table", "tr"} and not is_end:
                self._table.begin_row(is_first=name == "table")
            if any(self._lines[-1][0]):
                self._lines.append(([], self._preformatted > 0))
            else:
                self._lines[-1] = ([], self._preformatted > 0)


class _Table:
    """Counts the columns of a table, some of which are taken by cells of the rows before."""

    def __init__(self) -> None:
        self._column = 0
        self._size = (1, 1)
        self._taken: dict[int, int] = {}

    def begin_row(self, *, is_first: bool) -> None:
        self._taken = {} if is_first else {
            at: rows - (at >= self._column) for at, rows in self._taken.items() if rows
        }  # fmt: skip
        self._column = 0

    def begin_cell(self, attributes: str) -> int:
        """The number of columns before it that are taken."""
        skipped = 0
        while self._taken.get(self._column):
            self._taken[self._column] -= 1
            self._column += 1
            skipped += 1
        spans = {name: int(count) for name, count in _SPAN.findall(attributes)}
        self._size = (spans.get("row") or 1, min(spans.get("col") or 1, _MOST_COLUMNS))
        return skipped

    def end_cell(self) -> int:
        """The number of columns that it takes."""
        rows, columns = self._size
        if rows > 1:
            taken = range(self._column, min(self._column + columns, _MOST_COLUMNS))
            self._taken |= dict.fromkeys(taken, rows - 1)
        self._column += columns
        return columns

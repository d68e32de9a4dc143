"""HTML as text: its words, a line for each block, tables as rows. Pure."""

from html.parser import HTMLParser

_SILENT = {"script", "style", "head", "title", "template", "svg", "noscript"}
_BLOCKS = {
    *("address", "article", "blockquote", "br", "dd", "details", "div", "dl", "dt", "fieldset"),
    *("figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr"),
    *("li", "main", "nav", "ol", "option", "p", "pre", "section", "summary", "table", "tr", "ul"),
}
_DRAWN = ("iframe", "img", "svg", "video", "audio", "canvas", "object", "embed")
_LONGEST = 2_000_000
"""Characters of HTML that are read."""


def html_text(html: str) -> str:
    """What a reader sees of `html` in plain text; what is drawn there is named."""
    reader = _Reader()
    reader.feed(html[:_LONGEST])
    reader.close()
    lines = [" ".join(line.split()) if not kept else line for line, kept in reader.lines()]
    words = "\n".join(line.rstrip(" |") for line in lines if line.strip(" |"))
    if words or not reader.drawn:
        return words
    return f"[HTML with {', '.join(reader.drawn)}, {len(html):,} characters]"


class _Reader(HTMLParser):
    """Collects lines, and whether each is one of preformatted text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.drawn: dict[str, None] = {}
        self._lines: list[tuple[list[str], bool]] = [([], False)]
        self._silent = 0
        self._kept = 0

    def lines(self) -> list[tuple[str, bool]]:
        return [("".join(parts), kept) for parts, kept in self._lines]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DRAWN:
            self.drawn[tag] = None
        self._kept += tag == "pre"
        self._silent += tag in _SILENT
        if tag in _BLOCKS:
            self._break()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DRAWN:
            self.drawn[tag] = None
        if tag in _BLOCKS:
            self._break()

    def handle_endtag(self, tag: str) -> None:
        self._kept = max(0, self._kept - (tag == "pre"))
        self._silent = max(0, self._silent - (tag in _SILENT))
        if tag in {"td", "th"}:
            self._lines[-1][0].append(" | ")
        elif tag in _BLOCKS:
            self._break()

    def handle_data(self, data: str) -> None:
        if self._silent:
            return
        first, *others = data.split("\n") if self._kept else [data]
        self._lines[-1][0].append(first)
        for line in others:
            self._break()
            self._lines[-1][0].append(line)

    def _break(self) -> None:
        if self._lines[-1][0]:
            self._lines.append(([], self._kept > 0))

"""Foreign words in Markdown, so that nothing in them ends or opens what they should not. Pure."""

import re
from urllib.parse import quote

from kernel_exec.terminal import strip_ansi

_HEADING = 300
"""Characters of a heading."""

_KEPT = re.compile(
    r"(?<!`)(?P<ticks>`+)(?!`)(?P<code>.+?)(?<!`)(?P=ticks)(?!`)"
    r"|(?<![\\*A-Za-z0-9_])(?P<stars>\*{1,3})(?![\s*])(?P<words>(?:`[^`]+`|[^`])+?)(?<![\s*])(?P=stars)(?![*A-Za-z0-9_])"
)
"""Inline code, and emphasis that stands around whole words, as in no formula."""

_MARKUP = re.compile(r"([\\*\[\]$~|]|#(?=#*$)|(?<![^\W_])_|_(?![^\W_]))")
"""What would mean something in Markdown; an underscore inside a word does not."""

_EMPHASIS = {
    1: ("<em>", "</em>"),
    2: ("<strong>", "</strong>"),
    3: ("<strong><em>", "</em></strong>"),
}


def fence(written: str, language: str) -> str:
    """A fenced block that nothing in `written` can end."""
    longest = max((len(run) for run in re.findall(r"`+", written)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{written}\n{fence}"


def one_line(words: str, limit: int = 200) -> str:
    """`words` without line ends and colours, and not too many of them."""
    line = " ".join(strip_ansi(words).split())
    return line if len(line) <= limit else f"{line[:limit].rstrip()}…"


def literal(words: str) -> str:
    """`words` as inline code that nothing in them can end."""
    line = one_line(words)
    runs = {len(run) for run in re.findall(r"`+", line)}
    ticks = "`" * next(count for count in range(1, len(runs) + 2) if count not in runs)
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{space}{line}{space}{ticks}"


def heading(words: str, level: int, label: str = "") -> str:
    """A heading of one line, as `inline` shows it after a label of ours."""
    return f"{'#' * level} {label}{inline(words)}"


def inline(words: str) -> str:
    """A title of one line: inline code and emphasis are what they are, all else is plain text."""
    return _inline(re.sub(r"^#{1,6} ", "", one_line(words, _HEADING)))


def _inline(line: str) -> str:
    parts, end = [], 0
    for kept in _KEPT.finditer(line):
        parts.append(_plain(line[end : kept.start()]))
        end = kept.end()
        if kept["ticks"]:
            parts.append(kept[0])
        else:
            opened, closed = _EMPHASIS[len(kept["stars"])]
            parts.append(f"{opened}{_inline(kept['words'])}{closed}")
    return "".join([*parts, _plain(line[end:])])


def _plain(words: str) -> str:
    return html(_MARKUP.sub(r"\\\1", words))


def picture(path: str, alt: str) -> str:
    """The picture in a file, as seen from the document."""
    return f"![{' '.join(alt.replace('[', '(').replace(']', ')').split())}]({quote(path)})"


def html(words: str) -> str:
    """`words` without a meaning in HTML."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

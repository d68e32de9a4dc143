"""Foreign words in Markdown, so that nothing in them ends or opens what they should not. Pure."""

import re
from urllib.parse import quote

from kernel_exec.kernels.terminal import strip_ansi

_HEADING = 300
"""Characters of a heading."""

_CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
_MARKUP = re.compile(r"([\\*\[\]$~|]|#(?=#*$)|(?<![^\W_])_|_(?![^\W_]))")
"""What would mean something in Markdown; an underscore inside a word does not."""


def fence(written: str, language: str) -> str:
    """A fenced block that nothing in `written` can end."""
    longest = max((len(run) for run in re.findall(r"`+", written)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{written}\n{fence}"


def one_line(words: str) -> str:
    """`words` without line ends and colours, and not too many of them."""
    line = " ".join(strip_ansi(words).split())
    return line if len(line) <= 200 else f"{line[:200]}…"


def literal(words: str) -> str:
    """`words` as inline code that nothing in them can end."""
    line = one_line(words)
    runs = {len(run) for run in re.findall(r"`+", line)}
    ticks = "`" * next(count for count in range(1, len(runs) + 2) if count not in runs)
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{space}{line}{space}{ticks}"


def heading(words: str, level: int) -> str:
    """A heading of one line that shows `words` as they are, but for inline code."""
    line = " ".join(strip_ansi(words).split())
    line = line if len(line) <= _HEADING else f"{line[:_HEADING].rstrip()}…"
    parts = _CODE.split(line)
    # of each three parts the first is text, the others are a run of backticks and the code
    shown = [
        html(_MARKUP.sub(r"\\\1", part)) if at % 3 == 0 else "" for at, part in enumerate(parts)
    ]
    for at in range(1, len(parts), 3):
        shown[at] = f"{parts[at]}{parts[at + 1]}{parts[at]}"
    return f"{'#' * level} {''.join(shown)}"


def picture(path: str, alt: str) -> str:
    """The picture in a file, as seen from the document."""
    return f"![{' '.join(alt.replace('[', '(').replace(']', ')').split())}]({quote(path)})"


def html(words: str) -> str:
    """`words` without a meaning in HTML."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

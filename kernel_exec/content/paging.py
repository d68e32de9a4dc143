"""Pages of long text: by line, from the end, or by what a regular expression finds."""

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kernel_exec.kernels.outputs import (
    DisplayData,
    ErrorOutput,
    ExecuteResult,
    Output,
    Stream,
)
from kernel_exec.kernels.terminal import strip_ansi

from .patterns import Search

_LINE = 2000
"""Characters of one line; a longer one is shown as head and tail."""

_PAGE = 9000
"""Characters of one page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some lines of a text, the number of the first (from 0), and where to go on."""

    text: str
    first: int
    shown: int
    total_lines: int
    next_offset: int | None
    matches: int | None = None


def page(
    lines: Iterable[str], *, offset: int = 0, limit: int = 200, tail: int = 0, search: str = ""
) -> Page:
    """Go through `lines` once and keep what is asked for.

    With `search`, only lines that it finds count, each shown with its number.

    Raises:
        InvalidArgumentError: The expression is wrong, or could take for ever.
    """
    pattern = Search(search) if search else None
    kept: deque[tuple[int, str]] = deque(maxlen=tail or None)
    counted = total = size = 0
    full = False
    for number, line in enumerate(lines):
        total += 1
        if pattern is not None and not pattern.finds(line):
            continue
        counted += 1
        if tail:
            kept.append((number, shorten(line)))
        elif counted > offset and len(kept) < limit and not full:
            short = shorten(line)
            full = bool(kept) and size + len(short) > _PAGE
            if not full:
                kept.append((number, short))
                size += len(short) + 1
    if tail:
        size = sum(len(line) + 1 for _, line in kept)
        while len(kept) > 1 and size > _PAGE:
            size -= len(kept.popleft()[1]) + 1
    first = max(0, counted - len(kept)) if tail else offset
    after = first + len(kept)
    return Page(
        text="\n".join(f"{number}: {line}" if pattern else line for number, line in kept),
        first=first,
        shown=len(kept),
        total_lines=total,
        next_offset=after if after < counted and kept else None,
        matches=counted if pattern else None,
    )


def lines_of(outputs: Sequence[Output], stream: str) -> Iterator[str]:
    """The lines of all outputs, or of one kind; tracebacks are whole."""
    for output in outputs:
        if stream in {"all", kind_of(output)}:
            yield from strip_ansi(_text(output)).removesuffix("\n").split("\n")


def kind_of(output: Output) -> str:
    """What `get_execution` calls the stream that an output belongs to."""
    match output:
        case Stream():
            return output.name
        case ErrorOutput():
            return "error"
        case DisplayData() | ExecuteResult():
            return "result"


def shorten(line: str) -> str:
    """`line`, or its head and tail."""
    if len(line) <= _LINE:
        return line
    return f"{line[:1200]} [… {len(line):,} characters in this line …] {line[-600:]}"


def _text(output: Output) -> str:
    match output:
        case Stream():
            return output.text
        case ErrorOutput():
            return "\n".join(output.traceback) or f"{output.ename}: {output.evalue}"
        case DisplayData() | ExecuteResult():
            return "\n".join(
                f"[{mime}]\n{data if isinstance(data, str) else json.dumps(data)}"
                for mime, data in output.data.items()
                if not mime.startswith("image/") or mime.endswith("svg+xml")
            )

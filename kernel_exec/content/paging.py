"""Pages of what an execution put out: by line, from the end, or by what a search finds."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from kernel_exec.kernels.outputs import (
    DisplayData,
    ErrorOutput,
    ExecuteResult,
    Output,
    Stream,
    files,
)

from .lines import ROW, Lines, Row, Size, Source, Texts, row_count

_PAGE = 9000
"""Characters of one page."""

_BEFORE, _AFTER = 300, 700
"""Characters that are shown around what is found in a long line."""

PICTURES = ("image/png", "image/jpeg")
"""Types of displays that are shown as pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which lines: from number `offset` on, at most `limit`; or the last `tail`."""

    offset: int = 0
    limit: int = 200
    tail: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some rows of a text, the number of the first (from 0), and where the next page begins.

    `goes_on` is true when the last row is not the end of its line. In a page of what was found
    `matches` is the number of all lines found, of which `first` and `shown` count those here;
    `whole` is false when the search stopped before the end, as `total` tells.
    """

    text: str = ""
    first: int = 0
    shown: int = 0
    total: Size = field(default_factory=Size)
    next_offset: int | None = None
    goes_on: bool = False
    matches: int | None = None
    whole: bool = True


def page(texts: Texts, sources: Sequence[Source], asked: Asked) -> Page:
    """The rows that are asked for, as far as they fit into one page."""
    sizes = [texts.size(source) for source in sources]
    total = sum(sizes, Size())
    first = max(0, total.rows - asked.tail) if asked.tail else asked.offset
    rows = _rows_from(texts, sources, sizes, first)
    kept = _last(rows, asked.tail) if asked.tail else _first(rows, asked.limit)
    return _page(kept, asked, rows=total.rows, total=total)


def found(lines: Iterable[Lines], finds: Callable[[str], int | None], asked: Asked) -> Page:
    """The lines in which `finds` finds something, each after its number.

    `finds` tells at which character that begins. The number is that of the row it is in.
    """
    total = Size()
    counted = 0

    def matches() -> Iterator[Row]:
        """Those from the offset on; counts them all."""
        nonlocal total, counted
        for part in lines:
            number = part.number
            for line in part.lines:
                if (at := finds(line)) is not None:
                    counted += 1
                    if asked.tail or counted > asked.offset:
                        yield Row(text=_around(line, at, number))
                number += row_count(line)
            total += part.size

    rows = matches()
    kept = _last(rows, asked.tail) if asked.tail else _first(rows, asked.limit)
    deque(rows, maxlen=0)  # the others are only counted
    return _page(kept, asked, rows=counted, total=total, matches=counted)


def _page(
    kept: Sequence[Row], asked: Asked, *, rows: int, total: Size, matches: int | None = None
) -> Page:
    """What was kept, of as many `rows` as there are."""
    first = max(0, rows - len(kept)) if asked.tail else asked.offset
    after = first + len(kept)
    return Page(
        text="\n".join(row.text for row in kept),
        first=first,
        shown=len(kept),
        total=total,
        next_offset=after if kept and after < rows and not asked.tail else None,
        goes_on=bool(kept) and kept[-1].goes_on,
        matches=matches,
    )


def numbered(texts: Texts, sources: Iterable[Source]) -> Iterator[Lines]:
    """All lines of all sources, their rows numbered through."""
    before = 0
    for source in sources:
        rows = 0
        for part in texts.lines(source):
            rows = part.number + part.size.rows
            yield replace(part, number=before + part.number, end=None)
        before += rows


def sources_of(outputs: Iterable[Output], stream: str) -> Iterator[Source]:
    """The texts of all outputs, or of one kind; tracebacks are whole, pictures are left out."""
    for output in outputs:
        if stream not in {"all", kind_of(output)}:
            continue
        paths = files(output)
        match output:
            case Stream():
                yield Source(text=output.text, path=paths.get("", ""))
            case ErrorOutput():
                whole = "\n".join(output.traceback) or f"{output.ename}: {output.evalue}"
                yield Source(text=whole, path=paths.get("", ""))
            case DisplayData() | ExecuteResult():
                for mime in dict.fromkeys([*output.data, *paths]):
                    if mime not in PICTURES:
                        shown = written_out(output.data.get(mime, ""))
                        yield Source(text=f"[{mime}]")
                        yield Source(text=shown, path=paths.get(mime, ""))


def kind_of(output: Output) -> str:
    """What `get_execution` calls the stream that an output belongs to."""
    match output:
        case Stream():
            return output.name
        case ErrorOutput():
            return "error"
        case DisplayData() | ExecuteResult():
            return "result"


def written_out(value: object) -> str:
    """A text as it is, all else as JSON, or a few words where it can't be written."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (RecursionError, ValueError) as error:  # too deep, or a number of too many digits
        return f"[JSON that can't be shown: {error}]"


def _rows_from(
    texts: Texts, sources: Sequence[Source], sizes: Sequence[Size], first: int
) -> Iterator[Row]:
    before = 0
    for source, size in zip(sources, sizes, strict=True):
        if first < before + size.rows:
            yield from texts.rows(source, max(0, first - before))
        before += size.rows


def _first(rows: Iterator[Row], limit: int) -> Sequence[Row]:
    """Rows up to the end of the page, or to one that is not the end of its line."""
    kept: list[Row] = []
    size = 0
    for row in rows:
        size += len(row.text) + 1
        if kept and size > _PAGE:
            break
        kept.append(row)
        if row.goes_on or len(kept) == limit:
            break
    return kept


def _last(rows: Iterator[Row], most: int) -> Sequence[Row]:
    """The last rows, as far as they fit into the page."""
    kept: deque[Row] = deque()
    size = 0
    for row in rows:
        kept.append(row)
        size += len(row.text) + 1
        while len(kept) > most or (len(kept) > 1 and size > _PAGE):
            size -= len(kept.popleft().text) + 1
    return kept


def _around(line: str, at: int, number: int) -> str:
    """A line with what is found at `at`, after the number of the row that it begins in."""
    number += at // ROW
    if len(line) <= _BEFORE + _AFTER:
        return f"{number}: {line}"
    start, end = max(0, at - _BEFORE), at + _AFTER
    return f"{number}: {'…' if start else ''}{line[start:end]}{'…' if end < len(line) else ''}"

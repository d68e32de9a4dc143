"""Which outputs a result shows: those that are new to its reader, and repetitions once. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TypeAlias

from kernel_exec.kernels.outputs import DisplayData, ErrorOutput, ExecuteResult, Output, Stream
from kernel_exec.terminal import strip_ansi

from .lines import Texts, row_count
from .paging import written_out

_WARNING = re.compile(r"(\S+:\d+: )?\w*Warning: ")
_LONGEST_WARNING = 15
"""Lines of a message, in which its end is looked for."""

_TRACEBACK = "Traceback (most recent call last):"
_FRAME = re.compile(r' +File "(?:.*/)?([^/]+)", line (\d+)')


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a reader has seen of one output: a digest of it, and of the lines that had ended."""

    whole: int
    lines: int = 0
    begun: int = 0


Marks: TypeAlias = Sequence[Mark]
"""What a reader has seen of an execution, output by output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """An output as it is shown, without the `rows` that its reader has seen.

    It begins with the output at `place` of the execution. `exact` is false when lines of it are
    left out or counted.
    """

    output: Output
    place: int
    rows: int = 0
    exact: bool = True


def marks(outputs: Iterable[Output], texts: Texts) -> Marks:
    """The marks of a reader who has seen all of these."""
    return [_mark(output, texts) for output in outputs]


def new(outputs: Sequence[Output], seen: Marks, texts: Texts) -> list[Piece]:
    """The outputs, or parts of them, that a reader with these marks has not seen."""
    pieces = []
    for place, output in enumerate(outputs):
        mark = seen[place] if place < len(seen) else None
        if mark is not None and mark.whole == _digest(output, texts):
            continue
        piece = Piece(output=output, place=place)
        if mark is not None and isinstance(output, Stream) and mark.lines:
            begun = output.text[: mark.lines]
            if hash((output.name, begun)) == mark.begun:
                rows = sum(map(row_count, begun.removesuffix("\n").split("\n")))
                rest = replace(output, text=output.text[mark.lines :])
                piece = Piece(output=rest, place=place, rows=rows)
        pieces.append(piece)
    return pieces


def _mark(output: Output, texts: Texts) -> Mark:
    if not isinstance(output, Stream):
        return Mark(whole=_digest(output, texts))
    lines = output.text.rfind("\n") + 1
    begun = hash((output.name, output.text[:lines]))
    return Mark(whole=_digest(output, texts), lines=lines, begun=begun)


def _digest(output: Output, texts: Texts) -> int:
    match output:
        case Stream(path=path):
            size = texts.bytes_of(path) if path else None
            return hash((output.name, output.text, path, size, output.late))
        case ErrorOutput():
            return hash(output)
        case DisplayData(data=data) | ExecuteResult(data=data):
            return hash(tuple((mime, written_out(value)) for mime, value in data.items()))


# Repetitions


def once(pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces, with each warning and each traceback on stderr once, and its count.

    Texts between which nothing is left become one.
    """
    said = _Said()
    for piece in pieces:
        said.count(piece.output)
    if not said.repeats:
        return [*pieces]
    return list(_joined(said.shown_of(piece) for piece in pieces))


def _joined(pieces: Iterable[Piece | None]) -> Iterator[Piece]:
    """Those pieces that are left; whole lines of one stream that are now in a row are one text."""
    for key, same in groupby(filter(None, pieces), _goes_with):
        group = list(same)
        first = group[0]
        if key is None or not isinstance(first.output, Stream) or len(group) == 1:
            yield from group
            continue
        text = "".join(each.output.text for each in group if isinstance(each.output, Stream))
        exact = all(each.exact for each in group)
        yield replace(first, output=replace(first.output, text=text), exact=exact)


def _goes_with(piece: Piece) -> tuple[str, bool] | None:
    """What is equal for texts that may be joined; None for all else."""
    output = piece.output
    if isinstance(output, Stream) and output.path is None and output.text.endswith("\n"):
        return output.name, output.late
    return None


@dataclass(slots=True, kw_only=True)
class _Said:
    """How often each warning and traceback is on stderr, which were shown, what was raised."""

    counts: Counter[str] = field(default_factory=Counter)
    shown: set[str] = field(default_factory=set)
    raised: dict[ErrorOutput, ErrorOutput] = field(default_factory=dict)

    @property
    def repeats(self) -> bool:
        """True when something may be left out."""
        return bool(self.raised) or any(count > 1 for count in self.counts.values())

    def count(self, output: Output) -> None:
        """Take in what an output says."""
        if isinstance(output, ErrorOutput):
            self.raised.setdefault(output, output)
        elif isinstance(output, Stream) and output.name == "stderr":
            self.counts.update(key for key, _ in _blocks(output.text) if key)

    def shown_of(self, piece: Piece) -> Piece | None:
        """The piece without what is shown elsewhere, None when nothing is left of it."""
        output = piece.output
        if isinstance(output, ErrorOutput):
            return piece if self.raised[output] is output else None
        if not isinstance(output, Stream) or output.name != "stderr":
            return piece
        kept = []
        for key, lines in _blocks(output.text):
            count = self.counts[key] if key else 1
            if key in self.shown or any(_tells(lines, error) for error in self.raised):
                continue
            if key:
                self.shown.add(key)
            kept += [f"{lines[0]} [{count} times]", *lines[1:]] if count > 1 else lines
        text = "\n".join(kept)
        if text == output.text:
            return piece
        if not text.strip() and output.path is None:
            return None
        return replace(piece, output=replace(output, text=text), exact=False)


def _blocks(written: str) -> Iterator[tuple[str, list[str]]]:
    """Warnings and tracebacks, each with what it is known by, and the lines between them."""
    lines = written.split("\n")
    at = 0
    while at < len(lines):
        is_traceback = lines[at] == _TRACEBACK
        is_warning = not is_traceback and _WARNING.match(lines[at]) is not None
        said = _said_until(lines, at) if is_warning else at + 1
        end = said
        while (is_traceback or is_warning) and end < len(lines) and lines[end].startswith("  "):
            end += 1
        end += is_traceback and end < len(lines)
        block = lines[at:end]
        known_by = lines[at:said] * is_warning or block * is_traceback
        yield "\n".join(known_by), block
        at = end


def _said_until(lines: Sequence[str], start: int) -> int:
    """Where the message of a warning ends: at the line of code, which Python indents by two."""
    for at in range(start + 1, min(start + _LONGEST_WARNING, len(lines))):
        if re.match(r" {2}\S", lines[at]):
            return at
        if _WARNING.match(lines[at]) or lines[at] == _TRACEBACK:
            break
    return start + 1


def _tells(lines: Sequence[str], error: ErrorOutput) -> bool:
    """True for a traceback on stderr of an error that was raised again from the same place."""
    said = f"{error.ename}: {error.evalue}".removesuffix(": ")
    if lines[0] != _TRACEBACK or not f".{lines[-1]}".endswith(f".{said}"):
        return False
    traceback = strip_ansi("\n".join(error.traceback))
    frames = [found.groups() for line in lines if (found := _FRAME.match(line))]
    if not frames:
        return False
    name, number = frames[-1]
    return f"{name}:{number}," in traceback or f'{name}", line {number},' in traceback

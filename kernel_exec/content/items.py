"""What each output of an entry is in text, within the budget of one. Pure.

Nothing is done for an output before somebody wants to see it: there may be a hundred thousand.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TypeAlias

from kernel_exec.history.entries import DEFAULT_NAME, Entry
from kernel_exec.kernels.outputs import (
    DisplayData,
    ErrorOutput,
    ExecuteResult,
    Output,
    Stream,
    files,
)

from .displays import readable, work
from .lines import Source, Texts
from .news import Marks, Piece
from .paging import kind_of, sources_of
from .plain import clean, counted, one_line
from .tracebacks import summarise

ITEM_BUDGET = 4_000
"""Characters of one output."""

_VALUE_BUDGET = 2_000
"""The same of a value that nobody laid out for a reader, as a list of objects."""

_LAID_OUT = (60, 200)
"""Lines that are read as one page, and characters of each."""

_HEAD = 0.6
_MARKER = 160
"""Characters for the words on what is hidden."""

_WARNED = re.compile(r"^([^\s:]{1,500})(?=:\d{1,9}: \w{0,60}Warning: )", re.MULTILINE)
"""The file that a warning names."""

_Shown: TypeAlias = tuple[str, str]
"""All of a text that is in memory, and what is shown of it."""

_How: TypeAlias = Callable[[int], str]
"""The call that shows what is hidden, from the number of lines that are shown whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """The text of one output, which is at `place`; `cut` when it is not all of it."""

    text: str
    place: int
    cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderContext:
    """What a result depends on besides its entry.

    `own` are paths whose traceback frames are the user's, `home` what IPython prints as `~`;
    `history` says why history is degraded, `waiting` how many executions run before this one,
    `held_in` another session that has a missing name, `walls` the word that stands around the
    kernel, `background` what earlier executions have put out since the last result; `texts` reads
    the files that outputs go on in. `environment` is "" when it goes without saying, `new_kernel`
    is true when the kernel is not that of the client's last result, `followed` when an earlier
    result said how to go on and `seen` are its outputs, `nothing_new` when there are none since
    then; `now` is the time.
    """

    session: str = DEFAULT_NAME
    held_in: str = ""
    walls: str = ""
    own: tuple[str, ...] = ()
    home: str = ""
    texts: Texts = field(default_factory=Texts)
    background: Sequence[str] = ()
    history: str = ""
    notice: str = ""
    waiting: int = 0
    most_pictures: int = 2
    environment: str = ""
    new_kernel: bool = False
    followed: bool = False
    seen: Marks = ()
    nothing_new: bool = False
    now: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """The outputs of an entry, and the pieces of them that are shown: each has a text."""

    entry: Entry
    outputs: Sequence[Output]
    pieces: Sequence[Piece]
    context: RenderContext

    def at(self, place: int) -> Item | None:
        """The piece at `place`, None when there is nothing to read."""
        output = self.pieces[place].output
        try:
            whole, shown = self._shown(place, output)
        except Exception as error:  # noqa: BLE001 - one output must not cost all others
            whole, shown = "", f"[an output of this kind can't be shown: {type(error).__name__}]"
        if not shown.strip():
            return None
        late = "[late]\n" if output.late else ""
        return Item(text=f"{late}{shown.removesuffix(chr(10))}\n", place=place, cut=shown != whole)

    def work(self, place: int) -> int:
        """About how many characters must be read to show the piece at `place`."""
        match self.pieces[place].output:
            case Stream(text=written):
                return len(written)
            case ErrorOutput(traceback=blocks):
                return sum(map(len, blocks))
            case DisplayData(data=data) | ExecuteResult(data=data):
                return work(data)

    def rows_before(self, place: int, stream: str = "all") -> int:
        """The row of a stream, as `get_execution` counts them, at which a piece begins."""
        piece = self.pieces[place]
        sources = sources_of(self.outputs[: piece.place], stream)
        return piece.rows + sum(self.context.texts.size(source).rows for source in sources)

    def _shown(self, place: int, output: Output) -> _Shown:
        if isinstance(output, Stream):
            return self._stream(place, output)
        if isinstance(output, ErrorOutput):
            full = call(self.entry, stream="error")
            summary = clean(
                summarise(output, own=self.context.own, home=self.context.home, full=full)
            )
            return summary, summary
        return self._display(output)

    def _stream(self, place: int, output: Stream) -> _Shown:
        before = self.pieces[place - 1].output if place else None
        follows = isinstance(before, Stream) and before.name != output.name
        label = "" if output.name == "stdout" and not follows else f"[{output.name}]\n"
        written = clean(output.text)
        if output.name == "stderr":
            written = _WARNED.sub(_without_folder, written)
        counted = _runs(written)
        exact = counted is written and self.pieces[place].exact

        def how(lines: int) -> str:
            before = self.rows_before(place, output.name)
            offset = before + (lines if exact else 0)
            return call(self.entry, stream=output.name, offset=offset)

        if output.path is None or (ends := self._both_ends(counted, output.path, how)) is None:
            return label + counted, label + cut(counted, ITEM_BUDGET, how)
        return label + counted, label + ends

    def _display(self, output: DisplayData | ExecuteResult) -> _Shown:
        """A display's text; the forms of it that were too large to travel are named."""
        whole = clean(readable(output.data))

        def how(_: int) -> str:
            return call(self.entry, stream=kind_of(output))

        is_value = isinstance(output, ExecuteResult) and "text/llm+plain" not in output.data
        whole = _runs(whole) if is_value else whole
        budget = _VALUE_BUDGET if is_value and not _is_laid_out(whole) else ITEM_BUDGET
        shown = cut(whole, budget, how)
        left_out = []
        for mime, path in files(output).items():
            if mime == "text/plain" and "text/llm+plain" in output.data:
                continue  # which is not shown
            if mime in output.data:
                shown = self._both_ends(whole, path, how) or shown
            elif (size := self.context.texts.bytes_of(path)) is not None:
                left_out.append(f"[{one_line(mime)}, {counted(size, 'byte')}: {path}]")
        return whole, "\n".join([*([shown] if shown else []), *left_out])

    def _both_ends(self, begins: str, path: str, how: _How) -> str | None:
        """Head and tail of a text that goes on in a file, None when the file is gone."""
        try:
            tail = self.context.texts.end(path, int(ITEM_BUDGET * (1 - _HEAD)))
        except OSError:
            return None
        size = self.context.texts.size(Source(text=begins, path=path))
        head = begins[: int(ITEM_BUDGET * _HEAD)]
        return (
            f"{head}\n[… in total {counted(size.rows, 'line')}"
            f" ({counted(size.characters, 'character')});"
            f" all of it is in {path}: {how(head.count(chr(10)))}]\n{tail}"
        )


def call(entry: Entry, *, stream: str, offset: int | None = None) -> str:
    """The call that shows a stream of `entry`, from a line on."""
    place = f", offset={offset}" if offset is not None else ""
    return f'get_execution(execution_id="{entry.id}", stream="{stream}"{place})'


def cut(written: str, budget: int, how: _How) -> str:
    """`written` within `budget` characters: head and tail."""
    if len(written) <= budget:
        return written
    room = max(0, budget - _MARKER)
    head, tail = int(room * _HEAD), room - int(room * _HEAD)
    # whole lines, where that costs little
    head = written.rfind("\n", head // 2, head) + 1 or head
    start = written.find("\n", len(written) - tail, len(written) - tail // 2) + 1
    tail = len(written) - start if start else tail
    middle = written[head : len(written) - tail]
    lines, size = middle.count("\n"), counted(len(middle), "character")
    hidden = f"{counted(lines, 'line')} ({size})" if lines else size
    marker = f"[… {hidden} hidden: {how(written.count(chr(10), 0, head))}]\n"
    start_of_line = "" if written[:head].endswith("\n") else "\n"
    return written[:head] + start_of_line + marker + (written[-tail:] if tail else "")


def _is_laid_out(written: str) -> bool:
    """True for a page of lines, such as the summary of a model, and for a string."""
    lines = written.split("\n")
    is_page = len(lines) <= _LAID_OUT[0] and max(map(len, lines)) <= _LAID_OUT[1]
    return is_page or written[:1] in {"'", '"'}


def _without_folder(found: re.Match[str]) -> str:
    """A file as tracebacks name it, one of a library with its package."""
    path = found[1]
    return path.partition("/site-packages/")[2] or path.rpartition("/")[2]


def _runs(written: str) -> str:
    """Where a line repeats itself, once with its count."""
    lines: list[str] = []
    for line, same in groupby(written.split("\n")):
        times = len(list(same))
        counted = f"{line} [{times} times]"
        is_shorter = bool(line.strip()) and len(counted) < len(line) * times + times - 1
        lines += [counted] if is_shorter else [line] * times
    shown = "\n".join(lines)
    return written if shown == written else shown

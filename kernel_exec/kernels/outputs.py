"""What an execution produced: output events as they arrived, and the outputs they add up to. Pure.

A kernel's messages become **events** (`parse`), which history keeps in order and never changes.
`fold` turns the events of one execution into **outputs**, as a notebook shows them: streams
merged, `clear_output` and display updates applied, carriage returns carried out. Folding is the
only place that knows those rules; whoever shows outputs folds first.

Source: "Messages on the IOPub channel" of the Jupyter messaging protocol; nbformat 4.5.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, reduce
from itertools import groupby, islice
from typing import TypeAlias

from .messages import JSONObject, Message, count, mapping, text

SPILL_MIME = "application/vnd.kernel-exec.spill+json"
"""Sent by our launcher when a stream's further text goes to a file instead of the wire."""

# matches at every ESC, so that none is left, and never swallows a line after an unended sequence
_ANSI = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]?"  # CSI
    r"|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # OSC, ended by BEL or ST
    r"|[PX^_](?:[^\x1b]*\x1b\\|[^\x1b\n]*)"  # DCS, SOS, PM, APC, ended by ST
    r"|[ -/]+[0-~]?|[0-~])?"  # character sets and two-character escapes
)
_PARTS = re.compile(rf"({_ANSI.pattern}|[\r\b])")
_COLOURS = re.compile(r"\x1b\[[0-9;:]{0,50}m")

_LONGEST_PEN = 200
"""Characters of colour sequences that are remembered; programs use far fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Text written to `stdout` or `stderr`; `path` names the file with the whole of it, if any."""

    name: str
    text: str
    path: str | None = None
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplayData:
    """Something displayed, by MIME type; images are base64 text as on the wire."""

    data: JSONObject
    metadata: JSONObject
    display_id: str | None = None
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteResult:
    """The value of the last expression, by MIME type."""

    data: JSONObject
    metadata: JSONObject
    execution_count: int | None
    display_id: str | None = None
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorOutput:
    """An exception that ended the execution; `traceback` is IPython's, line blocks in order."""

    ename: str
    evalue: str
    traceback: tuple[str, ...]
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Spill:
    """From here on the text of stream `name` goes to `path`, which holds all of it."""

    name: str
    path: str
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Clear:
    """`clear_output`: at once, or with the next output when `wait`."""

    wait: bool
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """`update_display_data`: new data for every display with this id."""

    display_id: str
    data: JSONObject
    metadata: JSONObject
    late: bool = False


Output: TypeAlias = Stream | DisplayData | ExecuteResult | ErrorOutput
OutputEvent: TypeAlias = Output | Spill | Clear | Update


def parse(message: Message) -> OutputEvent | None:
    """The output event an iopub message stands for, or None when it stands for none."""
    content = message.content
    match message.msg_type:
        case "stream":
            return Stream(name=text(content, "name") or "stdout", text=text(content, "text"))
        case "display_data":
            return _display(content)
        case "update_display_data":
            display_id = text(mapping(content, "transient"), "display_id")
            return Update(
                display_id=display_id,
                data=mapping(content, "data"),
                metadata=mapping(content, "metadata"),
            )
        case "execute_result":
            return ExecuteResult(
                data=mapping(content, "data"),
                metadata=mapping(content, "metadata"),
                execution_count=count(content, "execution_count"),
                display_id=text(mapping(content, "transient"), "display_id") or None,
            )
        case "error":
            return parse_error(content)
        case "clear_output":
            return Clear(wait=content.get("wait") is True)
        case _:
            return None


def parse_error(content: JSONObject) -> ErrorOutput:
    """The error in an `error` message or in an `execute_reply` whose status is `error`."""
    lines = content.get("traceback")
    blocks = lines if isinstance(lines, (list, tuple)) else ()
    return ErrorOutput(
        ename=text(content, "ename"),
        evalue=text(content, "evalue"),
        traceback=tuple(block for block in blocks if isinstance(block, str)),
    )


def parse_payload(payload: JSONObject) -> OutputEvent | None:
    """The pager text of `obj?` (only in the reply's payload, never on iopub) as a display."""
    if payload.get("source") != "page":
        return None
    return DisplayData(data=mapping(payload, "data"), metadata={})


def fold(events: Iterable[OutputEvent]) -> list[Output]:
    """The outputs that `events`, in order, add up to; takes time linear in their size.

    A file that a stream goes on in outlives `clear_output`: what is written after it is there, too.
    """
    shown: list[_Shown] = []
    updates: dict[str, tuple[int, Update]] = {}
    files: dict[str, Stream] = {}
    kept_files = 0
    clear_next = False
    for at, event in enumerate(events):
        if isinstance(event, Update):
            updates[event.display_id] = (at, event)
            continue
        if isinstance(event, Clear) and event.wait:
            clear_next = True
            continue
        if clear_next or isinstance(event, Clear):
            shown, kept_files, clear_next = [], len(files), False
        if isinstance(event, Clear):
            continue
        output = _file(event) if isinstance(event, Spill) else event
        if isinstance(output, Stream) and output.path:
            files.setdefault(output.path, replace(output, text=""))
        _add(shown, output, at)
    return [*islice(files.values(), kept_files), *(each.whole(updates) for each in shown)]


@dataclass(slots=True, kw_only=True)
class _Shown:
    """An output under way: what began it, the place of that event, and the text that followed."""

    output: Output
    at: int
    more: list[str] = field(default_factory=list)

    def whole(self, updates: Mapping[str, tuple[int, Update]]) -> Output:
        """The output as it stands after the last update of each display."""
        output = self.output
        if isinstance(output, Stream):
            return replace(output, text=carry_out("".join([output.text, *self.more])))
        if isinstance(output, ErrorOutput) or output.display_id is None:
            return output
        at, update = updates.get(output.display_id, (-1, None))
        if update is None or at < self.at:
            return output
        return replace(output, data=update.data, metadata=update.metadata)


def _file(spill: Spill) -> Stream:
    return Stream(name=spill.name, text="", path=spill.path, late=spill.late)


def _add(shown: list[_Shown], output: Output, at: int) -> None:
    if isinstance(output, Stream):
        last = shown[-1].output if shown else None
        if isinstance(last, Stream) and _goes_on(last, output):
            shown[-1].more.append(output.text)
            if output.path:
                shown[-1].output = replace(last, path=output.path)
            return
        if not output.text and not output.path:
            return
    shown.append(_Shown(output=output, at=at))


def _goes_on(last: Stream, output: Stream) -> bool:
    """True when `output` is more of the same text; one that has a file gets no more."""
    return last.name == output.name and last.late == output.late and not last.path


def carry_out(written: str) -> str:
    r"""`written` as a terminal leaves it, each line by itself.

    `\r` returns to the line's start, `\b` steps back, `ESC[K` and `ESC[2K` erase; what is written
    over is gone, and the rest keeps its colours. Text without `\r` and `\b` is not changed.
    """
    if "\r" not in written and "\b" not in written:
        return written
    lines: list[str] = []
    pen = ""
    for line in written.replace("\r\n", "\n").split("\n"):
        if "\r" in line or "\b" in line:
            row = _Row(pen)
            for part in _PARTS.split(line):
                row.take(part)
            lines.append(row.text())
            pen = row.pen
        else:
            lines.append(line)
            pen = reduce(_mixed, _COLOURS.findall(line), pen)
    return "\n".join(lines)


def strip_ansi(written: str) -> str:
    """`written` without ANSI and OSC escape sequences; no ESC is left."""
    return _ANSI.sub("", written) if "\x1b" in written else written


class _Row:
    """One line of a terminal: what is in each column, and the pen it was written with.

    A wide character leaves the column after it empty. A pen is the colour sequences that lead to
    it from plain text; `pen` is the one in hand.
    """

    def __init__(self, pen: str) -> None:
        self.pen = self._first_pen = pen
        self._columns: list[str] = []
        self._pens: list[str] = []
        self._left = 0  # columns at the start that were erased, and are not in the lists
        self._at = 0

    def take(self, part: str) -> None:
        """Carry out one part of the line: a control, an escape sequence, or text."""
        if part == "\r":
            self._at = 0
        elif part == "\b":
            self._at = max(0, self._at - 1)
        elif part.startswith("\x1b"):
            self._obey(part)
        elif part:
            self._write(_columns(part))

    def text(self) -> str:
        """The line as it stands, with the pens made into sequences again."""
        shown = [" " * self._left] if self._columns else []
        pen = self._first_pen
        start = 0
        for after, run in groupby(self._pens):
            end = start + sum(1 for _ in run)
            shown += [_change(pen, after), *self._columns[start:end]]
            pen, start = after, end
        return "".join([*shown, _change(pen, self.pen)])

    def _obey(self, sequence: str) -> None:
        if sequence in {"\x1b[K", "\x1b[0K"}:
            self._split(self._at)
            kept = max(0, self._at - self._left)
            del self._columns[kept:], self._pens[kept:]
        elif sequence == "\x1b[2K":
            self._columns, self._pens, self._left = [], [], self._at
        elif _COLOURS.fullmatch(sequence):
            self.pen = _mixed(self.pen, sequence)

    def _write(self, columns: list[str]) -> None:
        if self._at < self._left:
            erased = self._left - self._at if self._columns else 0
            self._columns[:0], self._pens[:0] = [" "] * erased, [""] * erased
            self._left = self._at
        self._split(self._at)
        self._split(self._at + len(columns))
        start, end = self._at - self._left, self._at - self._left + len(columns)
        self._columns[start:end] = columns
        self._pens[start:end] = [self.pen] * len(columns)
        self._at += len(columns)

    def _split(self, at: int) -> None:
        """Blank the wide character that has its halves on both sides of column `at`."""
        place = at - self._left
        if 0 < place < len(self._columns) and not self._columns[place]:
            self._columns[place - 1 : place + 1] = "  "


def _columns(written: str) -> list[str]:
    """What `written` puts into each column: marks go with their character, wide ones take two."""
    if written.isascii() or all(_width(char) == 1 for char in set(written)):
        return list(written)
    clusters: list[list[str]] = []
    for char in written:
        if clusters and not _width(char):
            clusters[-1].append(char)
        else:
            clusters.append([char])
    columns: list[str] = []
    for cluster in clusters:
        columns.append("".join(cluster))
        if _width(cluster[0]) == 2:
            columns.append("")
    return columns


@lru_cache(maxsize=4096)
def _width(char: str) -> int:
    """Columns that a terminal gives to `char`; 0 for marks and joiners."""
    if unicodedata.category(char) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def _mixed(pen: str, sequence: str) -> str:
    """The pen after a colour sequence; of equal ones only the last counts."""
    if not sequence.strip("\x1b[0m"):
        return ""
    mixed = pen.replace(sequence, "") + sequence
    return mixed if len(mixed) <= _LONGEST_PEN else sequence


def _change(before: str, after: str) -> str:
    """The sequences that lead from one pen to another."""
    if after.startswith(before):
        return after[len(before) :]
    return f"\x1b[0m{after}"


def _display(content: JSONObject) -> OutputEvent:
    data = mapping(content, "data")
    spill = mapping(data, SPILL_MIME)
    if path := text(spill, "path"):
        return Spill(name=text(spill, "name") or "stdout", path=path)
    return DisplayData(
        data=data,
        metadata=mapping(content, "metadata"),
        display_id=text(mapping(content, "transient"), "display_id") or None,
    )

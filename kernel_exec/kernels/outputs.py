"""What an execution produced: output events as they arrived, and the outputs they add up to. Pure.

A kernel's messages become **events** (`parse`), which history keeps in order and never changes.
`fold` turns the events of one execution into **outputs**, as a notebook shows them: streams
merged, `clear_output` and display updates applied, carriage returns carried out. Folding is the
only place that knows those rules; whoever shows outputs folds first.

Source: "Messages on the IOPub channel" of the Jupyter messaging protocol; nbformat 4.5.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeAlias, assert_never

from .messages import JSONObject, Message, mapping, text

SPILL_MIME = "application/vnd.kernel-exec.spill+json"
"""Sent by our launcher when a stream's further text goes to a file instead of the wire."""

_ANSI = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # CSI
    r"|\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC, ended by BEL or ST
    r"|[PX^_][^\x1b]*(?:\x1b\\)?"  # DCS, SOS, PM, APC
    r"|[@-Z\\-_])"  # two-character escapes
)


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
                execution_count=_count(content),
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
    """The outputs that `events`, in order, add up to."""
    outputs: list[Output] = []
    clear_next = False
    for event in _joined(events):
        if isinstance(event, Clear) and event.wait:
            clear_next = True
            continue
        if isinstance(event, Clear) or (clear_next and not isinstance(event, Update)):
            outputs.clear()
            clear_next = False
        _apply(outputs, event)
    return [_carried_out(output) for output in outputs]


def _joined(events: Iterable[OutputEvent]) -> Iterator[OutputEvent]:
    """`events` with runs of one stream's chunks joined, so that folding stays linear."""
    for key, run in groupby(events, key=_stream_key):
        if key is None:
            yield from run
        else:
            name, late = key
            chunks = "".join(event.text for event in run if isinstance(event, Stream))
            yield Stream(name=name, text=chunks, late=late)


def _stream_key(event: OutputEvent) -> tuple[str, bool] | None:
    return (event.name, event.late) if isinstance(event, Stream) and not event.path else None


def _apply(outputs: list[Output], event: OutputEvent) -> None:
    match event:
        case Stream():
            last = outputs[-1] if outputs else None
            if (
                isinstance(last, Stream)
                and last.name == event.name
                and last.late == event.late
                and not last.path
            ):
                outputs[-1] = replace(last, text=last.text + event.text, path=event.path)
            elif event.text or event.path:
                outputs.append(event)
        case Spill():
            _apply(outputs, Stream(name=event.name, text="", path=event.path, late=event.late))
        case Update():
            for index, output in enumerate(outputs):
                if (
                    isinstance(output, (DisplayData, ExecuteResult))
                    and output.display_id == event.display_id
                ):
                    outputs[index] = replace(output, data=event.data, metadata=event.metadata)
        case Clear():
            pass
        case DisplayData() | ExecuteResult() | ErrorOutput():
            outputs.append(event)
        case _:
            assert_never(event)


def carry_out(written: str) -> str:
    r"""`written` as a terminal leaves it: `\r` returns to the line's start, `\b` steps back."""
    if "\r" not in written and "\b" not in written:
        return written
    return "\n".join(_carry_out_line(line) for line in written.replace("\r\n", "\n").split("\n"))


def strip_ansi(written: str) -> str:
    """`written` without ANSI and OSC escape sequences."""
    return _ANSI.sub("", written) if "\x1b" in written else written


def _carry_out_line(line: str) -> str:
    if "\b" not in line:
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        return shown
    cells: list[str] = []
    at = 0
    for char in line:
        if char == "\r":
            at = 0
        elif char == "\b":
            at = max(0, at - 1)
        else:
            cells[at : at + 1] = char
            at += 1
    return "".join(cells)


def _carried_out(output: Output) -> Output:
    if isinstance(output, Stream):
        shown = carry_out(output.text)
        return output if shown == output.text else replace(output, text=shown)
    return output


def _display(content: JSONObject) -> OutputEvent:
    data = mapping(content, "data")
    if SPILL_MIME in data:
        spill = mapping(data, SPILL_MIME)
        return Spill(name=text(spill, "name"), path=text(spill, "path"))
    return DisplayData(
        data=data,
        metadata=mapping(content, "metadata"),
        display_id=text(mapping(content, "transient"), "display_id") or None,
    )


def _count(content: JSONObject) -> int | None:
    count = content.get("execution_count")
    return count if isinstance(count, int) else None

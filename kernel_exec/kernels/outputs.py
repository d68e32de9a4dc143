"""What an execution produced: output events as they arrived, and the outputs they add up to. Pure.

A kernel's messages become **events** (`parse`), which history keeps in order and never changes.
`fold` turns the events of one execution into **outputs**, as a notebook shows them: streams
merged, `clear_output` and display updates applied, carriage returns carried out. Folding is the
only place that knows those rules; whoever shows outputs folds first.

Source: "Messages on the IOPub channel" of the Jupyter messaging protocol; nbformat 4.5.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import PurePath
from typing import TypeAlias

from kernel_exec.jsons import JSONObject, count, items, mapping, text
from kernel_exec.terminal import carry_out

from .messages import Message

SPILL_MIME = "application/vnd.kernel-exec.spill+json"
"""Sent by our launcher when a stream's further text goes to a file instead of the wire."""

_NAME = 200
"""Characters of the name of an exception's class, which is foreign text like any other."""


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
    """An exception that ended the execution; `traceback` is IPython's, line blocks in order.

    One that is too long is a part; then `path` names the file with the whole of it, and the message
    has so many `characters`.
    """

    ename: str
    evalue: str
    traceback: tuple[str, ...]
    path: str | None = None
    characters: int = 0
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


def separate(message: Message) -> Iterator[Message]:
    """The message, or one message for each stream's turn where our kernel sent several in one."""
    more = items(message.content, "more") if message.msg_type == "stream" else ()
    if not more:
        yield message
        return
    yield replace(message, content={**message.content, "more": None})
    for turn in more:
        if isinstance(turn, (list, tuple)) and len(turn) == 2:
            name, written = turn
            yield replace(message, content={**message.content, "name": name, "text": written})


def parse(message: Message, spill_dir: PurePath | None) -> OutputEvent | None:
    """The output event an iopub message stands for, or None when it stands for none.

    A file that is not in `spill_dir` was named by user code, and is not ours to read.
    """
    output = _parse(message)
    return None if output is None else _without_forged(output, spill_dir)


def _parse(message: Message) -> OutputEvent | None:
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
            return _error(content)
        case "clear_output":
            return Clear(wait=content.get("wait") is True)
        case _:
            return None


def parse_error(content: JSONObject, spill_dir: PurePath | None) -> ErrorOutput:
    """The error in an `execute_reply` whose status is `error`; see `parse`."""
    error = _error(content)
    return error if _is_ours(error.path, spill_dir) else replace(error, path=None)


def _error(content: JSONObject) -> ErrorOutput:
    ours = mapping(content, "kernel_exec")
    return ErrorOutput(
        ename=text(content, "ename")[:_NAME],
        evalue=text(content, "evalue"),
        traceback=tuple(block for block in items(content, "traceback") if isinstance(block, str)),
        path=text(ours, "path") or None,
        characters=count(ours, "characters") or 0,
    )


_UNDEFINED = re.compile(r"name '(\w{1,100})' is not defined$")


def undefined_name(error: ErrorOutput | None) -> str:
    """The name that is missing, "" for any other error."""
    if error is None or error.ename != "NameError":
        return ""
    found = _UNDEFINED.match(error.evalue)
    return found[1] if found is not None else ""


def parse_payload(payload: JSONObject, spill_dir: PurePath | None) -> OutputEvent | None:
    """The pager text of `obj?` (only in the reply's payload, never on iopub) as a display."""
    if payload.get("source") != "page":
        return None
    display = DisplayData(data=mapping(payload, "data"), metadata=mapping(payload, "metadata"))
    return _without_forged(display, spill_dir)


def files(output: OutputEvent) -> Mapping[str, str]:
    """The files that hold the whole of what is too long: by MIME type, or by "" for text."""
    if isinstance(output, (DisplayData, ExecuteResult, Update)):
        named = mapping(mapping(output.metadata, "kernel_exec"), "files")
        return {mime: path for mime, path in named.items() if isinstance(path, str)}
    path = output.path if isinstance(output, (Stream, ErrorOutput, Spill)) else None
    return {"": path} if path else {}


def characters(output: OutputEvent) -> int:
    """How much an event holds, more or less."""
    if isinstance(output, Stream):
        return len(output.text)
    if isinstance(output, ErrorOutput):
        return sum(map(len, output.traceback))
    data = output.data if isinstance(output, (DisplayData, ExecuteResult, Update)) else {}
    return sum(len(each if isinstance(each, str) else repr(each)) for each in data.values())


def _without_forged(output: OutputEvent, spill_dir: PurePath | None) -> OutputEvent | None:
    if all(_is_ours(path, spill_dir) for path in files(output).values()):
        return output
    if isinstance(output, (DisplayData, ExecuteResult, Update)):
        metadata = {key: value for key, value in output.metadata.items() if key != "kernel_exec"}
        return replace(output, metadata=metadata)
    return replace(output, path=None) if isinstance(output, (Stream, ErrorOutput)) else None


def _is_ours(path: str | None, spill_dir: PurePath | None) -> bool:
    return path is None or PurePath(path).parent == spill_dir


def fold(events: Iterable[OutputEvent]) -> list[Output]:
    """The outputs that `events`, in order, add up to; takes time linear in their size.

    A file that a stream goes on in outlives `clear_output`: it also holds the text that follows.
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
        if output.text[:1] in _RETURNS:
            output = _with_its_line(shown, output)
    shown.append(_Shown(output=output, at=at))


_RETURNS = {"\r", "\n", "\b"}


def _with_its_line(shown: list[_Shown], output: Stream) -> Stream:
    """`output` after the line that it goes on with, such as a bar that something was printed below.

    The line is where its stream said something last, and leaves that place.
    """
    for at in range(len(shown) - 1, max(-1, len(shown) - 1 - _SHOWN_BEFORE), -1):
        before = shown[at].output
        if not isinstance(before, Stream) or before.name != output.name:
            continue
        if before.late != output.late or before.path or output.path:
            break
        written = "".join([before.text, *shown[at].more])
        ended, _, line = written.rpartition("\n")
        if not line or (output.text[0] == "\n" and "\r" not in written):
            break
        drawn = carry_out(line)
        if len(drawn) > _LONGEST_LINE:
            break
        kept = written[: len(ended) + 1] if ended or written[:1] == "\n" else ""
        shown[at].output, shown[at].more = replace(before, text=kept), []
        if not kept:
            del shown[at]
            _join(shown, at)
        return replace(output, text=drawn + output.text)
    return output


def _join(shown: list[_Shown], at: int) -> None:
    """What stood between two parts of a text is gone."""
    if not 0 < at < len(shown):
        return
    before, after = shown[at - 1], shown[at]
    if not isinstance(before.output, Stream) or not isinstance(after.output, Stream):
        return
    if _goes_on(before.output, after.output):
        before.output = replace(before.output, path=after.output.path)
        before.more += [after.output.text, *after.more]
        del shown[at]


_SHOWN_BEFORE = 8
"""Outputs among which the line is looked for; a bar is redrawn soon."""

_LONGEST_LINE = 2000
"""Characters of a line that is taken along; a bar is shorter, and each redrawing costs as many."""


def _goes_on(last: Stream, output: Stream) -> bool:
    """True when `output` is more of the same text; one that has a file gets no more."""
    return last.name == output.name and last.late == output.late and not last.path


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

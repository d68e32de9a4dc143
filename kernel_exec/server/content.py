"""What a model sees of an entry: text within a budget, pictures, one status line. Pure.

Hosts differ in what they drop and where they cut (structured content displaces text, ANSI is
passed on raw, blocks are joined without a separator), so results are plain blocks that end in a
newline, small enough for all of them, and say how to get what is not shown.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kernel_exec.kernels.execution import Outcome
from kernel_exec.kernels.messages import JSON, JSONObject, mapping, text
from kernel_exec.kernels.outputs import (
    DisplayData,
    ErrorOutput,
    ExecuteResult,
    Output,
    Stream,
    strip_ansi,
)
from kernel_exec.sessions.history import Entry, EntryKind

from .status import names_line, status_line
from .tracebacks import headline, summarise

RESULT_BUDGET = 10_000
"""Characters of text in one result."""

ITEM_BUDGET = 4_000
"""Characters of one output."""

_CUT_MARKS = (" hidden: get_execution(", "all of it is in ")
_HEAD = 0.6
_SMALL_OUTPUT = 2_000
_TEXTS = ("text/llm+plain", "text/latex", "text/markdown", "text/plain")
_PICTURES = ("image/png", "image/jpeg")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_PLACEHOLDER = re.compile(r"<IPython\.core\.display\.\w+ object>$")
_WARNING = re.compile(r"^(\S+:\d+: )?(?P<category>\w*Warning): ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A block of text that ends in a newline."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture in base64."""

    data: str
    mime_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spilled:
    """A stream that goes on in a file: its last part, and how much there is in all."""

    tail: str
    characters: int
    lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What a result depends on beside its entry.

    `own` are paths whose traceback frames are the user's, `home` what IPython prints as `~`;
    `history` says why history is degraded, `waiting` how many executions run before this one.
    """

    session: str = "main"
    own: tuple[str, ...] = ()
    home: str = ""
    spilled: Mapping[str, Spilled] = field(default_factory=dict)
    history: str = ""
    notice: str = ""
    waiting: int = 0
    most_pictures: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """Blocks for the model, and fields for programs."""

    texts: tuple[Text, ...]
    pictures: tuple[Picture, ...]
    meta: JSONObject


def render(entry: Entry, outputs: Sequence[Output], now: Circumstances) -> Rendered:
    """What a model sees of `entry` at this moment; `outputs` are folded."""
    items = [item for output in outputs if (item := _item(entry, output, now))]
    if entry.kind is EntryKind.INSTALL and entry.outcome.ended:
        items = [_installed(entry)]
    pictures = [picture for output in outputs if (picture := _picture(output))]
    shown, truncated = _fit(items, RESULT_BUDGET)
    hidden_pictures = len(pictures) - min(len(pictures), now.most_pictures)
    if hidden_pictures:
        shown.append(f"[{hidden_pictures} more pictures are in the notebook]\n")
    if line := names_line(entry):
        shown.append(f"{line}\n")
    status = status_line(
        entry, session=now.session, history=now.history, notice=now.notice, waiting=now.waiting
    )
    whole = "".join(items)
    return Rendered(
        texts=tuple(Text(text=each) for each in ("".join(shown), f"{status}\n") if each),
        pictures=tuple(pictures[: now.most_pictures]),
        meta={
            **_fields(entry, now),
            "output": whole if len(whole) <= _SMALL_OUTPUT else None,
            "error": _error(outputs),
            "truncated": truncated,
            "images": {"shown": len(pictures) - hidden_pictures, "total": len(pictures)},
        },
    )


def clean(written: str) -> str:
    """Text that every host can show: no escape sequences, no control characters, no surrogates."""
    plain = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", strip_ansi(written))
    return plain.encode("utf-8", "backslashreplace").decode("utf-8")


def cut(written: str, budget: int, how: str) -> str:
    """`written` within `budget` characters: head and tail, with `how` to get the middle."""
    if len(written) <= budget:
        return written
    room = max(0, budget - 160)
    head, tail = int(room * _HEAD), room - int(room * _HEAD)
    # whole lines, where that costs little
    head = written.rfind("\n", head // 2, head) + 1 or head
    start = written.find("\n", len(written) - tail, len(written) - tail // 2) + 1
    tail = len(written) - start if start else tail
    middle = written[head : len(written) - tail]
    marker = f"[… {middle.count(chr(10)):,} lines ({len(middle):,} characters) hidden: {how}]\n"
    start_of_line = "" if written[:head].endswith("\n") else "\n"
    return written[:head] + start_of_line + marker + (written[-tail:] if tail else "")


def _item(entry: Entry, output: Output, now: Circumstances) -> str:
    """One output as text that ends in a newline, or "" when there is nothing to read."""
    if isinstance(output, Stream):
        item = _stream(entry, output, now)
    elif isinstance(output, ErrorOutput):
        item = summarise(output, own=now.own, home=now.home, full=_call(entry, stream="error"))
    else:
        item = cut(_readable(output.data), ITEM_BUDGET, _call(entry, stream="result"))
    if not item.strip():
        return ""
    late = "[late]\n" if output.late else ""
    return late + clean(item).removesuffix("\n") + "\n"


def _stream(entry: Entry, output: Stream, now: Circumstances) -> str:
    label = "" if output.name == "stdout" else f"[{output.name}]\n"
    written = strip_ansi(output.text)
    if output.name == "stderr":
        written = _count_warnings(written)
    how = _call(entry, stream=output.name, offset=written[: int(ITEM_BUDGET * _HEAD)].count("\n"))
    spilled = now.spilled.get(output.path) if output.path is not None else None
    if spilled is None:
        return label + cut(written, ITEM_BUDGET, how)
    head = written[: int(ITEM_BUDGET * _HEAD)]
    tail = spilled.tail[-int(ITEM_BUDGET * (1 - _HEAD)) :]
    return (
        f"{label}{head}\n[… of {spilled.lines:,} lines ({spilled.characters:,} characters);"
        f" all of it is in {output.path}: {how}]\n{tail}"
    )


def _call(entry: Entry, *, stream: str, offset: int | None = None) -> str:
    place = f", offset={offset}" if offset is not None else ""
    return f'get_execution(execution_id="{entry.id}", stream="{stream}"{place})'


def _count_warnings(written: str) -> str:
    """Warnings that repeat themselves, counted instead."""
    lines = written.split("\n")
    counts = Counter(line for line in lines if _WARNING.match(line))
    if not any(count > 1 for count in counts.values()):
        return written
    seen: set[str] = set()
    kept: list[str] = []
    skip_source = False
    for line in lines:
        repeated = counts[line] > 1
        if repeated and line in seen:
            skip_source = True
            continue
        if skip_source and line.startswith("  "):
            continue
        skip_source = False
        kept.append(f"{line} [{counts[line]} times]" if repeated else line)
        seen.add(line)
    return "\n".join(kept)


def _readable(data: JSONObject) -> str:
    """The text of a display that says most per character."""
    if any(mime in data for mime in _PICTURES):
        return ""
    if summary := _chart(data):
        return summary
    for mime in _TEXTS:
        value = data.get(mime)
        if isinstance(value, str) and value and not _PLACEHOLDER.match(value):
            return value
    if "application/json" in data:
        return json.dumps(data["application/json"], ensure_ascii=False)
    return "".join(
        f"[{mime}, {len(value) if isinstance(value, str) else len(json.dumps(value)):,} characters]"
        for mime, value in data.items()
        if mime != "text/plain"
    )


def _chart(data: JSONObject) -> str:
    """A line or two on an interactive chart."""
    for mime, spec in data.items():
        if not isinstance(spec, Mapping):
            continue
        if "plotly" in mime:
            traces = spec.get("data")
            kinds = [
                text(trace, "type") or "scatter"
                for trace in (traces if isinstance(traces, (list, tuple)) else ())
                if isinstance(trace, Mapping)
            ]
            title = text(mapping(mapping(spec, "layout"), "title"), "text")
            return f"[Plotly chart: {len(kinds)} traces ({', '.join(sorted(set(kinds)))}) {title}]"
        if "vega" in mime:
            mark = spec.get("mark")
            kind = text(mark, "type") if isinstance(mark, Mapping) else str(mark or "layered")
            encoded = ", ".join(
                f"{channel}={text(how, 'field')}"
                for channel, how in mapping(spec, "encoding").items()
                if isinstance(how, Mapping) and text(how, "field")
            )
            return f"[Vega chart: {kind}; {encoded}]"
    return ""


def _picture(output: Output) -> Picture | None:
    if isinstance(output, (DisplayData, ExecuteResult)):
        for mime in _PICTURES:
            value = output.data.get(mime)
            if isinstance(value, str):
                return Picture(data=value, mime_type=mime)
    return None


def _fit(items: Sequence[str], budget: int) -> tuple[list[str], bool]:
    """Items within the whole budget; those in the middle give way to the first and the last."""
    total = sum(map(len, items))
    if total <= budget:
        return list(items), any(mark in item for item in items for mark in _CUT_MARKS)
    first: list[str] = []
    last: list[str] = []
    room = budget - 100
    ahead, behind = list(items), []
    while ahead:
        item = ahead.pop(0) if len(first) <= len(last) else ahead.pop()
        if len(item) > room:
            behind.append(item)
            continue
        room -= len(item)
        (first if len(first) <= len(last) else last).append(item)
    hidden = len(behind)
    return [*first, f"[… {hidden} outputs hidden: get_execution pages them]\n", *last[::-1]], True


def _installed(entry: Entry) -> str:
    details = entry.details
    if error := text(details, "error"):
        return f"{clean(error)}\n"
    before, after = mapping(details, "before"), mapping(details, "after")
    lines = [_change(name, str(before.get(name, "")), str(new)) for name, new in after.items()]
    if not lines and entry.outcome is Outcome.OK:
        lines.append("all of them were installed already")
    stale = details.get("stale")
    if isinstance(stale, (list, tuple)) and stale:
        lines.append(
            f"imported before and now stale: {', '.join(map(str, stale))};"
            " restart_kernel to use the new versions"
        )
    return "".join(f"{line}\n" for line in lines)


def _change(name: str, old: str, new: str) -> str:
    if not old:
        return f"+ {name} {new}"
    return f"~ {name} {old} -> {new}" if new else f"- {name} {old}"


def _error(outputs: Sequence[Output]) -> JSON:
    errors = [output for output in outputs if isinstance(output, ErrorOutput)]
    return clean(headline(errors[-1])) if errors else None


def _fields(entry: Entry, now: Circumstances) -> dict[str, JSON]:
    path = entry.file_path
    lost = "death" in entry.details
    return {
        "status": _SEED_STATUS.get(entry.outcome, "error"),
        "outcome": entry.outcome.value,
        "execution_id": entry.id,
        "execution_count": entry.execution_count,
        "session": now.session,
        "kernel": {"generation": entry.generation, "state": "lost" if lost else "kept"},
        "file_path": path,
        "generated_filename": path.rpartition("/")[2] if path else None,
        "timing": {
            "queued_at": entry.queued,
            "started_at": entry.started,
            "ended_at": entry.ended,
            "seconds": entry.duration,
        },
        "history": now.history or "ok",
    }


_SEED_STATUS = {
    Outcome.OK: "success",
    Outcome.QUEUED: "running",
    Outcome.RUNNING: "running",
}

"""What a model sees of an entry: text within a budget, pictures, one status line. Pure.

Hosts differ in what they drop and where they cut (structured content displaces text, ANSI is
passed on raw, blocks are joined without a separator), so results are plain blocks that end in a
newline, small enough for all of them, and say how to get what is not shown.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from kernel_exec.kernels.execution import Outcome
from kernel_exec.kernels.messages import JSON, JSONObject, mapping, text
from kernel_exec.kernels.outputs import (
    DisplayData,
    ErrorOutput,
    ExecuteResult,
    Output,
    Stream,
    files,
)
from kernel_exec.kernels.terminal import carry_out
from kernel_exec.sessions.history import Entry, EntryKind

from .displays import PICTURES, readable
from .hints import hint
from .paging import lines_of
from .plain import clean, one_line
from .status import names_line, status_line
from .tracebacks import headline, summarise

RESULT_BUDGET = 10_000
"""Characters of text in one result."""

ITEM_BUDGET = 4_000
"""Characters of one output."""

_HEAD = 0.6
_SMALL_OUTPUT = 2_000
_NAMED_PICTURES = 10
"""Pictures whose files a result names."""

_BACKGROUND = 500
"""Characters of a line on what earlier executions have put out."""

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
    """A text that goes on in a file: its last part, and how much there is in all."""

    tail: str
    characters: int
    lines: int
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """The file of a picture at its full size, and its width and height in pixels."""

    path: str
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What a result depends on beside its entry.

    `own` are paths whose traceback frames are the user's, `home` what IPython prints as `~`;
    `history` says why history is degraded, `waiting` how many executions run before this one,
    `background` what earlier executions have put out since the last result, `pictures` where the
    first pictures are.
    """

    session: str = "main"
    own: tuple[str, ...] = ()
    home: str = ""
    spilled: Mapping[str, Spilled] = field(default_factory=dict)
    pictures: Sequence[Saved | None] = ()
    background: Sequence[str] = ()
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
    items = list(_items(entry, outputs, now))
    first, last = _fit([len(item.text) for item in items], RESULT_BUDGET)
    shown = [item.text for item in items[:first]]
    if first < last:
        shown.append(_hidden(entry, outputs[: items[first].place], last - first, now))
    shown += [item.text for item in items[last:]]
    pictures = pictures_of(outputs)
    hidden_pictures = len(pictures) - min(len(pictures), now.most_pictures)
    shown += _about_pictures(len(pictures), now)
    background = [one_line(line, _BACKGROUND) for line in now.background]
    after = (f"hint: {advice}" if (advice := hint(outputs)) else "", *background)
    shown += [f"{line}\n" for line in (*after, names_line(entry)) if line]
    status = status_line(
        entry, session=now.session, history=now.history, notice=now.notice, waiting=now.waiting
    )
    whole = "".join(item.text for item in items)
    return Rendered(
        texts=tuple(Text(text=each) for each in ("".join(shown), f"{status}\n") if each),
        pictures=tuple(pictures[: now.most_pictures]),
        meta={
            **_fields(entry, now),
            "output": whole if len(whole) <= _SMALL_OUTPUT else None,
            "error": _error(entry, outputs),
            "truncated": first < last or any(item.cut for item in items),
            "images": {"shown": len(pictures) - hidden_pictures, "total": len(pictures)},
        },
    )


def cut(written: str, budget: int, how: Callable[[int], str]) -> str:
    """`written` within `budget` characters: head and tail.

    `how` gives the call that shows the rest, from the number of lines that are shown whole.
    """
    if len(written) <= budget:
        return written
    room = max(0, budget - 160)
    head, tail = int(room * _HEAD), room - int(room * _HEAD)
    # whole lines, where that costs little
    head = written.rfind("\n", head // 2, head) + 1 or head
    start = written.find("\n", len(written) - tail, len(written) - tail // 2) + 1
    tail = len(written) - start if start else tail
    middle = written[head : len(written) - tail]
    marker = (
        f"[… {middle.count(chr(10)):,} lines ({len(middle):,} characters) hidden:"
        f" {how(written.count(chr(10), 0, head))}]\n"
    )
    start_of_line = "" if written[:head].endswith("\n") else "\n"
    return written[:head] + start_of_line + marker + (written[-tail:] if tail else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """The text of one output, which is at `place`; `cut` when it is not all of it."""

    text: str
    place: int
    cut: bool


def _items(entry: Entry, outputs: Sequence[Output], now: Circumstances) -> Iterator[_Item]:
    """What there is to read, each part ending in a newline."""
    if entry.kind is EntryKind.INSTALL and entry.outcome in {Outcome.OK, Outcome.EXCEPTION}:
        whole = _installed(entry)
        shown = cut(whole, ITEM_BUDGET, lambda _: _call(entry, stream="stdout"))
        yield _Item(text=shown, place=0, cut=shown != whole)
        return
    lines: Counter[str] = Counter()
    for place, output in enumerate(outputs):
        if isinstance(output, Stream):
            whole, shown = _stream(entry, output, lines[output.name], now)
            lines[output.name] += _line_count(output, now)
        elif isinstance(output, ErrorOutput):
            full = _call(entry, stream="error")
            whole = shown = clean(summarise(output, own=now.own, home=now.home, full=full))
        else:
            whole, shown = _display(entry, output, now)
        if shown.strip():
            late = "[late]\n" if output.late else ""
            text = late + shown.removesuffix("\n") + "\n"
            yield _Item(text=text, place=place, cut=shown != whole)


_Told: TypeAlias = tuple[str, str]
"""All of a text that there is here, and what is shown of it."""


def _stream(entry: Entry, output: Stream, before: int, now: Circumstances) -> _Told:
    """All of a stream's text that there is here, and what is shown of it.

    `before` is the number of lines that came earlier on the same stream.
    """
    label = "" if output.name == "stdout" else f"[{output.name}]\n"
    written = clean(output.text)
    counted = _count_warnings(written) if output.name == "stderr" else written

    def how(lines: int) -> str:
        offset = before + (lines if counted is written else 0)
        return _call(entry, stream=output.name, offset=offset)

    if output.path is None or output.path not in now.spilled:
        shown = cut(counted, ITEM_BUDGET, how)
        return label + counted, label + shown
    return label + counted, label + _both_ends(counted, output.path, now, how)


def _display(entry: Entry, output: DisplayData | ExecuteResult, now: Circumstances) -> _Told:
    """The same of a display; what was too large to travel is named."""
    paths = {mime: path for mime, path in files(output).items() if path in now.spilled}
    whole = clean(readable(output.data))

    def how(lines: int) -> str:
        return _call(entry, stream="result", offset=lines)

    shortened = next((path for mime, path in paths.items() if mime in output.data), None)
    if shortened is not None:
        shown = _both_ends(whole, shortened, now, how)
    else:
        shown = cut(whole, ITEM_BUDGET, lambda _: _call(entry, stream="result"))
    left_out = [
        f"[{one_line(mime)} of {now.spilled[path].size:,} bytes is in {path}]"
        for mime, path in paths.items()
        if mime not in output.data
    ]
    return whole, "\n".join([*([shown] if shown else []), *left_out])


def _both_ends(begins: str, path: str, now: Circumstances, how: Callable[[int], str]) -> str:
    """Head and tail of a text that goes on in a file."""
    spilled = now.spilled[path]
    head = begins[: int(ITEM_BUDGET * _HEAD)]
    tail = clean(carry_out(spilled.tail))[-int(ITEM_BUDGET * (1 - _HEAD)) :]
    return (
        f"{head}\n[… of {spilled.lines:,} lines ({spilled.characters:,} characters);"
        f" all of it is in {path}: {how(head.count(chr(10)))}]\n{tail}"
    )


def _line_count(output: Output, now: Circumstances) -> int:
    """Lines of an output, as `get_execution` counts them."""
    known = [now.spilled[path].lines for path in files(output).values() if path in now.spilled]
    return sum(known) if known else sum(1 for _ in lines_of([output], "all"))


def _hidden(entry: Entry, before: Sequence[Output], count: int, now: Circumstances) -> str:
    offset = max(1, sum(_line_count(output, now) for output in before))
    return f"[… {count:,} outputs hidden: {_call(entry, stream='all', offset=offset)}]\n"


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


def pictures_of(outputs: Sequence[Output]) -> list[Picture]:
    """The pictures among outputs, in order."""
    return [picture for output in outputs if (picture := _picture(output))]


def _about_pictures(total: int, now: Circumstances) -> Iterator[str]:
    """Where the pictures are, and which are not shown."""
    for number, saved in enumerate(now.pictures[:_NAMED_PICTURES]):
        if saved is not None:
            shown = "" if number < now.most_pictures else ", not shown"
            yield f"[picture {saved.width}x{saved.height}{shown}: {saved.path}]\n"
    unnamed = total - max(now.most_pictures, min(len(now.pictures), _NAMED_PICTURES))
    if unnamed > 0:
        yield f"[{unnamed} more pictures are in the notebook]\n"


def _picture(output: Output) -> Picture | None:
    if isinstance(output, (DisplayData, ExecuteResult)):
        for mime in PICTURES:
            value = output.data.get(mime)
            if isinstance(value, str):
                return Picture(data=value, mime_type=mime)
    return None


def _fit(sizes: Sequence[int], budget: int) -> tuple[int, int]:
    """Which items give way so that the others fit: from the first number to before the second."""
    first, last = 0, len(sizes)
    if sum(sizes) <= budget:
        return last, last
    room = budget - 160
    ahead = behind = True
    while first < last and (ahead or behind):
        at = first if ahead and (first <= len(sizes) - last or not behind) else last - 1
        fits = sizes[at] <= room
        room -= sizes[at] if fits else 0
        if at == first and ahead:
            first, ahead = first + fits, fits
        else:
            last, behind = last - fits, fits
    return first, last


def _installed(entry: Entry) -> str:
    details = entry.details
    if error := text(details, "error"):
        return f"{clean(error)}\n"
    before, after = mapping(details, "before"), mapping(details, "after")
    lines = [_change(name, str(before.get(name, "")), str(new)) for name, new in after.items()]
    if not lines and entry.outcome is Outcome.OK:
        lines.append("all of them were installed already")
    if (installer := text(details, "installer")) not in {"", "uv"}:
        lines.append(f"installed with {installer}")
    stale = details.get("stale")
    if isinstance(stale, (list, tuple)) and stale:
        lines.append(
            f"imported before and now stale: {', '.join(map(one_line, stale))};"
            " restart_kernel to use the new versions"
        )
    return "".join(f"{line}\n" for line in lines)


def _change(name: str, old: str, new: str) -> str:
    name, old, new = one_line(name), one_line(old), one_line(new)
    if not old:
        return f"+ {name} {new}"
    return f"~ {name} {old} -> {new}" if new else f"- {name} {old}"


def _error(entry: Entry, outputs: Sequence[Output]) -> JSON:
    errors = [output for output in outputs if isinstance(output, ErrorOutput)]
    if errors:
        return clean(headline(errors[-1]))
    death = text(mapping(entry.details, "death"), "cause")
    return clean(text(entry.details, "error")) or (f"the kernel died: {death}" if death else None)


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

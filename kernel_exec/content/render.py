"""What a model sees of an entry: text within a budget, pictures, one status line. Pure.

Hosts differ in what they drop and where they cut (structured content displaces text, ANSI is
passed on raw, blocks are joined without a separator), so results are plain blocks that end in a
newline, small enough for all of them, and say how to get what is not shown.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kernel_exec.history.entries import Entry, EntryKind
from kernel_exec.jsons import JSON, JSONObject, mapping, text
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import DisplayData, ErrorOutput, ExecuteResult, Output
from kernel_exec.pictures import size_of

from .displays import pictures
from .hints import hints
from .installs import installed
from .items import ITEM_BUDGET, Item, Items, RenderContext, call, cut
from .plain import clean, counted, one_line
from .status import names_line, status_line
from .tracebacks import headline

RESULT_BUDGET = 10_000
"""Characters of text in one result."""

_MARKER = 160
"""Characters for the words on what is hidden."""

_WORK = 3_000_000
"""Characters of outputs that are read for one result."""

_LOOKED_AT = 10_000
"""Outputs that are looked at for one result, most of which may show nothing."""

_SMALL_OUTPUT = 2_000
_NAMED_PICTURES = 10
"""Pictures that a result names."""

_BACKGROUND = 500
"""Characters of a line on what earlier executions have put out."""


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
class Rendered:
    """Blocks for the model, the last of which is the status, and fields for programs."""

    texts: tuple[Text, ...]
    pictures: tuple[Picture, ...]
    meta: JSONObject


def render(entry: Entry, outputs: Sequence[Output], context: RenderContext) -> Rendered:
    """What a model sees of `entry` at this moment; `outputs` are folded."""
    shown = _shown(entry, outputs, context)
    found = pictures_of(outputs)
    inline = found[: context.most_pictures]
    lines = [*shown.lines, *_about_pictures(entry, found, context.most_pictures)]
    background = [one_line(line, _BACKGROUND) for line in context.background]
    after = (*(f"hint: {advice}" for advice in hints(entry, outputs, context.held_in)), *background)
    lines += [f"{line}\n" for line in (*after, names_line(entry)) if line]
    whole = None if shown.hidden else "".join(shown.lines)
    return Rendered(
        texts=tuple(Text(text=each) for each in ("".join(lines), status(entry, context)) if each),
        pictures=tuple(inline),
        meta={
            **fields(entry, context),
            "output": whole if whole is not None and len(whole) <= _SMALL_OUTPUT else None,
            "error": _error(entry, outputs),
            "truncated": shown.hidden or shown.cut,
            "images": {"shown": len(inline), "total": len(found)},
        },
    )


def status(entry: Entry, context: RenderContext) -> str:
    """The line that ends a result."""
    return f"{status_line(entry, context)}\n"


def fields(entry: Entry, context: RenderContext) -> dict[str, JSON]:
    """The fields of an entry for programs, but for its outputs."""
    path = entry.file_path
    lost = "death" in entry.details
    return {
        "status": _SEED_STATUS.get(entry.outcome, "error"),
        "outcome": entry.outcome.value,
        "execution_id": entry.id,
        "execution_count": entry.execution_count,
        "session": context.session,
        "kernel": {"generation": entry.generation, "state": "lost" if lost else "kept"},
        "file_path": path,
        "generated_filename": path.rpartition("/")[2] if path else None,
        "timing": {
            "queued_at": entry.queued,
            "started_at": entry.started,
            "ended_at": entry.ended,
            "seconds": entry.duration,
        },
        "history": context.history or "ok",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """The texts of outputs; whether some are `hidden`, and some of the others `cut`."""

    lines: Sequence[str]
    hidden: bool = False
    cut: bool = False


def _shown(entry: Entry, outputs: Sequence[Output], context: RenderContext) -> _Shown:
    """The texts of outputs: the first and the last of those that do not fit together."""
    if entry.kind is EntryKind.INSTALL and entry.outcome in {Outcome.OK, Outcome.EXCEPTION}:
        whole = clean(installed(entry))
        shown = cut(whole, ITEM_BUDGET, lambda _: call(entry, stream="stdout"))
        return _Shown(lines=[shown], cut=shown != whole)
    items = Items(entry=entry, outputs=outputs, context=context)
    first, last, hidden = _chosen(items)
    lines = [item.text for item in first]
    if hidden:
        offset = items.rows_before(hidden.start)
        how = call(entry, stream="all", offset=offset)
        lines.append(f"[… {counted(len(hidden), 'output')} hidden: {how}]\n")
    lines += [item.text for item in last]
    return _Shown(lines=lines, hidden=bool(hidden), cut=any(item.cut for item in (*first, *last)))


def _chosen(items: Items) -> tuple[list[Item], list[Item], range]:
    """The texts from the start and from the end that fit, and the places of outputs that do not.

    No output is read before its turn has come, so that what it costs does not depend on how much
    there is.
    """
    first: list[Item] = []
    last: list[Item] = []
    start, end = 0, len(items.outputs)
    room, work = RESULT_BUDGET - _MARKER, _WORK
    ahead = behind = True
    while start < end and (ahead or behind):
        at_start = ahead and (len(first) <= len(last) or not behind)
        at = start if at_start else end - 1
        work -= items.work(at) + _WORK // _LOOKED_AT
        item = items.at(at) if work > 0 else None
        if work <= 0 or (item is not None and len(item.text) > room):
            ahead, behind = (False, behind) if at_start else (ahead, False)
            continue
        start, end = (start + 1, end) if at_start else (start, end - 1)
        if item is not None:
            room -= len(item.text)
            (first if at_start else last).append(item)
    return first, last[::-1], range(start, end)


def pictures_of(outputs: Sequence[Output]) -> list[Picture]:
    """The pictures among outputs, in order."""
    return [
        Picture(data=data, mime_type=mime)
        for output in outputs
        if isinstance(output, (DisplayData, ExecuteResult))
        for mime, data in pictures(output.data)
    ]


def about_picture(number: int, total: int, picture: Picture) -> str:
    """What a result calls a picture, without brackets."""
    size = size_of(picture.data)
    pixels = f", {size[0]}x{size[1]}" if size is not None else ""
    return f"picture {number} of {total}{pixels}"


def _about_pictures(entry: Entry, found: Sequence[Picture], shown: int) -> Iterator[str]:
    """The size of each picture, and the call that shows those that are not here."""
    total = len(found)
    how = f'get_execution(execution_id="{entry.id}", picture='
    for number, picture in enumerate(found[:_NAMED_PICTURES], 1):
        more = f": {how}{number})" if number > shown else ""
        yield f"[{about_picture(number, total, picture)}{more}]\n"
    if total > max(_NAMED_PICTURES, shown):
        following = max(_NAMED_PICTURES, shown) + 1
        yield f"[pictures {following} to {total} of {total}: {how}{following}) and so on]\n"


def _error(entry: Entry, outputs: Sequence[Output]) -> JSON:
    errors = [output for output in outputs if isinstance(output, ErrorOutput)]
    if errors:
        return clean(headline(errors[-1]))
    death = text(mapping(entry.details, "death"), "cause")
    return clean(text(entry.details, "error")) or (f"the kernel died: {death}" if death else None)


_SEED_STATUS = {
    Outcome.OK: "success",
    Outcome.QUEUED: "running",
    Outcome.RUNNING: "running",
}

"""What a model sees of an entry: text within a budget, pictures, one status line. Pure.

Hosts differ in what they drop and where they cut (structured content displaces text, ANSI is
passed on raw, blocks are joined without a separator), so results are plain blocks that end in a
newline, small enough for all of them, and say how to get what is not shown.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from kernel_exec.history.entries import Entry, EntryKind
from kernel_exec.jsons import JSON, JSONObject, mapping, text
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import DisplayData, ErrorOutput, ExecuteResult, Output
from kernel_exec.pictures import size_of

from .displays import pictures
from .hints import hints
from .installs import installed
from .items import ITEM_BUDGET, Item, Items, RenderContext, call, cut
from .news import Marks, Piece, marks, new, once
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

_BACKGROUND = 500
"""Characters of a line on what earlier executions have put out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture in base64."""

    data: str
    mime_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """Blocks for the model that end in a newline, the last the status, and fields for programs.

    `seen` is what the model has seen of an execution that goes on.
    """

    texts: tuple[str, ...]
    pictures: tuple[Picture, ...]
    meta: JSONObject
    seen: Marks = ()


def render(entry: Entry, outputs: Sequence[Output], context: RenderContext) -> Rendered:
    """What a model sees of `entry` at this moment; `outputs` are folded."""
    unseen = new(outputs, context.seen, context.texts)
    context = replace(context, nothing_new=context.followed and not unseen)
    shown = _shown(entry, outputs, unseen, context)
    found = pictures_of(outputs)
    drawn = set(pictures_of(piece.output for piece in unseen))
    numbers = [number for number, each in enumerate(found, 1) if each in drawn]
    inline = [found[number - 1] for number in numbers[: context.most_pictures]]
    lines = [*shown.lines, *_about_pictures(entry, found, numbers, context.most_pictures)]
    background = [one_line(line, _BACKGROUND) for line in context.background]
    advice = hints(
        entry,
        [piece.output for piece in unseen],
        held_in=context.held_in,
        walls=context.walls,
    )
    after = (*(f"hint: {each}" for each in advice), *background, names_line(entry))
    body = "".join([*lines, *(f"{line}\n" for line in after if line)])
    more = shown.hidden or shown.cut or len(numbers) > len(inline)
    last = status_line(entry, context, body, more=more)
    return Rendered(
        texts=tuple(filter(None, (body, last))),
        pictures=tuple(inline),
        seen=() if entry.outcome.ended else marks(outputs, context.texts),
        meta={
            **fields(entry, context),
            **_about_output(entry, outputs, shown, context),
            "error": _error(entry, outputs),
            "images": {"shown": len(inline), "total": len(found)},
        },
    )


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


def _shown(
    entry: Entry, outputs: Sequence[Output], pieces: Sequence[Piece], context: RenderContext
) -> _Shown:
    """The texts of pieces: the first and the last of those that do not fit together."""
    if entry.kind is EntryKind.INSTALL and entry.outcome in {Outcome.OK, Outcome.EXCEPTION}:
        whole = clean(installed(entry))
        shown = cut(whole, ITEM_BUDGET, lambda _: call(entry, stream="stdout"))
        return _Shown(lines=[shown], cut=shown != whole)
    items = Items(entry=entry, outputs=outputs, pieces=once(pieces), context=context)
    first, last, hidden = _chosen(items)
    lines = [item.text for item in first]
    if context.seen and items.pieces and (before := items.rows_before(0)):
        lines.insert(0, f"[continued from line {before + 1:,}]\n")
    if hidden:
        offset = items.rows_before(hidden.start)
        how = call(entry, stream="all", offset=offset)
        lines.append(f"[… {counted(len(hidden), 'output')} hidden: {how}]\n")
    lines += [item.text for item in last]
    return _Shown(lines=lines, hidden=bool(hidden), cut=any(item.cut for item in (*first, *last)))


def _about_output(
    entry: Entry, outputs: Sequence[Output], shown: _Shown, context: RenderContext
) -> dict[str, JSON]:
    """The whole of the output where it is small, also when a part of it is shown."""
    if context.seen:
        shown = _shown(entry, outputs, new(outputs, (), context.texts), context)
    whole = "" if shown.hidden else "".join(shown.lines)
    is_small = not shown.hidden and len(whole) <= _SMALL_OUTPUT
    return {"output": whole if is_small else None, "truncated": shown.hidden or shown.cut}


def _chosen(items: Items) -> tuple[list[Item], list[Item], range]:
    """The texts from the start and from the end that fit, and the places of outputs that do not.

    No output is read before its turn has come, so that what it costs does not depend on how much
    there is.
    """
    first: list[Item] = []
    last: list[Item] = []
    start, end = 0, len(items.pieces)
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


def pictures_of(outputs: Iterable[Output]) -> list[Picture]:
    """The pictures among outputs, in order, each once: a figure may be shown and returned."""
    found = (
        Picture(data=data, mime_type=mime)
        for output in outputs
        if isinstance(output, (DisplayData, ExecuteResult))
        for mime, data in pictures(output.data)
    )
    return list(dict.fromkeys(found))


def about_picture(number: int, total: int, picture: Picture) -> str:
    """What a result calls a picture, without brackets."""
    size = size_of(picture.data)
    pixels = f", {size[0]}x{size[1]}" if size is not None else ""
    return f"picture {number} of {total}{pixels}"


def _about_pictures(
    entry: Entry, found: Sequence[Picture], numbers: Sequence[int], shown: int
) -> Iterator[str]:
    """The size of each picture of these numbers, and the call for those that are not here."""
    total = len(found)
    for number in numbers[:shown]:
        yield f"[{about_picture(number, total, found[number - 1])}]\n"
    if left_out := numbers[shown:]:
        first, last = left_out[0], left_out[-1]
        how = f'get_execution(execution_id="{entry.id}", picture={first})'
        if first == last:
            yield f"[{about_picture(first, total, found[first - 1])}: {how}]\n"
        else:
            yield f"[pictures {first} to {last} of {total}: {how} and so on]\n"


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

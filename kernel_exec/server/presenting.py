"""Results of executions, made in threads: the event loop of all clients only passes them on.

A short text is rendered where it is, as it takes less time than a thread to begin.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from anyio import CapacityLimiter, to_thread
from mcp_types import CallToolResult, ImageContent, TextContent

from kernel_exec.content.items import RenderContext
from kernel_exec.content.lines import ROW, Source, Texts
from kernel_exec.content.news import Marks
from kernel_exec.content.paging import Asked, Page, page, sources_of
from kernel_exec.content.plain import counted
from kernel_exec.content.render import Picture, about_picture, fields, pictures_of, render
from kernel_exec.content.searching import Searches
from kernel_exec.content.status import status_line
from kernel_exec.errors import InvalidArgumentError
from kernel_exec.history.entries import Entry
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import (
    DisplayData,
    ErrorOutput,
    ExecuteResult,
    Output,
    OutputEvent,
    Stream,
    characters,
    files,
    fold,
)
from kernel_exec.pictures import shrunk
from kernel_exec.places import home_folder

_SHORT = 2000
"""Characters of code and of plain text together that are short."""

_FEW = 20
"""Outputs that are as many as a short text has."""

_PLAIN = {"text/plain", "text/llm+plain"}

_AT_ONCE = 2
"""Results that are made at once; more would only wait for the interpreter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Lines of a stream, or those in which the regular expression `search` is found."""

    stream: str
    asked: Asked
    search: str


Part: TypeAlias = Lines | int | None
"""What is shown of an entry: some lines, one picture counted from 1, or all as far as it fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A result, and what it shows of an execution that goes on."""

    result: CallToolResult
    seen: Marks = ()


class Presenter:
    """Makes results of what an entry has put out."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        """`variables` are the client's, by which its home is known and processes search."""
        self.home = str(home_folder(variables))
        self.texts = Texts()
        self._searches = Searches(variables)
        self._limiter = CapacityLimiter(_AT_ONCE)

    async def show(
        self, entry: Entry, events: Sequence[OutputEvent], now: RenderContext, part: Part
    ) -> Made:
        """The part of the entry, with its status."""

        def make() -> Made | list[Source]:
            outputs = fold(events)
            if part is None:
                return _whole(entry, outputs, now)
            if isinstance(part, int):
                return _picture(entry, outputs, now, part)
            sources = list(sources_of(outputs, part.stream))
            if part.search:
                return sources
            return _lines(entry, page(self.texts, sources, part.asked), now, part)

        if part is None and _is_short(entry, events):
            made = make()
        else:
            made = await to_thread.run_sync(make, limiter=self._limiter)
        if isinstance(made, Made):
            return made
        assert isinstance(part, Lines)
        return _lines(entry, await self._searches.search(part.search, made, part.asked), now, part)


def _is_short(entry: Entry, events: Sequence[OutputEvent]) -> bool:
    if len(events) > _FEW or not all(map(_is_plain, events)):
        return False
    return len(entry.source) + sum(map(characters, events)) <= _SHORT


def _is_plain(event: OutputEvent) -> bool:
    """True for text of which no part is in a file."""
    if isinstance(event, (DisplayData, ExecuteResult)):
        return event.data.keys() <= _PLAIN and not files(event)
    return isinstance(event, (Stream, ErrorOutput)) and not files(event)


def where(entry: Entry, shown: Page, stream: str, search: str) -> str:
    """Which lines these are, out of how many, and the call that shows the next ones."""
    of = "" if stream == "all" else f" of {stream}"
    lines, characters = counted(shown.total.rows, "line"), shown.total.characters
    total = f"{lines}{of} ({counted(characters, 'character')}) in total"
    if not shown.whole:
        total = f"the search stopped after {lines}{of}"
    first, last = shown.first + 1, shown.first + shown.shown
    if shown.matches is not None:
        place = f"matches {first:,}-{last:,} of {shown.matches:,}" if shown.shown else (
            f"no match has the offset {shown.first:,}" if shown.matches else "no matches"
        )  # fmt: skip
    elif not shown.shown:
        place = "no output" if not shown.total.rows else f"no line has the offset {shown.first:,}"
    else:
        place = f"line {first:,}" if first == last else f"lines {first:,}-{last:,}"
    cut = f"; a line longer than {ROW:,} characters counts as several" if shown.goes_on else ""
    described = f"{place}; {total}{cut}"
    if shown.next_offset is None:
        return f"[{described}]"
    what = f", search={json.dumps(search, ensure_ascii=False)}" if search else ""
    return (
        f'[{described}; next: get_execution(execution_id="{entry.id}", stream="{stream}",'
        f" offset={shown.next_offset}{what})]"
    )


def _whole(entry: Entry, outputs: Sequence[Output], now: RenderContext) -> Made:
    rendered = render(entry, outputs, now)
    *blocks, last = [TextContent(text=each) for each in rendered.texts]
    content = [*blocks, *map(_shown, rendered.pictures), last]
    return replace(_result(entry, content, rendered.meta), seen=rendered.seen)


def _lines(entry: Entry, shown: Page, now: RenderContext, part: Lines) -> Made:
    place = where(entry, shown, part.stream, part.search)
    texts = (shown.text, place, status_line(entry, now, place))
    blocks = [TextContent(text=each.removesuffix("\n") + "\n") for each in texts if each]
    return _result(entry, blocks, fields(entry, now))


def _picture(entry: Entry, outputs: Sequence[Output], now: RenderContext, number: int) -> Made:
    pictures = pictures_of(outputs)
    if number > len(pictures):
        many = {0: "no pictures", 1: "one picture"}.get(len(pictures))
        raise InvalidArgumentError(
            f"picture {number} does not exist: execution {entry.id} has"
            f" {many or f'{len(pictures)} pictures'}"
        )
    picture = pictures[number - 1]
    about = f"[{about_picture(number, len(pictures), picture)}]\n"
    blocks = [_shown(picture), TextContent(text=about), TextContent(text=status_line(entry, now))]
    return _result(entry, blocks, fields(entry, now))


def _result(entry: Entry, content: Sequence[TextContent | ImageContent], meta: JSONObject) -> Made:
    if isinstance(content[0], TextContent) and _is_json(content[0].text):
        # Gemini CLI 0.61 takes a first text for fields if it is JSON, and refuses a mere number
        whole = "".join(each.text for each in content if isinstance(each, TextContent))
        pictures = [each for each in content if isinstance(each, ImageContent)]
        content = [*pictures, TextContent(text=whole)]
    result = CallToolResult(
        content=[*content],
        is_error=entry.outcome is Outcome.KERNEL_DIED
        or ("error" in entry.details and entry.outcome is not Outcome.OK),
        _meta={"kernel-exec": meta},
    )
    return Made(result=result)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _shown(picture: Picture) -> ImageContent | TextContent:
    small = shrunk(picture.data)
    if small is None:
        return TextContent(text=f"[a picture of type {picture.mime_type} that can't be read]\n")
    return ImageContent(data=small, mime_type="image/png")

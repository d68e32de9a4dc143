"""Results of executions, made in threads: the event loop of all clients only passes them on."""

import json
from collections.abc import Mapping, Sequence

from anyio import CapacityLimiter, to_thread
from mcp_types import CallToolResult, ImageContent, TextContent

from kernel_exec.content.items import RenderContext
from kernel_exec.content.lines import ROW, Source, Texts
from kernel_exec.content.paging import Asked, Page, page, sources_of
from kernel_exec.content.plain import counted
from kernel_exec.content.render import (
    Picture,
    about_picture,
    fields,
    pictures_of,
    render,
    status,
)
from kernel_exec.content.searching import Searches
from kernel_exec.errors import InvalidArgumentError
from kernel_exec.history.entries import Entry
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import OutputEvent, fold
from kernel_exec.pictures import shrunk

_AT_ONCE = 2
"""Results that are made at once; more would only wait for the interpreter."""


class Presenter:
    """Makes results of what an entry has put out."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        """`variables` are the server's, for the processes that search."""
        self.texts = Texts()
        self._searches = Searches(variables)
        self._limiter = CapacityLimiter(_AT_ONCE)

    async def whole(
        self, entry: Entry, events: Sequence[OutputEvent], now: RenderContext
    ) -> CallToolResult:
        """All of it, as far as that fits."""
        return await to_thread.run_sync(_whole, entry, events, now, limiter=self._limiter)

    async def page(
        self,
        entry: Entry,
        events: Sequence[OutputEvent],
        now: RenderContext,
        stream: str,
        asked: Asked,
        search: str,
    ) -> CallToolResult:
        """Lines of a stream, or those in which the expression `search` is found.

        Raises:
            InvalidArgumentError: It is no regular expression, or takes too long.
        """

        def sources() -> list[Source]:
            return list(sources_of(fold(events), stream))

        if search:
            searched = await to_thread.run_sync(sources, limiter=self._limiter)
            shown = await self._searches.search(search, searched, asked)
        else:
            shown = await to_thread.run_sync(
                lambda: page(self.texts, sources(), asked), limiter=self._limiter
            )
        told = (shown.text, where(entry, shown, stream, search), status(entry, now))
        blocks = [TextContent(text=each.removesuffix("\n") + "\n") for each in told if each]
        return _result(entry, blocks, fields(entry, now))

    async def picture(
        self, entry: Entry, events: Sequence[OutputEvent], now: RenderContext, number: int
    ) -> CallToolResult:
        """One of the pictures, counted from 1.

        Raises:
            InvalidArgumentError: There are not so many.
        """

        def shown() -> list[TextContent | ImageContent]:
            pictures = pictures_of(fold(events))
            if number > len(pictures):
                many = {0: "no pictures", 1: "one picture"}.get(len(pictures))
                raise InvalidArgumentError(
                    f"picture {number} does not exist: execution {entry.id} has"
                    f" {many or f'{len(pictures)} pictures'}"
                )
            wanted = pictures[number - 1]
            about = about_picture(number, len(pictures), wanted)
            return [_shown(wanted), TextContent(text=f"[{about}]\n")]

        blocks = await to_thread.run_sync(shown, limiter=self._limiter)
        return _result(entry, [*blocks, TextContent(text=status(entry, now))], fields(entry, now))


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
    told = f"{place}; {total}{cut}"
    if shown.next_offset is None:
        return f"[{told}]"
    what = f", search={json.dumps(search, ensure_ascii=False)}" if search else ""
    return (
        f'[{told}; next: get_execution(execution_id="{entry.id}", stream="{stream}",'
        f" offset={shown.next_offset}{what})]"
    )


def _whole(entry: Entry, events: Sequence[OutputEvent], now: RenderContext) -> CallToolResult:
    rendered = render(entry, fold(events), now)
    *blocks, last = [TextContent(text=block.text) for block in rendered.texts]
    return _result(entry, [*blocks, *map(_shown, rendered.pictures), last], rendered.meta)


def _result(
    entry: Entry, content: Sequence[TextContent | ImageContent], meta: JSONObject
) -> CallToolResult:
    return CallToolResult(
        content=[*content],
        is_error=entry.outcome is Outcome.KERNEL_DIED
        or ("error" in entry.details and entry.outcome is not Outcome.OK),
        _meta={"kernel-exec": meta},
    )


def _shown(picture: Picture) -> ImageContent | TextContent:
    small = shrunk(picture.data)
    if small is None:
        return TextContent(text=f"[a picture of type {picture.mime_type} that can't be read]\n")
    return ImageContent(data=small, mime_type="image/png")

"""One tool call: who calls, how to tell of progress, and how to follow an entry to its end."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
from mcp_types import CallToolResult

from kernel_exec.app import App
from kernel_exec.client import Client
from kernel_exec.content.items import RenderContext
from kernel_exec.content.paging import Asked
from kernel_exec.content.plain import one_line
from kernel_exec.history.entries import Entry
from kernel_exec.kernels.outputs import OutputEvent
from kernel_exec.sessions.registry import DEFAULT_NAME
from kernel_exec.sessions.session import Session

from .presenting import Presenter

_FIRST_PROGRESS = 1.0
"""Seconds before the first progress: most calls are over by then."""

_PROGRESS_EVERY = 5.0
"""Seconds between signs of life; hosts give up after 30 to 60 without one."""

_LATEST = 200
"""Characters of the latest output that a report of progress shows."""

_PROGRESS_GAP = 0.5
"""Seconds between two reports of output at the least."""

Progress = Callable[[float, str], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a tool works with; `begun` tells which entry this request has started."""

    app: App
    client: Client
    presenter: Presenter
    progress: Progress
    begun: Callable[[Session, Entry], None]

    def window(self, wait_seconds: float | None) -> float:
        """How long to wait, in seconds."""
        return self.app.settings.wait_seconds if wait_seconds is None else wait_seconds

    def limit(self, timeout_seconds: float | None) -> float | None:
        """Seconds that code may run, None for no limit."""
        if timeout_seconds is None:
            return self.app.settings.time_limit
        return timeout_seconds or None

    async def follow(self, session: Session, entry: Entry, seconds: float) -> Entry:
        """Wait for an entry within a window, telling of progress."""
        if session.entry(entry.id) is None:
            return entry  # another server began it
        began = time.monotonic()
        entry = await session.wait(entry.id, min(seconds, _FIRST_PROGRESS))
        if entry.outcome.ended or seconds <= _FIRST_PROGRESS:
            return entry
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tell, session, entry, began)
            entry = await session.wait(entry.id, seconds - _FIRST_PROGRESS)
            tasks.cancel_scope.cancel()
        return entry

    async def present(self, session: Session | None, entry: Entry) -> CallToolResult:
        """An entry as the model sees it."""
        events, now = await self._read(session, entry)
        return await self.presenter.whole(entry, events, now)

    async def page(
        self, session: Session | None, entry: Entry, stream: str, asked: Asked, search: str
    ) -> CallToolResult:
        """Lines of what an entry has put out, or those in which `search` is found."""
        events, now = await self._read(session, entry)
        return await self.presenter.page(entry, events, now, stream, asked, search)

    async def picture(self, session: Session | None, entry: Entry, number: int) -> CallToolResult:
        """One of an entry's pictures, counted from 1."""
        events, now = await self._read(session, entry)
        return await self.presenter.picture(entry, events, now, number)

    async def _read(
        self, session: Session | None, entry: Entry
    ) -> tuple[Sequence[OutputEvent], RenderContext]:
        """What an entry has put out, and then, as reading writes first, how history is."""
        events = await self.app.store.events(entry.id)
        return events, await self._now(session, entry)

    async def _now(self, session: Session | None, entry: Entry) -> RenderContext:
        settings = self.app.settings
        record = session or await self.app.store.session(entry.session_id)
        return RenderContext(
            session=record.name if record is not None else DEFAULT_NAME,
            own=(entry.file_path or "", str(settings.storage_root)),
            home=str(Path.home()),
            texts=self.presenter.texts,
            background=session.background(entry.id) if session is not None else (),
            history=self.app.store.degraded,
            notice=self.client.news(),
            waiting=session.waiting_before(entry.id) if session is not None else 0,
            most_pictures=settings.inline_images,
        )

    async def _tell(self, session: Session, entry: Entry, began: float) -> None:
        """Report progress until cancelled."""
        seen = 0
        while True:
            with anyio.move_on_after(_PROGRESS_EVERY):
                seen = await session.wait_change(entry.id, seen)
            elapsed = time.monotonic() - began
            words = session.last_words(entry.id).splitlines()
            latest = f": {one_line(words[-1].strip(), _LATEST)}" if words else ""
            await self.progress(elapsed, f"{elapsed:.0f} s{latest}")
            await anyio.sleep(_PROGRESS_GAP)

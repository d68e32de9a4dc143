"""One tool call: who calls, how to report progress, and how to follow an entry to its end."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import anyio
from mcp_types import CallToolResult

from kernel_exec import executions
from kernel_exec.connection import Connection, RequestId
from kernel_exec.content.items import RenderContext
from kernel_exec.content.plain import one_line
from kernel_exec.history.entries import Entry
from kernel_exec.jsons import text
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import ErrorOutput, OutputEvent, undefined_name
from kernel_exec.sessions.session import Session

from .presenting import Part, Presenter

_FIRST_PROGRESS = 1.0
"""Seconds before the first progress: most calls are over by then."""

_PROGRESS_EVERY = 5.0
"""Seconds between signs of life; hosts give up after 30 to 60 without one."""

_LATEST = 200
"""Characters of the latest output that a report of progress shows."""

_LAST_EVENTS = 20
"""Events among which the error is that ended an execution."""

_PROGRESS_GAP = 0.5
"""Seconds between two reports of output at the least."""

Progress = Callable[[float, str], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a tool works with; `request` is the id of what its client sent."""

    connection: Connection
    presenter: Presenter
    progress: Progress
    request: RequestId | None

    def window(self, wait_seconds: float | None) -> float:
        """How long to wait, in seconds."""
        return self.connection.settings.wait_seconds if wait_seconds is None else wait_seconds

    def limit(self, timeout_seconds: float | None) -> float | None:
        """Seconds that code may run, None for no limit."""
        if timeout_seconds is None:
            return self.connection.settings.time_limit
        return timeout_seconds or None

    def begun(self, session: Session, entry: Entry) -> None:
        """Note which entry this request has begun, in case that it is cancelled."""
        self.connection.begun(self.request, session, entry)

    async def follow(self, session: Session, entry: Entry, seconds: float) -> Entry:
        """Wait for an entry within a window, reporting progress."""
        if session.entry(entry.id) is None:
            return entry  # another server began it
        began = time.monotonic()
        entry = await session.wait(entry.id, min(seconds, _FIRST_PROGRESS))
        if entry.outcome.ended or seconds <= _FIRST_PROGRESS:
            return entry
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._report, session, entry, began)
            entry = await session.wait(entry.id, seconds - _FIRST_PROGRESS)
            tasks.cancel_scope.cancel()
        return entry

    async def present(
        self, session: Session | None, entry: Entry, part: Part = None, *, only_new: bool = False
    ) -> CallToolResult:
        """An entry, or a part of it, once it is on the disk or history says why it is not.

        With `only_new` what this client has seen of one that went on is left out.

        Committing and rendering go on side by side. Where the commit fails the result has to say
        so, and is rendered again.
        """
        events = await executions.events(self.connection, session, entry)
        now = await self._context(session, entry, events, only_new=only_new)
        committed = self.connection.settle()
        made = await self.presenter.show(entry, events, now, part)
        await committed
        notice = now.notice or self.connection.news()
        after = replace(now, history=self.connection.history, notice=notice)
        if after != now:
            made = await self.presenter.show(entry, events, after, part)
        if part is None:
            self.connection.looks.note(entry, made.seen)
        return made.result

    async def _context(
        self,
        session: Session | None,
        entry: Entry,
        events: Sequence[OutputEvent],
        *,
        only_new: bool,
    ) -> RenderContext:
        looks = self.connection.looks
        last = events[-_LAST_EVENTS:] if entry.outcome is Outcome.EXCEPTION else ()
        errors = [event for event in last if isinstance(event, ErrorOutput)]
        missing = undefined_name(errors[-1]) if errors else ""
        return RenderContext(
            session=await executions.session_name(self.connection, session, entry),
            held_in=(
                executions.holder(self.connection, missing, session) if missing and session else ""
            ),
            walls=text(session.status().sandbox, "walls") if session is not None else "",
            own=(entry.file_path or "", str(self.connection.host.storage_root)),
            home=self.presenter.home,
            texts=self.presenter.texts,
            background=session.ledger.background.take(entry.id) if session is not None else (),
            history=self.connection.history,
            notice=self.connection.news(),
            waiting=session.queue.before(entry.id) if session is not None else 0,
            most_pictures=self.connection.settings.inline_images,
            environment=looks.environment(session.environment.key) if session is not None else "",
            new_kernel=looks.is_new_kernel(entry),
            followed=looks.have_followed(entry) and only_new,
            seen=looks.seen(entry) if only_new else (),
            now=time.time(),
        )

    async def _report(self, session: Session, entry: Entry, began: float) -> None:
        """Report progress until cancelled."""
        seen = 0
        while True:
            with anyio.move_on_after(_PROGRESS_EVERY):
                seen = await session.ledger.wait_change(entry.id, seen)
            elapsed = time.monotonic() - began
            live = session.ledger.get(entry.id)
            words = live.last_words.splitlines() if live is not None else []
            latest = f": {one_line(words[-1].strip(), _LATEST)}" if words else ""
            await self.progress(elapsed, f"{elapsed:.0f} s{latest}")
            await anyio.sleep(_PROGRESS_GAP)

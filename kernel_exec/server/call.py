"""One tool call: who calls, how to tell of progress, and how to follow an entry to its end."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import to_thread
from mcp_types import CallToolResult, ImageContent, TextContent

from kernel_exec.app import App
from kernel_exec.client import Client
from kernel_exec.content.images import save, shrink
from kernel_exec.content.plain import one_line
from kernel_exec.content.render import Circumstances, Picture, Spilled, pictures_of, render
from kernel_exec.kernels.execution import Outcome
from kernel_exec.kernels.outputs import Output, files, fold
from kernel_exec.sessions.blobs import open_spilled
from kernel_exec.sessions.history import Entry
from kernel_exec.sessions.registry import DEFAULT_NAME
from kernel_exec.sessions.session import Session

_FIRST_PROGRESS = 1.0
"""Seconds before the first progress: most calls are over by then."""

_PROGRESS_EVERY = 5.0
"""Seconds between signs of life; hosts give up after 30 to 60 without one."""

_LATEST = 200
"""Characters of the latest output that a report of progress shows."""

_PROGRESS_GAP = 0.5
"""Seconds between two reports of output at the least."""

_SAVED_PICTURES = 50
"""Pictures of an execution that become files."""

_TAIL = 4000
"""Bytes of the end of a spilled stream that a result may show."""

_CONTINUING = bytes(range(0x80, 0xC0))
"""Bytes that continue a character of UTF-8; all others begin one."""

Progress = Callable[[float, str], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a tool works with; `begun` tells which entry this request has started."""

    app: App
    client: Client
    progress: Progress
    begun: Callable[[Session, Entry], None]

    def window(self, wait_seconds: float | None) -> float:
        """How long to wait, in seconds."""
        return self.app.settings.wait_seconds if wait_seconds is None else wait_seconds

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
        outputs = fold(await self.app.store.events(entry.id))
        spilled = await to_thread.run_sync(_read_spilled, outputs) if _has_spilled(outputs) else {}
        settings = self.app.settings
        folder = settings.storage_root / ".kernel_exec" / "spill" / entry.session_id
        large = pictures_of(outputs)[:_SAVED_PICTURES]
        saved = await to_thread.run_sync(save, large, folder, entry.id) if large else []
        record = session or await self.app.store.session(entry.session_id)
        rendered = render(
            entry,
            outputs,
            Circumstances(
                session=record.name if record is not None else DEFAULT_NAME,
                own=(entry.file_path or "", str(settings.storage_root)),
                home=str(Path.home()),
                spilled=spilled,
                pictures=saved,
                background=session.background(entry.id) if session is not None else (),
                history=self.app.store.degraded,
                notice=self.client.news(),
                waiting=session.waiting_before(entry.id) if session is not None else 0,
                most_pictures=settings.inline_images,
            ),
        )
        texts = [TextContent(text=block.text) for block in rendered.texts]
        pictures = [await _show(picture) for picture in rendered.pictures]
        return CallToolResult(
            content=[*texts[:-1], *pictures, texts[-1]],
            is_error=entry.outcome is Outcome.KERNEL_DIED
            or ("error" in entry.details and entry.outcome is not Outcome.OK),
            _meta={"kernel-exec": rendered.meta},
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


async def _show(picture: Picture) -> ImageContent | TextContent:
    small = await shrink(picture)
    if small is None:
        return TextContent(text=f"[a picture of type {picture.mime_type} that can't be read]\n")
    return ImageContent(data=small.data, mime_type=small.mime_type)


def _has_spilled(outputs: list[Output]) -> bool:
    return any(files(output) for output in outputs)


def _read_spilled(outputs: list[Output]) -> dict[str, Spilled]:
    """Size and end of the files that outputs go on in."""
    found = {}
    for path in {path for output in outputs for path in files(output).values()}:
        try:
            found[path] = _measure(path)
        except OSError:
            continue  # the file is gone; the head is shown as all there is
    return found


def _measure(path: str) -> Spilled:
    lines = characters = size = 0
    tail = b""
    with open_spilled(path) as file:
        while chunk := file.read(1 << 20):
            size += len(chunk)
            lines += chunk.count(b"\n")
            characters += len(chunk.translate(None, _CONTINUING))
            tail = (tail + chunk)[-_TAIL:]
    lines += bool(tail) and not tail.endswith(b"\n")
    return Spilled(
        tail=tail.decode("utf-8", "ignore"), characters=characters, lines=lines, size=size
    )

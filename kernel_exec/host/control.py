"""What the command line asks of a running host: one request, answered by messages.

Sessions are named as a person names them, by name, id or a unique beginning. A conversation that
ends in the middle stops nothing but itself.
"""

import importlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing, suppress
from typing import Final, TypeAlias

import anyio
from anyio import to_thread

from kernel_exec import executions
from kernel_exec.app import App
from kernel_exec.connection import Connection
from kernel_exec.content.displays import pictures, said
from kernel_exec.content.plain import clean, one_line
from kernel_exec.errors import BusyError, KernelDeadError, KernelExecError, NotFoundError
from kernel_exec.history.entries import EXECUTED, Entry, choose
from kernel_exec.http.rules import asked_in
from kernel_exec.jsons import JSONObject, count, mapping, text
from kernel_exec.kernels.kernel import Kernel
from kernel_exec.kernels.outputs import DisplayData, ErrorOutput, ExecuteResult, OutputEvent, Stream
from kernel_exec.leases import is_held
from kernel_exec.places import Places
from kernel_exec.relay.door import CODE
from kernel_exec.server.greeting import VERSION
from kernel_exec.sessions.session import Session

from .start import settings_of

Reply: TypeAlias = Callable[[JSONObject], Awaitable[None]]
_Command: TypeAlias = Callable[[App, JSONObject, Reply], Awaitable[None]]

_PERSON = "kernel-exec run"
"""The client of what a person runs."""

_STOP_WINDOW = 10.0
"""Seconds to wait for an interrupted execution: a kernel that must be killed takes up to eight."""

_PACE = 0.05
"""Seconds between two looks at what an execution puts out, each of which goes to the disk."""


async def answer(app: App, request: JSONObject, reply: Reply) -> None:
    """Carry out `request`; the last message has `end`, and `error` when it could not be done."""
    try:
        command = COMMANDS.get(text(request, "command"))
        if command is None:
            await reply({"error": f"no such command: {request.get('command')!r}", "end": True})
            return
        await command(app, request, reply)
    except KernelExecError as error:
        await reply({"error": str(error), "end": True})
    else:
        await reply({"end": True})


async def _about(app: App, request: JSONObject, reply: Reply) -> None:
    """Which version answers, and where its code is."""
    await reply({"version": VERSION, "code": CODE})


async def _sessions(app: App, request: JSONObject, reply: Reply) -> None:
    """The sessions that are open, with what only the host knows of them, and spare kernels."""
    spares = [{"memory_bytes": await _memory(each)} for each in app.kernels.ready]
    sessions = [await _described(app, each) for each in _live(app).values()]
    await reply({"sessions": sessions, "spare_kernels": spares})


async def _run(app: App, request: JSONObject, reply: Reply) -> None:
    """Run code in a session, which is begun if need be, and pass on what it puts out."""
    source, wanted = text(request, "code"), text(request, "session")
    live = _live(app)
    try:
        record = choose(wanted, live=[each.record for each in live.values()], past=())
    except NotFoundError:
        await _require_ours(app, wanted)
        settings = await to_thread.run_sync(settings_of, request)
        connection = Connection(app=app, settings=settings.connection, name=_PERSON)
        with closing(connection):
            begun = await executions.run(connection, source=source, session=wanted)
            await _report(app, begun.session, begun.entry, reply)
    else:
        session = live[record.id]
        entry = await executions.submit(session, source, scripts=app.scripts, client=_PERSON)
        await _report(app, session, entry, reply)


async def _tail(app: App, request: JSONObject, reply: Reply) -> None:
    """The last lines of what a session has put out, then all that follows, until it is closed."""
    session = await _named(app, request)
    latest = await app.store.latest(session.id, EXECUTED)
    if latest is not None:
        await _report(app, session, latest, reply, lines=count(request, "lines") or 0)
    number = latest.number if latest is not None else 0
    while not session.is_over:
        following = [each for each in session.ledger.kept if each.number > number]
        for entry in following:
            number = entry.number
            if entry.kind in EXECUTED:
                await _report(app, session, entry, reply)
        if not following:
            await session.ledger.begun.wait()


async def _interrupt(app: App, request: JSONObject, reply: Reply) -> None:
    """Stop what runs in a session, or one execution, and keep the kernel if it obeys."""
    session = await _named(app, request)
    stopped = session.interrupt(
        text(request, "execution") or None, force=request.get("force") is True
    )
    if stopped is None:
        await reply({"session": session.name, "execution": None})
        return
    entry = await session.wait(stopped.id, _STOP_WINDOW)
    await reply({"session": session.name, **_outcome(entry)})


async def _restart(app: App, request: JSONObject, reply: Reply) -> None:
    """A new kernel for a session."""
    session = await _named(app, request)
    report = await session.restart()
    await reply(
        {"session": session.name, "generation": report.generation, "lost": dict(report.lost)}
    )


async def _http(app: App, request: JSONObject, reply: Reply) -> None:
    """Serve MCP over HTTP until whoever asked for it hangs up."""
    # imported when it is wanted, and in a thread: others are being served
    door = await to_thread.run_sync(importlib.import_module, "kernel_exec.http.door")
    settings = await to_thread.run_sync(settings_of, request)
    async with door.open_door(
        app, settings.connection, asked_in(mapping(request, "http"))
    ) as opened:
        await reply(opened._asdict())
        await anyio.sleep_forever()


async def _stop(app: App, request: JSONObject, reply: Reply) -> None:
    """End the kernels of some sessions; without any, the host with all that it runs."""
    wanted = request.get("sessions")
    if not isinstance(wanted, list):
        app.stopping.set()
        return
    stopped = [await _named(app, {"session": str(each)}) for each in wanted]
    for session in stopped:
        await session.stop()
    await reply({"stopped": [each.name for each in stopped]})


COMMANDS: Final[Mapping[str, _Command]] = {
    "about": _about,
    "sessions": _sessions,
    "run": _run,
    "tail": _tail,
    "interrupt": _interrupt,
    "restart": _restart,
    "stop": _stop,
    "http": _http,
}
"""What can be asked, by name."""


def _live(app: App) -> dict[str, Session]:
    return {each.id: each for each in app.sessions.all if not each.is_over}


async def _named(app: App, request: JSONObject) -> Session:
    """The session that is meant.

    Raises:
        NotFoundError: There is none.
        KernelDeadError: It is not open here, and has no kernel.
    """
    past = await app.store.sessions()
    live = _live(app)  # from here on nothing waits, so that what is found stays open
    wanted = text(request, "session")
    record = choose(wanted, live=[each.record for each in live.values()], past=past)
    if record.id not in live:
        raise KernelDeadError(
            f"session {record.name!r} ({record.id}) has ended and has no kernel;"
            " `kernel-exec show` shows what it did"
        )
    return live[record.id]


async def _require_ours(app: App, name: str) -> None:
    """Raise `BusyError` when the session of that name is open in a server of its own."""
    for record in await app.store.sessions(name=name, last=1):
        if is_held(Places(app.settings.storage_root).lease(record.id)):
            raise BusyError(
                f"session {name!r} is open in another server, which was started with --in-process:"
                " choose another name"
            )


async def _described(app: App, session: Session) -> JSONObject:
    status, record = session.status(), session.record
    times = [each.ended or each.started or each.queued for each in session.ledger.kept]
    connected = sorted(set(session.clients.names.values()))
    return {
        "name": session.name,
        "id": session.id,
        "client": ", ".join(connected) or record.client,
        "connected": bool(session.clients.names),
        "folder": record.folder,
        "environment": record.environment,
        "state": status.state,
        "memory_bytes": await _memory(session),
        "running": status.current,
        "executions": await app.store.count(session.id, EXECUTED),
        "last_used": max(times, default=record.created),
    }


async def _memory(of: Session | Kernel) -> int | None:
    """Bytes that a kernel takes; None for a session without one, or when that has just ended."""
    with suppress(KernelDeadError, BusyError):
        return (await (of.inspect() if isinstance(of, Session) else of).usage()).memory
    return None


async def _report(
    app: App, session: Session, entry: Entry, reply: Reply, *, lines: int | None = None
) -> None:
    """Say what an execution is, what it puts out until it has ended, and how it ended.

    Of what is there already only the last `lines`, if a number is given.
    """
    await reply(
        {
            "session": session.name,
            "id": session.id,
            "execution": entry.id,
            "step": entry.number,
            "title": one_line(entry.title or entry.source.strip().partition("\n")[0]),
        }
    )
    after = changes = 0
    while True:
        now = session.entry(entry.id)
        messages: list[JSONObject] = []
        for number, event in await app.store.events(entry.id, after=after):
            after = number
            messages += _messages(event)
        for message in messages if lines is None else _last(messages, lines):
            await reply(message)
        lines = None
        if now is None or now.outcome.ended:
            break
        changes = await session.ledger.wait_change(entry.id, changes)
        await anyio.sleep(_PACE)
    await reply(_outcome(session.entry(entry.id) or entry))


def _messages(output: OutputEvent) -> list[JSONObject]:
    """What a person sees of an output: text for one of two streams, and pictures."""
    is_wrong = isinstance(output, ErrorOutput)
    is_aside = is_wrong or (isinstance(output, Stream) and output.name == "stderr")
    words = clean(said(output))
    if is_wrong:
        words = f"{words}\n"
    messages: list[JSONObject] = (
        [{"text": words, "stream": "stderr" if is_aside else "stdout"}] if words else []
    )
    if isinstance(output, DisplayData | ExecuteResult):
        messages += [{"picture": data, "type": mime} for mime, data in pictures(output.data)]
    return messages


def _last(messages: list[JSONObject], lines: int) -> list[JSONObject]:
    """The messages, with no more than their last lines of text."""
    kept: list[JSONObject] = []
    for message in reversed(messages):
        if lines <= 0:
            break
        part = "".join(text(message, "text").splitlines(keepends=True)[-lines:])
        lines -= part.count("\n")
        kept.append({**message, "text": part} if part else message)
    return kept[::-1]


def _outcome(entry: Entry) -> JSONObject:
    return {
        "execution": entry.id,
        "step": entry.number,
        "outcome": entry.outcome.value,
        "seconds": entry.duration,
        "error": clean(text(entry.details, "error")),
        "lost": mapping(entry.details, "state_lost"),
    }

"""What a connection runs, and how it finds that again."""

from collections.abc import Sequence

from anyio import lowlevel, to_thread

from kernel_exec.connection import Begun, Connection
from kernel_exec.errors import NotFoundError, StorageError, UnencodableError
from kernel_exec.history.entries import (
    DEFAULT_NAME,
    EXECUTED,
    Entry,
    EntryKind,
    SessionRecord,
    is_isolated,
    script_arguments,
)
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.outputs import OutputEvent
from kernel_exec.scripts.store import ScriptStore, checked_source
from kernel_exec.sessions.generations import KernelStatus, ended_status
from kernel_exec.sessions.ledger import Submission
from kernel_exec.sessions.replay import replayable, steps_of
from kernel_exec.sessions.session import Session


async def run(
    connection: Connection,
    *,
    source: str,
    session: str = "",
    filename: str = "",
    title: str = "",
    time_limit: float | None = None,
) -> Begun:
    """Store `source` as a script and queue it; where it can't be stored, it runs all the same."""
    checked = checked_source(source)
    opened = await connection.working_session(session)
    resent = opened.ledger.resent(EntryKind.CODE, checked)
    if resent is not None:
        return Begun(session=opened, entry=resent, resent=True)
    entry = await submit(
        opened,
        source,
        scripts=connection.app.scripts,
        client=connection.name,
        filename=filename,
        title=title,
        time_limit=time_limit,
    )
    return Begun(session=opened, entry=entry)


async def submit(
    session: Session,
    source: str,
    *,
    scripts: ScriptStore,
    client: str,
    filename: str = "",
    title: str = "",
    time_limit: float | None = None,
) -> Entry:
    """Queue `source` in a session that is open, and store it.

    It is stored while an idle kernel runs it already: to make a file takes as long as a short cell.
    """
    checked = checked_source(source)
    details: JSONObject = {}
    draft = None
    try:
        draft = scripts.draft(source, filename)
    except (StorageError, UnencodableError) as error:
        details = {"unstored": str(error)}
    submission = Submission(
        source=checked,
        title=title,
        file_path=str(draft.path) if draft is not None else None,
        time_limit=time_limit,
        details={"client": client, **details},
    )
    entry = session.submit(submission)
    if draft is not None:
        await lowlevel.cancel_shielded_checkpoint()  # in which the session sends it
        try:
            scripts.write(draft)
        except StorageError as error:
            return session.ledger.note_unstored(entry.id, str(error))
    return entry


async def run_script(
    connection: Connection,
    file_path: str,
    arguments: tuple[str, ...],
    *,
    isolated: bool,
    session: str = "",
    title: str = "",
    time_limit: float | None = None,
) -> Begun:
    """Run a stored script in the session's kernel, or isolated in one of its own."""
    script = await to_thread.run_sync(connection.app.scripts.source, file_path)
    opened = await connection.working_session(session)
    submission = Submission(
        source=script.source,
        title=title,
        kind=EntryKind.SCRIPT,
        file_path=str(script.path),
        time_limit=time_limit,
        details={
            "client": connection.name,
            "arguments": list(arguments),
            "mode": "isolated" if isolated else "kernel",
            "sha256": script.sha256,
        },
    )
    resent = opened.ledger.resent(EntryKind.SCRIPT, script.source)
    if (
        resent is not None
        and script_arguments(resent) == arguments
        and is_isolated(resent) is isolated
    ):
        return Begun(session=opened, entry=resent, resent=True)
    if isolated:
        return Begun(session=opened, entry=opened.submit_isolated(submission, arguments))
    return Begun(session=opened, entry=opened.submit(submission))


async def find(
    connection: Connection, *, execution_id: str = "", session: str = ""
) -> tuple[Session | None, Entry]:
    """An entry by its id, or the latest of a session that ran something.

    The session is None when the entry was begun by another server, or long ago.
    """
    store = connection.app.store
    if execution_id:
        for opened in connection.open_sessions:
            if (entry := opened.entry(execution_id)) is not None:
                return opened, entry
        stored = await _stored(connection, execution_id)
        if stored is None:
            unread = f" (earlier history can't be read: {store.degraded})" if store.degraded else ""
            raise NotFoundError(
                f"no execution has the id {execution_id!r}{unread}: take it from a result of"
                " execute_code, or leave it out for the latest one"
            )
        return None, stored
    found = await connection.existing(session)
    latest = await store.latest(found.id, EXECUTED)
    if latest is None:
        raise NotFoundError(f"session {found.name!r} has run nothing yet")
    if isinstance(found, Session):
        return found, found.entry(latest.id) or latest
    return None, await _stored(connection, latest.id) or latest


async def events(
    connection: Connection, session: Session | None, entry: Entry
) -> Sequence[OutputEvent]:
    """What an entry has put out, from memory where it is still there."""
    live = session.ledger.get(entry.id) if session is not None else None
    kept = live.recent.events if live is not None else None
    if kept is None:
        kept = [event for _, event in await connection.app.store.events(entry.id)]
    return kept


def holder(connection: Connection, variable: str, session: Session) -> str:
    """The address of another session that has a variable, "" for none."""
    return connection.app.sessions.holder(variable, session, owner=connection.owner)


async def session_name(connection: Connection, session: Session | None, entry: Entry) -> str:
    """The name of the session that an entry belongs to, whether that is open here or not."""
    if session is not None:
        return session.name
    record = await connection.app.store.session(entry.session_id)
    return record.name if record is not None else DEFAULT_NAME


async def kernel_status(connection: Connection, found: Session | SessionRecord) -> KernelStatus:
    """The kernel of a session, also of one that is not open here."""
    if isinstance(found, Session):
        return found.status()
    return ended_status(await connection.app.store.kernels(found.id))


async def replay(
    connection: Connection, session: Session, *, time_limit: float | None
) -> tuple[JSONObject, list[Entry]]:
    """Restart the session's kernel and queue the steps that made its state again, if there are any.

    Returns the variables that are lost, and the entries of the steps; without any, nothing was
    done. Each step may run `time_limit` seconds.
    """
    store = connection.app.store
    found = replayable(await store.entries(session.id), await store.kernels(session.id))
    if not found:
        return {}, []
    lost, steps = session.replay(steps_of(found, time_limit=time_limit))
    return dict(lost), steps


async def add_note(connection: Connection, *, markdown: str, session: str = "") -> Entry:
    """Put the agent's words between the cells."""
    await connection.existing(session)  # a name that no session has is most likely a slip
    opened = await connection.session(session)
    entry = opened.note(EntryKind.NOTE, markdown)
    await connection.app.store.settle()
    return entry


async def _stored(connection: Connection, execution_id: str) -> Entry | None:
    """An entry from history, as it is now though its server may have died."""
    store = connection.app.store
    stored = await store.entry(execution_id)
    if stored is None or stored.outcome.ended:
        return stored
    await store.bury()
    return await store.entry(execution_id)

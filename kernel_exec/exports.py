"""Sessions as documents: written as they are, or run again first; and which others there are."""

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from anyio import to_thread

from kernel_exec.connection import Begun, Connection
from kernel_exec.documents.export import Document, Exported, export_session
from kernel_exec.documents.paths import chosen_path
from kernel_exec.documents.verified import Again, Verify, verified_export
from kernel_exec.documents.writing import PRIVATE, require_replaceable
from kernel_exec.environments.activation import allowed_variables
from kernel_exec.environments.spec import Environment
from kernel_exec.errors import InvalidArgumentError, NotFoundError
from kernel_exec.history.entries import DEFAULT_NAME, Entry, EntryKind, SessionRecord
from kernel_exec.jsons import JSONObject
from kernel_exec.places import Places
from kernel_exec.sessions.ledger import Submission
from kernel_exec.sessions.naming import address
from kernel_exec.sessions.session import Session

_STEPS = (EntryKind.CODE, EntryKind.SCRIPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """What is exported, and to which file."""

    asked: Document
    record: SessionRecord
    path: Path


async def export(connection: Connection, asked: Document, *, session: str = "") -> Exported:
    """Write a session's document."""
    found = await connection.existing(session)
    return await _export(connection, await _subject(connection, asked, found))


async def verify(
    connection: Connection,
    asked: Document,
    *,
    session: str = "",
    time_limit: float | None,
    anew: bool,
) -> Begun:
    """Begin to run a session again and to write it with the verdict.

    The work belongs to the session, or to the connection's own if that is not open here. Its
    verdict of before is used while it holds, unless it is wanted `anew`. Each cell may run
    `time_limit` seconds.
    """
    found = await connection.existing(session)
    subject = await _subject(connection, asked, found)
    owner = found if isinstance(found, Session) else await connection.session()
    titled = f" as {asked.title!r}" if asked.title else ""
    source = f"verify session {found.name} and write it to {subject.path}{titled}"
    if (resent := owner.ledger.resent(EntryKind.VERIFICATION, source)) is not None:
        return Begun(session=owner, entry=resent, resent=True)
    kinds = {EntryKind.VERIFICATION}
    earlier = None if anew else await connection.app.store.latest(owner.id, kinds)
    again = _again(connection, subject.record, time_limit, earlier)
    work = verified_export(partial(_export, connection, subject), again)
    details: JSONObject = {"client": connection.name}
    submission = Submission(source=source, kind=EntryKind.VERIFICATION, details=details)
    return Begun(session=owner, entry=owner.undertake(submission, work))


async def others(connection: Connection, session: str = "") -> list[JSONObject]:
    """The other sessions that have run something here, and what exports each."""
    besides = (await connection.existing(session)).id
    here = (await connection.current_environment()).key
    listed: list[JSONObject] = []
    for each in connection.open_sessions:
        if each.id != besides and (steps := await connection.app.store.count(each.id, _STEPS)):
            is_own = each.name != DEFAULT_NAME or connection.owner.id in each.clients.names
            name, environment = address(each, here) if is_own else each.id, each.environment.key
            call = f"export_notebook(session={json.dumps(name, ensure_ascii=False)})"
            listed.append(
                {"session": name, "environment": environment, "steps": steps, "export": call}
            )
    return listed


async def _subject(
    connection: Connection, asked: Document, found: Session | SessionRecord
) -> _Subject:
    """What is to be exported, once it is clear that the document may be written."""
    app = connection.app
    key = found.environment if isinstance(found, SessionRecord) else found.environment.key
    record = await app.store.session(found.id) or SessionRecord(
        id=found.id, name=found.name, environment=key, created=0.0
    )
    path = chosen_path(app.settings.storage_root, record, asked.path, asked.format)
    if not found.id:
        raise NotFoundError(f"session {found.name!r} has run nothing yet")
    if not asked.overwrite:
        await to_thread.run_sync(require_replaceable, path, record.id)
    return _Subject(asked=asked, record=record, path=path)


async def _export(
    connection: Connection, subject: _Subject, verify: Verify | None = None
) -> Exported:
    """Write a session, and stamp what `verify` says of its notebook."""
    settings = connection.settings
    return await export_session(
        connection.app.store,
        subject.record,
        subject.path,
        overwrite=subject.asked.overwrite,
        limit=settings.notebook_size,
        variables=allowed_variables(settings.variables, passed=settings.pass_env),
        title=subject.asked.title,
        umask=settings.inherited.umask if subject.asked.path else PRIVATE,
        verify=verify,
        check=partial(_require_opened, connection) if connection.catalog.sandbox.walls else None,
    )


def _require_opened(connection: Connection, folder: Path) -> None:
    """Behind walls documents go where code may write, and where no interpreter looks for code."""
    sandbox, host = connection.catalog.sandbox, connection.host
    opened = [host.storage_root, connection.settings.working_directory, *sandbox.writable]
    private = [Places(host.storage_root).private, host.cache]
    above = (folder, *folder.parents)
    if (
        not any(Path(os.path.realpath(each)) in above for each in opened)
        or any(Path(os.path.realpath(each)) in above for each in private)
        or any((each / mark).exists() for each in above for mark in ("pyvenv.cfg", "conda-meta"))
    ):
        raise InvalidArgumentError(
            f"sandbox {str(sandbox.walls)!r} keeps documents out of {str(folder)!r}; choose a path"
            f" below {' or '.join(sorted({repr(str(each)) for each in opened}))}, and in no"
            " environment"
        )


def _again(
    connection: Connection, record: SessionRecord, time_limit: float | None, earlier: Entry | None
) -> Again:
    """How the session's notebook is run again."""
    app = connection.app
    environment = Environment.from_key(record.environment)
    assert environment is not None, "history keeps the keys of environments"
    return Again(
        kernels=app.kernels,
        prepare=partial(connection.catalog.prepare, environment),
        slot=partial(app.sessions.slots.taken, environment=environment.key),
        working_directory=connection.working_directory,
        documents=Places(app.settings.storage_root).notebooks,
        time_limit=time_limit,
        earlier=earlier,
    )

"""Sessions as documents: written as they are, or run again first; and which others there are."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from anyio import to_thread

from kernel_exec.app import App
from kernel_exec.documents.export import Document, Exported, export_session
from kernel_exec.documents.paths import chosen_path
from kernel_exec.documents.verified import Again, Verify, verified_export
from kernel_exec.documents.writing import require_replaceable
from kernel_exec.environments.activation import allowed_variables
from kernel_exec.environments.spec import Environment
from kernel_exec.errors import NotFoundError
from kernel_exec.history.entries import EntryKind, SessionRecord
from kernel_exec.jsons import JSONObject
from kernel_exec.sessions.registry import address
from kernel_exec.sessions.reports import Work
from kernel_exec.sessions.session import Session

_STEPS = (EntryKind.CODE, EntryKind.SCRIPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is exported, and to which file."""

    asked: Document
    record: SessionRecord
    path: Path


async def subject(app: App, asked: Document, found: Session | SessionRecord) -> Subject:
    """What is to be exported, once it is clear that the document may be written.

    Raises:
        InvalidArgumentError: There is a file that is not ours, or the path is not allowed.
        NotFoundError: The session has run nothing.
    """
    key = found.environment if isinstance(found, SessionRecord) else found.environment.key
    record = await app.store.session(found.id) or SessionRecord(
        id=found.id, name=found.name, environment=key, created=0.0
    )
    path = chosen_path(app.settings.storage_root, record, asked.path, asked.format)
    if not found.id:
        raise NotFoundError(f"session {found.name!r} has run nothing yet")
    if not asked.overwrite:
        await to_thread.run_sync(require_replaceable, path, record.id)
    return Subject(asked=asked, record=record, path=path)


async def export(app: App, wanted: Subject, verify: Verify | None = None) -> Exported:
    """Write a session, and stamp what `verify` says of its notebook.

    Raises:
        StorageError: It can't be written.
    """
    settings, asked = app.settings, wanted.asked
    return await export_session(
        app.store,
        wanted.record,
        wanted.path,
        overwrite=asked.overwrite,
        limit=settings.notebook_size,
        variables=allowed_variables(settings.server_variables, passed=settings.pass_env),
        private=not asked.path,
        verify=verify,
    )


async def verify(
    app: App,
    wanted: Subject,
    *,
    owner: Session,
    working_directory: Path,
    time_limit: float | None,
    anew: bool,
) -> Work:
    """Work of `owner` that runs a session again, and writes it with the verdict.

    The verdict of the owner's latest verification is used while it holds, unless it is wanted
    `anew`. Each cell may run `time_limit` seconds.
    """
    environment = Environment.from_key(wanted.record.environment)
    assert environment is not None, "history keeps the keys of environments"
    kinds = {EntryKind.VERIFICATION}
    again = Again(
        prepare=partial(app.catalog.prepare, environment),
        slot=partial(app.sessions.slots.taken, environment=environment.key),
        working_directory=working_directory,
        runtime_dir=app.settings.runtime_dir,
        documents=app.settings.storage_root / "notebooks",
        time_limit=time_limit,
        earlier=None if anew else await app.store.latest(owner.id, kinds),
    )
    return verified_export(partial(export, app, wanted), again)


async def others(app: App, session_id: str, here: Environment) -> list[JSONObject]:
    """The sessions but one that have run something in this server, and what exports each."""
    told: list[JSONObject] = []
    for each in app.sessions.all:
        entries = await app.store.entries(each.id) if each.id != session_id else []
        if steps := sum(entry.kind in _STEPS for entry in entries):
            name, environment = address(each, here.key), each.environment.key
            call = f"export_notebook(session={json.dumps(name, ensure_ascii=False)})"
            told.append(
                {"session": name, "environment": environment, "steps": steps, "export": call}
            )
    return told

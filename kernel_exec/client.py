"""What one connected client does with the services."""

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import to_thread

from kernel_exec import exports
from kernel_exec.app import App
from kernel_exec.documents.export import Document, Exported
from kernel_exec.environments.catalog import PreparedEnvironment
from kernel_exec.environments.spec import Environment
from kernel_exec.errors import (
    BusyError,
    InvalidArgumentError,
    KernelDeadError,
    NotFoundError,
    StorageError,
    UnencodableError,
)
from kernel_exec.history.entries import (
    Entry,
    EntryKind,
    SessionRecord,
    is_isolated,
    script_arguments,
)
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.outputs import Stream
from kernel_exec.packages.install import install
from kernel_exec.packages.inventory import PackageStatus, check
from kernel_exec.packages.requirements import parse_requirements
from kernel_exec.scripts.store import checked_source
from kernel_exec.sessions.ledger import Submission
from kernel_exec.sessions.registry import DEFAULT_NAME
from kernel_exec.sessions.session import Session
from kernel_exec.sessions.work import Done, Job

_EXECUTED = frozenset({EntryKind.CODE, EntryKind.SCRIPT, EntryKind.INSTALL, EntryKind.VERIFICATION})


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """A switch of environment that was made."""

    previous: Environment
    current: PreparedEnvironment


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What runs now, or waits; `resent` when it did so already as the same was sent again."""

    session: Session
    entry: Entry
    resent: bool = False


class Client:
    """A connected client: its environment, its default session, and what it can ask for."""

    def __init__(self, *, app: App, name: str) -> None:
        """Begin with the configured environment; `name` is how the client introduced itself."""
        self.name = name
        self.environment: Environment | None = None
        self._id = secrets.token_hex(8)
        self._app = app
        self._working_directory: Path | None = None
        self._told = ""
        self._latest = ""

    @property
    def working_directory(self) -> Path:
        """Where the kernels of its sessions start."""
        return self._working_directory or self._app.settings.working_directory

    def news(self) -> str:
        """What became of earlier history, "" when that has been told before."""
        before, self._told = self._told, self._app.store.notice
        return self._told.removeprefix(before).removeprefix("; ")

    async def session(self, name: str = "") -> Session:
        """The session `name` ("" for the client's own), begun if need be."""
        return await self._app.sessions.open(
            name,
            await self.current_environment(),
            owner=self._id,
            working_directory=self._working_directory,
        )

    async def existing(self, name: str = "") -> Session | SessionRecord:
        """The session `name`, without beginning one; see `Sessions.find`.

        Raises:
            NotFoundError: There is none.
        """
        environment = await self.current_environment()
        return await self._app.sessions.find(name, environment, owner=self._id)

    async def current_environment(self) -> Environment:
        """The environment that it switched to last, at first the configured one."""
        if self.environment is None:
            self.environment = await self._app.catalog.default()
        return self.environment

    async def configure(
        self, environment: Environment, *, working_directory: Path | None = None
    ) -> Configured:
        """Switch to `environment` once it is known to work; kernels elsewhere stay as they are.

        What is noted belongs to the session there that has the name of the one worked in last.

        Raises:
            UnusableEnvironmentError: It does not work; nothing has changed.
        """
        if working_directory is not None and not working_directory.is_dir():
            raise InvalidArgumentError(
                f"working_directory {str(working_directory)!r} is not a folder; create it first"
            )
        previous = await self.current_environment()
        current = await self._app.catalog.prepare(environment)
        self.environment = environment
        if working_directory is not None:
            self._working_directory = working_directory
        session = await self.session(self._latest)
        session.note(
            EntryKind.ENVIRONMENT,
            environment.key,
            details={
                "previous": previous.key,
                "python_version": current.interpreter.python_version,
                "executable": str(current.interpreter.executable),
                "working_directory": str(self.working_directory),
            },
        )
        return Configured(previous=previous, current=current)

    async def run(
        self,
        *,
        source: str,
        session: str = "",
        filename: str = "",
        title: str = "",
        time_limit: float | None = None,
    ) -> Begun:
        """Store `source` as a script and queue it; where it can't be stored, it runs all the same.

        Raises:
            InvalidArgumentError: The source or a name is not allowed.
            BusyError: The session's queue is full.
        """
        given, source = source, checked_source(source)
        opened = await self._working_session(session)
        resent = opened.ledger.resent(EntryKind.CODE, source)
        if resent is not None:
            return Begun(session=opened, entry=resent, resent=True)
        path, details = self._save(given, filename)
        submission = Submission(
            source=source,
            title=title,
            file_path=path,
            time_limit=time_limit,
            details={"client": self.name, **details},
        )
        return Begun(session=opened, entry=opened.submit(submission))

    async def run_script(
        self,
        file_path: str,
        arguments: tuple[str, ...],
        *,
        isolated: bool,
        session: str = "",
        title: str = "",
        time_limit: float | None = None,
    ) -> Begun:
        """Run a stored script in the session's kernel, or isolated in one of its own.

        Raises:
            InvalidArgumentError: The path is not allowed, or the file is no code.
            NotFoundError: There is no such file.
            BusyError: The session's queue is full.
        """
        script = await to_thread.run_sync(self._app.scripts.source, file_path)
        opened = await self._working_session(session)
        submission = Submission(
            source=script.source,
            title=title,
            kind=EntryKind.SCRIPT,
            file_path=str(script.path),
            time_limit=time_limit,
            details={
                "client": self.name,
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
        self, *, execution_id: str = "", session: str = ""
    ) -> tuple[Session | None, Entry]:
        """An entry by its id, or the latest of a session that ran something.

        The session is None when the entry was begun by another server, or long ago.

        Raises:
            NotFoundError: There is none.
        """
        if execution_id:
            for opened in self._app.sessions.all:
                if (entry := opened.entry(execution_id)) is not None:
                    return opened, entry
            stored = await self._stored(execution_id)
            if stored is None:
                degraded = self._app.store.degraded
                unread = f" (earlier history can't be read: {degraded})" if degraded else ""
                raise NotFoundError(
                    f"no execution has the id {execution_id!r}{unread}: take it from a result of"
                    " execute_code, or leave it out for the latest one"
                )
            return None, stored
        found = await self.existing(session)
        latest = await self._app.store.latest(found.id, _EXECUTED)
        if latest is None:
            raise NotFoundError(f"session {found.name!r} has run nothing yet")
        if isinstance(found, Session):
            return found, found.entry(latest.id) or latest
        return None, await self._stored(latest.id) or latest

    async def install(
        self,
        packages: Sequence[object],
        *,
        upgrade: bool = False,
        allow_build: bool = False,
        session: str = "",
    ) -> tuple[Session, Entry]:
        """Begin to install `packages` into the environment, beside the kernel.

        It belongs to the session that the client ran something in last, unless one is named.

        Raises:
            InvalidArgumentError: One of them is not a plain requirement; nothing was run.
        """
        requirements = parse_requirements(packages)
        opened = await self.session(session or self._latest)
        found = await self._app.catalog.find(opened.environment)

        async def work(job: Job) -> Done:
            installed = await install(
                found.interpreter,
                requirements,
                upgrade=upgrade,
                allow_build=allow_build,
                variables=found.variables,
                tools=self._app.catalog.tools,
                locks=self._app.settings.cache / "installs",
                on_line=lambda line: job.emit(Stream(name="stdout", text=f"{line}\n")),
            )
            self._app.catalog.forget(opened.environment)
            details: JSONObject = {
                "installer": installed.tool,
                "before": installed.changes.before,
                "after": installed.changes.after,
                "seconds": round(installed.seconds, 3),
                "output": installed.output,
                "excluded": "\n".join(installed.excluded),
                "stale": await self._refresh(opened, installed.changes.modules),
            }
            return Done(details=details)

        submission = Submission(source="\n".join(requirements), kind=EntryKind.INSTALL)
        entry = opened.undertake(submission, work)
        return opened, entry

    async def check(self, packages: Sequence[object]) -> list[PackageStatus]:
        """What is installed of `packages`; nothing is imported.

        Raises:
            InvalidArgumentError: One of them is not a plain requirement.
        """
        parse_requirements(packages)
        found = await self._app.catalog.find(await self.current_environment())
        return await check(found.interpreter, packages, variables=found.variables)

    async def export(self, asked: Document, *, session: str = "") -> Exported:
        """Write the session; see `exports.export`."""
        subject = await exports.subject(self._app, asked, await self.existing(session))
        return await exports.export(self._app, subject)

    async def verify(
        self, asked: Document, *, session: str = "", time_limit: float | None, anew: bool
    ) -> Begun:
        """Begin to run the session again and to write it with the verdict; see `exports.verify`.

        The work belongs to the session, or to the client's own if that is not open here.
        """
        found = await self.existing(session)
        subject = await exports.subject(self._app, asked, found)
        opened = found if isinstance(found, Session) else await self.session()
        source = f"verify session {found.name} and write it to {subject.path}"
        if (resent := opened.ledger.resent(EntryKind.VERIFICATION, source)) is not None:
            return Begun(session=opened, entry=resent, resent=True)
        work = await exports.verify(
            self._app,
            subject,
            owner=opened,
            working_directory=self.working_directory,
            time_limit=time_limit,
            anew=anew,
        )
        submission = Submission(
            source=source, kind=EntryKind.VERIFICATION, details={"client": self.name}
        )
        return Begun(session=opened, entry=opened.undertake(submission, work))

    async def others(self, session: str = "") -> list[JSONObject]:
        """The other sessions that have run something here; see `exports.others`."""
        found = await self.existing(session)
        return await exports.others(self._app, found.id, await self.current_environment())

    async def note(self, *, markdown: str, session: str = "") -> Entry:
        """Put the agent's words between the cells."""
        await self.existing(session)  # a name that no session has is most likely a slip
        opened = await self.session(session)
        entry = opened.note(EntryKind.NOTE, markdown)
        await self._app.store.settle()
        return entry

    async def _working_session(self, name: str) -> Session:
        """The session `name`, which is what the client works in from now on."""
        session = await self.session(name)
        self._latest = "" if session.name == DEFAULT_NAME else session.name
        return session

    async def _stored(self, execution_id: str) -> Entry | None:
        """An entry from history, as it is now though its server may have died."""
        stored = await self._app.store.entry(execution_id)
        if stored is None or stored.outcome.ended:
            return stored
        await self._app.store.bury()
        return await self._app.store.entry(execution_id)

    def _save(self, source: str, filename: str) -> tuple[str | None, JSONObject]:
        """Where `source` is stored now, or details that say why it is not."""
        try:
            return str(self._app.scripts.save(source, filename)), {}
        except (StorageError, UnencodableError) as error:
            return None, {"unstored": str(error)}

    async def _refresh(self, session: Session, modules: Sequence[str]) -> list[str]:
        """Let all kernels of the environment find what was installed; the session's stale imports.

        What a kernel has imported stays as it was; whoever answers too late finds it all the same.
        """
        stale: dict[str, list[str]] = {}

        async def ask(each: Session) -> None:
            with suppress(KernelDeadError, BusyError):
                stale[each.id] = list(await each.inspect().refresh_imports(modules))

        async with anyio.create_task_group() as tasks:
            for each in self._app.sessions.all:
                if each.environment.key == session.environment.key:
                    tasks.start_soon(ask, each)
        return stale.get(session.id, [])

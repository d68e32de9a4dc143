"""What a connection installs beside its kernels, and what is installed."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress

import anyio

from kernel_exec.connection import Connection
from kernel_exec.errors import BusyError, KernelDeadError, PackageError
from kernel_exec.history.entries import Entry, EntryKind
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.outputs import Stream
from kernel_exec.packages import install as installing
from kernel_exec.packages import inventory
from kernel_exec.packages.requirements import parse_requirements
from kernel_exec.sessions.ledger import Submission
from kernel_exec.sessions.session import Session
from kernel_exec.sessions.work import Done, Job

_log = logging.getLogger(__name__)


async def install(
    connection: Connection, packages: Sequence[object], *, upgrade: bool, allow_build: bool
) -> tuple[Session, Entry]:
    """Begin to install `packages` into the environment, beside the kernel.

    It belongs to the session that the connection ran something in last.
    """
    requirements = parse_requirements(packages)
    session = await connection.latest_session()
    found = await connection.catalog.find(session.environment)

    async def work(job: Job) -> Done:
        try:
            installed = await installing.install(
                found.interpreter,
                requirements,
                upgrade=upgrade,
                allow_build=allow_build,
                variables=found.variables,
                tools=connection.catalog.tools,
                locks=connection.app.settings.cache / "installs",
                on_line=lambda line: job.emit(Stream(name="stdout", text=f"{line}\n")),
            )
        except PackageError as error:
            # where packages build themselves, their code may have printed anything
            said = str(error).partition("\n")[0] if allow_build else str(error)
            _log.warning("an install of session %s failed: %s", session.id, said)
            raise
        connection.catalog.forget(session.environment)
        connection.app.kernels.look_again()
        details: JSONObject = {
            "installer": installed.tool,
            "before": installed.changes.before,
            "after": installed.changes.after,
            "seconds": round(installed.seconds, 3),
            "output": installed.output,
            "excluded": "\n".join(installed.excluded),
            "stale": await _refresh(connection, session, installed.changes.modules),
        }
        return Done(details=details)

    submission = Submission(source="\n".join(requirements), kind=EntryKind.INSTALL)
    return session, session.undertake(submission, work)


async def check(
    connection: Connection, packages: Sequence[object]
) -> list[inventory.PackageStatus]:
    """What is installed of `packages`; nothing is imported."""
    parse_requirements(packages)
    found = await connection.catalog.find(await connection.current_environment())
    return await inventory.check(found.interpreter, packages, variables=found.variables)


async def versions(connection: Connection) -> Mapping[str, str]:
    """The version of everything that is installed, by name."""
    found = await connection.catalog.find(await connection.current_environment())
    there = await inventory.take_inventory(found.interpreter, variables=found.variables)
    return {each.name: each.version for each in sorted(there, key=lambda each: each.name.lower())}


async def _refresh(connection: Connection, session: Session, modules: Sequence[str]) -> list[str]:
    """Let all kernels of the environment find what was installed; the session's stale imports.

    What a kernel has imported stays as it was; whoever answers too late finds it all the same.
    """
    stale: dict[str, list[str]] = {}

    async def ask(each: Session) -> None:
        with suppress(KernelDeadError, BusyError):
            stale[each.id] = list(await each.inspect().refresh_imports(modules))

    async with anyio.create_task_group() as tasks:
        for each in connection.open_sessions:
            if each.environment.key == session.environment.key:
                tasks.start_soon(ask, each)
    return stale.get(session.id, [])

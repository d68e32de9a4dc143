"""What is everybody's: the services as fields, opened in order.

`App` does not know how many connections there are, nor by what transport they come.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import to_thread

from kernel_exec import processes
from kernel_exec.environments.activation import allowed_variables
from kernel_exec.environments.catalog import Answers, Catalog
from kernel_exec.history.retention import Limits
from kernel_exec.history.store import Store, open_store
from kernel_exec.kernels.local import LocalKernels
from kernel_exec.kernels.outcomes import SERVER_ENDED
from kernel_exec.kernels.run_dirs import sweep_run_dirs
from kernel_exec.kernels.spares import Spares
from kernel_exec.places import Places, make_root
from kernel_exec.scripts.store import ScriptStore
from kernel_exec.sessions.registry import Sessions
from kernel_exec.settings import ConnectionSettings, HostSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """What the program is made of, opened by `open_app`; to end once `stopping` is set.

    `leave_to_warden` takes a socket that is to be removed with its folder when we are killed.
    """

    settings: HostSettings
    store: Store
    kernels: Spares
    answers: Answers
    sessions: Sessions
    scripts: ScriptStore
    stopping: anyio.Event
    leave_to_warden: Callable[[Path], None]


@asynccontextmanager
async def open_app(
    settings: HostSettings, *, ending: str = SERVER_ENDED, stopping: anyio.Event | None = None
) -> AsyncIterator[App]:
    """Open the services in order; leaving ends the kernels, then closes the store.

    What an earlier server left behind is swept first. `ending` is why kernels end that live until
    then; a client finds its default session again unless that ended as `SERVER_ENDED`.
    """
    limits = Limits(age=settings.history_age, size=settings.history_size)
    await to_thread.run_sync(make_root, settings.storage_root, settings.storage_source)
    await to_thread.run_sync(sweep_run_dirs, settings.runtime_dir)
    limits = Limits(age=settings.history_age, size=settings.history_size)
    async with (
        processes.warden(allowed_variables(settings.variables, passed=())) as leave_to_warden,
        open_store(settings.storage_root, limits=limits) as store,
        Spares(
            make_kernels(settings, unwritten=store.unwritten, ending=ending).start,
            most=settings.spare_kernels,
            room=lambda: sessions.slots.free,
            is_calm=lambda: not any(each.ledger.unfinished for each in sessions.all),
        ) as kernels,
        Sessions(
            store=store,
            kernels=kernels,
            places=Places(settings.storage_root),
            max_kernels=settings.max_kernels,
            idle_limit=settings.idle_limit,
            detached_limit=settings.detached_limit,
        ) as sessions,
    ):
        yield App(
            settings=settings,
            store=store,
            kernels=kernels,
            answers=Answers(),
            sessions=sessions,
            scripts=ScriptStore(settings.storage_root),
            stopping=stopping or anyio.Event(),
            leave_to_warden=leave_to_warden,
        )


def make_kernels(
    settings: HostSettings, *, unwritten: Callable[[], int] = lambda: 0, ending: str = SERVER_ENDED
) -> LocalKernels:
    """Where all kernels come from; see `LocalKernels`."""
    return LocalKernels(
        runtime_dir=settings.runtime_dir,
        places=Places(settings.storage_root),
        unwritten=unwritten,
        ending=ending,
    )


def open_catalog(
    host: HostSettings, connection: ConnectionSettings, answers: Answers | None = None
) -> Catalog:
    """The environments of a connection: its own names and variables, everybody's cache."""
    return Catalog(
        storage_root=host.storage_root,
        cache=host.cache,
        base_variables=connection.variables,
        passed_variables=connection.pass_env,
        configured=connection.environment,
        named=connection.named_environments,
        answers=answers,
        sandbox=connection.sandbox.at_least(host.walls).within(connection.working_directory),
        inherited=connection.inherited,
        folder=connection.folder,
    )

"""The sessions of this server: opened by name and environment, run in one task group."""

import re
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import TaskGroup
from filelock import FileLock, Timeout

from kernel_exec.environments.catalog import Catalog
from kernel_exec.environments.spec import Environment
from kernel_exec.errors import BusyError, InvalidArgumentError, StorageError
from kernel_exec.kernels.kernel import KernelStarter
from kernel_exec.kernels.local import LocalKernels

from .history import SessionRecord
from .session import Session
from .store import Store

DEFAULT_NAME = "main"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where sessions keep things.

    `folder` holds history and files of our own, `runtime_dir` sockets, so its path is short.
    """

    folder: Path
    working_directory: Path
    runtime_dir: Path


class Sessions:
    """Opens sessions; `async with` it, and they end with it."""

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        places: Places,
        max_kernels: int,
        idle_limit: float | None,
    ) -> None:
        """Nothing is open yet."""
        self._store = store
        self._catalog = catalog
        self._places = places
        self._max_kernels = max_kernels
        self._idle_limit = idle_limit
        self._sessions: dict[tuple[str, str], Session] = {}
        self._directories: dict[tuple[str, str], Path] = {}
        self._opening = anyio.Lock()
        self._leases = ExitStack()
        self._tasks: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        """Begin to run sessions."""
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """End every session with its kernel."""
        assert self._tasks is not None
        self._tasks.cancel_scope.cancel()
        try:
            return await self._tasks.__aexit__(kind, error, traceback)
        finally:
            self._leases.close()

    @property
    def all(self) -> Mapping[tuple[str, str], Session]:
        """What is open, by name and environment key."""
        return self._sessions

    async def open(
        self, name: str, environment: Environment, *, working_directory: Path | None = None
    ) -> Session:
        """The session with this name in this environment.

        A named one continues where an earlier server left it, unless another server has it; the
        default one ("") always begins anew. Its next kernel starts in `working_directory`, where
        one is given.

        Raises:
            InvalidArgumentError: The name is not allowed.
        """
        if name and not _NAME.fullmatch(name):
            raise InvalidArgumentError(
                f"session name {name!r} is not allowed:"
                " use letters, digits, '_', '.' and '-', at most 100 of them"
            )
        key = (name or DEFAULT_NAME, environment.key)
        if working_directory is not None:
            self._directories[key] = working_directory
        async with self._opening:
            if key not in self._sessions:
                session = await self._make(name, environment)
                assert self._tasks is not None
                await self._tasks.start(session.run)
                self._sessions[key] = session
        return self._sessions[key]

    async def _make(self, name: str, environment: Environment) -> Session:
        record = await self._store.find_session(name, environment.key) if name else None
        number = generation = 0
        if record is not None and self._lease(record):
            record = await self._store.session(record.id)  # it may have gone before it was ours
        else:
            record = None
        if record is not None:
            entries = await self._store.entries(record.id, last=1)
            kernels = await self._store.kernels(record.id)
            number = entries[-1].number if entries else 0
            generation = kernels[-1].generation if kernels else 0
        else:
            record = SessionRecord(
                id=uuid.uuid4().hex,
                name=name or DEFAULT_NAME,
                environment=environment.key,
                created=time.time(),
            )
            self._lease(record)
            self._store.put_session(record)
        return Session(
            record=record,
            environment=environment,
            prepare=partial(self._prepare, record, environment),
            store=self._store,
            number=number,
            generation=generation,
            idle_limit=self._idle_limit,
        )

    async def _prepare(self, record: SessionRecord, environment: Environment) -> KernelStarter:
        running = [
            session.name for session in self._sessions.values() if session.status().pid is not None
        ]
        if len(running) >= self._max_kernels:
            raise BusyError(
                f"{len(running)} kernels run already (sessions {', '.join(sorted(running))}):"
                " use one of them, end one by running exit() in it,"
                " or raise KERNEL_EXEC_MAX_KERNELS"
            )
        prepared = await self._catalog.prepare(environment)
        spill_dir = self._places.folder / "spill" / record.id
        key = (record.name, environment.key)
        directory = self._directories.get(key, self._places.working_directory)
        for needed in (spill_dir.parent, spill_dir, directory):
            try:
                needed.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                if needed is directory:
                    raise StorageError(
                        f"working directory {str(needed)!r} can't be made: {error.strerror};"
                        " set KERNEL_EXEC_WORKING_DIRECTORY to one that can"
                    ) from error
        return LocalKernels(
            prepared=prepared,
            working_directory=directory,
            spill_dir=spill_dir,
            runtime_dir=self._places.runtime_dir,
            unwritten=self._store.unwritten,
        )

    def _lease(self, record: SessionRecord) -> bool:
        """Make a session ours until we end; False when another server has it."""
        folder = self._places.folder / "sessions"
        lock = FileLock(folder / f"{record.id}.lock", blocking=False, mode=0o600)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._leases.enter_context(lock)
        except Timeout:
            return False
        except OSError:
            return True  # storage is out of order, and history says so; there is nobody to ask
        return True

"""The sessions of this server: opened by name and environment, run in one task group."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self, TypeAlias

import anyio
from anyio import AsyncContextManagerMixin
from anyio.abc import TaskStatus

from kernel_exec.environments.catalog import Catalog
from kernel_exec.environments.spec import Environment
from kernel_exec.errors import InvalidArgumentError, StorageError
from kernel_exec.history.entries import DEFAULT_NAME, SessionRecord
from kernel_exec.history.store import Store
from kernel_exec.kernels.kernel import Kernels, KernelStarter
from kernel_exec.kernels.outcomes import SERVER_ENDED
from kernel_exec.leases import Lease, is_held, take
from kernel_exec.places import Places
from kernel_exec.sandbox.walls import Walls
from kernel_exec.signals import Signal

from .generations import Before, left_behind
from .naming import address, checked, continues, holders, identified, placed, unknown
from .session import Session
from .slots import Slots

_Key: TypeAlias = tuple[str, str, str]
"""What names an open session: its name and environment, and the owner of a default one."""

_MOST_TRIED = 10
"""Default sessions among which one is looked for that its client may come back to."""

_MOST_READ = 2_000
"""Entries from which the variables are known that a session had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who opens sessions: default ones are its own, and the kernels it starts get what it has.

    `id` is that of its connection. A `client` that comes back is known by its name and the
    `folder` it works in. `catalog` holds the environments it knows and the variables it passes on;
    `tell` takes what its next result should mention.
    """

    id: str
    client: str
    folder: str
    catalog: Catalog
    working_directory: Path
    tell: Callable[[str], None]

    @property
    def walls(self) -> Walls:
        """Those that its kernels have at least."""
        return self.catalog.sandbox.walls


class Sessions(AsyncContextManagerMixin):
    """Opens sessions; `async with` it, and they end with it.

    A session outlives the connections of its clients. One that nobody is connected to is closed
    when its kernel has ended.
    """

    def __init__(
        self,
        *,
        store: Store,
        kernels: Kernels,
        places: Places,
        max_kernels: int,
        idle_limit: float | None,
        detached_limit: float | None,
    ) -> None:
        self._store = store
        self._kernels = kernels
        self._places = places
        self.slots = Slots(
            max_kernels,
            room=lambda environment: holders(self.all, environment),
            make_room=lambda: _make_room(self.all),
        )
        self._idle_limit = idle_limit
        self._detached_limit = detached_limit
        self._sessions: dict[_Key, Session] = {}
        self._owners: dict[str, Owner] = {}
        self._opening = asyncio.Lock()
        self._closed = Signal()
        self._leases: dict[str, Lease] = {}
        self._tasks = anyio.create_task_group()

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        """Run sessions, and end every one with its kernel on leaving."""
        try:
            async with self._tasks:
                yield self
                self._tasks.cancel_scope.cancel()
        finally:
            for lease in self._leases.values():
                lease.drop()

    @property
    def all(self) -> Collection[Session]:
        """The sessions that are open."""
        return self._sessions.values()

    def holder(self, variable: str, session: Session, *, owner: Owner) -> str:
        """The address of another session, of this owner or of all, that has a variable; or ""."""
        for (_, _, whose), other in self._sessions.items():
            if other is session or whose not in {"", owner.id}:
                continue
            if variable in other.status().names:
                return address(other, session.environment.key)
        return ""

    async def find(
        self, name: str, environment: Environment, *, owner: Owner
    ) -> Session | SessionRecord:
        """The session in this environment with this name, opened here or only recorded.

        Instead of a name it may be an id, or name@environment. Nothing is made: a default
        session that has not begun is a record without an id.
        """
        if (session := _with_id(self.all, name)) is not None:
            return session
        name, environment = placed(name, environment, owner.catalog, self.all)
        if (session := self._opened(name, environment, owner)) is not None:
            return session
        if (record := await self._recorded(name, environment, owner)) is not None:
            return record
        if not name:
            return SessionRecord(
                id="", name=DEFAULT_NAME, environment=environment.key, created=time.time()
            )
        record = await self._store.session(name)
        if record is None:
            raise await unknown(name, environment, self._store)
        return record

    async def open(self, name: str, environment: Environment, *, owner: Owner) -> Session:
        """The session in this environment with this name, or with the id or the name@environment.

        A named one belongs to all clients, and continues where an earlier server left it unless
        another server has it. The default one ("" or "main") is its owner's own; it begins empty,
        unless a client like its owner has left one. A session's next kernel gets what the owner
        has who opened it last; all its owners have the same walls.

        Raises:
            InvalidArgumentError: The name is not allowed, or the session can't be continued.
        """
        if (found := _with_id(self.all, name)) is not None:
            name, environment = checked(found.name), found.environment
        else:
            name, environment = await identified(
                *placed(name, environment, owner.catalog, self.all), self._store
            )
        async with self._opening:
            session = self._opened(name, environment, owner)
            if found is not None and found is not session and not found.is_over:
                raise InvalidArgumentError(
                    f"session {found.id} is the default session of another client and can only be"
                    " exported; use another session to run code"
                )
            while session is not None and session.is_over:
                await self._closed.wait()
                session = self._opened(name, environment, owner)
            if session is not None:
                _require_same_walls(session, self._owners[session.id].walls, owner.walls)
                self._join(session, owner)
                return session
            session = await self._make(name, environment, owner)
            self._sessions[_key(name, environment, owner)] = session
            self._join(session, owner)
            await self._tasks.start(self._run, session)
            return session

    def leave(self, connection: str) -> None:
        """A connection is over: its sessions live on, as long as they have a kernel."""
        for session in self.all:
            session.clients.leave(connection)

    def _opened(self, name: str, environment: Environment, owner: Owner) -> Session | None:
        """The open session of that name; for a default one also what a client like this has left.

        That is the owner's own from now on.
        """
        key = _key(name, environment, owner)
        if name or key in self._sessions or not owner.client:
            return self._sessions.get(key)
        left = [
            (each, session)
            for each, session in self._sessions.items()
            if each[:2] == key[:2]
            and (session.record.client, session.record.folder) == (owner.client, owner.folder)
            and not (session.clients.names or session.is_over)
            and self._owners[session.id].walls == owner.walls
        ]
        if not left:
            return None
        before, session = max(left, key=lambda each: _last_used(each[1]))
        self._sessions[key] = self._sessions.pop(before)
        self._join(session, owner)
        return session

    def _join(self, session: Session, owner: Owner) -> None:
        """Count an owner among the clients of a session, and tell it of a kernel that is there."""
        self._owners[session.id] = owner
        if owner.id not in session.clients.names:
            session.clients.join(owner.id, owner.client)
            if session.status().started is not None:
                owner.tell(continues(session))

    async def _recorded(
        self, name: str, environment: Environment, owner: Owner
    ) -> SessionRecord | None:
        """What history has of a session that is not open: the latest of that name.

        A default one is the latest that a client like its owner has left, unless that ended with
        its server in order.
        """
        if name:
            return await self._store.find_session(name, environment.key)
        if not owner.client:
            return None
        with suppress(OSError, StorageError):  # history is out of order, and says so
            records = await self._store.sessions(
                name=DEFAULT_NAME,
                environment=environment.key,
                client=owner.client,
                folder=owner.folder,
                last=_MOST_TRIED,
            )
            for record in reversed(records):
                kernels = await self._store.kernels(record.id)
                ended = kernels[-1].end_reason if kernels else ""
                if ended not in {"", SERVER_ENDED} and not is_held(self._places.lease(record.id)):
                    return record
        return None

    async def _make(self, name: str, environment: Environment, owner: Owner) -> Session:
        record = await self._recorded(name, environment, owner)
        if record is not None and self._take(record):
            record = await self._store.session(record.id)  # it may have gone before it was ours
        else:
            record = None
        if record is not None:
            entries = await self._store.entries(record.id, last=_MOST_READ)
            before = left_behind(entries, await self._store.kernels(record.id))
        else:
            before = Before()
            record = SessionRecord(
                id=uuid.uuid4().hex,
                name=name or DEFAULT_NAME,
                environment=environment.key,
                created=time.time(),
                client=owner.client,
                folder=owner.folder,
            )
            self._take(record)
            self._store.put_session(record)
        return Session(
            record=record,
            environment=environment,
            prepare=partial(self._prepare, record, environment),
            slot=partial(self.slots.taken, environment=environment.key),
            store=self._store,
            before=before,
            idle_limit=self._idle_limit,
            detached_limit=self._detached_limit,
        )

    async def _run(
        self, session: Session, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Run a session until it is over, then close it."""
        await session.run(task_status=task_status)
        self._sessions = {key: each for key, each in self._sessions.items() if each is not session}
        del self._owners[session.id]
        if (lease := self._leases.pop(session.id, None)) is not None:
            lease.drop()
        self._closed.fire()

    async def _prepare(self, record: SessionRecord, environment: Environment) -> KernelStarter:
        owner = self._owners[record.id]
        prepared = await owner.catalog.prepare(environment)
        spill_dir = self._places.make_spill_dir(record.id)
        directory = owner.working_directory
        if _make_working_directory(directory):
            owner.tell(f"working directory {str(directory)!r} did not exist; it was created, empty")
        return partial(
            self._kernels.open, prepared, working_directory=directory, spill_dir=spill_dir
        )

    def _take(self, record: SessionRecord) -> bool:
        """Make a session ours until it is closed; False when another server has it."""
        path = self._places.lease(record.id)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lease = take(path)
        except (OSError, StorageError):
            return True  # storage is out of order, and history says so; nobody can be asked
        if lease is not None:
            self._leases[record.id] = lease
        return lease is not None


def _require_same_walls(session: Session, there: Walls, wanted: Walls) -> None:
    if there != wanted:
        raise InvalidArgumentError(
            f"session {session.name} is one with sandbox {str(there)!r}, and this client asks for"
            f" {str(wanted)!r}; use a session of another name"
        )


def _with_id(sessions: Iterable[Session], session_id: str) -> Session | None:
    return next((each for each in sessions if each.id == session_id), None)


def _last_used(session: Session) -> float:
    return max((each.queued for each in session.ledger.kept), default=session.record.created)


def _make_room(sessions: Iterable[Session]) -> bool:
    """Have the kernel end that is idle for longest of those that no client is connected to."""
    idle = [
        (seconds, session)
        for session in sessions
        if not (session.clients.names or session.clients.dismissed)
        if (seconds := session.status().idle) is not None
    ]
    if not idle:
        return False
    longest = max(idle, key=lambda each: each[0])[1]
    longest.clients.dismiss("it made room for another kernel while no client was connected")
    return True


def _make_working_directory(directory: Path) -> bool:
    """True if it did not exist."""
    try:
        missing = not directory.exists()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"working directory {str(directory)!r} can't be made: {error.strerror};"
            " set KERNEL_EXEC_WORKING_DIRECTORY to one that can"
        ) from error
    return missing


def _key(name: str, environment: Environment, owner: Owner) -> _Key:
    return (name, environment.key, "") if name else (DEFAULT_NAME, environment.key, owner.id)

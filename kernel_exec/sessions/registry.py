"""The sessions of this server: opened by name and environment, run in one task group."""

import difflib
import json
import re
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import anyio
from anyio.abc import TaskGroup

from kernel_exec.environments.catalog import Catalog
from kernel_exec.environments.spec import Environment
from kernel_exec.errors import InvalidArgumentError, NotFoundError, StorageError
from kernel_exec.history.entries import DEFAULT_NAME, SessionRecord
from kernel_exec.history.store import Store
from kernel_exec.kernels.kernel import Kernels, KernelStarter
from kernel_exec.leases import Lease, take
from kernel_exec.places import Places

from .session import Session
from .slots import Slots

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_ID = re.compile(r"[0-9a-f]{32}")
_LONGEST = 100
"""Characters of a wrong name that its refusal repeats."""


_Key: TypeAlias = tuple[str, str, str]
"""What names an open session: its name and environment, and the owner of a default one."""

_MOST_LISTED = 10
"""Sessions that a message lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who opens sessions: default ones are its own, and the kernels it starts get what it has.

    `catalog` holds the environments it knows and the variables it passes on; `tell` takes what
    its next result should mention.
    """

    id: str
    catalog: Catalog
    working_directory: Path
    tell: Callable[[str], None]


class Sessions:
    """Opens sessions; `async with` it, and they end with it."""

    def __init__(
        self,
        *,
        store: Store,
        kernels: Kernels,
        places: Places,
        max_kernels: int,
        idle_limit: float | None,
    ) -> None:
        """Nothing is open yet."""
        self._store = store
        self._kernels = kernels
        self._places = places
        self.slots = Slots(max_kernels, room=self._room)
        self._idle_limit = idle_limit
        self._sessions: dict[_Key, Session] = {}
        self._owners: dict[_Key, Owner] = {}
        self._opening = anyio.Lock()
        self._leases: list[Lease] = []
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
            for lease in self._leases:
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

        Raises:
            InvalidArgumentError: The name is not allowed.
            NotFoundError: There is none.
        """
        if (session := self._with_id(name)) is not None:
            return session
        name, environment = self._placed(name, environment, owner.catalog)
        if (session := self._sessions.get(_key(name, environment, owner))) is not None:
            return session
        if not name:
            return SessionRecord(
                id="", name=DEFAULT_NAME, environment=environment.key, created=time.time()
            )
        record = await self._store.find_session(name, environment.key)
        record = record or await self._store.session(name)
        if record is None:
            raise await self._unknown(name, environment)
        return record

    async def open(self, name: str, environment: Environment, *, owner: Owner) -> Session:
        """The session in this environment with this name, or with the id or the name@environment.

        A named one belongs to all clients, and continues where an earlier server left it unless
        another server has it. The default one ("" or "main") is its owner's own and begins empty.
        Its next kernel gets what the owner has who opened it last.

        Raises:
            InvalidArgumentError: The name is not allowed, or the session can't be continued.
        """
        if (found := self._with_id(name)) is not None:
            name, environment = _checked(found.name), found.environment
        else:
            name, environment = await self._recorded(
                *self._placed(name, environment, owner.catalog)
            )
        key = _key(name, environment, owner)
        if found is not None and self._sessions.get(key) is not found:
            raise InvalidArgumentError(
                f"session {found.id} is the default session of another client and can only be"
                " exported; use another session to run code"
            )
        self._owners[key] = owner
        if key in self._sessions:
            return self._sessions[key]
        async with self._opening:
            if key not in self._sessions:
                session = await self._make(name, environment, key)
                assert self._tasks is not None
                await self._tasks.start(session.run)
                self._sessions[key] = session
        return self._sessions[key]

    def _with_id(self, session_id: str) -> Session | None:
        return next((each for each in self.all if each.id == session_id), None)

    def _placed(
        self, wanted: str, environment: Environment, catalog: Catalog
    ) -> tuple[str, Environment]:
        """The name and the environment of a session that may be given as name@environment.

        Raises:
            InvalidArgumentError: The name is not allowed.
            NotFoundError: No such environment is known.
        """
        name, at, place = wanted.partition("@")
        if not at:
            return _checked(wanted), environment
        known = catalog.known()
        found = known.get(place) or Environment.from_key(place)
        if found is None:
            names = ", ".join(dict.fromkeys([*known, *(each.environment.key for each in self.all)]))
            raise NotFoundError(f"no environment {place!r} is known for a session (known: {names})")
        return _checked(name), found

    async def _recorded(self, wanted: str, environment: Environment) -> tuple[str, Environment]:
        """The name and the environment of a session that may be given as a recorded one's id."""
        record = await self._store.session(wanted) if _ID.fullmatch(wanted) else None
        if record is None:
            return wanted, environment
        place = Environment.from_key(record.environment)
        latest = await self._store.find_session(record.name, record.environment)
        if record.name == DEFAULT_NAME or place is None or latest != record:
            raise InvalidArgumentError(
                f"session {wanted} ({record.name}) has ended and can only be exported;"
                " use another session to run code"
            )
        return record.name, place

    async def _make(self, name: str, environment: Environment, key: _Key) -> Session:
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
            prepare=partial(self._prepare, record, environment, key),
            slot=partial(self.slots.taken, environment=environment.key),
            store=self._store,
            number=number,
            generation=generation,
            idle_limit=self._idle_limit,
        )

    async def _prepare(
        self, record: SessionRecord, environment: Environment, key: _Key
    ) -> KernelStarter:
        owner = self._owners[key]
        prepared = await owner.catalog.prepare(environment)
        spill_dir = self._places.make_spill_dir(record.id)
        directory = owner.working_directory
        if _make_working_directory(directory):
            owner.tell(f"working directory {str(directory)!r} did not exist; it was created, empty")
        return self._kernels.starter(prepared, working_directory=directory, spill_dir=spill_dir)

    def _room(self, environment: str) -> str:
        """Which idle sessions could give up their kernels, and the call that ends one."""
        idle = [
            (status.idle, session)
            for session in self._sessions.values()
            if (status := session.status()).idle is not None
        ]
        if not idle:
            return "No session is idle: wait for an execution, or stop one."
        idle.sort(key=lambda each: (each[1].environment.key == environment, each[0]), reverse=True)
        named = [(address(session, environment), seconds) for seconds, session in idle]
        listed = ", ".join(f"{name} ({seconds:.0f} s)" for name, seconds in named[:_MOST_LISTED])
        return (
            f"Idle sessions: {listed}. To end the kernel of one, call"
            f' execute_code(code="exit()", session={json.dumps(named[0][0], ensure_ascii=False)}).'
        )

    async def _unknown(self, name: str, environment: Environment) -> NotFoundError:
        """What to tell of a name that no session has."""
        records = list(reversed(await self._store.sessions()))
        here = dict.fromkeys(
            record.name for record in records if record.environment == environment.key
        )
        elsewhere = next((each.environment for each in records if each.name == name), "")
        names = [each for each in here if each != DEFAULT_NAME]
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        if elsewhere:
            hint = f"; the one in another environment is {f'{name}@{elsewhere}'!r}"
        listed = ", ".join([DEFAULT_NAME, *names[:_MOST_LISTED]])
        more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
        return NotFoundError(
            f"no session named {name!r} exists in this environment{hint} (sessions: {listed}{more};"
            " execute_code begins a new one)"
        )

    def _lease(self, record: SessionRecord) -> bool:
        """Make a session ours until we end; False when another server has it."""
        folder = self._places.leases
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lease = take(folder / f"{record.id}.lock")
        except (OSError, StorageError):
            return True  # storage is out of order, and history says so; nobody can be asked
        if lease is not None:
            self._leases.append(lease)
        return lease is not None


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


def address(session: Session, environment: str) -> str:
    """What names a session in the environment with that key: its name, or name@environment."""
    key = session.environment.key
    return session.name if key == environment else f"{session.name}@{key}"


def _checked(name: str) -> str:
    """A session's name as it is kept, "" for the default one.

    Raises:
        InvalidArgumentError: It is not allowed.
    """
    if name and not _NAME.fullmatch(name):
        raise InvalidArgumentError(
            f"session name {name[:_LONGEST]!r} is not allowed:"
            " use letters, digits, '_', '.' and '-', at most 100 of them"
        )
    return "" if name == DEFAULT_NAME else name


def _key(name: str, environment: Environment, owner: Owner) -> _Key:
    return (name, environment.key, "") if name else (DEFAULT_NAME, environment.key, owner.id)

"""What is one connection's own, and the way from there to what is everybody's."""

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from kernel_exec.app import App, open_catalog
from kernel_exec.content.news import Marks
from kernel_exec.environments.catalog import PreparedEnvironment
from kernel_exec.environments.spec import Environment
from kernel_exec.history.entries import (
    DEFAULT_NAME,
    EXECUTED,
    Entry,
    EntryKind,
    SessionRecord,
    is_replay,
)
from kernel_exec.jsons import text
from kernel_exec.kernels.spares import Demand
from kernel_exec.sessions.registry import Owner
from kernel_exec.sessions.session import Session
from kernel_exec.settings import ConnectionSettings

RequestId: TypeAlias = str | int

_log = logging.getLogger(__name__)

_REMEMBERED = 200
"""Requests whose execution is remembered, for a cancellation that comes late."""

_MARKS = 200_000
"""Executions and outputs of theirs that are remembered as shown while they went on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switched:
    """A switch of environment that was made."""

    previous: Environment
    current: PreparedEnvironment


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What runs now, or waits; `resent` when it did so already as the same was sent again."""

    session: Session
    entry: Entry
    resent: bool = False


class Requests:
    """What the requests of one connection have begun; another one may use the same ids."""

    def __init__(self) -> None:
        self._begun: OrderedDict[RequestId, Begun] = OrderedDict()

    def note(self, request: RequestId | None, session: Session, entry: Entry) -> None:
        """Remember which entry a request has begun."""
        if request is not None:
            self._begun[request] = Begun(session=session, entry=entry)
            while len(self._begun) > _REMEMBERED:
                self._begun.popitem(last=False)

    def take(self, request: RequestId | None) -> Begun | None:
        """What a request has begun, which is forgotten: it was answered or cancelled."""
        return None if request is None else self._begun.pop(request, None)


class Looks:
    """What results have shown to one connection already."""

    def __init__(self) -> None:
        self._generations: dict[str, int] = {}
        self._environments: set[str] = set()
        self._seen: OrderedDict[str, Marks] = OrderedDict()

    def note(self, entry: Entry, seen: Marks) -> None:
        """Remember what of an execution a result has shown; nothing once its end was shown."""
        self._seen.pop(entry.id, None)
        if not entry.outcome.ended:
            self._seen[entry.id] = seen
            while len(self._seen) > 1 and self._remembered() > _MARKS:
                self._seen.popitem(last=False)

    def _remembered(self) -> int:
        return len(self._seen) + sum(map(len, self._seen.values()))

    def seen(self, entry: Entry) -> Marks:
        """What results have shown of an execution that was going on."""
        return self._seen.get(entry.id, ())

    def have_followed(self, entry: Entry) -> bool:
        """True when a result has shown an execution as it was going on."""
        return entry.id in self._seen

    def is_new_kernel(self, entry: Entry) -> bool:
        """True when the kernel of an entry is not that of the last result of its session."""
        known = self._generations.get(entry.session_id, 1)
        self._generations[entry.session_id] = max(known, entry.generation)
        return entry.generation not in {0, known}

    def environment(self, key: str) -> str:
        """The environment of a result as it is named, "" while there is only one."""
        self._environments.add(key)
        return key if len(self._environments) > 1 else ""


class Connection:
    """One connection: its environment, default session, working directory, limits, requests.

    `name` is how its `client` introduced itself, with its version; `environment` what it switched
    to last. `tell` takes what its next result should mention.
    """

    def __init__(
        self, *, app: App, settings: ConnectionSettings, name: str = "", via: str = ""
    ) -> None:
        """Begin with what is configured; `via` is added to the client's name, to tell it apart."""
        self.app = app
        self.host = app.settings
        self.settings = settings
        self.scripts = app.scripts
        self.name = self.client = name
        self.via = via
        self.catalog = open_catalog(app.settings, settings, app.answers)
        self.environment: Environment | None = None
        self.working_directory: Path = settings.working_directory
        self._id = secrets.token_hex(8)
        self._choosing = asyncio.Lock()
        self.ahead = Ahead(self)
        self._worked_in = ""
        self._notice_shown = ""
        self._news: list[str] = []
        self.tell = self._news.append
        self._steps: dict[str, int] = {}
        self.requests = Requests()
        self.looks = Looks()
        _log.info("connection %s opens from %r", self._id, str(settings.folder))

    # Its sessions

    async def session(self, name: str = "") -> Session:
        """The session `name` ("" for the connection's own), begun if need be."""
        environment = await self.current_environment()
        return await self.app.sessions.open(name, environment, owner=self.owner)

    async def working_session(self, name: str) -> Session:
        """The same, which is what it works in from now on."""
        session = await self.session(name)
        self._worked_in = "" if session.name == DEFAULT_NAME else session.name
        return session

    async def latest_session(self) -> Session:
        """The session that has the name of the one worked in last, in the environment of now."""
        return await self.session(self._worked_in)

    async def existing(self, name: str = "") -> Session | SessionRecord:
        """The session `name`, without beginning one; for what is raised see `Sessions.find`."""
        environment = await self.current_environment()
        return await self.app.sessions.find(name, environment, owner=self.owner)

    @property
    def open_sessions(self) -> Collection[Session]:
        """All sessions that are open, also those of others."""
        return self.app.sessions.all

    def begun(self, request: RequestId | None, session: Session, entry: Entry) -> None:
        """Note what a request has begun, and what others have run in its session meanwhile."""
        self.requests.note(request, session, entry)
        before = self._steps.get(session.id, entry.number)
        self._steps[session.id] = max(before, entry.number)
        others = [
            each
            for each in session.ledger.kept
            if before < each.number < entry.number and each.kind in EXECUTED and not is_replay(each)
        ]
        if others:
            who = text(others[-1].details, "client") or "another client"
            many = f"{len(others)} steps" if len(others) > 1 else "a step"
            self.tell(
                f"{who} has run {many} in session {session.name} since your last one, the latest"
                f" is step {others[-1].number} (id {others[-1].id})"
            )

    def close(self) -> None:
        """The client has left; its sessions live on without it."""
        self.app.sessions.leave(self._id)
        self.ahead.close()
        _log.info("connection %s closes", self._id)

    @property
    def owner(self) -> Owner:
        """Who it is to the sessions that it opens."""
        return Owner(
            id=self._id,
            client=self.client,
            folder=str(self.settings.folder),
            catalog=self.catalog,
            working_directory=self.working_directory,
            tell=self.tell,
        )

    # Its environment

    async def current_environment(self) -> Environment:
        """The environment that it switched to last, at first the configured one."""
        async with self._choosing:  # the first call waits for what has begun before it
            if self.environment is None:
                self.environment = await self.catalog.default()
            return self.environment

    async def switch(
        self, environment: Environment, *, working_directory: Path | None = None
    ) -> Switched:
        """Go to `environment` once it is known to work; kernels elsewhere stay as they are.

        What is noted belongs to the session there that has the name of the one worked in last.

        Raises:
            UnusableEnvironmentError: It does not work; nothing has changed.
        """
        previous = await self.current_environment()
        current = await self.catalog.prepare(environment)
        self.environment = environment
        if working_directory is not None:
            self.working_directory = working_directory
        self.app.kernels.look_again()
        (await self.latest_session()).note(
            EntryKind.ENVIRONMENT,
            environment.key,
            details={
                "previous": previous.key,
                "python_version": current.interpreter.python_version,
                "executable": str(current.interpreter.executable),
                "working_directory": str(self.working_directory),
            },
        )
        return Switched(previous=previous, current=current)

    # What is shown to it

    def settle(self) -> Awaitable[None]:
        """Begin to write what happened; wait until it is on the disk, or `history` says why not."""
        return self.app.store.settle()

    @property
    def history(self) -> str:
        """Why history is only in memory, "" when all is well."""
        return self.app.store.degraded

    @property
    def notice(self) -> str:
        """What became of earlier history, "" when nothing did."""
        return self.app.store.notice

    def news(self) -> str:
        """What has not been shown before: the rest of `notice`, and what its sessions told."""
        before, self._notice_shown = self._notice_shown, self.notice
        rest = self._notice_shown.removeprefix(before).removeprefix("; ")
        told = list(dict.fromkeys(self._news))
        self._news.clear()
        return "; ".join(filter(None, [rest, *told]))


class Ahead:
    """What is made ready for a connection before it asks: its environment, and a spare kernel."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._demand: Demand | None = None

    def begin(self) -> None:
        """Begin, once the client has been answered; does nothing the next time."""
        if self._demand is None:
            self._demand = self._connection.app.kernels.demand(self._next_kernel)

    def close(self) -> None:
        """The client has left."""
        if self._demand is not None:
            self._demand.close()

    async def _next_kernel(self) -> tuple[PreparedEnvironment, Path]:
        environment = await self._connection.current_environment()
        prepared = await self._connection.catalog.prepare(environment)
        return prepared, self._connection.working_directory

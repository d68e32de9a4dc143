"""The services of the host process: opened when a client has been greeted, or somebody needs them.

What tools need takes half as long to import as what greets a client: the client that waits for a
host does not wait for that.
"""

import importlib
import logging
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self

import anyio
from anyio import AsyncContextManagerMixin, to_thread
from anyio.abc import TaskGroup, TaskStatus
from mcp.server.context import ServerRequestContext
from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult

from kernel_exec.content.plain import clean
from kernel_exec.errors import KernelExecError, bare
from kernel_exec.places import Places
from kernel_exec.server.greeting import Tools
from kernel_exec.settings import HostSettings, Settings

from .start import imported

_SHARED = (
    "cache", "max_kernels", "spare_kernels", "idle_limit", "detached_limit", "history_age",
    "history_size", "linger", "log_level",
)  # fmt: skip
"""Settings of a host that a client may have asked for otherwise."""

UNSERVED: Final = (KernelExecError, OSError, ExceptionGroup)
"""What may keep the services from being opened; the next attempt may fare better."""

_log = logging.getLogger(__name__)


class Opening(AsyncContextManagerMixin):
    """The services, opened as soon as somebody needs them, and closed on leaving."""

    def __init__(self, settings: HostSettings, *, stopping: anyio.Event) -> None:
        """They set `stopping` when they are told to end."""
        self.settings = settings
        self._stopping = stopping
        self._tasks = anyio.create_task_group()
        self._left = anyio.Event()
        self._turn = anyio.Lock()
        self._opened: Any = None  # `services.Services`, whose type would have to be imported
        self._socket: Path | None = None

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        """Open nothing yet; close what was opened when all who used it have left."""
        async with self._tasks:
            try:
                yield self
            finally:
                self._left.set()

    @property
    def are_used(self) -> bool:
        """True while there is a kernel."""
        return self._opened is not None and self._opened.are_used

    def leave_to_warden(self, place: Path) -> None:
        """Have a socket removed with its folder when we are killed, once the services are open."""
        self._socket = place
        if self._opened is not None:
            self._opened.leave_to_warden(place)

    def get_soon(self) -> None:
        """Let them be opened, for who will ask soon."""
        self._tasks.start_soon(self._try_to_get)

    async def get(self) -> Any:
        """The services; raises one of `UNSERVED`."""
        async with self._turn:
            if self._opened is None:
                with anyio.CancelScope(shield=True):  # others will want what is half open
                    opened: Any = await self._tasks.start(self._hold)
                self._opened = opened
                if self._socket is not None:
                    opened.leave_to_warden(self._socket)
        return self._opened

    async def _try_to_get(self) -> None:
        with suppress(*UNSERVED):  # who asks hears why
            await self.get()

    async def _hold(self, *, task_status: TaskStatus[Any]) -> None:
        rest = await to_thread.run_sync(imported, "kernel_exec.host.services")
        with anyio.CancelScope(shield=True):  # a signal ends the conversations first
            async with rest.open_services(self.settings, self._stopping) as services:
                task_status.started(services)
                await self._left.wait()


class AwaitedTools:
    """The `Tools` of one client: what is asked of them before they are opened waits for that."""

    def __init__(
        self, services: Opening, settings: Settings, stack: ExitStack, tasks: TaskGroup
    ) -> None:
        """Closed with the `stack`, which `tasks` that run for this client do not outlive."""
        self._services = services
        self._settings = settings
        self._stack = stack
        self._tasks = tasks
        self._turn = anyio.Lock()
        self._is_greeted = False
        self._opened: Tools | None = None

    def greeted(self, ctx: ServerRequestContext[Any, Any]) -> None:
        if self._opened is not None:
            self._opened.greeted(ctx)
        elif not self._is_greeted:
            self._is_greeted = True
            self._services.get_soon()  # a client that leaves at once need not wait for them
            self._tasks.start_soon(self._greet, ctx)

    async def list_tools(self) -> ListToolsResult:
        return await (await self._get()).list_tools()

    async def call_tool(
        self, ctx: ServerRequestContext[Any, Any], params: CallToolRequestParams
    ) -> CallToolResult:
        return await (await self._get()).call_tool(ctx, params)

    def cancelled(self, ctx: ServerRequestContext[Any, Any]) -> None:
        """See `Tools`; before they are opened nothing was begun."""
        if self._opened is not None:
            self._opened.cancelled(ctx)

    async def _greet(self, ctx: ServerRequestContext[Any, Any]) -> None:
        with suppress(*UNSERVED):  # who asks hears why
            (await self._open()).greeted(ctx)

    async def _get(self) -> Tools:
        try:
            return await self._open()
        except UNSERVED as error:
            create: Any = importlib.import_module("kernel_exec.server.create")
            log = Places(self._services.settings.storage_root).log
            way_out = f"; run `kernel-exec doctor` to check the rest; log: {log}"
            refusing: Tools = create.RefusingTools(f"{reason_of(error)}{way_out}")
            return refusing

    async def _open(self) -> Tools:
        async with self._turn:
            if self._opened is None:
                services = await self._services.get()
                news = _not_as_asked(self._services.settings, self._settings.host)
                tools = services.tools(self._settings.connection, news)
                self._opened = self._stack.enter_context(tools)
            return self._opened


def reason_of(error: Exception) -> str:
    """Why they could not be opened, as a clause; the log has the rest."""
    _log.error("the host can't serve", exc_info=error)
    return clean(str(bare(error))).rstrip(".")


def _not_as_asked(host: HostSettings, asked: HostSettings) -> str:
    """What a client wants otherwise that holds for everybody, as a sentence; "" for nothing."""
    differing = [
        f"{name} is {getattr(host, name)} here and not {getattr(asked, name)}"
        for name in _SHARED
        if getattr(host, name) != getattr(asked, name)
    ]
    if asked.walls < host.walls:
        differing.append(f"sandbox is {host.walls} here and not {asked.walls}")
    if not differing:
        return ""
    return (
        "settings of the host process, which another client started with others:"
        f" {', '.join(differing)}"
    )

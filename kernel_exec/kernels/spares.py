"""Warm spares: started kernels that are nobody's yet, for whoever starts the next ones.

A spare is started just as the kernel that it may become: the same interpreter, packages, variables,
umask and folder. Nothing has to be made up for when it is taken, and where anything differs it is
not taken. It is made while nobody waits for a result, and ended once no client would start such a
kernel next. What goes wrong with it costs nobody anything: a kernel is started as without it.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeAlias

import anyio
from anyio import AsyncContextManagerMixin

from kernel_exec.environments.catalog import PreparedEnvironment
from kernel_exec.errors import KernelExecError
from kernel_exec.signals import Signal

from . import limits
from .kernel import Kernel, Listener, UnassignedKernel

_log = logging.getLogger(__name__)

_SETTLING = 0.25
"""Seconds until a new client's environment is looked at: who only asks for tools has left then."""

_CALM = 0.5
"""Seconds for which nobody has waited for a result when a spare is started."""

_BUSY = 30.0
"""Seconds after which it is started all the same: who runs something so long feels nothing."""

_BEAT = 0.1
"""Seconds between two looks at whether anybody waits."""

_LOOK_AGAIN = 10.0
"""Seconds between two looks at memory and at the limit on kernels, which nobody reports."""

_LEAST_MEMORY = 300_000_000
"""Bytes that must be available besides: ten times what a spare takes."""

Start: TypeAlias = Callable[
    [PreparedEnvironment, Path, Path | None], AbstractAsyncContextManager[UnassignedKernel]
]
"""Starts a kernel of an environment in a folder, and for a spill folder if one is known."""

Find: TypeAlias = Callable[[], Awaitable[tuple[PreparedEnvironment, Path]]]
"""Finds out in which environment and folder a client's next kernel would start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    """All that a kernel's start depends on; a folder that was made again is another one."""

    prepared: PreparedEnvironment
    working_directory: Path
    inode: tuple[int, int]


class Demand:
    """What one client would start next, as `find` finds it; until it is closed."""

    def __init__(self, find: Find) -> None:
        self.find = find
        self.recipe: _Recipe | None = None
        self.scope = anyio.CancelScope()
        self.outdated = anyio.Event()

    def close(self) -> None:
        """The client has left."""
        self.scope.cancel()


@dataclass(slots=True, kw_only=True, eq=False)
class _Spare:
    """A kernel that is `settled` once it runs or has failed, and `over` when it is gone."""

    recipe: _Recipe
    kernel: UnassignedKernel | None = None
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    settled: anyio.Event = field(default_factory=anyio.Event)
    over: anyio.Event = field(default_factory=anyio.Event)


class Spares(AsyncContextManagerMixin):
    """See `Kernels`; keeps spares as long as it runs: `async with` it."""

    def __init__(
        self,
        start: Start,
        *,
        most: int,
        room: Callable[[], int],
        is_calm: Callable[[], bool],
        available_memory: Callable[[], int] = limits.available_memory,
    ) -> None:
        """`start` starts all kernels, and keeps `most` spare ones at once.

        `room` is how many more there may be, `is_calm` tells that nobody waits for a result.
        """
        self._start = start
        self._most = most
        self._room = room
        self._is_calm = is_calm
        self._available_memory = available_memory
        self._demands: list[Demand] = []
        self._spares: list[_Spare] = []
        self._failed: list[_Recipe] = []
        self._changed = Signal()
        self._tasks = anyio.create_task_group()

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        """Keep spares, and end them all on leaving."""
        async with self._tasks:
            self._tasks.start_soon(self._keep)
            yield self
            self._tasks.cancel_scope.cancel()

    @property
    def ready(self) -> Sequence[Kernel]:
        """The spares that run."""
        return [spare.kernel for spare in self._spares if spare.kernel is not None]

    def demand(self, find: Find) -> Demand:
        """A client that begins to use what `find` finds; it prepares the environment, too."""
        demand = Demand(find)
        self._tasks.start_soon(self._serve, demand)
        return demand

    def look_again(self) -> None:
        """Something was installed, or a client's environment is another one."""
        for demand in self._demands:
            demand.outdated.set()

    @asynccontextmanager
    async def open(
        self,
        prepared: PreparedEnvironment,
        listener: Listener,
        *,
        working_directory: Path,
        spill_dir: Path,
    ) -> AsyncIterator[Kernel]:
        recipe = _recipe(prepared, working_directory)
        spare = next((each for each in self._spares if each.recipe == recipe), None)
        if spare is not None:
            self._spares.remove(spare)
            self._changed.fire()
            try:
                await spare.settled.wait()
                if spare.kernel is not None and _is_assigned(spare.kernel, listener, spill_dir):
                    yield spare.kernel
                    return
            finally:
                spare.scope.cancel()
                with anyio.CancelScope(shield=True):
                    await spare.over.wait()
        async with self._start(prepared, working_directory, spill_dir) as kernel:
            kernel.assign(listener, spill_dir)
            self._failed = [each for each in self._failed if each != recipe]
            self.look_again()  # why was there none?
            yield kernel

    async def _serve(self, demand: Demand) -> None:
        """Find out what a client would start next, again whenever that may have changed."""
        self._demands.append(demand)
        try:
            with demand.scope:
                await anyio.sleep(_SETTLING)
                while True:
                    demand.outdated = anyio.Event()
                    demand.recipe = await self._found(demand)
                    self._changed.fire()
                    await demand.outdated.wait()
        finally:
            self._demands.remove(demand)
            self._changed.fire()

    async def _found(self, demand: Demand) -> _Recipe | None:
        try:
            return _recipe(*await demand.find())
        except Exception as error:  # noqa: BLE001 - the client's first call is told
            _log.info("no environment was prepared ahead: %s", error)
            return None

    async def _keep(self) -> None:
        """Make what is missing, one after the other, and end what nobody wants."""
        while True:
            missing = self._review()
            if missing is None:
                with anyio.move_on_after(_LOOK_AGAIN):
                    await self._changed.wait()
                continue
            await _wait(self._is_calm)
            if self._review() == missing:
                spare = _Spare(recipe=missing)
                self._spares.append(spare)
                self._tasks.start_soon(self._live, spare)
                await spare.settled.wait()

    def _review(self) -> _Recipe | None:
        """End what nobody wants, or there is no room for; what is missing, if anything is."""
        wanted: list[_Recipe] = []
        for demand in reversed(self._demands):
            if demand.recipe is not None and demand.recipe not in wanted:
                wanted.append(demand.recipe)
        if wanted:
            has_memory = self._available_memory() >= _LEAST_MEMORY
            wanted = wanted[: min(self._most, self._room()) if has_memory else 0]
        for spare in [each for each in self._spares if each.recipe not in wanted]:
            self._spares.remove(spare)
            spare.scope.cancel()
        self._failed = [each for each in self._failed if each in wanted]
        there = [*self._failed, *(spare.recipe for spare in self._spares)]
        return next((each for each in wanted if each not in there), None)

    async def _live(self, spare: _Spare) -> None:
        """Be a kernel's whole life, whoever has it."""
        recipe = spare.recipe
        try:
            with spare.scope:
                async with self._start(recipe.prepared, recipe.working_directory, None) as kernel:
                    spare.kernel = kernel
                    spare.settled.set()
                    death = await kernel.wait_death()
                    if spare not in self._spares:
                        await anyio.sleep_forever()  # it ends when whoever has it leaves it
                    self._note_failure(recipe, death)
        except Exception as error:  # noqa: BLE001 - whoever starts a kernel will be told
            self._note_failure(recipe, error)
        finally:
            if spare in self._spares:
                self._spares.remove(spare)
            spare.settled.set()
            spare.over.set()
            self._changed.fire()

    def _note_failure(self, recipe: _Recipe, why: object) -> None:
        """Make no other until a kernel of its kind has started."""
        self._failed.append(recipe)
        _log.info("no spare kernel for %s: %s", recipe.prepared.environment.key, why)


def _is_assigned(kernel: UnassignedKernel, listener: Listener, spill_dir: Path) -> bool:
    if kernel.death is not None:
        return False
    try:
        kernel.assign(listener, spill_dir)
    except (OSError, KernelExecError) as error:
        _log.info("a spare kernel could not be used: %s", error)
        return False
    return True


async def _wait(is_calm: Callable[[], bool]) -> None:
    """Wait until nobody has waited for a result for a while, or somebody has for long."""
    with anyio.move_on_after(_BUSY):
        calm = 0.0
        while calm < _CALM:
            await anyio.sleep(_BEAT)
            calm = calm + _BEAT if is_calm() else 0.0


def _recipe(prepared: PreparedEnvironment, working_directory: Path) -> _Recipe | None:
    """None where the folder is missing."""
    try:
        status = working_directory.stat()
    except OSError:
        return None
    inode = status.st_dev, status.st_ino
    return _Recipe(prepared=prepared, working_directory=working_directory, inode=inode)

"""Kernels on this machine."""

import asyncio
import errno
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import TypeAlias

import anyio

from kernel_exec import processes
from kernel_exec.environments.catalog import PreparedEnvironment
from kernel_exec.environments.support import KERNEL_TAKES
from kernel_exec.errors import KernelDeadError, KernelStartError
from kernel_exec.jsons import JSONObject, mapping, text
from kernel_exec.places import Places
from kernel_exec.sandbox.unheld import OutdatedViewError, refused
from kernel_exec.sandbox.walls import Sandbox, Walls

from . import limits, pulse
from .confined import confine, view_of
from .driver import DrivenKernel
from .flow import Flow
from .kernel import Kernel, KernelInfo, Listener, UnassignedKernel, Usage
from .launch import Launch, plan_launch
from .messages import cell_name
from .outcomes import SERVER_ENDED, Ending, Request
from .process import LocalProcess
from .run_dirs import RunDir, made_run_dir

_START_LIMIT = 60.0
"""Seconds from launch to ready: a cold cache on a loaded machine takes ten."""

_VIEWS = 3
"""How often at most a start looks at what its walls are to show: files come and go meanwhile."""

_DESCRIPTORS = 60
"""Those that a kernel takes of ours, twenty, and some for all else that goes on."""


_Launched: TypeAlias = Callable[[], AbstractAsyncContextManager[UnassignedKernel]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalKernels:
    """See `Kernels`.

    The sockets lie in `runtime_dir`, whose path must be short; no walls show what `places` has of
    ours. `unwritten` are the bytes that history has yet to write: above a limit kernels wait.
    `ending` is why a kernel ends that lives until it is closed.
    """

    runtime_dir: Path
    places: Places
    unwritten: Callable[[], int] = lambda: 0
    ending: str = SERVER_ENDED

    @asynccontextmanager
    async def open(
        self,
        prepared: PreparedEnvironment,
        listener: Listener,
        *,
        working_directory: Path,
        spill_dir: Path,
    ) -> AsyncIterator[Kernel]:
        async with self.start(prepared, working_directory, spill_dir) as kernel:
            kernel.assign(listener, spill_dir)
            yield kernel

    @asynccontextmanager
    async def start(
        self, prepared: PreparedEnvironment, working_directory: Path, spill_dir: Path | None = None
    ) -> AsyncIterator[UnassignedKernel]:
        """Start a kernel that is nobody's yet; see `Kernels.open`, also for what is raised.

        Walls show it one spill folder: its own, unless `spill_dir` says where it is assigned to.
        """
        async with AsyncExitStack() as stack:
            launched = partial(self._launched, prepared, working_directory, spill_dir)
            yield await _entered(stack, launched)

    @asynccontextmanager
    async def _launched(
        self, prepared: PreparedEnvironment, working_directory: Path, spill_dir: Path | None
    ) -> AsyncIterator[UnassignedKernel]:
        processes.require_descriptors(_DESCRIPTORS)
        processes.require_threads(KERNEL_TAKES, what="a kernel")
        with made_run_dir(self.runtime_dir) as run_dir:
            launch = plan_launch(
                prepared, working_directory=working_directory, run_dir=run_dir.path
            )
            what = f"the kernel of {str(prepared.interpreter.executable)!r}"
            ahead = None
            with _explained(what, run_dir):
                if prepared.sandbox.walls and spill_dir is None:
                    spill_dir = self.places.make_spill_dir(uuid.uuid4().hex)
                    ahead = _Ahead(launch, prepared.sandbox, self.places.private, spill_dir)
                launch = confine(
                    launch, prepared.sandbox, private=self.places.private, spill_dir=spill_dir
                )
            flow = Flow(run_dir.path / "taken", self.unwritten)
            process = LocalProcess(run_dir, flow)
            try:
                reply = await _start(what, process, launch, run_dir, prepared.sandbox.walls)
                held = limits.limits_of(prepared.sandbox)
                info = _info(reply, process, prepared, held)
                yield LocalKernel(process, run_dir, info, held, ahead)
            finally:
                process.driver.end_reason = process.driver.end_reason or self.ending
                with anyio.CancelScope(shield=True):
                    await process.close()
                if ahead is not None:
                    ahead.close()


class _Ahead:
    """What walls show a kernel that was started for nobody: also a spill folder of its own."""

    def __init__(self, launch: Launch, sandbox: Sandbox, private: Path, spill_dir: Path) -> None:
        self._look = partial(view_of, launch, sandbox, private=private, spill_dir=spill_dir)
        self._seen = self._look()
        self._spill_dir = spill_dir

    def move_to(self, spill_dir: PurePath) -> Path:
        """Move its spill folder into `spill_dir`, and leave a link, by which it knows it."""
        if self._look() != self._seen:
            raise FileNotFoundError("what walls were to show has changed since they were built")
        moved = self._spill_dir.rename(Path(spill_dir, self._spill_dir.name))
        self._spill_dir.symlink_to(moved)
        return self._spill_dir

    def close(self) -> None:
        """Remove the folder if it was not moved."""
        with suppress(OSError):
            self._spill_dir.rmdir()


async def _entered(stack: AsyncExitStack, launched: _Launched) -> UnassignedKernel:
    """The kernel, once what its walls are to show has not changed while they were built."""
    for _ in range(_VIEWS - 1):
        with suppress(OutdatedViewError):
            return await stack.enter_async_context(launched())
    return await stack.enter_async_context(launched())


async def _start(
    what: str, process: LocalProcess, launch: Launch, run_dir: RunDir, walls: Walls
) -> JSONObject:
    """Launch the process and wait until it answers; what it says of itself."""
    try:
        with anyio.fail_after(_START_LIMIT):
            with _explained(what, run_dir):
                process.start(launch)
            return await process.driver.answers.greet(limit=_START_LIMIT)
    except TimeoutError as error:
        raise KernelStartError(
            f"{what} did not answer within {_START_LIMIT:.0f} seconds; its stderr:\n"
            f"{run_dir.stderr()}"
        ) from error
    except KernelDeadError as error:
        death = process.driver.death
        stderr = death.stderr if death is not None else ""
        if walls and (refusal := refused(walls, stderr)):
            raise refusal from error
        raise KernelStartError(
            f"{what} ended at its start ({death}); its stderr:\n{stderr}"
        ) from error


@contextmanager
def _explained(what: str, run_dir: RunDir) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        room = f"; make room in {str(run_dir.path.parent)!r}" if error.errno == errno.ENOSPC else ""
        raise KernelStartError(f"{what} can't be launched: {error}{room}") from error


def _info(
    reply: JSONObject, process: LocalProcess, prepared: PreparedEnvironment, held: limits.Limits
) -> KernelInfo:
    return KernelInfo(
        pid=process.pid,
        executable=str(prepared.interpreter.executable),
        python_version=text(mapping(reply, "language_info"), "version"),
        ipykernel_version=prepared.support.ipykernel_version,
        support=prepared.support.kind.value,
        sandbox=prepared.sandbox.facts(
            memory=held.memory, descriptors=prepared.inherited.descriptors
        ),
    )


class LocalKernel(DrivenKernel):
    """See `Kernel`; started by `LocalKernels`."""

    def __init__(
        self,
        process: LocalProcess,
        run_dir: RunDir,
        info: KernelInfo,
        limits_: limits.Limits,
        ahead: _Ahead | None,
    ) -> None:
        """The process answers; it and all below it have these limits."""
        super().__init__(process.driver, info)
        self._limits = limits_
        self._process = process
        self._run_dir = run_dir
        self._ahead = ahead

    def assign(self, listener: Listener, spill_dir: PurePath) -> None:
        if self._ahead is not None:
            spill_dir = self._ahead.move_to(spill_dir)
        super().assign(listener, spill_dir)

    async def execute(self, request: Request) -> Ending:
        """Run `request` to its end, unless the kernel is broken or passes a limit."""
        if request.file_path is not None:
            self._run_dir.name_cell(cell_name(request.source), request.file_path)
        ending = self._process.driver.begin(request)
        await asyncio.wait([ending], timeout=limits.INTERVAL)
        if not ending.done():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pulse.watch, self._process)
                if self._process.root is not None:
                    tasks.start_soon(limits.watch, self, self._process.root, self._limits)
                await asyncio.wait([ending])
                tasks.cancel_scope.cancel()
        return await ending

    async def usage(self) -> Usage:
        await anyio.lowlevel.checkpoint()
        return self._process.usage()

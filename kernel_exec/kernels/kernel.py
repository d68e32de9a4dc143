"""The kernel as the rest of the program sees it, whatever it is made of."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Protocol, TypeAlias

from kernel_exec.environments.catalog import PreparedEnvironment
from kernel_exec.jsons import JSONObject

from .outcomes import Death, Ending, Event, Request

Listener: TypeAlias = Callable[[Event], None]
"""Receives every event, in order, on the event loop; it must not block and not raise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelInfo:
    """What a started kernel is: interpreter, how ipykernel reached it, walls and limits.

    `pid` is for people to see; it means nothing where the kernel's processes can't be seen.
    """

    pid: int | None
    executable: str
    python_version: str
    ipykernel_version: str
    support: str
    sandbox: JSONObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One of the user's variables. `size` is in bytes, None where it is not known.

    `length` or `shape` are there for what has one, `preview` for a plain value; `note` says what
    went wrong with its description.
    """

    name: str
    type: str
    shape: Sequence[int | None] | None = None
    length: int | None = None
    size: int | None = None
    preview: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """The first of the `total` variables whose name matches a pattern, by name."""

    found: Sequence[Variable]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a kernel's process has: bytes of memory, seconds of processor time, and its folder."""

    memory: int
    processor: float
    working_directory: str


class Inspection(Protocol):
    """What a kernel can be asked, also while an execution runs; no answer leaves a trace in it.

    Each raises `KernelDeadError` when the process is gone, or goes before it answers, and
    `BusyError` when it does not answer in time, most often because C code holds it.
    """

    async def variables(self, pattern: str) -> Variables:
        """The user's variables whose names match a pattern such as `df*`."""

    async def refresh_imports(self, modules: Collection[str]) -> Sequence[str]:
        """Make what was just installed importable; which of `modules` it imported before."""

    async def versions(self, modules: Collection[str]) -> Mapping[str, str]:
        """The distributions that provide `modules`, and their versions, as far as it knows."""

    async def usage(self) -> Usage:
        """What its process takes."""


class Kernel(Inspection, Protocol):
    """One running IPython process. A session starts it, uses it, and closes it by leaving."""

    @property
    def info(self) -> KernelInfo:
        """What it is."""

    @property
    def death(self) -> Death | None:
        """How the process ended, once it has and all that it sent was received."""

    @property
    def names(self) -> Mapping[str, str]:
        """The user's names and their descriptions, as the last execution reported them."""

    async def execute(self, request: Request) -> Ending:
        """Run `request` to its end; outputs go to the listener as they come.

        The session calls it for one request at a time. Cancelling it does not stop the kernel.

        Raises:
            KernelDeadError: There is no process to run it.
        """

    def interrupt(self, *, force: bool) -> None:
        """Ask the execution under way to stop; with `force`, kill the kernel if it will not."""

    def kill(self, reason: str) -> None:
        """End the process and all below it now; its death will name `reason`."""

    async def wait_death(self) -> Death:
        """Wait until the process is gone."""


class UnassignedKernel(Kernel, Protocol):
    """A kernel that is nobody's yet; whoever takes it assigns it before anything else."""

    def assign(self, listener: Listener, spill_dir: PurePath) -> None:
        """Report to `listener`, and put into `spill_dir` what outputs hold beyond their budget.

        Raises:
            OSError, KernelStartError: It stands behind walls, and they would be others by now, or
                `spill_dir` can't take in the folder that they show.
        """


KernelStarter: TypeAlias = Callable[[Listener], AbstractAsyncContextManager[Kernel]]
"""`Kernels.open` for one environment and its folders."""


class Kernels(Protocol):
    """The one place where kernels come from, whatever they are for and whatever they are made of.

    The environment decides the kind; nobody else asks for it.
    """

    def open(
        self,
        prepared: PreparedEnvironment,
        listener: Listener,
        *,
        working_directory: Path,
        spill_dir: Path,
    ) -> AbstractAsyncContextManager[Kernel]:
        """Start a kernel that reports to `listener`; both folders must exist.

        `spill_dir` takes what outputs hold beyond their budget. Leaving the context ends the
        process and its children. Entering raises `KernelStartError` or
        `UnusableEnvironmentError`, with the way out.
        """

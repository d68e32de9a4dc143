"""The kernel as the rest of the program sees it, whatever it is made of."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from .outcomes import Death, Ending, Event, Request

Listener: TypeAlias = Callable[[Event], None]
"""Told of every event, in order, on the event loop; it must not block and not raise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelInfo:
    """What a started kernel is: process id, interpreter, and how ipykernel reached it."""

    pid: int
    executable: str
    python_version: str
    ipykernel_version: str
    support: str


class Kernel(Protocol):
    """One running IPython process. A session starts it, uses it, and closes it by leaving."""

    @property
    def info(self) -> KernelInfo:
        """What it is; known once it has started."""
        ...

    @property
    def death(self) -> Death | None:
        """How the process ended, once it has."""
        ...

    @property
    def names(self) -> Mapping[str, str]:
        """The user's names and their descriptions, as last told."""
        ...

    async def execute(self, request: Request) -> Ending:
        """Run `request` to its end; outputs go to the listener as they come.

        The session calls it for one request at a time. Cancelling it does not stop the kernel.

        Raises:
            KernelDeadError: There is no process to run it.
        """
        ...

    def interrupt(self, *, force: bool) -> None:
        """Ask the execution under way to stop; with `force`, kill the kernel if it will not."""
        ...

    def kill(self, reason: str) -> None:
        """End the process and all below it now; its death will name `reason`."""
        ...

    async def evaluate(self, expression: str) -> str:
        """The `str` of one expression, leaving no trace; works while an execution runs.

        Raises:
            KernelDeadError: The process is gone, or goes before it answers.
            BusyError: The kernel did not answer in time, most often because C code holds it.
        """
        ...

    async def wait_death(self) -> Death:
        """Wait until the process is gone."""
        ...


class KernelStarter(Protocol):
    """Starts kernels for one environment; leaving the context ends the process and its children.

    Entering raises `KernelStartError` or `UnusableEnvironmentError`, with the way out.
    """

    def __call__(self, listener: Listener) -> AbstractAsyncContextManager[Kernel]:
        """Start a kernel that reports to `listener`."""
        ...

"""Finds out that a kernel is broken: that it lives, and yet will never answer.

User code can do that to it: it empties `sys.modules`, or memory runs out in the midst of
ipykernel's own code. Silence alone proves nothing, as C code may hold the interpreter for minutes.
So three signs must come together: the control channel, which has a thread of its own, does not
answer; the process uses no processor time; and the main thread's stack shows no cell. A process
that is stopped, or too starved to write its stack, shows only two of them.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import psutil

logger = logging.getLogger(__name__)

_INTERVAL = 5.0
"""Seconds from the begin of an execution to the first look, and between looks."""

_IDLE = 0.1
"""Seconds of processor time that an idle process may use while it is asked."""

_RUNS_A_CELL = ("interactiveshell.py", "  ...")
"""What a stack shows while user code runs; below the cut of a very deep one, it is taken to."""


class Pulse:
    """Looks after one kernel while it executes."""

    def __init__(
        self,
        *,
        answers: Callable[[], Awaitable[bool]],
        stack: Callable[[], Awaitable[str]],
        on_broken: Callable[[], None],
    ) -> None:
        """Ask `answers` whether the control channel does, `stack` for the main thread's."""
        self._answers = answers
        self._stack = stack
        self._on_broken = on_broken

    @asynccontextmanager
    async def watching(self, pid: int) -> AsyncIterator[None]:
        """Process `pid` executes until the context is left; most do before anything is done."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, pid)
            yield
            tasks.cancel_scope.cancel()

    async def _watch(self, pid: int) -> None:
        broken = False
        while not broken:
            await anyio.sleep(_INTERVAL)
            try:
                broken = await self._is_broken(pid)
            except Exception:
                logger.exception("the pulse of process %d could not be taken", pid)
                return
        self._on_broken()

    async def _is_broken(self, pid: int) -> bool:
        used = _processor_time(pid)
        if await self._answers() or _processor_time(pid) - used > _IDLE:
            return False
        stack = await self._stack()
        return stack != "" and not any(sign in stack for sign in _RUNS_A_CELL)


def _processor_time(pid: int) -> float:
    """Seconds that a process has used so far; 0 when it is gone, which others report."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)

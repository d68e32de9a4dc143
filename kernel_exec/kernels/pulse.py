"""Finds out that a kernel is broken: that it lives, and yet will never answer.

User code can do that to it: memory runs out in the midst of ipykernel's own code. Silence alone
proves nothing, as C code may hold the interpreter for minutes. So three signs must come together:
the control channel, which has a thread of its own, does not answer; the process uses no processor
time; and the main thread's stack shows no cell. Without the second, a cell that awaits a thread
full of C code would seem broken; without the third, one that sleeps in C. A process that is
stopped, or too starved to write its stack, shows only two of them.
"""

import logging

import anyio

from kernel_exec.errors import BusyError, KernelDeadError

from .messages import Channel, new_request
from .process import LocalProcess

logger = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds from the begin of an execution to the first look, and between looks."""

_ANSWER_LIMIT = 3.0
"""Seconds that the thread of the control channel may take to answer."""

_STACK_LIMIT = 1.0
"""Seconds to write a stack: nothing reports when a signal handler has done so."""

_IDLE = 0.1
"""Seconds of processor time that an idle process may use while it is asked."""

_RUNS_A_CELL = ("interactiveshell.py", "  ...")
"""What a stack shows while user code runs; below the cut of a very deep one, it is taken to."""


async def watch(process: LocalProcess) -> None:
    """Give a kernel up once it is broken; for as long as it executes, else until cancelled."""
    try:
        while True:
            await anyio.sleep(INTERVAL)
            if await _is_broken(process):
                process.driver.give_up("it no longer answers, and runs no code")
                return
    except KernelDeadError:
        pass  # nobody needs to find out any more
    except Exception:
        logger.exception("the pulse of a kernel could not be taken")


async def _is_broken(process: LocalProcess) -> bool:
    before = process.usage().processor
    if await _answers(process) or process.usage().processor - before > _IDLE:
        return False
    start = process.dump_stack()
    await anyio.sleep(_STACK_LIMIT)
    stack = process.stack(start)
    return stack != "" and not any(sign in stack for sign in _RUNS_A_CELL)


async def _answers(process: LocalProcess) -> bool:
    hello = new_request(Channel.CONTROL, "kernel_info_request")
    try:
        await process.driver.answers.ask(hello, limit=_ANSWER_LIMIT)
    except BusyError:
        return False
    return True

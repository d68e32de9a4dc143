"""Finds out that a kernel is broken: that it lives, and yet will never answer.

User code can do that to it: memory runs out in the midst of ipykernel's own code. Silence alone
proves nothing, as C code may hold the interpreter for minutes. So three signs must come together:
the control channel, which has a thread of its own, does not answer; the process uses no processor
time; and the main thread's stack shows no cell. Without the second, a cell that awaits a thread
full of C code would seem broken; without the third, one that sleeps in C. A process that is
stopped, or too starved to write its stack, shows only two of them.
"""

import anyio

from kernel_exec.errors import BusyError, KernelDeadError

from .messages import Channel, new_request
from .process import LocalProcess

_INTERVAL = 5.0
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
            await anyio.sleep(_INTERVAL)
            before = process.usage()
            if await _answers(process):
                continue
            used = process.usage().processor - before.processor
            start = process.dump_stack()
            await anyio.sleep(_STACK_LIMIT)
            if is_broken(used=used, stack=process.stack(start)):
                break
    except KernelDeadError:
        return  # nobody needs to find out any more
    process.driver.give_up("it no longer answers, and runs no code")


def is_broken(*, used: float, stack: str) -> bool:
    """Whether a kernel is, whose control channel does not answer.

    `used` are the seconds of processor time meanwhile, `stack` the main thread's, "" if unknown.
    """
    return used <= _IDLE and stack != "" and not any(sign in stack for sign in _RUNS_A_CELL)


async def _answers(process: LocalProcess) -> bool:
    hello = new_request(Channel.CONTROL, "kernel_info_request")
    try:
        await process.driver.answers.ask(hello, limit=_ANSWER_LIMIT)
    except BusyError:
        return False
    return True

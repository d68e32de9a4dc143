"""Three signs together make a kernel broken; any of them missing, it is at work."""

from typing import Any

import anyio
import pytest

from kernel_exec.errors import BusyError, KernelDeadError
from kernel_exec.kernels import pulse
from kernel_exec.kernels.kernel import Usage

LOOP = 'File "/lib/selectors.py", line 468 in select'
CELL = 'File "/data/code_1.py", line 1 in <module>\nFile "/lib/IPython/interactiveshell.py", line 9'


class Process:
    """What a pulse is taken of; it ends when it has been asked for its usage six times."""

    def __init__(self, stack: str = LOOP, used: float = 0.0, *, answers: bool = False) -> None:
        self.driver = self.answers = self
        self.given_up = ""
        self._stack, self._used, self._answers = stack, used, answers
        self._asked = 0

    def usage(self) -> Usage:
        self._asked += 1
        if self._asked > 6:
            raise KernelDeadError("it has ended")
        return Usage(memory=1, processor=self._asked * self._used, working_directory="/")

    async def ask(self, *_: object, limit: float) -> None:
        if not self._answers:
            raise BusyError(f"no answer within {limit} seconds")

    def dump_stack(self) -> int:
        return 0

    def stack(self, start: int) -> str:
        return self._stack[start:]

    def give_up(self, reason: str) -> None:
        self.given_up = reason


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "INTERVAL", 0)
    monkeypatch.setattr(pulse, "_STACK_LIMIT", 0)


async def watched(process: Any) -> str:
    with anyio.fail_after(5):
        await pulse.watch(process)
    return str(process.given_up)


async def test_a_silent_kernel_that_rests_and_runs_no_cell_is_given_up() -> None:
    assert await watched(Process()) == "it no longer answers, and runs no code"


AT_WORK = {
    "its control channel answers": Process(answers=True),
    "it uses the processor": Process(used=0.2),
    "a cell is on its stack": Process(CELL),
    "its stack is too deep to tell": Process(f"{LOOP}\n  ..."),
    "it can't write its stack": Process(""),
}


@pytest.mark.parametrize("sign", AT_WORK)
async def test_a_kernel_that_lacks_a_sign_is_watched_until_it_ends(sign: str) -> None:
    assert await watched(AT_WORK[sign]) == ""


async def test_a_pulse_that_can_not_be_taken_costs_no_kernel() -> None:
    class Unreadable(Process):
        def usage(self) -> Usage:
            raise OSError("no")

    assert await watched(Unreadable()) == ""

"""Three signs together make a kernel broken; any of them missing, it is at work."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import anyio
import pytest

from kernel_exec.kernels import pulse
from kernel_exec.kernels.pulse import Pulse
from tests.waits import patient

LOOP = 'File "/lib/selectors.py", line 468 in select'
CELL = 'File "/data/code_1.py", line 1 in <module>\nFile "/lib/IPython/interactiveshell.py", line 9'


@dataclass
class Kernel:
    """What a kernel shows of itself."""

    answers: bool = False
    works: bool = False
    stack: str = LOOP
    asked: int = 0
    broken: anyio.Event = field(default_factory=anyio.Event)
    asked_thrice: anyio.Event = field(default_factory=anyio.Event)

    async def answer(self) -> bool:
        self.asked += 1
        if self.asked == 3:
            self.asked_thrice.set()
        if self.works:
            until = sum(os.times()[:2]) + 0.15
            while sum(os.times()[:2]) < until:
                pass
        return self.answers

    async def dump(self) -> str:
        return self.stack

    def pulse(self) -> Pulse:
        return Pulse(answers=self.answer, stack=self.dump, on_broken=self.broken.set)


@pytest.fixture(autouse=True)
async def soon(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setattr(pulse, "_INTERVAL", 0.01)
    with anyio.fail_after(patient(10)):
        yield


async def test_a_kernel_with_all_three_signs_is_broken() -> None:
    kernel = Kernel()
    async with kernel.pulse().watching(os.getpid()):
        await kernel.broken.wait()
    assert kernel.asked == 1


AT_WORK = {
    "it answers": Kernel(answers=True),
    "it uses the processor": Kernel(works=True),
    "a cell is on its stack": Kernel(stack=CELL),
    "its stack is too deep to tell": Kernel(stack=f"{LOOP}\n  ..."),
    "it can't write its stack": Kernel(stack=""),
}


@pytest.mark.parametrize("sign", AT_WORK)
async def test_a_kernel_that_lacks_a_sign_is_asked_again(sign: str) -> None:
    kernel = AT_WORK[sign]
    async with kernel.pulse().watching(os.getpid()):
        await kernel.asked_thrice.wait()
    assert not kernel.broken.is_set()


async def test_nobody_is_asked_after_the_end() -> None:
    kernel = Kernel()
    async with kernel.pulse().watching(os.getpid()):
        pass
    await anyio.sleep(0.05)  # noqa: TID251 # nothing is to happen meanwhile
    assert kernel.asked == 0


async def test_a_pulse_that_can_not_be_taken_costs_no_kernel() -> None:
    asked = anyio.Event()

    async def answer() -> bool:
        asked.set()
        raise OSError("no")

    kernel = Kernel()
    pulse = Pulse(answers=answer, stack=kernel.dump, on_broken=kernel.broken.set)
    async with pulse.watching(os.getpid()):
        await asked.wait()
    assert not kernel.broken.is_set()

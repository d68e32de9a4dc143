"""What every kernel does; the fake is held to it as well, so that tests may trust it."""

import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeAlias

import anyio
import pytest

from kernel_exec.errors import KernelDeadError
from kernel_exec.kernels.kernel import Kernel, Listener, Variables
from kernel_exec.kernels.outcomes import Ended, Ending, Event, Outcome, Produced, Request
from kernel_exec.kernels.outputs import ErrorOutput, ExecuteResult, Output, Stream, fold
from tests.fakes import STUBBORN, FakeKernel, FakeKernels
from tests.real import local_kernels
from tests.waits import patient

Start: TypeAlias = Callable[[Listener], AbstractAsyncContextManager[Kernel]]


@pytest.fixture(params=["fake", pytest.param("local", marks=pytest.mark.kernel)])
async def start(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    return FakeKernels() if request.param == "fake" else await local_kernels(tmp_path)


class Heard(list[Event]):
    """A listener that remembers."""

    __call__ = list.append

    def outputs(self, execution_id: str = "e1") -> list[Output]:
        events = [event for event in self if isinstance(event, Produced)]
        return fold(event.output for event in events if event.execution_id == execution_id)


async def run(kernel: Kernel, source: str, *, limit: float | None = None) -> Ending:
    with anyio.fail_after(patient(20)):
        return await kernel.execute(Request(id="e1", source=source, time_limit=limit))


async def test_streams_come_by_name_and_in_order(start: Start) -> None:
    heard = Heard()
    async with start(heard) as kernel:
        ending = await run(kernel, "import sys; print('out'); print('err', file=sys.stderr)")
    assert ending.outcome is Outcome.OK
    assert ending.complete
    assert {o.name: o.text for o in heard.outputs() if isinstance(o, Stream)} == {
        "stdout": "out\n",
        "stderr": "err\n",
    }


async def test_the_last_expression_is_a_result_with_the_execution_count(start: Start) -> None:
    heard = Heard()
    async with start(heard) as kernel:
        ending = await run(kernel, "1 + 1")
    assert ending.execution_count == 1
    assert heard.outputs() == [
        ExecuteResult(data={"text/plain": "2"}, metadata={}, execution_count=1)
    ]


async def test_an_exception_keeps_what_was_printed_before_it(start: Start) -> None:
    heard = Heard()
    async with start(heard) as kernel:
        ending = await run(kernel, "print('before'); 1 / 0")
    assert ending.outcome is Outcome.EXCEPTION
    printed, error = heard.outputs()
    assert printed == Stream(name="stdout", text="before\n")
    assert isinstance(error, ErrorOutput)
    assert (error.ename, error.evalue) == ("ZeroDivisionError", "division by zero")
    assert ending.error == error


async def test_state_lives_from_one_execution_to_the_next(start: Start) -> None:
    heard = Heard()
    async with start(heard) as kernel:
        assert (await run(kernel, "x = 1")).outcome is Outcome.OK
        assert kernel.names["x"] == "int"
        heard.clear()
        assert (await run(kernel, "x")).outcome is Outcome.OK
    assert isinstance(heard.outputs()[0], ExecuteResult)


async def test_empty_code_is_an_execution_that_does_nothing(start: Start) -> None:
    heard = Heard()
    async with start(heard) as kernel:
        ending = await run(kernel, "")
    assert ending.outcome is Outcome.OK
    assert heard.outputs() == []


async def test_the_end_is_told_once_and_after_every_output(start: Start) -> None:
    heard = Heard()
    async with start(heard) as kernel:
        await run(kernel, "1 + 1")
    assert [type(event) for event in heard].count(Ended) == 1
    assert isinstance(heard[-1], Ended)


async def test_what_a_thread_prints_after_the_end_is_kept_and_marked(start: Start) -> None:
    heard = Heard()
    came = anyio.Event()

    def listen(event: Event) -> None:
        heard(event)
        if isinstance(event, Produced) and event.output.late:
            came.set()

    async with start(listen) as kernel:
        await run(
            kernel, "print('a'); import threading; threading.Timer(0.1, print, ['b']).start()"
        )
        with anyio.fail_after(patient(10)):
            await came.wait()
    assert heard.outputs() == [
        Stream(name="stdout", text="a\n"),
        Stream(name="stdout", text="b\n", late=True),
    ]


@pytest.mark.parametrize("force", [False, True])
async def test_an_interrupt_stops_the_execution_and_keeps_the_kernel(
    start: Start, force: bool
) -> None:
    began = anyio.Event()

    def listen(event: Event) -> None:
        began.set()

    async with start(listen) as kernel, anyio.create_task_group() as tasks:

        async def interrupt() -> None:
            await began.wait()
            kernel.interrupt(force=force)

        tasks.start_soon(interrupt)
        ending = await run(kernel, "import time; time.sleep(60)")
        assert ending.outcome is Outcome.INTERRUPTED
        assert kernel.death is None
        assert (await run(kernel, "1 + 1")).outcome is Outcome.OK


async def test_a_time_limit_stops_the_execution_and_tells_where_it_was(start: Start) -> None:
    async with start(Heard()) as kernel:
        ending = await run(kernel, "import time; time.sleep(60)", limit=0.2)
        assert ending.outcome is Outcome.TIMEOUT
        assert ending.stack.startswith("Stack (most recent call first)")
        assert kernel.death is None
        assert (await run(kernel, "1 + 1")).stack == ""


async def test_what_ignores_the_time_limit_costs_the_kernel(start: Start) -> None:
    async with start(Heard()) as kernel:
        ending = await run(kernel, STUBBORN, limit=0.2)
        assert ending.outcome is Outcome.TIMEOUT
        assert ending.death is not None
        assert ending.death.signal == "SIGKILL"
        assert kernel.death == ending.death


async def test_a_kernel_that_exits_says_how_and_runs_nothing_more(start: Start) -> None:
    async with start(Heard()) as kernel:
        ending = await run(kernel, "import os; os._exit(3)")
        assert ending.outcome is Outcome.KERNEL_DIED
        assert ending.death is not None
        assert ending.death.exit_code == 3
        with pytest.raises(KernelDeadError):
            await run(kernel, "1 + 1")
        with anyio.fail_after(patient(5)):
            assert await kernel.wait_death() == ending.death


async def test_a_killed_kernel_names_the_reason(start: Start) -> None:
    async with start(Heard()) as kernel:
        kernel.kill("it was no longer wanted")
        with anyio.fail_after(patient(5)):
            death = await kernel.wait_death()
    assert str(death) == "it was no longer wanted"


async def test_a_kernel_says_what_it_is(start: Start) -> None:
    async with start(Heard()) as kernel:
        info = kernel.info
    assert re.match(r"3\.\d+\.\d+", info.python_version)
    assert info.executable
    assert info.ipykernel_version
    assert info.support in {"own", "overlay", "shadow"}
    assert info.pid is None or info.pid > 1


async def test_variables_are_described_by_pattern_and_leave_no_trace(start: Start) -> None:
    heard = Heard()
    async with start(heard) as kernel:
        await run(kernel, "x = 1")
        before = list(heard)
        assert await kernel.variables("y*") == Variables(found=[], total=0)
        described = await kernel.variables("*")
        assert heard == before
        assert (await run(kernel, "1 + 1")).execution_count == 2
    (variable,) = described.found
    assert described.total == 1
    assert (variable.name, variable.type, variable.shape, variable.note) == ("x", "int", None, "")


async def test_imports_are_refreshed_and_those_that_are_stale_named(start: Start) -> None:
    async with start(Heard()) as kernel:
        assert await kernel.refresh_imports(["sys", "no_such_module"]) == ["sys"]
        assert await kernel.refresh_imports([]) == []


async def test_versions_are_those_of_what_provides_the_modules(start: Start) -> None:
    async with start(Heard()) as kernel:
        known = await kernel.versions(["IPython", "sys", "no_such_module"])
    assert list(known) == ["ipython"]
    assert known["ipython"][0].isdigit()


async def test_usage_is_that_of_the_process(start: Start) -> None:
    async with start(Heard()) as kernel:
        usage = await kernel.usage()
    assert usage.memory > 0
    assert usage.processor > 0
    assert Path(usage.working_directory).is_absolute()


QUESTIONS: dict[str, Callable[[Kernel], Awaitable[object]]] = {
    "variables": lambda kernel: kernel.variables("*"),
    "refresh_imports": lambda kernel: kernel.refresh_imports([]),
    "versions": lambda kernel: kernel.versions([]),
    "usage": lambda kernel: kernel.usage(),
}


async def test_a_dead_kernel_answers_no_question(start: Start) -> None:
    async with start(Heard()) as kernel:
        kernel.kill("it was no longer wanted")
        with anyio.fail_after(patient(5)):
            await kernel.wait_death()
        for ask in QUESTIONS.values():
            with pytest.raises(KernelDeadError):
                await ask(kernel)


def test_every_member_of_the_protocol_is_tried_here() -> None:
    members = [name for name in dir(Kernel) if not name.startswith("_")]
    source = Path(__file__).read_text("utf-8")
    assert set(QUESTIONS) < set(members)
    assert [name for name in members if not re.search(rf"kernel\.{name}\b", source)] == []
    own = [name for name in vars(FakeKernel) if not name.startswith("_")]
    assert own == ["usage"]  # all else is the real kernels' own code

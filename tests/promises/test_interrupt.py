"""What runs can be stopped: within a second and with the kernel kept, or else at a told price."""

import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.waits import FOR_EVER, as_fast_as, wait_until
from tests.wire import Server

from .conftest import Agent

pytestmark = pytest.mark.kernel

STOPPABLE = {
    "a loop": "def spin():\n    while True: pass\nspin()",
    "time.sleep": "import time; time.sleep(60)",
    "await": "import asyncio; await asyncio.Event().wait()",
    "gather": "import asyncio; await asyncio.gather(*[asyncio.Event().wait() for _ in range(9)])",
    "a subprocess": "import subprocess; subprocess.run(['sleep', '60'])",
    "!sleep": "!sleep 60",
    "%%bash": "get_ipython().run_cell_magic('bash', '', 'sleep 60')",
    "a lock": "import threading; k = threading.Lock(); k.acquire(); k.acquire()",
    "a queue": "import queue; queue.Queue().get()",
    "a regular expression": "import re; re.match('(a+)+$', 'a' * 40 + 'b')",
    "a large power": "7 ** 10 ** 8",
    "a socket": "import socket; a, b = socket.socketpair(); a.recv(1)",
    "processes": (
        "import concurrent.futures as c, subprocess\n"
        "with c.ProcessPoolExecutor(2) as e: list(e.map(subprocess.run, [['sleep', '60']] * 2))"
    ),
    "a __repr__": (
        f"class Slow:\n    def __repr__(self):\n        {FOR_EVER}\nprint('', end='')\nSlow()"
    ),
}


CHILDREN = {"a subprocess": 1, "!sleep": 1, "%%bash": 1, "processes": 2}
"""Programs `sleep` that run once it is under way: a worker that begins may lose its interrupt."""


def _sleeping(kernel: psutil.Process) -> int:
    names = []
    for each in kernel.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            names.append(each.name())
    return names.count("sleep")


def begin(agent: Agent, source: str, folder: Path, children: int = 0) -> int:
    """Send `source` and wait until it runs; what holds the interpreter sends nothing itself."""
    begun = folder / "begun"
    first = f"x = 41; open({str(begun)!r}, 'w').close()"
    number = agent.begin(f"{first}\n{source}", wait_seconds=60)
    wait_until(begun.exists)
    if children:
        kernel = psutil.Process(agent.pid())
        wait_until(lambda: _sleeping(kernel) == children)
    return number


@pytest.mark.parametrize("kind", STOPPABLE)
def test_an_interrupt_stops_it_within_a_second_and_keeps_the_kernel(
    shared: Agent, tmp_path: Path, kind: str
) -> None:
    agent = shared
    number = begin(agent, STOPPABLE[kind], tmp_path, CHILDREN.get(kind, 0))
    pid = agent.pid()
    assert pid is not None
    began = time.monotonic()
    agent.call("interrupt_execution", within=5)
    stopped = agent.server.result(number, within=5)
    assert time.monotonic() - began < as_fast_as(1)
    assert stopped.outcome == "interrupted"
    assert agent.run("print(x + 1)").text.startswith("42\n")
    assert agent.pid() == pid
    assert [each.name() for each in psutil.Process(pid).children(recursive=True)] == []


@pytest.mark.parametrize("kind", ["a loop", "await", "a subprocess", "a regular expression"])
def test_a_time_limit_stops_it_and_shows_where_it_was(shared: Agent, kind: str) -> None:
    shared.run("x = 41")
    limited = shared.run(STOPPABLE[kind], timeout_seconds=0.5, filename="slow", within=10)
    assert limited.outcome == "timeout"
    assert not limited.is_error
    assert "the kernel and its variables are kept" in limited.text
    is_awaiting = kind == "await"  # which has no frame on the main thread's stack
    assert ("[where it was at its time limit]" in limited.text) is not is_awaiting
    assert ("Stack (most recent call first)" in limited.text) is not is_awaiting
    assert "slow_" in limited.text
    assert "in spin" in limited.text or kind != "a loop"
    assert shared.run("print(x + 1)").text.startswith("42\n")


STUBBORN = {
    "a C loop": "sum(range(10**11))",
    "a swallowed interrupt": (
        f"while True:\n    try:\n        {FOR_EVER}\n    except KeyboardInterrupt: pass"
    ),
    "an ignored signal": (
        f"import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n{FOR_EVER}"
    ),
}


def test_what_can_not_be_stopped_costs_the_kernel_after_the_announced_time(server: Server) -> None:
    agents = {kind: Agent(server) for kind in STUBBORN}
    for agent in agents.values():
        agent.run("x = 1")
    numbers = {
        kind: agent.begin(STUBBORN[kind], timeout_seconds=1, filename="stubborn")
        for kind, agent in agents.items()
    }
    for kind, agent in agents.items():
        ended = server.result(numbers[kind], within=15)
        assert ended.outcome == "timeout"
        assert "all variables are lost" in ended.text
        assert "x int" in ended.text
        assert "[where it was at its time limit]" in ended.text
        assert "/stubborn_" in ended.text
        assert agent.run("print('x' in dir())").text.startswith("False\n")
    for agent in agents.values():
        agent.close()


def test_a_forced_interrupt_ends_what_obeys_nothing(agent: Agent, tmp_path: Path) -> None:
    number = begin(agent, STUBBORN["a C loop"], tmp_path)
    agent.call("interrupt_execution", force=True, within=15)
    ended = agent.server.result(number, within=5)
    assert ended.outcome == "interrupted"
    assert "all variables are lost" in ended.text


def test_an_interrupt_reaches_a_task_that_blocks_the_kernel(shared: Agent) -> None:
    first = shared.run(
        "import asyncio; x = 41\n"
        "async def block():\n    await asyncio.sleep(0.2)\n    print('blocks', flush=True)\n"
        f"    {FOR_EVER}\n"
        "task = asyncio.create_task(block())"
    )
    wait_until(
        lambda: "blocks" in shared.call("get_execution", execution_id=first.id, offset=0).text
    )
    waiting = shared.run("print(x + 1)", wait_seconds=0.5)
    assert waiting.outcome == "running"
    assert "has not begun it yet" in waiting.text
    shared.call("interrupt_execution", within=5)
    assert shared.call("get_execution", wait_seconds=60).outcome in {"ok", "interrupted"}
    assert shared.run("print(task.cancelled(), x)").text.startswith("True 41\n")


def test_what_code_raises_itself_is_no_interrupt_of_ours(shared: Agent) -> None:
    assert shared.run("raise KeyboardInterrupt").outcome == "exception"

"""A kernel that dies, or might as well be dead, is reported at once and with all that is known."""

import os
import re
import signal
import time

import pytest

from tests.waits import FOR_EVER, as_fast_as, wait_until

from .conftest import Agent

pytestmark = pytest.mark.kernel

DEATHS = {
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", "signal SIGKILL"),
    "segmentation fault": ("ctypes.string_at(0)", "signal SIGSEGV"),
    "abort": ("os.abort()", "signal SIGABRT"),
    "exit": ("os._exit(3)", "exit code 3"),
    "alarm": ("signal.setitimer(signal.ITIMER_REAL, 0.1); signal.pause()", "signal SIGALRM"),
    "all descriptors closed": (
        "os.closerange(3, 4096); threading.Event().wait()",
        "signal SIGABRT",
    ),
    "C stack": (
        "deep = []\nfor _ in range(10**6): deep = [deep]\nsys.setrecursionlimit(10**9); repr(deep)",
        "signal SIGSEGV",
    ),
}
IMPORTS = "import ctypes, os, signal, sys\n"


CRASHES = {"segmentation fault", "abort", "C stack"}
"""Those that Python itself leaves a trace of."""

SLOW = {"C stack", "all descriptors closed"}
"""Those that take their time to die."""


@pytest.mark.parametrize("kind", DEATHS)
def test_a_death_is_reported_with_its_cause_and_what_came_before(agent: Agent, kind: str) -> None:
    source, cause = DEATHS[kind]
    agent.run("x = 1; data = list(range(30))")
    died = agent.run(f"{IMPORTS}print('last words', flush=True)\n{source}", filename="dies")
    assert died.seconds < as_fast_as(1) or kind in SLOW
    if kind in CRASHES:
        assert re.search(r'fault dump\]\n.*\n(.*\n)*  File ".*/dies_\w+\.py", line \d', died.text)
    assert died.is_error
    assert died.outcome == "kernel_died"
    assert died.text.startswith("last words\n")
    assert cause in died.text
    assert "x int, data list 30" in died.text
    after = agent.run("print('x' in dir())", within=10)
    assert after.text.startswith("False\n")
    assert "variables of kernel 1 were lost" in after.text
    assert cause in after.text


def test_a_kernel_killed_from_outside_while_it_works_is_reported(agent: Agent) -> None:
    agent.run("x = 1")
    pid = agent.pid()
    assert pid is not None
    number = agent.begin(f"print('begun', flush=True)\n{FOR_EVER}")
    wait_until(lambda: agent.call("get_execution", offset=0).text.startswith("begun"))
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    died = agent.server.result(number, within=2)
    assert time.monotonic() - began < as_fast_as(1)
    assert died.text.startswith("begun\n")
    assert "x int" in died.text


def test_a_kernel_killed_while_idle_is_told_with_the_next_result(agent: Agent) -> None:
    agent.run("x = 1")
    pid = agent.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: agent.call("kernel_status").structured["state"] != "idle")
    after = agent.run("2")
    assert "signal SIGKILL): x int]" in after.text


SURVIVED = {
    "a large MemoryError": ("bytearray(1 << 62)", "MemoryError"),
    "a recursion": ("def f(n): return f(n + 1)\nf(0)", "RecursionError"),
    "a recursion in the compiler": ("+".join(["1"] * 100_000), "RecursionError"),
}


@pytest.mark.parametrize("kind", SURVIVED)
def test_an_error_costs_no_kernel(shared: Agent, kind: str) -> None:
    source, name = SURVIVED[kind]
    shared.run("x = 41")
    failed = shared.run(source, within=10)
    assert failed.outcome == "exception"
    assert failed.text.startswith(name)
    assert len(failed.text) < 2000
    assert shared.run("print(x + 1)").text.startswith("42\n")


def test_a_stopped_event_loop_goes_on(shared: Agent) -> None:
    shared.run("import asyncio; x = 41; asyncio.get_event_loop().stop()")
    assert shared.run("print(x + 1)").text.startswith("42\n")


def test_a_task_that_exits_does_not_take_the_kernel_along(shared: Agent) -> None:
    shared.run("import asyncio, sys; x = 41\nasync def leave(): sys.exit(3)")
    shared.run("task = asyncio.create_task(leave()); await asyncio.sleep(0)")
    assert shared.run("print(x + 1)").text.startswith("42\n")


BROKEN = {
    "another key": "get_ipython().kernel.session.key = b'changed'",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_kernel_is_found_out_and_replaced(agent: Agent, kind: str) -> None:
    agent.run("x = 1")
    broken = agent.run(BROKEN[kind], within=20)
    assert broken.outcome == "kernel_died"
    assert "x int" in broken.text
    after = agent.run("print('x' in dir())")
    assert after.text.startswith("False\n")


def test_a_kernel_without_memory_works_or_is_replaced_but_never_hangs(agent: Agent) -> None:
    limit = "resource.setrlimit(resource.RLIMIT_AS, (700 << 20, 700 << 20))"
    agent.run("x = 1")
    starved = agent.run(
        f"import resource; {limit}\nkept = []\nwhile True: kept.append([1] * 10)", within=20
    )
    assert "MemoryError" in starved.text
    assert starved.outcome in {"exception", "kernel_died"}
    agent.run("del kept", within=20)
    after = agent.run("print(globals().get('x'))", within=20)
    if after.outcome == "kernel_died":  # the reply of before was its last
        after = agent.run("print(globals().get('x'))", within=20)
    assert after.outcome == "ok"
    assert after.text.startswith(("1\n", "None\n"))
    assert after.text.startswith("1\n") or "variables of kernel 1 were lost" in after.text


def test_c_code_that_holds_the_interpreter_for_long_is_not_taken_for_broken(agent: Agent) -> None:
    held = agent.run("import ctypes; ctypes.PyDLL(None).sleep(9); print('done')", within=20)
    assert held.text.startswith("done\n")


def test_a_replay_stops_at_the_first_failure_and_reports_each(agent: Agent) -> None:
    agent.run("x = 1")
    agent.run("1 / 0")
    agent.run("import os; flag = os.path.exists('replayed'); open('replayed', 'w').close()")
    agent.run("assert not os.path.exists('flag') or flag; open('flag', 'w').close()")
    agent.run("y = 1 if flag is False else 1 / 0")
    agent.run("never = 1")
    told = agent.call("restart_kernel", restore="replay", within=20).structured
    assert set(told["lost"]) >= {"x", "flag", "y", "never"}
    assert [each["outcome"] for each in told["replayed"]] == ["ok", "ok", "ok", "exception"]
    assert agent.run("print(x, flag, 'never' in dir())").text.startswith("1 True False\n")

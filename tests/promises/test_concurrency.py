"""Many calls at once: in order within a session, independent between sessions and servers."""

import statistics
import time
from pathlib import Path

import pytest

from kernel_exec.sessions.queue import QUEUE_LIMIT
from tests.promises.conftest import Agent
from tests.waits import FOR_EVER, Gate, as_fast_as, wait_until
from tests.wire import Server, serving

pytestmark = pytest.mark.kernel

HUNG = "sum(range(10 ** 11))"
"""Holds its kernel's GIL, and no signal ends it."""

FLOOD = """\
import time
began = time.monotonic()
while time.monotonic() - began < {seconds}:
    print('y' * 200)
"""


def held(agent: Agent) -> int:
    """A call whose code runs by now, and goes on."""
    number = agent.begin(f"print('holding', flush=True)\n{FOR_EVER}")
    wait_until(lambda: "holding" in agent.call("get_execution", offset=0).text)
    return number


def test_twenty_calls_at_once_run_in_the_order_they_were_sent(
    server: Server, shared: Agent
) -> None:
    shared.run("seen = []")
    numbers = [shared.begin(f"seen.append({at})\nprint('cell', {at})") for at in range(20)]
    results = [server.result(number, within=20) for number in numbers]
    assert [result.text.splitlines()[0] for result in results] == [f"cell {at}" for at in range(20)]
    assert len({result.id for result in results}) == 20
    counts = [result.meta["execution_count"] for result in results]
    assert counts == sorted(counts)
    assert shared.run("seen").text.startswith(str(list(range(20))) + "\n")


def test_what_waits_behind_an_error_runs(server: Server, shared: Agent) -> None:
    numbers = [shared.begin(code) for code in ("a = 1", "1 / 0", "a += 1", "syntax error", "a")]
    results = [server.result(number, within=15) for number in numbers]
    assert [result.outcome for result in results] == [
        "ok", "exception", "ok", "exception", "ok"
    ]  # fmt: skip
    assert results[-1].text.startswith("2\n")


def test_what_waits_behind_a_kernel_that_dies_runs_in_the_next_one(
    server: Server, agent: Agent
) -> None:
    numbers = [agent.begin(code) for code in ("a = 1", "import os; os._exit(3)", "print(6 * 7)")]
    first, died, next_ = [server.result(number, within=20) for number in numbers]
    assert [first.outcome, died.outcome, next_.outcome] == ["ok", "kernel_died", "ok"]
    assert next_.text.startswith("42\n")
    assert "variables of kernel 1 were lost" in next_.text


def test_the_same_source_sent_twice_at_once_runs_twice(server: Server, shared: Agent) -> None:
    """Both clients wait, so both mean it; see below for one that gave up."""
    shared.run("runs = 0")
    numbers = [shared.begin("runs += 1\nprint(runs)") for _ in range(2)]
    assert [server.result(number, within=10).text.split()[0] for number in numbers] == ["1", "2"]


def test_a_queued_call_tells_its_place(agent: Agent) -> None:
    held(agent)
    second = agent.run("'second'", wait_seconds=0)
    third = agent.run("'third'", wait_seconds=0)
    assert (second.outcome, third.outcome) == ("queued", "queued")
    assert "1 before it" in second.text
    assert "2 before it" in third.text
    for waiting in (third, second):
        taken = agent.call("interrupt_execution", execution_id=waiting.id)
        assert taken.outcome == "interrupted"


def test_a_full_queue_says_busy_and_how_to_go_on(server: Server, agent: Agent) -> None:
    running = held(agent)
    waiting = [agent.begin(f"print({at})") for at in range(QUEUE_LIMIT)]
    refused = [agent.run(f"print({at})", within=5) for at in range(3)]
    for result in refused:
        assert result.is_error
        assert "is busy" in result.text
        assert "get_execution" in result.text
    agent.call("interrupt_execution", within=10)
    assert server.result(running, within=10).outcome == "interrupted"
    results = [server.result(number, within=20) for number in waiting]
    assert [result.text.split()[0] for result in results] == list(map(str, range(QUEUE_LIMIT)))
    agent.still_works()


def test_a_session_that_hangs_or_floods_does_not_delay_another(
    server: Server, tmp_path: Path
) -> None:
    """Compared with the same calls before: a machine under load is slow in both."""
    hanging, flooding, other = Agent(server), Agent(server), Agent(server)
    try:
        for each in (hanging, flooding, other):
            each.run("1", within=15)
        alone = latencies(other, 40)
        hanging.begin(HUNG)
        flood = flooding.begin(FLOOD.format(seconds=2))
        beside = latencies(other, 40)
        assert statistics.median(beside) < 10 * statistics.median(alone) + 0.1
        assert max(beside) < as_fast_as(2)
        assert server.result(flood, within=20).outcome == "ok"
        assert hanging.call("kernel_status", within=3).structured["state"] == "busy"
        assert hanging.call("get_execution", wait_seconds=0, within=3).outcome == "running"
        other.still_works()
    finally:
        for each in (hanging, flooding, other):
            each.close()


def latencies(agent: Agent, count: int) -> list[float]:
    """Seconds that small cells take."""
    found = []
    for at in range(count):
        began = time.monotonic()
        assert agent.run(str(at), within=10).text.startswith(f"{at}\n")
        found.append(time.monotonic() - began)
    return found


def test_source_sent_again_while_it_runs_is_followed_and_not_run_twice(
    agent: Agent, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    code = f"runs += 1\n{gate.passing}print('ran', runs)"
    agent.run("runs = 0")
    first = agent.run(code, wait_seconds=0)
    again = agent.run(code, wait_seconds=0.1, title="Once more")
    assert f"was already running as execution {first.id}" in again.text
    assert "was already running" not in first.text
    gate.open()
    last = agent.call("get_execution", execution_id=first.id, wait_seconds=60)
    assert first.outcome in {"queued", "running"}
    assert again.outcome in {"queued", "running"}
    assert last.text.startswith("ran 1\n")
    assert first.id == again.id == last.id
    after = agent.run(code, within=10)
    assert after.text.startswith("ran 2\n")
    assert after.id != first.id


def test_a_file_sent_again_while_it_runs_is_followed_too(
    server: Server, agent: Agent, tmp_path: Path
) -> None:
    for mode in ("kernel", "isolated"):
        gate = Gate(tmp_path / mode)
        made = server.call("initialize_code_file", content=f"{gate.passing}print('ran')")
        script = {"file_path": made.structured["file_path"], "mode": mode}
        first, again = (
            agent.call("execute_code_file", wait_seconds=seconds, **script) for seconds in (0, 0.1)
        )
        gate.open()
        assert again.id == first.id
        ended = agent.call("get_execution", execution_id=first.id, wait_seconds=60)
        assert ended.text.startswith("ran\n")


def test_two_servers_do_not_delay_one_another(tmp_path: Path) -> None:
    with serving(tmp_path) as one, serving(tmp_path) as other:
        one.run("1", within=15)
        other.run("1", within=15)
        flood = one.begin_call("execute_code", code=FLOOD.format(seconds=1))
        slowest = 0.0
        for _ in range(20):
            slowest = max(slowest, other.run("print(6 * 7)", within=10).seconds)
        assert slowest < as_fast_as(2)
        assert one.result(flood, within=20).outcome == "ok"

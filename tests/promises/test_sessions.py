"""Which session a call means, what a restart brings back, and how many kernels there are."""

import json
import re
from pathlib import Path

import psutil
import pytest

from tests.waits import FOR_EVER, wait_until
from tests.wire import Result, Server, serving

from .conftest import Agent

pytestmark = pytest.mark.kernel

READING = ("kernel_status", "get_execution", "export_notebook", "interrupt_execution")


def descriptors(server: Server) -> int:
    return psutil.Process(server.process.pid).num_fds()


# Which session


def test_what_only_reads_makes_no_session(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.run("1", session="analysis")
        server.run("2")
        named, own = (exported_id(server, name) for name in ("analysis", "main"))
        before = descriptors(server)
        locks = sorted((tmp_path / "storage" / ".kernel_exec" / "sessions").iterdir())
        for number in range(100):
            for tool in READING:
                refused = server.call(tool, session=f"s{number}")
                assert refused.is_error
                assert f"no session named 's{number}' exists" in refused.text
                assert "sessions: main, analysis" in refused.text
        assert descriptors(server) <= before + 2
        assert sorted((tmp_path / "storage" / ".kernel_exec" / "sessions").iterdir()) == locks
        for slip in (
            server.call("add_note", session="anlysis", markdown="x"),
            server.call("restart_kernel", session="anlysis"),
        ):
            assert slip.is_error
            assert "did you mean 'analysis'?" in slip.text
        server.leave()
    with serving(tmp_path) as server:
        told = server.call("kernel_status", session="analysis")
        assert told.structured["state"] == "dead"
        assert told.structured["generation"] == 1
        assert server.call("get_execution", session="analysis").text.startswith("1\n")
        nothing = server.call("interrupt_execution", session="analysis")
        assert nothing.text == "nothing is running in session 'analysis'\n"
        assert server.call("kernel_status", session=own).structured["session"] == "main"
        assert "can only be exported" in server.run("3", session=own).text
        assert server.run("3", session=named).meta["session"] == "analysis"


def exported_id(server: Server, session: str) -> str:
    path = server.call("export_notebook", session=session).structured["path"]
    return str(json.loads(Path(path).read_text())["metadata"]["kernel_exec"]["session"])


def test_the_own_session_can_be_asked_about_before_it_begins(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        for name in ("", "main"):
            status = server.call("kernel_status", session=name, variables=True).structured
            assert (status["session"], status["state"]) == ("main", "not started")
            assert status["variables"] == {}
            asked = server.call("get_execution", session=name)
            assert asked.text == "session 'main' has run nothing yet\n"
            nothing = server.call("interrupt_execution", session=name)
            assert nothing.text == "nothing is running in session 'main'\n"
            assert server.call("export_notebook", session=name).is_error
        server.call("get_environment_config")
        assert not (tmp_path / "storage" / ".kernel_exec" / "sessions").exists()


def test_the_session_main_is_the_clients_own(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.run("secret = 1")
        server.leave()
    with serving(tmp_path) as server:
        assert server.call("kernel_status", session="main").structured["state"] == "not started"
        assert "NameError" in server.run("secret", session="main").text
        server.run("mine = 2")
        assert server.run("mine", session="main").text.startswith("2\n")


def test_after_a_crash_each_session_says_what_was_lost_and_history_has_the_rest(
    tmp_path: Path,
) -> None:
    with serving(tmp_path) as server:
        server.run("import math\nx = 1; gone = 2")
        server.run("del gone; kept = [1, 2, 3]")
        server.run("y = 1", session="named")
        running = server.run(f"print('begun', flush=True)\n{FOR_EVER}", wait_seconds=1)
        assert running.outcome == "running"
    with serving(tmp_path) as server:
        assert server.call("kernel_status").structured["state"] == "dead"
        found = server.call("get_execution")
        assert (found.id, found.outcome) == (running.id, "interrupted")
        assert found.text.startswith("begun\n")
        told = server.run("x")
        assert told.outcome == "exception"
        lost = "[new kernel; variables of kernel 1 were lost (the server died): "
        assert f"{lost}x int, kept list 3]" in told.text
        assert f"{lost}y int]" in server.run("1", session="named").text
        again = server.call("restart_kernel", restore="replay")
        assert replayed(again)[:2] == ["import math\nx = 1; gone = 2", "del gone; kept = [1, 2, 3]"]


def wait_dead(server: Server, session: str, *, within: float = 20) -> None:
    """Wait until a session's kernel has ended."""
    wait_until(
        lambda: server.call("kernel_status", session=session).structured["state"] == "dead",
        within=within,
    )


# Replays


def replayed(result: Result) -> list[str]:
    return [step["code"] for step in result.structured["replayed"]]


def test_a_replay_after_a_death_and_later_cells_brings_all_of_it_back(agent: Agent) -> None:
    agent.run("x = 41")
    assert agent.run("import os; os.kill(os.getpid(), 9)").outcome == "kernel_died"
    assert agent.run("x + 1").outcome == "exception"
    agent.run("y = 1")
    first = agent.call("restart_kernel", restore="replay")
    assert first.structured["status"] == "success"
    assert replayed(first) == ["x = 41", "y = 1"]
    again = agent.call("restart_kernel", restore="replay")
    assert replayed(again) == ["x = 41", "y = 1"]
    assert agent.run("print(x + y)").text.startswith("42\n")
    agent.call("restart_kernel")
    assert replayed(agent.call("restart_kernel", restore="replay")) == []


def test_a_replay_continues_what_an_earlier_server_left(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.run("x = 41", session="s")
        server.run("x += 1", session="s")
        server.process.kill()
    with serving(tmp_path, KERNEL_EXEC_IDLE_LIMIT="1") as server:
        told = server.call("restart_kernel", session="s", restore="replay")
        assert replayed(told) == ["x = 41", "x += 1"]
        assert server.run("x", session="s").text.startswith("42\n")
        wait_dead(server, "s")
        told = server.call("restart_kernel", session="s", restore="replay")
        assert replayed(told)[:2] == ["x = 41", "x += 1"]


SLOW = """\
import os, threading
if os.path.exists({flag!r}):
    print("slow", flush=True)
    threading.Event().wait()
"""


def prepared(agent: Agent, folder: Path) -> Path:
    """Three steps, of which the second takes for ever once the file is there."""
    flag = folder / "slow"
    agent.run("x = 1")
    agent.run(SLOW.format(flag=str(flag)))
    agent.run("y = x + 1")
    flag.touch()
    return flag


def wait_slow(agent: Agent, *, within: float = 20) -> str:
    """The id of the slow step, once it runs."""
    current = ""

    def is_slow() -> bool:
        nonlocal current
        current = str(agent.call("kernel_status").structured.get("execution_id", ""))
        return "slow\n" in agent.call("get_execution", execution_id=current).text

    wait_until(is_slow, within=within)
    return current


def test_a_replay_has_a_window_and_a_handle_and_can_be_interrupted(
    agent: Agent, tmp_path: Path
) -> None:
    flag = prepared(agent, tmp_path)
    told = agent.call("restart_kernel", restore="replay", wait_seconds=1, within=10)
    assert told.structured["status"] == "running"
    last = told.structured["execution_id"]
    assert agent.call("get_execution", execution_id=last).outcome == "queued"
    current = wait_slow(agent)
    flag.unlink()
    stopped = agent.call("interrupt_execution", execution_id=last)
    assert (stopped.id, stopped.outcome) == (current, "interrupted")
    rest = agent.call("get_execution", execution_id=last)
    assert rest.outcome == "interrupted"
    assert f"the replay stopped at execution {stopped.id}" in rest.text
    assert agent.run("print(x, 'y' in dir())").text.startswith("1 False\n")
    # what is left of it is still wanted, as nothing has gone on without it
    agent.run("1 / 0")
    again = agent.call("restart_kernel", restore="replay")
    assert again.structured["status"] == "success"
    assert agent.run("print(x, y)").text.startswith("1 2\n")


def test_a_step_of_a_replay_has_a_time_limit_and_the_replay_tells_of_progress(
    server: Server, agent: Agent, tmp_path: Path
) -> None:
    prepared(agent, tmp_path)
    number = server.begin(
        "tools/call",
        {
            "name": "restart_kernel",
            "arguments": {"session": agent.session, "restore": "replay", "timeout_seconds": 5},
            "_meta": {"progressToken": "replay"},
        },
    )
    told = server.result(number, within=25).structured
    assert told["status"] == "stopped"
    assert told["stopped_at"]["outcome"] == "timeout"
    assert (told["replayed_steps"], told["not_replayed"]) == (1, 1)
    words = [each["params"].get("message", "") for each in server.notifications]
    assert any(re.match(r"replaying step \d+ \(2 of 3\): ", each) for each in words)


def test_a_cancelled_replay_is_stopped(server: Server, agent: Agent, tmp_path: Path) -> None:
    prepared(agent, tmp_path)
    number = server.begin_call("restart_kernel", session=agent.session, restore="replay")
    current = wait_slow(agent)
    server.notify("notifications/cancelled", requestId=number, reason="stop")
    agent.still_works()
    assert agent.call("get_execution", execution_id=current).outcome == "interrupted"


# Verification


def verify(agent: Agent, **asked: object) -> Result:
    return agent.call("export_notebook", verify=True, within=25, **asked)


def test_a_verification_has_a_window_a_handle_and_progress_and_can_be_interrupted(
    server: Server, agent: Agent, tmp_path: Path
) -> None:
    flag = prepared(agent, tmp_path)
    number = server.begin(
        "tools/call",
        {
            "name": "export_notebook",
            "arguments": {"session": agent.session, "verify": True, "wait_seconds": 3},
            "_meta": {"progressToken": "verification"},
        },
    )
    told = server.result(number).structured
    assert told["status"] == "running"
    words = [each["params"].get("message", "") for each in server.notifications]
    assert any("(1 of 3)" in each or "(2 of 3)" in each for each in words)
    assert verify(agent, wait_seconds=0).structured["execution_id"] == told["execution_id"]
    agent.still_works()  # it runs in a kernel of its own
    stopped = agent.call("interrupt_execution", execution_id=told["execution_id"])
    assert (stopped.id, stopped.outcome) == (told["execution_id"], "interrupted")
    limited = verify(agent, timeout_seconds=2).structured["verification"]
    (difference,) = limited["differences"]
    assert (difference["step"], difference["verdict"]) == (2, "new error")
    assert difference["difference"] == "it was stopped at the time limit of 2 seconds"
    flag.unlink()
    begun = verify(agent, wait_seconds=0).structured["execution_id"]
    done = agent.call("get_execution", execution_id=begun, wait_seconds=20, within=25).structured
    assert done["verification"]["verdict"] == "same"
    assert Path(done["path"]).exists()
    lines = agent.call("get_execution", execution_id=begun, stream="stdout").text
    assert lines.startswith("step 1 (1 of 4): same\nstep 2 (2 of 4): same\n")


def test_a_verdict_holds_until_something_changes_that_it_rests_on(
    server: Server, agent: Agent, tmp_path: Path
) -> None:
    agent.run(f"import os; os.chdir({str(tmp_path)!r})")
    agent.run("x = 6 * 7; print(x)", title="Multiply")

    def reused(**asked: object) -> bool:
        told = verify(agent, **asked).structured
        assert told["verification"]["verdict"] == "same"
        return "reused" in told["verification"]

    assert not reused()
    agent.call("add_note", markdown="A note moves cells, and changes none.")
    assert reused(format="html")
    assert not reused(verify_again=True)
    folder = Path(agent.call("export_notebook").structured["path"]).parents[1]
    (folder / "data.csv").write_text("1")  # where its kernels start
    assert not reused()
    agent.run("x")
    assert not reused()


def test_an_export_names_the_other_sessions_and_each_of_them_by_id_and_environment(
    server: Server, agent: Agent
) -> None:
    agent.run("x = 1")
    beside = Agent(server)
    beside.run("y = 2")
    told = agent.call("export_notebook").structured
    other = next(each for each in told["other_sessions"] if each["session"] == beside.session)
    assert other["steps"] == 1
    assert other["export"] == f'export_notebook(session="{beside.session}")'
    for name in (exported_id(server, agent.session), f"{agent.session}@{other['environment']}"):
        assert server.call("export_notebook", session=name).structured["path"] == told["path"]
        assert server.run("print(x)", session=name).text.startswith("1\n")
    refused = server.call("export_notebook", session=f"{beside.session}@{other['environment']}x")
    assert refused.is_error
    assert repr(f"{beside.session}@{other['environment']}") in refused.text
    assert server.call("kernel_status", session=f"{beside.session}@nowhere").is_error
    beside.close()


# Kernels


def test_four_sessions_at_once_start_no_more_kernels_than_are_allowed(tmp_path: Path) -> None:
    with serving(tmp_path, KERNEL_EXEC_MAX_KERNELS="1") as server:
        calls = [server.begin_call("execute_code", code="6 * 7", session=name) for name in "abcd"]
        results = [server.result(call) for call in calls]
        assert sorted(result.is_error for result in results) == [False, True, True, True]
        assert (
            sum("KERNEL_EXEC_MAX_KERNELS allows 1 kernel," in result.text for result in results)
            == 3
        )
        assert kernels(server) == 1


def kernels(server: Server) -> int:
    """Kernels, each of which has a guardian of the same command."""
    launched = [process for process in server.below() if "guardian" in process.cmdline()]
    return len(launched) // 2


def test_isolated_scripts_and_verification_count_as_kernels(tmp_path: Path) -> None:
    with serving(tmp_path, KERNEL_EXEC_MAX_KERNELS="2") as server:
        server.run("x = 1", session="a")
        made = server.call("initialize_code_file", content=FOR_EVER)
        script = {"file_path": made.structured["file_path"], "mode": "isolated"}
        running = server.call("execute_code_file", session="a", wait_seconds=0, **script)
        wait_until(lambda: kernels(server) == 2)
        refusals = [
            server.call("execute_code_file", session="a", args=["2"], **script),
            server.call("export_notebook", session="a", verify=True),
            server.run("1", session="b"),
        ]
        for refused in refusals:
            assert refused.is_error
            assert re.search(r"\(1 session, 1 isolated script\)", refused.text), refused.text
            assert 'execute_code(code="exit()", session="a")' in refused.text
        assert kernels(server) == 2
        server.call("interrupt_execution", execution_id=running.id)
        verified = server.call("export_notebook", session="a", verify=True)
        assert verified.structured["verification"]["verdict"] == "same"
        assert server.run("6 * 7", session="b").text.startswith("42\n")


def test_a_restart_keeps_the_place_of_its_kernel(tmp_path: Path) -> None:
    with serving(tmp_path, KERNEL_EXEC_MAX_KERNELS="1") as server:
        server.run("x = 1", session="a")
        restart = server.begin_call("restart_kernel", session="a")
        other = server.begin_call("execute_code", code="1", session="b")
        assert not server.result(restart).is_error
        assert server.result(other).is_error
        psutil.Process(server.call("kernel_status", session="a").structured["pid"]).kill()
        wait_dead(server, "a")
        assert server.run("6 * 7", session="b").text.startswith("42\n")

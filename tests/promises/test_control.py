"""Code that asks for input, ends the process, or takes from its kernel what it needs."""

from pathlib import Path

import pytest

from tests.environments.pythons import require_python
from tests.wire import serving

from .conftest import Agent

pytestmark = pytest.mark.kernel

ASKS = {
    "input": "input('name? ')",
    "getpass": "import getpass; getpass.getpass()",
    "pdb": "import pdb; pdb.set_trace()",
    "breakpoint": "breakpoint()",
    "help": "help()",
    "code": "import code; code.interact()",
}


@pytest.mark.parametrize("kind", ASKS)
def test_whoever_asks_for_input_is_refused_at_once(shared: Agent, kind: str) -> None:
    asked = shared.run(ASKS[kind], within=10)
    assert asked.outcome == "exception"
    assert "nobody can answer a prompt here" in asked.text
    shared.still_works()


READS = {
    "sys.stdin": ("import sys; print(repr(sys.stdin.read()))", "''\n"),
    "!cat": ("!cat; echo over", "over\n"),
    "!read": ("!read word; echo got $word", "got\n"),
    "!less": ("!less", ""),
    "!python": ("!python -c 'input()'; echo over", "over\n"),
    "%%bash": ("%%bash\ncat; echo over", "over\n"),
    "subprocess": ("import subprocess as s; print(s.run('cat').returncode)", "0\n"),
}


@pytest.mark.parametrize("kind", READS)
def test_whoever_reads_input_finds_its_end(shared: Agent, kind: str) -> None:
    source, said = READS[kind]
    read = shared.run(source, within=10)
    assert read.outcome == "ok"
    assert said in read.text


EXITS = {
    "a message": ("import sys; sys.exit('bye')", "SystemExit(bye)"),
    "nothing": ("import sys; sys.exit()", "SystemExit()"),
    "a code": ("raise SystemExit(3)", "SystemExit(3)"),
}


@pytest.mark.parametrize("kind", EXITS)
def test_sys_exit_ends_the_cell_and_shows_no_traceback(shared: Agent, kind: str) -> None:
    source, told = EXITS[kind]
    shared.run("x = 41")
    left = shared.run(source)
    assert left.text.startswith(f"the code ended with {told}; the kernel and its variables are")
    assert "Traceback" not in left.text
    assert "UserWarning" not in left.text
    assert shared.run("print(x + 1)").text.startswith("42\n")


@pytest.mark.parametrize("word", ["exit()", "quit()"])
def test_exit_ends_the_kernel_and_says_so(agent: Agent, word: str) -> None:
    left = agent.run(f"x = 1\n{word}", within=10)
    assert left.outcome == "ok"
    assert "exit() ends the kernel" in left.text
    after = agent.run("print('x' in dir())", within=10)
    assert after.text.startswith("False\n")
    assert "x int" in after.text


LOOPS = {
    "asyncio.run": "asyncio.run(job())",
    "run_until_complete": "asyncio.get_event_loop().run_until_complete(job())",
}


@pytest.mark.parametrize("kind", LOOPS)
def test_a_second_event_loop_is_refused_with_the_way_out(shared: Agent, kind: str) -> None:
    shared.run("import asyncio\nasync def job(): return 42")
    refused = shared.run(LOOPS[kind])
    assert "RuntimeError: " in refused.text  # after warnings of coroutines that are left
    assert "await" in refused.text
    assert shared.run("print(await job())").text.startswith("42\n")


TAKEN = {
    "stdout closed": ("import sys; sys.stdout.close()", "sys.stdout was closed"),
    "stdout None": ("import sys; sys.stdout = None", "sys.stdout was replaced by None"),
    "stdout replaced": (
        "import io, sys; sys.stdout = io.StringIO()",
        "sys.stdout was replaced by StringIO",
    ),
    "stderr closed": ("import sys; sys.stderr.close()", "sys.stderr was closed"),
    "print": ("import builtins; del builtins.print", "print was replaced"),
    "print of the cell": ("del __builtins__.print", "print was replaced"),
    "a builtin": ("import builtins; builtins.len = None", "len was replaced"),
    "a function": ("import os; os.getcwd = None", "os.getcwd was replaced"),
    "threads": ("import threading; threading.Thread.start = None", "Thread.start was replaced"),
    "modules": ("import sys; sys.modules.clear()", "sys.modules was emptied"),
    "the shell": (
        "get_ipython().user_ns_hidden = None",
        "get_ipython().user_ns_hidden was replaced",
    ),
    "names": ("globals().clear()", "IPython's names"),
    "the user's builtins": ("__builtins__ = {}", "__builtins__ was replaced"),
    "the session": ("get_ipython().kernel.session.send = None", "session.send was replaced"),
    "the recursion limit": (
        "import sys; sys.setrecursionlimit(100)",
        "the recursion limit was 100",
    ),
    "the working directory": (
        "import os, tempfile; d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)",
        "the working directory was deleted",
    ),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_what_a_cell_took_from_its_kernel_is_given_back_and_told(shared: Agent, kind: str) -> None:
    source, told = TAKEN[kind]
    took = shared.run(source)
    assert took.outcome == "ok"
    assert told in took.text
    after = shared.run("open('there', 'w').close(); print('fine')")
    assert after.text.startswith("fine\n")
    assert "[kernel-exec]" not in after.text


def test_a_new_working_directory_is_told(agent: Agent) -> None:
    moved = agent.run("import os, tempfile; d = tempfile.mkdtemp(); os.chdir(d); print(d)")
    folder = moved.text.splitlines()[0]
    assert f"\nworking directory: {folder}\n" in moved.text
    assert agent.call("kernel_status").structured["working_directory"] == folder
    assert "working directory" not in agent.run("os.rmdir").text
    agent.run("os.chdir('/'); os.rmdir(d)")


def test_a_forked_child_that_leaves_the_cell_does_not_become_a_second_kernel(shared: Agent) -> None:
    shared.run("import os; pid = os.fork(); print('child' if pid == 0 else 'parent', flush=True)")
    after = shared.run("print(os.waitpid(pid, 0)[1])", within=10)
    assert after.text.startswith("0\n")
    shared.still_works()


def test_descriptors_1_and_2_may_be_closed(agent: Agent) -> None:
    assert agent.run("import os; os.close(1); os.close(2); print('x')").text.startswith("x\n")
    agent.still_works()


@pytest.mark.network
@pytest.mark.timeout(180)
def test_variables_are_listed_while_code_runs_whatever_the_ipykernel(tmp_path: Path) -> None:
    python = require_python("3.10")  # which gets ipykernel 6
    with serving(tmp_path, "--python-path", str(python)) as server:
        assert server.run("x = [1, 2]", within=120).outcome == "ok"
        running = server.run("import threading; threading.Event().wait()", wait_seconds=1)
        listed = server.call("kernel_status", variables=True).structured
        server.call("interrupt_execution", execution_id=running.id)
    assert listed["state"] == "busy"
    assert listed["variables"]["x"].startswith("list")

"""What code puts out: nothing is lost, what is too much is in a file, the server stays small."""

import re
from pathlib import Path

import pytest

from tests.promises.conftest import Agent
from tests.waits import FOR_EVER, wait_until
from tests.wire import Server

LARGE = {
    "100 MB in one print": ("print('x' * 100_000_000)", 100_000_001),
    "100 MB in lines": ("for _ in range(100): print(('y' * 99 + '\\n') * 10_000, end='')", 10**8),
    "100,000 prints": ("for i in range(100_000): print(i)", 588_890),
    "50 MB of a string's repr": ("'s' * 50_000_000", 50_000_002),
    "50 MB of an object's repr": (
        "class Long:\n    def __repr__(self): return 'r' * 50_000_000\nLong()",
        50_000_000,
    ),
    "60 MB of a forked child": (
        "import os\n"
        "if not (pid := os.fork()):\n    print('z' * 60_000_000); os._exit(0)\n"
        "_ = os.waitpid(pid, 0)",
        60_000_001,
    ),
    "100 MB of another process": ("!head -c 100000000 /dev/zero | tr '\\0' w", 10**8),
}


@pytest.mark.parametrize("name", LARGE)
def test_what_is_too_much_is_in_a_file_with_its_true_size(shared: Agent, name: str) -> None:
    code, size = LARGE[name]
    shared.run("1")
    before = shared.server.memory()
    result = shared.run(code, within=60)
    assert result.outcome == "ok"
    told = re.search(r"\(([\d,]+) characters\); all of it is in (\S+):", result.text)
    assert told is not None
    assert told[1] == f"{size:,}"
    assert Path(told[2]).stat().st_size == size
    assert len(result.text) < 6_000
    assert shared.server.memory() - before < 50


def test_an_error_with_a_message_of_10_mb_is_told_in_short(shared: Agent) -> None:
    shared.run("1")
    before = shared.server.memory()
    result = shared.run("raise ValueError('m' * 10_000_000)")
    assert shared.server.memory() - before < 50
    assert result.text.startswith("ValueError: mmm")
    assert "line 1: raise ValueError('m' * 10_000_000)" in result.text
    told = re.search(r"\[… 10,000,000 characters in total; all of it is in (\S+)\]", result.text)
    assert told is not None
    assert Path(told[1]).read_text("utf-8").count("m") >= 10_000_000
    whole = shared.call("get_execution", execution_id=result.id, stream="error")
    assert "a line longer than 8,000 characters counts as several" in whole.text


def test_what_a_cell_writes_to_files_has_a_limit_and_what_is_dropped_is_counted(
    agent: Agent,
) -> None:
    limit = "import sys; sys.modules['_kernel_exec.budgets'].FILE_LIMIT = 1_000_000"
    agent.run(limit)
    result = agent.run("for i in range(300_000): print(f'{i:9}')")
    assert "[2,000,000 characters dropped: an execution may write 1,000,000 bytes" in result.text
    assert "   299999\n" in result.text
    told = re.search(r"all of it is in (\S+):", result.text)
    assert told is not None
    assert Path(told[1]).stat().st_size < 1_010_000
    assert "dropped" not in agent.run("print('x' * 300_000)").text  # each has its own


def test_20000_displays_arrive_though_the_client_reads_nothing_meanwhile(
    agent: Agent, server: Server, tmp_path: Path
) -> None:
    shown = tmp_path / "shown"
    server.pause()
    try:
        source = f"for i in range(20_000): display(i)\nopen({str(shown)!r}, 'w').close()"
        number = agent.begin(source, wait_seconds=60)
        wait_until(shown.exists, within=60)
    finally:
        server.resume()
    result = server.result(number, within=60)
    assert result.outcome == "ok"
    assert "0\n1\n2\n" in result.text
    assert "\n19998\n19999\n" in result.text
    found = agent.call("get_execution", execution_id=result.id, search=r"^\d+$", limit=1)
    assert "of 20,000" in found.text


def test_many_small_displays_have_a_limit_and_what_is_dropped_is_told(agent: Agent) -> None:
    agent.run(
        """
        displays = __import__("sys").modules["_kernel_exec.displays"]
        displays.DISPLAY_BUDGET, displays._HOLD_BUDGET, displays._REDUCED = 50_000, 30_000, 10
        """
    )
    result = agent.run("for i in range(1_000): display(i)\n'the end'")
    shown = agent.call("get_execution", execution_id=result.id, limit=500).text
    assert "[512 or more displays dropped from here on: an execution may show 50,000" in shown
    numbers = [int(line) for line in shown.split("\n") if line.isdecimal()]
    assert numbers == sorted(numbers)
    assert numbers[0] == 0
    assert 60 < len(numbers) < 120
    assert "\n999\n[text/plain]\n'the end'\n" in shown


LARGE_DISPLAYS = {
    "displays": "for i in range(60): display(form(i), raw=True)",
    "frames": "for i in range(60): clear_output(wait=True); display(form(i), raw=True)",
    "updates": "shown = display(form('first'), display_id='one', raw=True)\n"
    "for i in range(60): shown.update(form(i), raw=True)",
}
FORM = """
from IPython.display import clear_output
def form(i): return {"text/html": "x" * 1_000_000, "text/plain": f"number {i}"}
"""


@pytest.mark.parametrize("name", LARGE_DISPLAYS)
def test_large_displays_stay_within_a_budget_and_the_last_one_is_shown(
    shared: Agent, name: str
) -> None:
    storage = shared.server.stderr.parent / "storage"
    shared.run(FORM)
    before, kept = shared.server.memory(), kept_bytes(storage)
    result = shared.run(LARGE_DISPLAYS[name], within=60)
    assert result.outcome == "ok"
    if name == "displays":
        assert "\n[text/html, 1,000,000 bytes: " in result.text
    assert shared.server.memory() - before < 150
    assert kept_bytes(storage) - kept < 60e6
    numbers = re.findall(r"number (\d+)", result.text)
    assert numbers == (["59"] if name != "displays" else [str(number) for number in range(60)])


def kept_bytes(storage: Path) -> int:
    """What history takes, files of what is too long aside."""
    files = [path for path in storage.rglob("*") if path.is_file() and "spill" not in path.parts]
    return sum(path.stat().st_size for path in files)


def test_what_json_can_not_hold_is_told_in_place_of_it(shared: Agent) -> None:
    result = shared.run(
        """
        from IPython.display import JSON
        deep = []
        for _ in range(3_000): deep = [deep]
        display({"application/json": {"deep": deep}, "text/plain": "a"}, raw=True)
        display({"application/json": {"long": 10**5_000}, "text/plain": "b"}, raw=True)
        """.replace("\n        ", "\n")
    )
    assert result.outcome == "ok"
    assert "a\n[application/json can't be shown: it is nested more than 200 deep]" in result.text
    assert "b\n[application/json can't be shown: Exceeds the limit" in result.text
    shared.still_works()


ODD = {
    "bytes that are not UTF-8": ("import os; os.write(1, b'a\\xff\\xfeb\\n');", "a��b\n"),
    "UTF-8 across the edges of chunks": (
        "import os; os.write(1, 'é'.encode() * 100_000);",
        "é" * 2000,
    ),
    "a lone surrogate in print": ("print('a\\ud800b')", "a\\ud800b\n"),
    "a lone surrogate in a result": ("'a\\ud800b'", "'a\\ud800b'\n"),
    "a lone surrogate in an error": ("raise ValueError('a\\ud800b')", "ValueError: a\\ud800b\n"),
    "NUL": ("print('a\\0b')", "a\\x00b\n"),
    "NUL on a descriptor": ("import os; os.write(2, b'a\\0b\\n');", "[stderr]\na\\x00b\n"),
    "colours": ("print('\\x1b[1;31mred\\x1b[0m')", "red\n"),
    "a title and a link": (
        "print('\\x1b]0;title\\x07a \\x1b]8;;http://x\\x1b\\\\link\\x1b]8;;\\x1b\\\\')",
        "a link\n",
    ),
    "a carriage return": ("print('half\\rdone')", "done\n"),
    "a thread's error": (
        "import threading\nt = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()",
        "ZeroDivisionError: division by zero\n",
    ),
    "an error that nobody can catch": (
        "class D:\n    def __del__(self): 1 / 0\nd = D()\ndel d",
        "ZeroDivisionError: division by zero\n",
    ),
    "a warning": ("import warnings; warnings.warn('careful')", "UserWarning: careful\n"),
    "stderr beside stdout": (
        "import sys; print('out'); print('err', file=sys.stderr)",
        "out\n[stderr]\nerr\n",
    ),
    "a display that is cleared": (
        "from IPython.display import clear_output\nprint('old'); clear_output(); print('new')",
        "new\n",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_output_arrives_as_text(shared: Agent, name: str) -> None:
    code, text = ODD[name]
    result = shared.run(code, within=20)
    assert text in result.text
    assert "\x1b" not in result.text
    failed = name == "a lone surrogate in an error"
    assert result.outcome == ("exception" if failed else "ok")
    if "carriage" in name or "cleared" in name:
        assert result.text.startswith(text)
    shared.still_works()


BROKEN = {
    "a repr without end": (
        "class E:\n    def __repr__(self): return repr(self)\nE()",
        "RecursionError: maximum recursion depth exceeded",
    ),
    "a repr that raises": (
        "class E:\n    def __repr__(self): raise KeyError('inner')\nE()",
        "KeyError: 'inner'\n",
    ),
    "a repr that is no text": (
        "class E:\n    def __repr__(self): return 3\nE()",
        "TypeError: __repr__ returned non-string (type int)\n",
    ),
    "an error that can't say what it is": (
        "class E(Exception):\n    def __str__(self): raise KeyError('inner')\nraise E(1)",
        "E: [its __str__ raised KeyError: 'inner']\n",
    ),
    "an error whose message is no text": (
        "class E(Exception):\n    def __str__(self): return 3\nraise E(1)",
        "E: [its __str__ raised TypeError: __str__ returned non-string (type int)]\n",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_can_not_be_described_is_one_error(shared: Agent, name: str) -> None:
    code, text = BROKEN[name]
    result = shared.run(code, within=20)
    assert result.outcome == "exception"
    assert result.text.startswith(text)
    assert len(re.findall(r"^\w*(?:Error|E)\b", result.text, re.MULTILINE)) == 1
    shared.still_works()


def test_a_repr_counts_for_the_time_limit(shared: Agent) -> None:
    code = f"class Slow:\n    def __repr__(self):\n        {FOR_EVER}\nSlow()"
    result = shared.run(code, timeout_seconds=1, within=15)
    assert result.outcome == "timeout"
    shared.still_works()


def test_threads_and_forked_children_of_a_cell_are_heard_in_whole_lines(shared: Agent) -> None:
    result = shared.run(
        """
        import os, threading
        from multiprocessing import get_context
        threads = [threading.Thread(target=print, args=(f"thread{n}\\n",), kwargs={"end": ""})
                   for n in range(3)]
        children = [get_context("fork").Process(target=print, args=("child", n)) for n in range(4)]
        for each in threads + children: each.start()
        for each in threads + children: each.join()
        if not (pid := os.fork()):
            print("no", "newline", end="")
            os._exit(0)
        _ = os.waitpid(pid, 0)
        """.replace("\n        ", "\n"),
        within=20,
    )
    lines = result.text.split("\n")
    assert {"thread0", "thread1", "thread2"} <= set(lines)
    assert {"child 0", "child 1", "child 2", "child 3"} <= set(lines)
    assert "no newline" in result.text


def test_a_child_that_goes_on_after_its_fork_is_heard(agent: Agent) -> None:
    result = agent.run("import os\npid = os.fork()\nprint('both', pid == 0)")
    heard = result.text + agent.call("get_execution", execution_id=result.id, wait_seconds=60).text
    assert "both False\n" in heard
    for _ in range(50):
        if "both True\n" in heard:
            break
        heard += agent.run("None").text
        heard += agent.call("get_execution", execution_id=result.id).text
    assert "both True\n" in heard
    agent.still_works()


LATER = {
    "a thread": "threading.Thread(target=speak, daemon=True).start()",
    "a thread of a thread": (
        "threading.Thread(target=lambda: threading.Thread(target=speak).start()).start()"
    ),
    "a timer": "threading.Timer(0.01, speak).start()",
    "a pool made before": "pool.submit(speak)",
    "a task": "async def task():\n    await asyncio.to_thread(go.wait)\n"
    "    print('from cell one'); said.set()\nasyncio.ensure_future(task());",
    "a thread that displays": "threading.Thread(target=speak, args=(display,)).start()",
}


@pytest.mark.parametrize("name", LATER)
def test_what_an_earlier_cell_goes_on_to_say_stays_its_own_and_is_told(
    shared: Agent, name: str
) -> None:
    shared.run(
        "import asyncio, threading\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "go, said = threading.Event(), threading.Event()\n"
        "def speak(say=print):\n    go.wait(20); say('from cell one'); said.set()\n"
        "pool = ThreadPoolExecutor(1)\npool.submit(print, 'made').result()"
    )
    first = shared.run(LATER[name])
    wait = "await asyncio.to_thread(said.wait, 20);" if name == "a task" else "said.wait(20);"
    second = shared.run(f"go.set()\nprint('mine')\n{wait}\nprint('too')", within=25)
    assert second.text.startswith("mine\ntoo\n")
    assert f"[background output of {first.id}: " in second.text
    assert "background" not in shared.run("print('third')").text
    own = shared.call("get_execution", execution_id=first.id)
    assert "[late]\n" in own.text
    assert "from cell one" in own.text


def test_a_thread_that_never_stops_talking_is_told_of_in_a_line(agent: Agent) -> None:
    first = agent.run(
        "import threading\nstop, said = threading.Event(), threading.Semaphore(0)\ndef talk():\n"
        "    while not stop.wait(0.0001): print('blah ' * 20); said.release()\n"
        "threading.Thread(target=talk, daemon=True).start()"
    )
    result = agent.run("for _ in range(1000): said.acquire()\nprint('mine')")
    assert result.text.startswith("mine\n[background output of ")
    assert first.id in result.text
    assert len(result.text) < 1_000
    agent.run("stop.set()")

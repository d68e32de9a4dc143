"""No value and no trick of a cell costs its kernel: one kernel runs all of these in turn."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from tests.waits import FOR_EVER
from tests.wire import Server, serving

from .conftest import Agent

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def same() -> Iterator[Agent]:
    """One kernel for all, which none may cost; it holds `x`."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        agent = Agent(server)
        agent.run("x = 41; import builtins, os, signal, sys, threading, time")
        yield agent
        assert agent.run("1").meta["kernel"]["generation"] == 1


TEXTS = {
    "printed": ("print('a{0}b')", "a{1}b\n"),
    "written to stderr": ("print('a{0}b', file=sys.stderr)", "a{1}b\n"),
    "an error": ("raise OSError('a{0}b')", "OSError: a{1}b\n"),
    "a display": ("display({{'text/plain': 'a{0}b'}}, raw=True)", "a{1}b\n"),
    "a MIME type": ("display({{'text/a{0}b': 'x'}}, raw=True)", "text/a{1}b"),
    "metadata": ("display({{'text/plain': 'y'}}, metadata={{'a{0}b': 1}}, raw=True)", "y\n"),
    "a key of JSON": ("display({{'application/json': {{'a{0}b': 1}}}}, raw=True)", "a{1}b"),
    "a page": (
        "get_ipython().payload_manager.write_payload("
        "{{'source': 'page', 'data': {{'text/plain': 'a{0}b'}}, 'start': 0}})",
        "a{1}b\n",
    ),
    "a name": ("globals()['a{0}b'] = 1", "a{1}b"),
    "a comm": ("import comm; c = comm.create_comm(data={{'a{0}b': 1}})", "ok"),
    "a file of code": ("exec(compile('1 / 0', 'a{0}b.py', 'exec'))", "Error: "),
    "a thread": ("threading.Thread(target=print, args=['a{0}b']).start()", "ok"),
}
SURROGATES = {"a byte of a file name": r"\udc80", "half a pair": r"\ud83d"}


@pytest.mark.parametrize(("kind", "half"), list(product(TEXTS, SURROGATES)))
def test_text_that_is_not_unicode_arrives_and_costs_nothing(
    same: Agent, kind: str, half: str
) -> None:
    source, shown = TEXTS[kind]
    odd = same.run(source.format(SURROGATES[half], ""))
    assert shown.format("", SURROGATES[half]) in odd.text
    assert same.run("print(x + 1)").text.startswith("42\n")


CELLS = {
    "names that are no text": "globals().update({1: 'a', None: 2, (3,): 4})",
    "a class without a module": "y = type('X', (), {'__module__': None})()",
    "a name of two lines": "globals()['a\\nb'] = 1",
    "a class with a long name": "z = type('Z' * 1_000_000, (), {})()",
    "a class that exits": (
        "class Meta(type):\n    def __hash__(kind): raise SystemExit\n"
        "class V(metaclass=Meta): pass\nv = V()"
    ),
    "a type that lies": "class V:\n    __class__ = property(lambda self: exit())\nw = V()",
    "a length that takes for ever": (
        "class V(list):\n    def __len__(self):\n        while True: pass\nu = V()"
    ),
    "a class that can't say its name": (
        "class Meta(type):\n    __name__ = __module__ = property(lambda self: 1 / 0)\n"
        "m = Meta('M', (), {})()"
    ),
    "a length that exits": ("class L(list):\n    def __len__(self): raise SystemExit\nl = L()"),
    "an attribute that exits": (
        "class G:\n    def __getattribute__(self, name): raise SystemExit\ng = G()"
    ),
    "a repr that exits": "class R:\n    def __repr__(self): raise SystemExit\nR()",
    "a repr that interrupts": "class K:\n    def __repr__(self): raise KeyboardInterrupt\nK()",
    "an error that exits": "class E(Exception):\n    def __str__(self): raise SystemExit\nraise E",
    "an error with a long name": "raise type('E' * 1_000_000, (Exception,), {})('x')",
    "JSON in a ring": "c = []; c.append(c); display({'application/json': c}, raw=True)",
    "deep JSON": (
        "sys.setrecursionlimit(100_000); n = []\nfor _ in range(3000): n = [n]\n"
        "display({'application/json': n}, raw=True); del n"
    ),
    "a long number": "display({'application/json': [10 ** 5000, float('nan')]}, raw=True)",
    "a long number that may be written": (
        "sys.set_int_max_str_digits(0); display({'application/json': 10 ** 5000}, raw=True)"
    ),
    "keys of other types": "display({'application/json': {(1, 2): 3}}, raw=True)",
    "no function of os": (
        "for name in dir(os):\n"
        "    if callable(getattr(os, name)) and name[0] != '_': setattr(os, name, None)"
    ),
    "no clock": "time.monotonic = time.time = time.perf_counter = None",
    "no JSON": "import json; json.dumps = json.loads = None",
    "no threads": "threading.current_thread = threading.Thread.start = None",
    "no builtins": "for name in ['len', 'repr', 'isinstance']: delattr(builtins, name)",
    "builtins that fail": "builtins.len = builtins.repr = lambda *_: 1 / 0",
    "hooks that are none": "sys.excepthook = sys.displayhook = sys.unraisablehook = None",
    "streams that exit": (
        "class Odd:\n    def __getattr__(self, name): raise SystemExit\nsys.stdout = Odd()"
    ),
    "no streams": "del sys.stdout, sys.stderr",
    "streams without their methods": "sys.stdout.write = sys.stderr.flush = None",
    "a callback that exits": (
        "def leave(*_): raise SystemExit\n"
        "get_ipython().events.register('post_execute', leave)\n"
        "get_ipython().events.register('pre_execute', lambda: get_ipython().events.callbacks"
        "['post_execute'].clear())"
    ),
    "an end that exits": "class D:\n    def __del__(self): raise SystemExit\nd = D(); del d",
    "warnings that are errors": "import warnings; warnings.simplefilter('error')",
    "all tasks cancelled": "import asyncio\nfor task in asyncio.all_tasks(): task.cancel()",
    "a task that interrupts": (
        "import asyncio\ndef stop(): raise KeyboardInterrupt\n"
        "for _ in range(3): asyncio.get_event_loop().call_soon(stop)"
    ),
    "a folder that became a file": (
        "import pathlib, tempfile; p = pathlib.Path(tempfile.mkdtemp()); os.chdir(p)\n"
        "p.rmdir(); p.write_text('')"
    ),
    "an unhashable thread": (
        "class T(threading.Thread):\n    __hash__ = None\nt = T(target=print); t.start(); t.join()"
    ),
}


@pytest.mark.parametrize("kind", CELLS)
def test_the_cell_after_an_odd_one_runs_as_if_nothing_had_been(same: Agent, kind: str) -> None:
    odd = same.run(CELLS[kind])
    assert odd.outcome in {"ok", "exception"}
    assert same.call("kernel_status", variables=True).structured["total"] >= 1
    after = same.run("print(x + 1)")
    assert "42\n" in after.text  # what a task says late may come before
    assert after.outcome == "ok"


def test_a_clock_that_a_cell_counts_is_not_asked_by_us(same: Agent) -> None:
    counted = same.run(
        "import sys, threading, time\n"
        "real, here, asked = time.monotonic, threading.get_ident(), []\n"
        "def counting():\n"
        "    if threading.get_ident() == here:\n"
        "        frame, names = sys._getframe(1), []\n"
        "        while frame.f_globals is not globals():  # up to this cell\n"
        "            names.append(frame.f_globals['__name__'])\n"
        "            frame = frame.f_back\n"
        "        asked.append(names)\n"
        "    return real()\n"
        "time.monotonic = counting\n"
        "for i in range(5): print(i, flush=True); display(i)\n"
        "time.monotonic = real\n"
        "print([names for names in asked if any('kernel_exec' in name for name in names)])"
    )
    assert "\n[]\n" in counted.text


def test_the_threads_of_a_kernel_serve_on_when_their_loops_fail(same: Agent) -> None:
    failed = same.run(
        "def leave(): raise SystemExit\n"
        "for thread in (get_ipython().kernel.iopub_thread, get_ipython().kernel.control_thread):\n"
        "    served = threading.Event()\n"
        "    thread.io_loop.asyncio_loop.call_soon_threadsafe(leave)\n"
        "    thread.io_loop.add_callback(served.set)\n"
        "    print(served.wait(30))\n"
        "del thread"
    )
    assert failed.text.count("True\n") == 2


def test_a_long_name_of_an_error_leaves_room_for_the_outcome(same: Agent) -> None:
    failed = same.run(CELLS["an error with a long name"])
    assert failed.text.startswith("EEEE")
    assert failed.id in failed.text.splitlines()[-1]
    assert len(failed.text) < 5000


HANDLERS = {"none": "signal.SIG_DFL", "its own": "lambda *_: 1 / 0"}


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_time_limit_costs_no_kernel_whose_code_takes_signals(same: Agent, handler: str) -> None:
    taken = f"for s in [signal.SIGUSR1, signal.SIGUSR2]: signal.signal(s, {HANDLERS[handler]})"
    same.run(taken)
    stopped = same.run(FOR_EVER, timeout_seconds=1)
    assert stopped.outcome == "timeout"
    assert "line 1" in stopped.text
    assert same.run("print(x + 1)").text.startswith("42\n")


def test_a_time_limit_costs_no_kernel_that_took_the_signal_of_our_own(same: Agent) -> None:
    same.run("signal.signal(signal.SIGURG, signal.SIG_DFL)")
    assert same.run(FOR_EVER, timeout_seconds=1).outcome == "timeout"
    assert same.run("print(x + 1)").text.startswith("42\n")


SURVIVED = "try: threading.Event().wait()\nexcept KeyboardInterrupt: pass\nraise ValueError('no')"
CAUSED = "try: threading.Event().wait()\nexcept KeyboardInterrupt: raise ValueError('no')"


@pytest.mark.parametrize(("source", "outcome"), [(SURVIVED, "exception"), (CAUSED, "timeout")])
def test_an_error_after_an_interrupt_that_was_survived_is_an_error(
    same: Agent, source: str, outcome: str
) -> None:
    assert same.run(source, timeout_seconds=1).outcome == outcome


def test_an_argument_that_is_not_unicode_costs_no_kernel(same: Agent) -> None:
    source = "import sys; print(len(sys.argv))"
    file = same.server.call("initialize_code_file", filename="args", content=source)
    path = file.structured["file_path"]
    same.call("execute_code_file", file_path=path, args=["\ud83d", "\udc80"])
    assert same.run("print(x + 1)").text.startswith("42\n")


def test_a_kernel_that_takes_long_to_end_takes_no_other_call_along(server: Server) -> None:
    agent = Agent(server)
    agent.run("import atexit, time; atexit.register(time.sleep, 60); exit()")
    after = agent.run("print(6 * 7)", within=20)
    assert after.outcome == "ok"
    assert after.text.startswith("42\n")
    assert "after exit()" in after.text
    agent.close()


def test_a_kernel_that_ends_without_a_word_takes_no_other_call_along(server: Server) -> None:
    agent = Agent(server)
    agent.run("get_ipython().exit_now = True")
    after = agent.run("print(6 * 7)", within=20)
    assert after.text.startswith("42\n")
    agent.close()


CAPABILITIES = "+dac_override,+dac_read_search"
"""Root's files must be read, and root itself is exempt from the limit."""

NOBODY_ELSE = 1_000_000 + os.getpid()
"""A user of this worker's own: the limit is on all that a user runs."""

LIMITED = (
    *("setpriv", f"--reuid={NOBODY_ELSE}", "--clear-groups"),
    *(f"--inh-caps={CAPABILITIES}", f"--ambient-caps={CAPABILITIES}", "prlimit"),
)


@pytest.mark.skipif(not shutil.which("setpriv") or os.getuid() != 0, reason="needs root's setpriv")
@pytest.mark.parametrize(("limit", "kernels"), [(30, 1), (18, 0), (8, 0)])
def test_a_limit_of_processes_refuses_kernels_and_keeps_the_server(
    tmp_path: Path, limit: int, kernels: int
) -> None:
    with serving(tmp_path, prefix=(*LIMITED, f"--nproc={limit}")) as server:
        agents = [Agent(server) for _ in range(3)]
        results = [agent.run("print(6 * 7)") for agent in agents]
        assert [result.text[:3] for result in results[:kernels]] == ["42\n"] * kernels
        for refused in results[kernels:]:
            assert "threads and processes" in refused.text
        for agent in agents[:kernels]:
            agent.close()
        assert agents[-1].run("print(6 * 7)").text.startswith("42\n") is bool(kernels)
        assert server.leave() == 0

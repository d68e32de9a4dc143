"""What works in a terminal and in Jupyter works here; one kernel runs all of these in turn.

Its server was started by something that ignores and blocks signals and allows few descriptors,
none of which is for the code of a cell.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.waits import FOR_EVER
from tests.wire import serving

from .conftest import Agent

pytestmark = pytest.mark.kernel

DESCRIPTORS = 500

ODD_START = f"""
import os, resource, signal, sys
for each in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    signal.signal(each, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGUSR1])
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, ({DESCRIPTORS}, most))
os.execvp(sys.argv[1], sys.argv[1:])
"""

SEEN = """
import json, os, resource, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
umask = os.umask(0)
print(json.dumps({
    "environment": dict(os.environ),
    "signals": {each: int(status[each], 16) & 0x7fffffff for each in ("SigIgn", "SigBlk")},
    "descriptors": [at for at in range(1000) if os.path.exists("/proc/self/fd/%d" % at)],
    "limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    "input": sys.stdin.read(),
    "path": sys.path, "flags": str(sys.flags), "arguments": sys.argv, "folder": os.getcwd(),
    "umask": umask, "nice": os.nice(0), "recursion": sys.getrecursionlimit(),
    "streams": [sys.stdout.encoding, sys.stdout.errors],
}))
"""


@pytest.fixture(scope="module")
def same() -> Iterator[Agent]:
    prefix = (sys.executable, "-c", ODD_START)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), prefix=prefix) as server:
        agent = Agent(server)
        agent.run(
            "import os, subprocess, asyncio, contextvars, decimal\n"
            "import sys, threading, traceback, warnings"
        )
        agent.run("1 / 0")  # for those that look at the last error
        # what serves all later workers is not left behind by one test
        agent.run("from multiprocessing import forkserver; forkserver.ensure_running()")
        Agent(server, session="other").run("1")
        yield agent


@pytest.fixture(scope="module")
def seen(same: Agent, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A program, and what it sees where no kernel is."""
    program = tmp_path_factory.mktemp("seen") / "seen.py"
    program.write_text(SEEN)
    environment = "import json, os; print(json.dumps([os.getcwd(), dict(os.environ)]))"
    file = same.server.call("initialize_code_file", filename="bare", content=environment)
    path = file.structured["file_path"]
    told = same.call("execute_code_file", file_path=path, mode="isolated").text
    folder, variables = json.loads(told.splitlines()[0])
    bare = subprocess.run(
        # whoever runs tests in the background may ignore them, which a server does not hand on
        ["env", "--default-signal=HUP,INT,QUIT", sys.executable, program],
        env=variables,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    return program, json.loads(bare.stdout) | {"limit": DESCRIPTORS}


WAYS = {
    "a program": "subprocess.run([sys.executable, '{0}'])",
    "one that inherits all descriptors": "subprocess.run(['{1}', '{0}'], close_fds=False)",
    "one in a copy of the environment": "subprocess.run(['{1}', '{0}'], env={{**os.environ}})",
    "a program of C's": "os.spawnv(os.P_WAIT, '{1}', ['{1}', '{0}'])",
    "one after a fork": (
        "pid = os.fork()\nif pid == 0: os.execv('{1}', ['{1}', '{0}'])\nos.waitpid(pid, 0)"
    ),
    "a worker": (
        "import multiprocessing\nwith multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "    print(pool.apply(subprocess.getoutput, ['{1} {0} </dev/null']))"
    ),
}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("way", WAYS)
def test_a_child_process_sees_what_it_sees_without_a_kernel(
    same: Agent, seen: tuple[Path, dict[str, Any]], way: str
) -> None:
    program, bare = seen
    ran = same.run(WAYS[way].format(program, sys.executable))
    told = json.loads(next(line for line in ran.text.splitlines() if line[:1] == "{"))
    assert told["environment"].pop("PWD", told["folder"]) == told["folder"]  # a shell sets it
    for name in ("COLUMNS", "LINES"):  # readline sets them, which a debugger imports
        told["environment"].pop(name, None)
    assert told == bare


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_worker_has_the_path_of_the_kernel_and_that_is_of_its_environment(
    same: Agent, method: str
) -> None:
    worker = same.run(
        f"import multiprocessing\nwith multiprocessing.get_context({method!r}).Pool(1) as pool:\n"
        "    path = pool.apply(eval, ['__import__(\"sys\").path'])\n"
        "print(path == [each or os.getcwd() for each in sys.path])\n"
        "bare = subprocess.run([sys.executable, '-c', 'import sys; print(sys.path)'],"
        " capture_output=True, text=True)\n"
        "print(set(sys.path) == set(eval(bare.stdout)))"
    )
    assert worker.text.startswith("True\nTrue\n")


def test_a_kernel_whose_server_ignores_and_blocks_interrupts_can_be_interrupted(
    same: Agent,
) -> None:
    stopped = same.run(f"kept = 1; {FOR_EVER}", timeout_seconds=1)
    assert stopped.outcome == "timeout"
    assert same.run("print(kept)").text.startswith("1\n")


PRINTED: dict[str, tuple[list[str], str]] = {
    "bytes and text in turn": (
        [
            "print('a'); _ = sys.stdout.buffer.write(b'b\\n'); print('c')\n"
            "os.write(1, b'd\\n'); sys.stdout.buffer.writelines([b'e\\n', bytearray(b'f\\n')])\n"
            "subprocess.run(['echo', 'g'], stdout=sys.stdout); print('h', file=sys.__stdout__)\n"
            "print('i'); sys.stdout.buffer.flush(); os.system('echo j'); sys.stdout.detach()"
            ".write(b'k\\n'); print('l', end='', file=sys.__stdout__)"
        ],
        "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl",
    ),
    "characters in parts": (
        [
            "for each in '€ü\\n'.encode():\n"
            "    sys.stdout.buffer.write(bytes([each])); sys.stdout.buffer.flush()"
        ],
        "€ü\n",
    ),
    "half a character": (["_ = sys.stdout.buffer.write(b'a\\xe2\\x82')"], "a\ufffd"),
    "half a character of a cell before": (["_ = os.write(1, b'\\xe2')", "print('b')"], "b\n"),
    "a stream of one's own around the bytes": (
        [
            "import io; sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8')\n"
            "print('ü')"
        ],
        "ü\n",
    ),
    "a stream that is set up": (
        [
            "sys.stdout.reconfigure(encoding='utf-8', errors='replace'); print('a'.encode("
            "sys.stdout.encoding, sys.stdout.errors), sys.stdout.isatty(), sys.stdout.fileno())"
        ],
        "b'a' False 1\n",
    ),
    "what comes after a closed descriptor": (
        ["os.close(1)", "_ = os.system('echo a'); print('b')"],
        "a\nb\n",
    ),
    "a precision set in a cell that awaits": (
        [
            "await asyncio.sleep(0)\ndecimal.getcontext().prec = 5",
            "print(1 / decimal.Decimal(3)); decimal.getcontext().prec = 6",
            "await asyncio.sleep(0)\nprint(1 / decimal.Decimal(3)); decimal.setcontext("
            "decimal.Context(prec=3))\nraise ValueError",
            "print(1 / decimal.Decimal(3))",
        ],
        "0.333\n",
    ),
    "context variables of cells and of tasks": (
        [
            "v = contextvars.ContextVar('v', default=0); v.set(1);",
            "async def task(): v.set(v.get() + 10)\n"
            "await asyncio.gather(task(), task()); v.set(v.get() + 1); await asyncio.sleep(0)",
            "token = v.set(v.get() + 1)",
            "v.reset(token); print(v.get()); contextvars.copy_context().run(v.set, 9)\n"
            "get_ipython().run_cell('_ = v.set(5)'); print(v.get())",
        ],
        "2\n5\n",
    ),
    "a variable that a cell resets": (
        [
            "w = contextvars.ContextVar('w'); token = w.set(1)",
            "w.reset(token)",
            "await asyncio.sleep(0); print(w.get('none'))",
        ],
        "none\n",
    ),
}


@pytest.mark.parametrize("what", PRINTED)
def test_a_cell_prints(same: Agent, what: str) -> None:
    cells, printed = PRINTED[what]
    *_, told = [same.run(cell).text for cell in cells]
    assert told.startswith(f"{printed.rstrip()}\n")
    assert same.run("print('next')").text.startswith("next\n")


FAIL = "def fail(): 1 / 0\nprint(fail.__code__.co_filename)"
SHOWN = {
    "a traceback": "fail()",
    "one that code prints": "try: fail()\nexcept ZeroDivisionError: traceback.print_exc()",
    "one that code makes": "try: fail()\nexcept ZeroDivisionError: print(traceback.format_exc())",
    "one of a thread": "t = threading.Thread(target=fail); t.start(); t.join()",
    "one of a task": (
        "async def task(): fail()\nt = asyncio.create_task(task())\n"
        "await asyncio.sleep(0)\ntry: t.result()\nexcept ZeroDivisionError: traceback.print_exc()"
    ),
    "one of the cause": "try: fail()\nexcept ZeroDivisionError as e: raise OSError from e",
}


def test_the_same_source_has_the_same_name_and_is_shown_by_its_latest_file(same: Agent) -> None:
    names = {same.run(FAIL, filename=name).text.splitlines()[0] for name in ("one", "two")}
    (name,) = names | {Agent(same.server, session="other").run(FAIL).text.splitlines()[0]}
    assert Path(name).parent.name.startswith("ipykernel_")  # which caches take for a notebook
    assert not Path(name).exists()
    for code in SHOWN.values():
        assert re.search(r"two_\w{8}\.py\"?, line 1, in fail.*\s.*1 / 0", same.run(code).text), code


def test_a_warning_and_a_syntax_error_show_the_file_that_was_stored(same: Agent) -> None:
    assert re.search(
        r"(?m)^warns_\w{8}\.py:1: UserWarning: a",
        same.run("warnings.warn('a')", filename="warns").text,
    )
    assert re.search(r"\(odd_\w{8}\.py, line 2\)", same.run("x = 1\ny = = 2", filename="odd").text)


MAGICS = {
    "%load": ("%load loaded.py", "a = 1\nb = 2"),
    "%loadpy": ("%loadpy loaded", "a = 1\nb = 2"),
    "%recall": ("%recall 1", "import os, subprocess"),
    "%edit": ("%edit loaded.py", "UsageError: nobody can edit here"),
    "%debug": ("%debug", "print values instead of calling a debugger"),
    "breakpoint": ("breakpoint()", "print values instead of calling a debugger"),
    "%matplotlib": ("%matplotlib notebook", "shown inline instead of by 'notebook'"),
    "an unknown one": ("%nothing", "UsageError: Line magic function `%nothing` not found."),
}


@pytest.mark.parametrize("magic", MAGICS)
def test_a_magic_that_wants_somebody_shows_what_it_has_or_refuses(same: Agent, magic: str) -> None:
    same.run("open('loaded.py', 'w').write('a = 1\\nb = 2\\n')")
    code, shown = MAGICS[magic]
    ran = same.run(code)
    assert ran.text.count(shown) == 1, ran.text
    assert same.run("'a' in globals()").text.startswith("False\n")

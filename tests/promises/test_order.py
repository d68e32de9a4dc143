"""Both streams, other processes, C code and displays are told in the order in which they came."""

import re

import pytest

from tests.promises.conftest import Agent
from tests.wire import Server

ORDERED = {
    "both streams": (
        "for i in range(3): print(f'out {i}'); print(f'err {i}', file=sys.stderr)",
        "out 0, err 0, out 1, err 1, out 2, err 2",
    ),
    "another process": (
        "print('a'); print('b', file=sys.stderr); subprocess.run(['echo', 'c'])\n"
        "os.write(1, b'd\\n'); print('e', file=sys.stderr); _ = os.write(2, b'f\\n'); print('g')",
        "a, b, c, d, e, f, g",
    ),
    "a shell command": (
        "print('a', file=sys.stderr)\n!echo b\nprint('c', file=sys.stderr)",
        "a, b, c",
    ),
    "C code": (
        "import ctypes; libc = ctypes.CDLL(None)\nprint('a', file=sys.stderr)\n"
        "_ = libc.printf(b'b\\n'); print('c', file=sys.stderr)",
        "a, b, c",
    ),
    "logging and warnings": (
        "import logging, warnings; log = logging.getLogger('new')\nprint('a')\n"
        "log.warning('b'); print('c')\n"
        "warnings.warn_explicit('d', UserWarning, 'f', 1); print('e')",
        "a, b, c, f:1: UserWarning: d, e",
    ),
    "displays": (
        "print('a'); print('b', file=sys.stderr); display(C); print('d'); display(E)",
        "a, b, c, d, e",
    ),
    "a redirected stream": (
        "import contextlib\nprint('a', file=sys.stderr)\n"
        "with contextlib.redirect_stdout(sys.stderr): print('b'); display(C)\nprint('d')",
        "a, b, c, d",
    ),
    "no stream at all": (
        "import contextlib, io\nprint('a')\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):\n"
        "    display(C)\nprint('d')",
        "a, c, d",
    ),
    "a forked child": (
        "print('a', file=sys.stderr, flush=True)\n"
        "if not (pid := os.fork()): print('b'); os._exit(0)\n"
        "_ = os.waitpid(pid, 0); print('c', file=sys.stderr)",
        "a, b, c",
    ),
    "a thread": (
        "import threading\nprint('a', file=sys.stderr); t = threading.Thread(target=print, "
        "args=('b',)); t.start(); t.join(); print('c', file=sys.stderr)",
        "a, b, c",
    ),
    "a thousand lines": (
        "for i in range(1000): print(i, file=sys.stderr if i % 2 else sys.stdout)",
        ", ".join(map(str, range(1000))),
    ),
    "an error": (
        "print('a', file=sys.stderr); print('b')\nraise SystemExit('c')",
        "a, b, An exception has occurred, use %tb to see the full traceback., SystemExit: c",
    ),
    "a death": (
        "print('a', file=sys.stderr); print('b'); print('c', file=sys.stderr); os._exit(1)",
        "a, b, c",
    ),
}


@pytest.mark.parametrize("name", ORDERED)
def test_what_is_put_out_keeps_its_order(shared: Agent, server: Server, name: str) -> None:
    code, lines = ORDERED[name]
    agent = Agent(server) if name == "a death" else shared
    agent.run(
        "import os, subprocess, sys\nclass Letter:\n"
        "    def __init__(self, letter): self.letter = letter\n"
        "    def __repr__(self): return self.letter\nC, E = Letter('c'), Letter('e')"
    )
    result = agent.run(code)
    page = agent.call("get_execution", execution_id=result.id, limit=2_000).text
    shown = [line for line in page.split("\n") if line and not re.fullmatch(r"\[[a-z/]+\]", line)]
    assert ", ".join(shown).startswith(lines)
    if agent is not shared:
        agent.close()


def test_a_bar_between_prints_is_shown_as_it_ended(shared: Agent) -> None:
    result = shared.run(
        "import sys\n"
        "for i in range(50):\n"
        "    sys.stderr.write(f'\\r{i + 1}/50'); sys.stderr.flush(); print('step', i)"
    )
    assert result.text.count("/50") == 1
    assert "50/50" in result.text
    assert "step 0\nstep 1\nstep 2\n" in result.text

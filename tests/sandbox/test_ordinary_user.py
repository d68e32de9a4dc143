"""Walls hold around what a user starts who is not root, and what people do works behind them."""

import os
import shutil
import sys
from contextlib import contextmanager

import pytest

from tests.wire import Server

from .attacks import ATTACKS
from .holding import require_walls
from .test_walls import ROOT, Place, serve, state
from .users import ordinary_user

pytestmark = pytest.mark.kernel

_TRY = """
import io, contextlib
for name, code in attacks.items():
    tried = dict(globals())
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code, tried)
        got = tried.get('got')
    except Exception as error:
        got = None
    if got:
        print('BROKEN', name, got)
print('tried', len(attacks), os.getuid() > 0)
"""


_WORK = {
    "arithmetic": "import numpy as np; int((np.ones((300, 300)) @ np.ones((300, 300))).sum())",
    "tables": "import pandas as pd; df = pd.DataFrame({'a': [1, 2, 3]}); int(df.a.sum())",
    "files": "df.to_csv('df.csv'); len(pd.read_csv('df.csv'))",
    "a picture": "import matplotlib.pyplot as plt; _ = plt.plot([1, 2])",
    "a command": "!echo shell && touch made && ls made",
    "a shell": "%%bash\necho bash; mktemp >/dev/null && echo temporary",
    "threads": "from concurrent.futures import *; sum(ThreadPoolExecutor(4).map(abs, range(9)))",
    "forks": "import multiprocessing as mp\n"
    "with mp.get_context('fork').Pool(2) as pool: print(pool.map(abs, [-1, -2]))",
    "spawned": "with ProcessPoolExecutor(2, mp_context=mp.get_context('spawn')) as pool:\n"
    "    print(list(pool.map(abs, [-3, -4])))",
    "shared memory": "from multiprocessing.shared_memory import SharedMemory\n"
    "m = SharedMemory(create=True, size=9); m.close(); m.unlink(); print('shared')",
    "programs": "import subprocess, sys\n"
    "run = lambda n: subprocess.check_output([sys.executable, '-c', f'print({n})'], text=True)\n"
    "list(ThreadPoolExecutor(2).map(run, (1, 2)))",
}
_DONE = [
    *("27000000", "6", "3", "[picture 1 of 1, 547x413]", "shell\nmade", "bash\ntemporary", "36"),
    *("[1, 2]", "[3, 4]", "shared", "['1\\n', '2\\n']"),
]


@pytest.mark.parametrize("word", ["workspace", "isolated"])
def test_an_ordinary_user_breaks_no_wall_and_works_as_usual(word: str) -> None:
    require_walls()
    home = ROOT / ".pytest_cache" / f"ordinary-{word}-{os.getpid()}"
    try:
        with contextmanager(serve)(word, home, ordinary_user(home)) as place:
            _attack(place)
            _refused_commands(place)
            _work(place.server)
            _trouble(place.server)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _attack(place: Place) -> None:
    tried = {
        each.name: each.code for each in ATTACKS if not each.isolated or place.word == "isolated"
    }
    before = state(place.home)

    result = place.server.run(f"{place.names}attacks = {tried!r}{_TRY}")

    assert result.text.startswith(f"tried {len(tried)} True\n"), result.text
    assert state(place.home) == before


def _refused_commands(place: Place) -> None:
    for code in (f"!touch {place.home}/x", f"%%bash\necho x > {place.home}/x; true"):
        refused = place.server.run(code)
        assert f"hint: the sandbox ({place.word}) lets commands write only in" in refused.text
    assert "use install_dependencies" in place.server.run("!pip install packaging").text


def _work(server: Server) -> None:
    server.call("configure_environment", type="python", python_path=sys.executable)

    done = [server.run(code, session="work").text for code in _WORK.values()]
    shown = dict(zip(_WORK, done, strict=True))
    expected = dict(zip(_WORK, _DONE, strict=True))
    assert all(text.startswith(expected[name]) for name, text in shown.items()), shown

    stored = server.call("initialize_code_file", content="print(__name__)").structured["file_path"]
    for mode in ("kernel", "isolated"):
        ran = server.call("execute_code_file", file_path=stored, mode=mode, session="work")
        assert ran.text.startswith("__main__\n"), ran.text
    verified = server.call("export_notebook", session="work", verify=True, within=90)
    assert "verified: same" in verified.text, verified.text


def _trouble(server: Server) -> None:
    stopped = server.run("kept = 1\n!sleep 60", timeout_seconds=1)
    assert stopped.meta["kernel"]["state"] == "kept", stopped.text
    long = server.run("kept; print(('x' * 99 + chr(10)) * 9_000)")
    assert "(900,001 characters)" in long.text
    rest = server.call("get_execution", execution_id=long.id, stream="stdout", offset=8_000)
    assert "x" * 99 in rest.text
    died = server.run("import os; os.abort()")
    assert "signal SIGABRT" in died.text
    assert "variables lost" in died.text

"""The managed default environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernel_exec.environments import interpreters
from kernel_exec.environments.catalog import ensure_default
from kernel_exec.environments.interpreters import NoAnswerError
from kernel_exec.environments.tools import read_tools
from kernel_exec.errors import UnusableEnvironmentError

TOOLS = read_tools(os.environ, passed=())

MAKE = """
import os, sys, anyio
from pathlib import Path
from kernel_exec.environments.catalog import ensure_default
from kernel_exec.environments.tools import read_tools
async def main():
    tools = read_tools(os.environ, passed=())
    print((await ensure_default(Path(sys.argv[1]), variables=os.environ, tools=tools)).path)
anyio.run(main)
"""


async def test_it_is_made_once_and_then_used(tmp_path: Path) -> None:
    made = await ensure_default(tmp_path, variables=os.environ, tools=TOOLS)
    assert made.path is not None
    stamp = (made.path / "pyvenv.cfg").stat().st_mtime_ns
    assert await ensure_default(tmp_path, variables=os.environ, tools=TOOLS) == made
    assert (made.path / "pyvenv.cfg").stat().st_mtime_ns == stamp


def test_two_processes_may_start_at_once(tmp_path: Path) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", MAKE, str(tmp_path)], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    paths = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(paths) == 1


async def test_a_broken_one_is_set_aside_with_what_it_holds(tmp_path: Path) -> None:
    made = await ensure_default(tmp_path, variables=os.environ, tools=TOOLS)
    assert made.path is not None
    (made.path / "precious").write_text("kept")
    (made.path / "bin" / "python").unlink()
    assert await ensure_default(tmp_path, variables=os.environ, tools=TOOLS) == made
    kept = list((tmp_path / ".kernel_exec").glob("environment.broken-*/environment/precious"))
    assert [path.read_text() for path in kept] == ["kept"]


async def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnusableEnvironmentError, match="CODE_STORAGE_DIR"):
        await ensure_default(tmp_path / "file", variables=os.environ, tools=TOOLS)


async def test_one_that_does_not_answer_now_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await ensure_default(tmp_path, variables=os.environ, tools=TOOLS)
    monkeypatch.setattr(interpreters, "_PROBE_LIMIT", 0.0)
    with pytest.raises(NoAnswerError):
        await ensure_default(tmp_path, variables=os.environ, tools=TOOLS)
    assert not list((tmp_path / ".kernel_exec").glob("environment.broken-*"))
    assert made.path is not None
    assert made.path.is_dir()


async def test_the_servers_own_settings_of_python_do_not_break_it(tmp_path: Path) -> None:
    made = await ensure_default(tmp_path, variables=os.environ, tools=TOOLS)
    assert made == await ensure_default(
        tmp_path, variables={**os.environ, "PYTHONHOME": "/nonexistent"}, tools=TOOLS
    )
    assert not list((tmp_path / ".kernel_exec").glob("environment.broken-*"))

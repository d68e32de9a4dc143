"""The README is true: what it shows of the program is what the program shows."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from tests.environments.pythons import make_venv
from tests.readme import PARTS, README, shown
from tests.shared import CACHE
from tests.wire import end_host, started

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

_SLOW = re.compile(r" · [0-9.]+ s(?= ·)")
"""What only a slow step has."""

_CHANGES = re.compile(
    r"[0-9a-f]{8,}|[0-9][0-9.,]* (?:s|KB|MB|GB|B|open files)\b|pid \d+|Python [0-9.]+"
)
"""What a run of its own has: ids, durations, sizes."""

_ELSEWHERE = ("python3 -m pip install ", ".uv/bin/uv tool install ", "kernel-exec doctor")
"""How commands begin that tests/test_house.py, tests/shipping or tests/cli run."""

_STAYING = ("kernel-exec tail ", "kernel-exec serve --http")
"""How commands begin that go on until they are stopped."""


@pytest.mark.parametrize("name", PARTS)
def test_it_shows_what_the_program_shows(name: str) -> None:
    written = shown(README.read_text("utf-8"), name)

    assert _plain(written) == _plain(PARTS[name]())


def _plain(shown_part: str) -> str:
    return _CHANGES.sub("…", _SLOW.sub("", shown_part.strip()))


@pytest.fixture
def variables(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Those of a person whose agent has run three steps, in a folder with a venv."""
    root = tmp_path / "storage"
    variables = {
        "HOME": str(tmp_path), "CODE_STORAGE_DIR": str(root), "KERNEL_EXEC_CACHE": str(CACHE),
        "KERNEL_EXEC_PYTHON_PATH": sys.executable,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    make_venv(tmp_path / ".venv")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])  # type: ignore[no-untyped-call]
    for folder in ("some", ".codex"):  # Codex is a client that `init` finds
        (tmp_path / folder).mkdir()
    nbformat.write(notebook, tmp_path / "some" / "notebook.ipynb")  # type: ignore[no-untyped-call]
    with started(tmp_path, command=(), **variables) as server:
        server.initialize()
        server.run("import pandas as pd")
        server.run("df = pd.DataFrame({'x': [1]})")
        server.run("df")
        yield variables
    end_host(root)


def test_every_command_in_it_runs(variables: dict[str, str]) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    assert lines

    for line in lines:
        if not line.startswith(_ELSEWHERE):
            process = subprocess.Popen(
                ["bash", "-c", f"exec {line}"], env=variables, cwd=variables["HOME"], text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            begins = ""
            if line.startswith(_STAYING):
                assert process.stdout is not None
                begins = process.stdout.readline()
                process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=60)
            assert begins or process.returncode == 0, (line, output)

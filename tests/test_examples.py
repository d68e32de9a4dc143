"""The examples and the demo run as they are, and their notebooks run again."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from nbclient import NotebookClient

from tests.notebooks.over_ipc import sockets_in
from tests.wire import end_host

pytestmark = [pytest.mark.kernel, pytest.mark.network, pytest.mark.slow, pytest.mark.timeout(300)]

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for demo and example, so that their packages are installed once."""
    return tmp_path_factory.mktemp("examples")


def read(path: Path) -> Any:
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call] # nbformat's
    nbformat.validate(notebook)
    return notebook


def run_again(path: Path) -> Any:
    """Run a notebook in the interpreter of the tests, which has what the demo installs."""
    notebook = read(path)
    with tempfile.TemporaryDirectory() as short:
        config = sockets_in(short)
        NotebookClient(notebook, timeout=120, kernel_name="python3", config=config).execute()
    return notebook


def outputs_of(notebook: Any, name: str) -> str:
    return "".join(
        output["text"]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream" and output.name == name
    )


def test_the_demo_ends_with_a_notebook_that_runs_again(folder: Path) -> None:
    argv = [sys.executable, "-m", "kernel_exec", "demo", "--folder", str(folder)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = Path(done.stdout.strip())
    assert page.read_bytes().startswith(b"<!doctype html>")
    path = page.with_suffix(".ipynb")
    first = read(path)
    again = run_again(path)
    assert "95 % of the slopes lie between" in outputs_of(first, "stdout")
    assert outputs_of(first, "stdout") == outputs_of(again, "stdout")
    assert (folder / "plots" / "plot_1.png").read_bytes().startswith(b"\x89PNG")
    for told in ("AttributeError", "resamples", "plot saved", "names: + clean DataFrame"):
        assert told in done.stderr


def test_the_example_session_runs(folder: Path) -> None:
    argv = [sys.executable, str(EXAMPLES / "session.py"), str(folder)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "AttributeError" in done.stdout
    assert "g for each mm" in done.stdout
    assert "<image>" in done.stdout
    run_again(Path(done.stdout.strip().splitlines()[-1]))


async def test_the_example_configuration_starts_a_server(tmp_path: Path) -> None:
    configured = json.loads((EXAMPLES / "mcp.json").read_text())["mcpServers"]["kernel-exec"]
    server = StdioServerParameters(
        command=str(Path(sys.executable).with_name(configured["command"])),
        args=configured["args"],
        env=configured["env"],
        cwd=tmp_path,
    )
    async with Client(server) as client:
        tools = await client.list_tools()
        assert "execute_code" in [tool.name for tool in tools.tools]
    end_host(tmp_path / configured["env"]["CODE_STORAGE_DIR"])

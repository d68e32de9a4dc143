import importlib.metadata
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from kernel_exec.cli import main as command_line
from kernel_exec.settings import WORDS

ROOT = Path(command_line.__file__).parents[2]


def run(arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """The real command line in `folder`, with nothing on stdin."""
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r});"
        "from kernel_exec.cli.main import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-B", "-c", script, *arguments],
        cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_help_names_every_option_and_command(tmp_path: Path) -> None:
    finished = run(["--help"], tmp_path)

    assert finished.returncode == 0
    assert finished.stderr == ""
    for word in WORDS:
        assert word.option in finished.stdout
        assert word.variable in finished.stdout
    for name in ("--config", "--version", "serve", "demo"):
        assert name in finished.stdout


def test_the_command_line_imports_nothing_heavy_until_a_command_is_used(tmp_path: Path) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import kernel_exec.cli.main;"
        "print(sorted({'mcp', 'zmq', 'anyio', 'jupyter_client', 'nbformat', 'IPython', 'rich',"
        " 'pydantic', 'sqlite3', 'asyncio', 'PIL'} & set(sys.modules)))"
    )

    finished = subprocess.run(
        [sys.executable, "-B", "-c", script], capture_output=True, text=True, check=True
    )

    assert finished.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--wait-seconds", "banana"], "--wait-seconds is 'banana': it must be a number"),
        (["--wait-seconds", "-1", "serve"], "--wait-seconds is '-1'"),
        (["--env-type", "docker"], "--env-type is 'docker'"),
        (["--config", "missing.toml"], "missing.toml"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_told_in_a_line_with_exit_code_2(
    arguments: list[str], told: str, tmp_path: Path
) -> None:
    finished = run(arguments, tmp_path)

    assert finished.returncode == 2
    assert finished.stdout == ""
    first, *rest = finished.stderr.splitlines()
    assert first.startswith("error: ")
    assert told in first
    assert all(line.startswith("hint: ") for line in rest)
    assert list(tmp_path.iterdir()) == []


def test_the_version_is_that_of_the_installed_package(tmp_path: Path) -> None:
    try:
        version = importlib.metadata.version("kernel-exec")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("kernel-exec is not installed here")

    assert version in run(["--version"], tmp_path).stdout

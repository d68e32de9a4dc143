"""Every command wherever it runs: narrow, without a terminal, colours, readers, or UTF-8."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from kernel_exec.cli import main as command_line

ROOT = Path(command_line.__file__).parents[2]
SCRIPT = (
    f"import sys; sys.path.insert(0, {str(ROOT)!r}); from kernel_exec.cli.main import main; main()"
)
NARROW = {"COLUMNS": "40", "NO_COLOR": "1"}
SURROUNDINGS = {
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "latin-1 and narrow": {"PYTHONIOENCODING": "latin-1", **NARROW},
}
ODD = "härte-日本-\N{SNAKE}"
"""A name that most encodings do not have."""


def _commands() -> Iterator[list[str]]:
    for name in command_line.COMMANDS:
        command = command_line._load(name)
        below = command.commands if isinstance(command, click.Group) else [""]
        yield from ([name, *filter(None, [each])] for each in below)


COMMANDS = list(_commands())
FAILING = [
    ["trust", ODD],
    ["env", "add", ODD, "--venv", ODD],
    ["env", "path", ODD],
    ["env", "list", "--config", ODD],
    ["export", ODD, "--storage-dir", ODD],
    ["verify", f"{ODD}.ipynb"],
    ["show", ODD],
    ["tail", ODD],
    ["run", "1", "--session", ODD],
    ["init", ODD],
    ["completion", ODD],
    [ODD],
]
SHOWING = [
    ["env", "list", "--storage-dir", ODD],
    ["trust", "--list"],
    ["init", "--print", "cursor", "--storage-dir", ODD],
    ["completion", "bash"],
    ["sessions"],
]


def _run(
    arguments: list[str], folder: Path, surroundings: dict[str, str], stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-B", "-c", SCRIPT, *arguments],
        cwd=folder, env={**kept, "HOME": str(folder), **surroundings},
        stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", SURROUNDINGS)
@pytest.mark.parametrize("command", [["--help"], *FAILING, *SHOWING], ids=" ".join)
def test_a_command_says_what_it_has_to_anywhere(
    command: list[str], name: str, tmp_path: Path
) -> None:
    finished = _run(command, tmp_path, SURROUNDINGS[name])

    assert b"Traceback" not in finished.stderr, finished.stderr
    assert b"\x1b" not in finished.stdout + finished.stderr
    if command in FAILING:
        assert finished.returncode in {1, 2}
        assert finished.stderr.startswith((b"error: ", b"warning: ")), finished.stderr
        assert finished.stdout == b""


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        finished = _run(["doctor", "--storage-dir", "s"], tmp_path, {}, stdout=writer)
    finally:
        os.close(writer)

    assert (finished.returncode, finished.stderr) == (1, b"")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_fits_into_a_narrow_terminal_and_needs_no_reader(
    command: list[str], tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        unread = _run([*command, "--help"], tmp_path, {}, stdout=writer)
    finally:
        os.close(writer)
    narrow = _run([*command, "--help"], tmp_path, NARROW)

    assert (unread.returncode, unread.stderr) == (1, b"")
    assert (narrow.returncode, narrow.stderr) == (0, b"")
    assert [line for line in narrow.stdout.decode().splitlines() if len(line) > 40] == []
    assert list(tmp_path.iterdir()) == []

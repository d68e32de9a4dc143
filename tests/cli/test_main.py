import errno
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import pytest

from kernel_exec.cli import main as command_line
from kernel_exec.errors import BusyError, InvalidArgumentError, StorageError
from kernel_exec.options import SETTINGS

ROOT = Path(command_line.__file__).parents[2]


def run(
    arguments: Sequence[str],
    folder: Path,
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int | IO[str] = subprocess.PIPE,
) -> subprocess.CompletedProcess[str]:
    """The real command line in `folder`, with nothing on stdin."""
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r});"
        "from kernel_exec.cli.main import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-B", "-c", script, *arguments],
        cwd=folder, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip


def run_at_terminal(arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    ours, theirs = os.openpty()
    try:
        return run(arguments, folder, stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)


def test_help_names_every_option_and_command(tmp_path: Path) -> None:
    finished = run(["--help"], tmp_path)

    assert finished.returncode == 0
    assert finished.stderr == ""
    for word in SETTINGS:
        assert word.option in finished.stdout
        assert word.variable in finished.stdout
    for name in ("--config", "--version", "serve", "demo", "export", "env"):
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


@pytest.mark.parametrize("name", sorted(command_line.COMMANDS))
def test_what_help_says_of_a_command_is_what_the_command_says(name: str) -> None:
    command = command_line._load(name)

    assert command.get_short_help_str(limit=200).rstrip(".") == command_line.COMMANDS[name].rstrip(
        "."
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--wait-seconds", "banana", "env", "list"], "--wait-seconds is 'banana': it must be"),
        (["--wait-seconds", "-1", "serve"], "--wait-seconds is '-1'"),
        (["--env-type", "docker", "env", "list"], "'docker': it must be one of conda, venv"),
        (["--config", "missing.toml", "env", "list"], "missing.toml"),
        (["--wait-second", "1"], "--wait-second"),
        (["--wait-seconds"], "--wait-seconds"),
        (["nope"], "'nope'"),
        (["serv"], "error: no command 'serv'\nhint: did you mean `serve`?"),
        (["exprt", "x"], "did you mean `export`?"),
        (["export", "--wait-seconds", "banana"], "--wait-seconds is 'banana': it must be a number"),
        (["env", "list", "--config", "missing.toml"], "missing.toml"),
        (["demo", "--storage-dir", "x"], "--storage-dir"),
        (["--storage-dir", "x", "demo"], "`demo` takes no settings such as --storage-dir"),
        (["serve", "--nope"], "--nope"),
        (["env"], "missing command"),
        (["completion"], "argument 'SHELL'. Choose from: bash, zsh, fish"),
        (["env", "nope"], "'nope'"),
    ],
)  # fmt: skip
def test_wrong_usage_is_told_in_a_line_with_exit_code_2(
    arguments: list[str], told: str, tmp_path: Path
) -> None:
    """At a terminal; what a client is told is in `promises/test_seed.py`."""
    finished = run_at_terminal(arguments, tmp_path)

    assert finished.returncode == 2
    assert finished.stdout == ""
    first, *rest = finished.stderr.splitlines()
    assert re.match("error: [^A-Z]", first)
    assert told in finished.stderr
    assert len(rest) <= 1
    assert all(line.startswith("hint: ") for line in rest)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (InvalidArgumentError("bad"), 2, "error: bad\n"),
        (StorageError("full"), 1, "error: full\n"),
        (ExceptionGroup("", [StorageError("full")]), 1, "error: full\n"),
        (ExceptionGroup("", [ExceptionGroup("", [BusyError("b")])]), 1, "error: b\n"),
        (ExceptionGroup("", [InvalidArgumentError("bad")]), 2, "error: bad\n"),
        (ExceptionGroup("", [StorageError("a"), BusyError("b")]), 1, "error: a\nerror: b\n"),
        (StorageError("full; make room."), 1, "error: full\nhint: make room\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
    ],
)  # fmt: skip
def test_an_error_of_ours_is_never_a_traceback(
    error: BaseException,
    code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(command_line.group, "callback", fail)

    with pytest.raises(SystemExit) as caught:
        command_line.main([])

    assert caught.value.code == code
    captured = capsys.readouterr()
    assert captured.err.lstrip("\n") == told
    assert captured.out == ""


def test_an_error_that_is_not_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise ExceptionGroup("", [StorageError("full"), ZeroDivisionError()])

    monkeypatch.setattr(command_line.group, "callback", fail)

    with pytest.raises(ExceptionGroup):
        command_line.main([])


def test_the_version_is_that_of_the_installed_package(tmp_path: Path) -> None:
    try:
        version = importlib.metadata.version("kernel-exec")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("kernel-exec is not installed here")

    assert version in run(["--version"], tmp_path).stdout


@pytest.mark.parametrize("before", [[], ["--storage-dir", "/before"]])
@pytest.mark.parametrize("command", [["env", "list"], ["env"]])
def test_a_setting_may_stand_behind_its_command(
    before: list[str], command: list[str], tmp_path: Path
) -> None:
    behind = ["--storage-dir", "/behind"]
    arguments = [*before, *command, *behind, *(["list"] if command == ["env"] else [])]

    assert "/behind/.kernel_exec/environment" in run(arguments, tmp_path).stdout


@pytest.mark.parametrize("command", [[], ["serve"], ["env"], ["env", "add"], ["demo"], ["trust"]])
def test_a_short_option_helps_everywhere(command: list[str], tmp_path: Path) -> None:
    finished = run([*command, "-h"], tmp_path)

    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.startswith("Usage: kernel-exec")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize("arguments", [["--help"], ["env", "list"], ["env", "path"]])
def test_a_full_standard_output_is_told_in_a_line(arguments: list[str], tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        finished = run(arguments, tmp_path, stdout=full)

    assert finished.returncode == 1
    assert finished.stderr == "error: the output can't be written: No space left on device\n"


def test_nobody_who_reads_the_output_is_no_error_to_tell(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        finished = run(["env", "list"], tmp_path, stdout=writer)
    finally:
        os.close(writer)

    assert finished.stderr == ""


def test_on_a_terminal_it_says_what_it_is_and_how_to_connect_a_client(tmp_path: Path) -> None:
    finished = run_at_terminal([], tmp_path)

    assert (finished.returncode, finished.stderr) == (0, "")
    assert "It is an MCP server" in " ".join(finished.stdout.split())
    assert "\nkernel-exec init " in finished.stdout
    start, end = finished.stdout.index("{"), finished.stdout.rindex("}") + 1
    entry = json.loads(finished.stdout[start:end])["mcpServers"]["kernel-exec"]
    assert Path(entry["command"]).is_absolute()


def test_on_a_terminal_a_command_that_does_not_exist_is_refused_at_once(tmp_path: Path) -> None:
    finished = run_at_terminal(["/old/build/index.js"], tmp_path)

    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr == (
        "error: no command '/old/build/index.js'\nhint: see `kernel-exec --help`\n"
    )


@pytest.mark.parametrize(
    "error", [OSError(errno.EACCES, "Permission denied", "/x"), TimeoutError(), BrokenPipeError()]
)
def test_what_the_system_refuses_is_told_in_a_line(
    error: OSError, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise ExceptionGroup("", [error])

    monkeypatch.setattr(command_line.group, "callback", fail)

    with pytest.raises(SystemExit) as caught:
        command_line.main([])

    assert caught.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert len(line) > len("error: ")


def test_a_file_in_the_current_folder_is_no_module_of_ours(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("print('planted')")

    finished = subprocess.run(
        [sys.executable, "-m", "kernel_exec", "env", "path"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip

    assert "planted" not in finished.stdout

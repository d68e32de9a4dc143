"""`kernel-exec init`, as a person runs it, on configurations in a home folder of the test."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kernel_exec.cli.init import init
from kernel_exec.clients import files
from kernel_exec.clients.catalog import CLIENTS
from kernel_exec.clients.planning import carry_out, registering
from kernel_exec.clients.registering import Wanted
from kernel_exec.errors import BusyError

ROOT = Path(files.__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    (folder / "project").mkdir(parents=True)
    return folder


def run(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r});"
        "from kernel_exec.cli.main import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-B", "-c", script, "init", *arguments],
        cwd=home / "project", env={"HOME": str(home), "PATH": "/usr/bin:/bin", **variables},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


def _cursor(home: Path, content: str = '{"mcpServers": {}}') -> Path:
    file = home / ".cursor" / "mcp.json"
    file.parent.mkdir()
    file.write_text(content)
    return file


def test_help_names_every_client() -> None:
    assert all(client.name in (init.help or "") for client in CLIENTS)


def test_clients_that_are_here_are_registered_and_the_others_reported(home: Path) -> None:
    file = _cursor(home)
    (home / "project/.venv").mkdir()

    shown = run(home, "--print")
    asked = run(home)
    assert file.read_text() == '{"mcpServers": {}}'
    written = run(home, "--yes")

    assert (shown.returncode, asked.returncode, written.returncode) == (0, 1, 0)
    assert "no terminal to ask on\nhint: pass --yes" in asked.stderr
    assert shown.stdout == written.stdout
    assert '+   "kernel-exec": {' in shown.stdout
    assert "windsurf: not found on this machine" in written.stderr
    entry = json.loads(file.read_text())["mcpServers"]["kernel-exec"]
    assert entry["env"] == {"ENV_TYPE": "venv", "VENV_PATH": str(home / "project/.venv")}
    assert Path(entry["command"]).is_absolute()
    again = run(home, "--yes")
    assert (again.returncode, again.stdout) == (0, "")
    assert run(home, "--remove", "--yes").returncode == 0
    assert file.read_text() == '{"mcpServers": {}}'


def test_a_file_that_was_made_goes_with_its_folders(home: Path) -> None:
    assert run(home, "--yes", "cursor", "codex", "vscode").returncode == 0
    assert stat.S_IMODE((home / ".codex/config.toml").stat().st_mode) == 0o600

    assert run(home, "--remove", "--yes").returncode == 0

    assert sorted(each.name for each in home.iterdir()) == [".config", "project"]
    assert [each.name for each in (home / ".config").iterdir()] == ["kernel-exec"]


def test_project_files_name_paths_of_the_project(home: Path) -> None:
    (home / "project/.venv").mkdir()

    finished = run(home, "--project", "--yes", "claude-code", "vscode", "windsurf")

    assert finished.returncode == 1
    assert "error: windsurf: has no files in projects" in finished.stderr
    claude = json.loads((home / "project/.mcp.json").read_text())["mcpServers"]["kernel-exec"]
    assert claude["args"][-2:] == ["--working-directory", "."]
    assert claude["env"]["VENV_PATH"] == ".venv"
    code = json.loads((home / "project/.vscode/mcp.json").read_text())["servers"]["kernel-exec"]
    assert code["env"]["VENV_PATH"] == "${workspaceFolder}/.venv"


def test_settings_go_into_the_entry_and_are_checked(home: Path) -> None:
    file = _cursor(home)

    wrong = run(home, "cursor", "--yes", "--time-limit", "x")
    missing = run(home, "cursor", "--yes", "--venv-path", "nothing")
    assert run(home, "cursor", "--yes", "--storage-dir", "s", "--time-limit", "9").returncode == 0

    assert (wrong.returncode, missing.returncode) == (2, 1)
    assert "--time-limit is 'x'" in wrong.stderr
    assert "does not exist" in missing.stderr
    assert json.loads(file.read_text())["mcpServers"]["kernel-exec"]["env"] == {
        "CODE_STORAGE_DIR": str(home / "project/s"),
        "KERNEL_EXEC_TIME_LIMIT": "9",
    }


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "is left as it is: Expecting"),
        (b"\xff\xfe{\x00}\x00", "is not UTF-8"),
        (b'{"mcpServers": {"kernel-exec": {"url": "x"}}}', "starts another program"),
    ],
)
def test_a_file_that_can_not_be_edited_is_named_and_the_others_are_written(
    content: bytes, told: str, home: Path
) -> None:
    file = _cursor(home)
    file.write_bytes(content)

    finished = run(home, "--yes", "cursor", "gemini")

    assert finished.returncode == 1
    assert told in finished.stderr
    assert str(file) in finished.stderr
    assert file.read_bytes() == content
    assert (home / ".gemini/settings.json").exists()


def test_links_and_modes_stay(home: Path) -> None:
    file = _cursor(home)
    real = home / "dotfiles.json"
    file.rename(real)
    file.symlink_to(real)
    real.chmod(0o640)

    assert run(home, "--yes", "cursor").returncode == 0

    assert file.is_symlink()
    assert "kernel-exec" in real.read_text()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_a_read_only_file_and_a_folder_in_its_place_are_refused(home: Path) -> None:
    file = _cursor(home)
    file.chmod(0o400)
    (home / ".gemini/settings.json").mkdir(parents=True)

    finished = run(home, "--yes", "cursor", "gemini")

    assert finished.returncode == 1
    assert "is read-only\nhint: make it writable\n" in finished.stderr
    assert "settings.json is not a file" in finished.stderr
    assert file.read_text() == '{"mcpServers": {}}'
    assert [each.name for each in file.parent.iterdir()] == ["mcp.json"]


def test_what_another_program_writes_meanwhile_is_not_overwritten(home: Path) -> None:
    file = _cursor(home)
    cursor = next(client for client in CLIENTS if client.name == "cursor")
    plan = registering(cursor, file, Wanted(launcher=("k",), given={}, found={}))
    file.write_text("{}")

    with pytest.raises(BusyError, match="was changed meanwhile"):
        carry_out(plan)

    assert file.read_text() == "{}"


def test_a_client_that_is_writing_is_not_disturbed(home: Path) -> None:
    file = home / ".claude.json"
    file.write_text("{}")
    lock = home / ".claude.json.lock"
    lock.mkdir()

    finished = run(home, "--yes", "claude-code")
    assert "claude-code is writing" in finished.stderr
    assert file.read_text() == "{}"
    os.utime(lock, (0, 0))  # nobody renews it

    assert run(home, "--yes", "claude-code").returncode == 0
    assert not lock.exists()


@pytest.mark.skipif(sys.platform == "darwin", reason="it exists there")
def test_a_client_of_other_systems_and_an_unknown_one_are_refused(home: Path) -> None:
    desktop, unknown = run(home, "--yes", "claude-desktop"), run(home, "curser")

    assert desktop.returncode == 1
    assert "error: claude-desktop: does not exist on" in desktop.stderr
    assert unknown.returncode == 2
    assert "no client 'curser'\nhint: did you mean `cursor`?\n" in unknown.stderr
    assert run(home, "--yes").stderr.endswith("such as `cursor`\n")

"""`kernel-exec doctor`: all checks whatever is broken, each with its fix, and nothing changed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kernel_exec.doctor import check, examination, machine, servers, storage
from kernel_exec.settings import examine_settings
from tests.cli.test_demo import OFFLINE
from tests.host.test_relay import host_of, relayed
from tests.shared import CACHE
from tests.waits import patient
from tests.wire import end_host

ALWAYS = {"python", "uv", "storage", "cache", "log", "kernel", "host", "mcp", "package index"}

pytestmark = pytest.mark.kernel


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A home, a project and a storage folder, of which the first two exist."""
    (tmp_path / "home").mkdir()
    (tmp_path / "project").mkdir()
    yield tmp_path
    with suppress(OSError):
        end_host(tmp_path / "storage")


def doctor(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    own = {
        "HOME": str(folder / "home"),
        "CODE_STORAGE_DIR": str(folder / "storage"),
        "KERNEL_EXEC_CACHE": str(CACHE),
        **OFFLINE,
    }
    return subprocess.run(
        [sys.executable, "-P", "-m", "kernel_exec", "doctor", *arguments],
        cwd=folder / "project", env={**os.environ, **own, **variables},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=patient(60),
    )  # fmt: skip


def checks(folder: Path, *arguments: str, **variables: str) -> dict[str, dict[str, Any]]:
    finished = doctor(folder, "--json", *arguments, **variables)
    assert finished.stderr == ""
    found = json.loads(finished.stdout)
    assert list(found) == ["checks"]
    for each in found["checks"]:
        assert list(each) == ["name", "ok", "text", "fix"]
        assert each["ok"] or each["fix"], each
        assert "\n" not in each["text"]
    assert finished.returncode == (0 if all(each["ok"] for each in found["checks"]) else 1)
    return {each["name"]: each for each in found["checks"]}


def test_where_all_is_well_but_the_index_only_that_is_broken_and_nothing_changes(
    folder: Path,
) -> None:
    found = checks(folder)

    assert found.keys() >= ALWAYS | {"settings", "clients", "environment (default)"}
    assert [name for name, each in found.items() if not each["ok"]] == ["package index"]
    assert "127.0.0.1:9" in found["package index"]["text"]
    assert "15 tools" in found["mcp"]["text"]
    assert str(folder / "storage" / ".kernel_exec" / "server.log") in found["log"]["text"]
    assert [*(folder / "home").iterdir(), *(folder / "project").iterdir()] == []
    assert not (folder / "storage").exists()


def test_each_broken_setting_is_a_check_and_the_others_are_made(folder: Path) -> None:
    (folder / "a.toml").write_text(
        'storage_dir = "elsewhere"\nwait_second = 1\ninline_images = "x"\n'
        '[environments.good]\nkind = "python"\npath = "/gone"\n[environments.bad]\nkind = "x"\n'
    )
    config = {"KERNEL_EXEC_CONFIG": str(folder / "a.toml"), "CODE_STORAGE_DIR": ""}

    found = checks(folder, "--time-limit", "x", KERNEL_EXEC_LINGER="-1", ENV_TYPE="y", **config)

    broken = {name for name, each in found.items() if not each["ok"]}
    file = folder / "a.toml"
    assert broken == {
        "setting --time-limit", "setting KERNEL_EXEC_LINGER", "setting ENV_TYPE",
        f"setting `wait_second` in {file}", f"setting `inline_images` in {file}",
        f"setting `environments.bad` in {file}", "environment good", "package index",
    }  # fmt: skip
    assert found.keys() >= ALWAYS
    assert found["storage"]["text"].startswith(str(folder / "elsewhere"))
    assert "/gone" in found["environment good"]["text"]


@pytest.mark.parametrize(
    ("content", "words"), [("no", "is not valid TOML"), (None, "not found"), ("\udcff", "TOML")]
)
async def test_a_file_of_settings_that_can_not_be_read_is_a_check(
    folder: Path, content: str | None, words: str
) -> None:
    file = folder / "a.toml"
    if content is not None:
        file.write_bytes(content.encode("utf-8", "surrogateescape"))

    (found,) = await machine.settings(*examine_settings(options={"config": str(file)}))

    assert found.name == f"setting {file}"
    assert words in found.text
    assert found.fix


@pytest.mark.parametrize("name", ["storage", "cache"])
async def test_a_folder_that_can_not_be_made_is_named_with_what_sets_it(name: str) -> None:
    option, variable = {
        "storage": ("storage_dir", "CODE_STORAGE_DIR"), "cache": ("cache", "KERNEL_EXEC_CACHE")
    }[name]  # fmt: skip
    settings, _ = examine_settings(options={option: "/dev/null/folder"})

    (found,) = [each for each in await storage.storage(settings) if each.name == name]

    assert not found.ok
    assert found.text == "/dev/null is not a folder"
    assert variable in found.fix


async def test_a_full_disk_is_named_wherever_it_is(folder: Path) -> None:
    full = folder / "full"
    full.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "tmpfs", str(full)]
    if subprocess.run(mounted, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount")
    settings, _ = examine_settings(options={"storage_dir": str(full), "cache": str(full / "new")})
    try:
        (full / "all").write_bytes(bytes(65536))
        found = await storage.storage(settings)
    finally:
        subprocess.run(["umount", str(full)], check=True)

    for each, place in zip(found, (full, full / "new"), strict=True):
        assert each.text.startswith(f"{place} can't be written")
        assert "No space left on device" in each.text


@pytest.mark.slow
async def test_a_host_is_described_and_one_that_hangs_holds_nothing_up(folder: Path) -> None:
    settings, _ = examine_settings(options={"storage_dir": str(folder / "storage")})
    with relayed(folder / "storage"):
        host = host_of(folder / "storage")
        (described,), (greeted,) = await servers.host(settings), await servers.handshake(settings)
        assert described.text.startswith(f"process {host.pid} answers, kernel-exec 0")
        assert described.ok
        assert greeted.ok, greeted.text
        host.suspend()
        try:
            found = checks(folder)
        finally:
            host.resume()
    for name in ("host", "mcp"):
        assert f"the host process {host.pid} does not answer" in found[name]["text"]
        assert "`kernel-exec stop --force`" in found[name]["fix"]
    assert found["kernel"]["ok"]


def test_what_is_broken_is_shown_with_the_way_out_and_the_rest_works(folder: Path) -> None:
    """Storage that can't be used, and a client whose command is gone; its arguments are secret."""
    (folder / "storage").write_text("a file")
    registered = {
        "kernel-exec": {"command": "/gone/kernel-exec", "args": ["serve", "--x", "SECRET"]},
        "python": {"command": sys.executable, "args": ["-m", "kernel_exec"]},
    }
    (folder / "project" / ".mcp.json").write_text(json.dumps({"mcpServers": registered}))

    finished = doctor(folder)

    assert finished.returncode == 1
    assert "SECRET" not in finished.stdout
    lines = finished.stdout.splitlines()
    assert {"✗ storage", "✓ kernel", "✓ mcp"} <= {line.partition(":")[0] for line in lines}
    assert "CODE_STORAGE_DIR" in finished.stdout
    clients = [line for line in lines if "client claude-code" in line]
    assert [line[0] for line in clients] == ["✗", "✓"]
    assert "/gone/kernel-exec, which is no program here" in clients[0]
    assert "`kernel-exec init claude-code`" in finished.stdout


def test_a_library_that_is_broken_breaks_only_what_needs_it(folder: Path) -> None:
    (folder / "mcp").mkdir()
    (folder / "mcp" / "__init__.py").write_text("raise AttributeError('another version')")

    found = checks(folder, PYTHONPATH=str(folder))

    assert "another version" in found["mcp"]["text"]
    assert found["kernel"]["ok"]
    assert found["storage"]["ok"]


async def _for_ever() -> list[check.Check]:
    signal.pause()  # as a file system does that hangs: nothing cancels it
    return []


async def test_a_check_that_never_ends_is_reported_and_abandoned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = examination._Task(name="slow", function="machine.for_ever", limit=0.1)
    monkeypatch.setattr("kernel_exec.doctor.machine.for_ever", _for_ever, raising=False)
    last = examination._Task(name="python", function="machine.python")
    monkeypatch.setattr(examination, "_tasks", lambda options: iter([task, last]))
    monkeypatch.setattr(examination, "_GRACE", 0.1)
    heard: list[str] = []

    found = await examination.examine({}, lambda each: heard.append(each.name))

    assert heard == ["slow", "python"]
    assert [each.ok for each in found] == [False, True]
    assert found[0].text == "no answer within 0.1 seconds"

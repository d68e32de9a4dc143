"""What lies in the folder that a server is started in, or what a cell plants, decides nothing.

And a path from outside is refused with a reason, whatever it is.
"""

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.wire import SERVE, serving, started

pytestmark = pytest.mark.kernel


def test_a_configuration_in_the_current_folder_neither_runs_nor_learns_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "repository"
    here.mkdir()
    spy = here / "python"
    spy.write_text(f'#!/bin/sh\nenv > "{here}/learned"\nexec "{sys.executable}" "$@"\n')
    spy.chmod(0o755)
    (here / "kernel_exec.toml").write_text('python_path = "./python"\npass_env = ["A_SECRET"]\n')
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.chdir(here)

    variables = {"XDG_CONFIG_HOME": str(tmp_path), "A_SECRET": "s"}
    with started(tmp_path, *SERVE, command=(), **variables) as server:
        server.initialize()
        told = server.call("get_environment_config").structured
        server.call("check_installed_packages", packages=["pip"])
        server.call("kernel_status")

    assert "is not trusted" in told["notice"]
    assert str(here / "kernel_exec.toml") in told["notice"]
    assert "is not trusted" in server.stderr.read_text()
    assert not (here / "learned").exists()


def test_an_install_follows_no_index_that_a_cell_has_planted(tmp_path: Path) -> None:
    (tmp_path / "uv").mkdir()
    with (
        socket.create_server(("127.0.0.1", 0)) as planted,
        serving(
            tmp_path,
            XDG_CONFIG_HOME=str(tmp_path),
            UV_DEFAULT_INDEX="http://127.0.0.1:9/mine",
            UV_HTTP_RETRIES="0",
        ) as server,
    ):
        address = f"http://127.0.0.1:{planted.getsockname()[1]}/simple"
        folders = f"Path({str(tmp_path / 'uv')!r}), Path.cwd(), Path.cwd().parent"
        line = f'extra-index-url = ["{address}"]'
        ran = server.run(
            "from pathlib import Path\n"
            f"for folder in ({folders}):\n"
            f"    (folder / 'uv.toml').write_text({line!r})"
        )
        assert ran.outcome == "ok", ran.text
        told = server.call("install_dependencies", packages=["no-such-package-x"], wait_seconds=25)

        assert "127.0.0.1:9/mine" in told.text
        planted.setblocking(False)
        with pytest.raises(BlockingIOError):
            planted.accept()


ODD = [
    "~nosuchuser/x", "a" * 300, "/" + "a" * 300, "/x" + "/b" * 3000, "a\0b", "\ud800", "..", "/",
    " ", "\n", "/dev/null", "/proc/self/mem", "loop", "pipe", "file/x", "-rf", "C:\\x", "\u202e",
]  # fmt: skip


def test_an_odd_path_is_refused_with_a_reason_by_every_tool(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    storage.mkdir()
    (storage / "loop").symlink_to("loop")
    os.mkfifo(storage / "pipe")
    (storage / "file").touch()
    kinds = {"python_path": "python", "venv_path": "venv", "uv_venv_path": "venv-uv",
             "conda_name": "conda"}  # fmt: skip
    with serving(tmp_path) as server:
        for path in ODD:
            calls: list[tuple[str, dict[str, Any]]] = [
                *(
                    ("configure_environment", {"type": kind, argument: path})
                    for argument, kind in kinds.items()
                ),
                ("configure_environment", {"name": path}),
                ("execute_code_file", {"file_path": path}),
                ("read_code_file", {"file_path": path}),
                ("append_to_code_file", {"file_path": path, "content": "1"}),
            ]
            if path not in {"..", "/"}:  # which are folders
                here = {"type": "python", "python_path": sys.executable}
                calls.append(("configure_environment", {**here, "working_directory": path}))
            if path not in {"/", " ", "-rf", "C:\\x"}:  # which could be
                calls += [("export_notebook", {"path": path + end}) for end in ("", "/x.ipynb")]
            for tool, arguments in calls:
                refused = server.call(tool, **arguments)
                assert refused.is_error, (tool, arguments)
                assert "defect" not in refused.text
                assert "internal error" not in refused.text
                assert len(refused.text) < 10_000

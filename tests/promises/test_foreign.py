"""What lies in the folder that a server is started in, or what a cell plants, decides nothing."""

import os
import sys
from pathlib import Path

import pytest

from tests.wire import started

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

    with started(tmp_path, "serve", XDG_CONFIG_HOME=str(tmp_path), A_SECRET="s") as server:
        server.initialize()
        told = server.call("get_environment_config").structured
        server.call("check_installed_packages", packages=["pip"])
        server.call("kernel_status")

    assert "is not trusted" in told["notice"]
    assert str(here / "kernel_exec.toml") in told["notice"]
    assert "is not trusted" in server.stderr.read_text()
    assert not (here / "learned").exists()

import subprocess
import sys
from pathlib import Path

import pytest

from kernel_exec.clients import here


def test_a_package_in_the_folder_of_a_client_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(here, "NAME", "no-script-has-this-name")
    (tmp_path / "kernel_exec").mkdir()
    (tmp_path / "kernel_exec" / "__init__.py").touch()
    (tmp_path / "kernel_exec" / "__main__.py").write_text("print('planted')")

    command = here.launcher({})
    ran = subprocess.run(
        [*command, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert command[0] == sys.executable
    assert "planted" not in ran.stdout
    assert "kernel-exec" in ran.stdout

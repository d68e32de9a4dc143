import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernel_exec.doctor.servers import server_of_our_own
from kernel_exec.options import SETTINGS

ROOT = Path(__file__).parents[2]
SESSION = ROOT / "examples" / "session.py"
OFFLINE = {
    "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple",
    "UV_HTTP_RETRIES": "0",
    "UV_FIND_LINKS": "",
}


def demo(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "UV_CACHE_DIR": str(folder / "cache"), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_server_of_our_own_gets_proxies_and_indexes_and_nothing_that_configures_it() -> None:
    passed = {"https_proxy": "p", "UV_DEFAULT_INDEX": "i", "PIP_CERT": "c", "SSL_CERT_FILE": "f"}
    configured = {word.variable: "x" for word in SETTINGS} | {"KERNEL_EXEC_CONFIG": "x"}
    others = {"VIRTUAL_ENV": "/v", "SECRET": "s", "PYTHONSTARTUP": "/p"}

    server = server_of_our_own(Path("/demo"), {**passed, **configured, **others}, {"A": "b"})

    env = dict(server.env or {})
    assert env.pop("PYTHONPATH").split(os.pathsep)[-1] == str(ROOT)
    assert env == {**passed, "CODE_STORAGE_DIR": "/demo", "A": "b"}
    assert server.args[-2:] == ["--config", os.devnull]


@pytest.mark.kernel
@pytest.mark.parametrize(
    "argv", [["-m", "kernel_exec", "demo", "--folder", "it"], [str(SESSION), "it"]]
)
def test_without_a_network_one_message_says_so_whatever_is_configured(
    tmp_path: Path, argv: list[str]
) -> None:
    (tmp_path / "kernel_exec.toml").write_text("no TOML")
    (tmp_path / "json.py").write_text("raise SystemExit('planted')")
    foreign = {"ENV_TYPE": "conda", "CONDA_ENV_NAME": "nope", "UV_VENV_PATH": "/nope"}

    finished = demo(
        tmp_path, "-P", *argv, **OFFLINE, **foreign, UV_PYTHON="2.7", VIRTUAL_ENV="/nope"
    )

    assert finished.returncode == 1
    assert finished.stdout == ""
    assert "The package index could not be reached" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert str(tmp_path / "it" / ".kernel_exec" / "environment") in finished.stderr.replace(
        "\n", ""
    )


@pytest.mark.kernel
@pytest.mark.parametrize(
    "argv", [["-m", "kernel_exec", "demo", "--folder", "file/x"], [str(SESSION), "file/x"]]
)
def test_a_folder_that_can_not_be_written_is_named_in_one_message(
    tmp_path: Path, argv: list[str]
) -> None:
    (tmp_path / "file").touch()

    finished = demo(tmp_path, *argv)

    assert finished.returncode == 1
    assert "file/x" in finished.stderr
    assert "Traceback" not in finished.stderr

"""Installers follow their user's configuration as it was at first, whatever is planted later."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kernel_exec.environments.tools import Tools, read_tools, run_uv
from tests.environments.pythons import make_venv

NOWHERE = "http://127.0.0.1:9"


def base(home: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(home), "PATH": os.defpath, "UV_HTTP_RETRIES": "0", **more}


def config(home: Path, content: str, name: str = ".config/uv/uv.toml") -> Path:
    file = home / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


async def attempt(tools: Tools) -> str:
    """What uv says of an install that reaches no index."""
    finished = await run_uv(
        ["pip", "install", "--dry-run", "--no-cache", "--python", sys.executable, "--", "no-such"],
        tools=tools,
        limit=30,
    )
    return finished.stderr


def test_the_variables_of_the_server_reach_installers_and_their_configuration_is_a_copy(
    tmp_path: Path,
) -> None:
    config(tmp_path, "a = 1")
    config(tmp_path, "[global]\ntimeout = 3", ".config/pip/pip.conf")
    tools = read_tools(base(tmp_path, PIP_INDEX_URL=NOWHERE, SECRET="x"), passed=())

    with tools.work_folder() as (work, variables):
        assert [path.name for path in work.iterdir()] == ["uv.toml"]
        assert (work / "uv.toml").read_text() == ""
        assert Path(variables["XDG_CONFIG_HOME"], "uv", "uv.toml").read_text() == "a = 1"
        assert Path(variables["PIP_CONFIG_FILE"]).read_text() == "[global]\ntimeout = 3"
        assert variables["PIP_INDEX_URL"] == NOWHERE
        assert "SECRET" not in variables
    assert not work.exists()


async def test_behind_walls_uv_runs_nothing_that_is_installed(tmp_path: Path) -> None:
    venv, other = make_venv(tmp_path / "venv"), tmp_path / "other"
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "a.pth").write_text(f"{other}\n")
    (site / "module.py").touch()
    other.mkdir()
    (other / "sitecustomize.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    tools = read_tools(base(tmp_path), passed=(), writable=(other,))

    finished = await run_uv(
        ["pip", "list"], tools=tools, limit=30, python=venv / "bin" / "python", compiled=site
    )

    assert finished.returncode == 0, finished.stderr
    assert not (tmp_path / "ran").exists()
    assert list(site.glob("__pycache__/module.*.pyc"))


def test_no_variable_leads_the_python_of_an_installer_to_other_code(tmp_path: Path) -> None:
    names = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP")
    tools = read_tools(base(tmp_path, **dict.fromkeys(names, "x")), passed=names)
    assert not set(names) & set(tools.variables)


async def test_installers_run_where_no_code_can_reach_and_follow_nothing_above(
    tmp_path: Path,
) -> None:
    private = tmp_path / ".kernel_exec"
    tools = read_tools(base(tmp_path), passed=(), private=private)
    config(tmp_path, f'[tool.uv]\nindex-url = "{NOWHERE}/planted"', "pyproject.toml")
    config(tmp_path, f'index-url = "{NOWHERE}/planted"', "uv.toml")

    with tools.work_folder() as (work, variables):
        for place in (work, Path(variables["XDG_CONFIG_HOME"]), Path(variables["TMPDIR"])):
            assert place.is_dir()
            assert place.is_relative_to(private)
    tools = replace(tools, variables={**tools.variables, "UV_DEFAULT_INDEX": f"{NOWHERE}/mine"})
    assert "/mine/" in await attempt(tools)


@pytest.mark.parametrize("named", [False, True])
async def test_uv_follows_the_index_that_was_configured_at_first(
    tmp_path: Path, named: bool
) -> None:
    file = config(tmp_path, f'index-url = "{NOWHERE}/first"')
    tools = read_tools(
        base(tmp_path, **({"UV_CONFIG_FILE": str(file)} if named else {})), passed=()
    )
    config(tmp_path, f'index-url = "{NOWHERE}/planted"')

    told = await attempt(tools)

    assert f"{NOWHERE}/first" in told
    assert "planted" not in told


async def test_an_index_of_uvs_own_beats_the_one_of_pip(tmp_path: Path) -> None:
    config(tmp_path, f'index-url = "{NOWHERE}/mine"')
    tools = read_tools(base(tmp_path, PIP_INDEX_URL=f"{NOWHERE}/pip"), passed=())

    told = await attempt(tools)

    assert f"{NOWHERE}/mine" in told
    assert f"{NOWHERE}/pip" not in told


async def test_uv_follows_no_index_that_was_planted_where_there_was_none(tmp_path: Path) -> None:
    tools = read_tools(base(tmp_path, UV_DEFAULT_INDEX=f"{NOWHERE}/mine"), passed=())
    config(tmp_path, f'extra-index-url = ["{NOWHERE}/planted"]')

    told = await attempt(tools)

    assert f"{NOWHERE}/mine" in told
    assert "planted" not in told


def test_the_two_files_of_pip_become_one_and_the_newer_place_beats_the_older(
    tmp_path: Path,
) -> None:
    config(tmp_path, "[global]\nindex-url = a\ntimeout = 3", ".pip/pip.conf")
    config(tmp_path, "[global]\nindex-url = b", ".config/pip/pip.conf")

    pip = (read_tools(base(tmp_path), passed=()).pip or b"").decode()

    assert "index-url = b" in pip
    assert "timeout = 3" in pip
    assert "index-url = a" not in pip


def test_a_file_that_was_named_for_pip_beats_the_users(tmp_path: Path) -> None:
    config(tmp_path, "[global]\nindex-url = a", ".pip/pip.conf")
    mine = config(tmp_path, "[global]\nindex-url = mine", "mine")

    assert read_tools(base(tmp_path, PIP_CONFIG_FILE=str(mine)), passed=()).pip == mine.read_bytes()
    with read_tools(base(tmp_path, PIP_CONFIG_FILE=os.devnull), passed=()).work_folder() as (_, to):
        assert to["PIP_CONFIG_FILE"] == os.devnull


def test_conda_files_that_changed_are_found(tmp_path: Path) -> None:
    kept = config(tmp_path, "a", ".condarc")
    gone = config(tmp_path, "a", ".mambarc")
    tools = read_tools(base(tmp_path), passed=())
    assert tools.changed_conda_files() == []

    new = config(tmp_path, "channels: [x]", ".config/conda/condarc.d/x.yml")
    gone.unlink()

    assert tools.changed_conda_files() == sorted([new, gone])
    kept.write_text("b")
    assert kept in tools.changed_conda_files()


@pytest.mark.parametrize(
    "name", ["UV_PROJECT", "UV_WORKING_DIRECTORY", "UV_TARGET", "PIP_USER", "VIRTUAL_ENV"]
)
def test_no_variable_leads_an_installer_elsewhere(tmp_path: Path, name: str) -> None:
    tools = read_tools(base(tmp_path, **{name: "/elsewhere"}), passed=(name,))

    with tools.work_folder() as (_, variables):
        assert name not in variables

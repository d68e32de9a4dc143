"""Environments are made ready once, and again when they change."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from kernel_exec.environments.catalog import Catalog, PreparedEnvironment
from kernel_exec.environments.spec import Environment, EnvironmentKind
from kernel_exec.errors import UnusableEnvironmentError
from kernel_exec.sandbox.walls import OPEN, Sandbox, Walls
from tests.environments.pythons import make_venv
from tests.real import HERE
from tests.shared import CACHE
from tests.waits import patient


def make_catalog(
    folder: Path, configured: Environment | None = None, sandbox: Sandbox = OPEN
) -> Catalog:
    return Catalog(
        storage_root=folder,
        cache=CACHE,
        base_variables=os.environ,
        passed_variables=(),
        configured=configured,
        named={},
        sandbox=sandbox,
    )


def test_behind_walls_its_installers_run_below_our_own_folder(tmp_path: Path) -> None:
    walled = Sandbox(walls=Walls.WORKSPACE)
    with make_catalog(tmp_path, HERE, sandbox=walled).tools.work_folder() as (work, _):
        assert work.is_relative_to(tmp_path / ".kernel_exec")


async def test_it_remembers_and_forgets(tmp_path: Path) -> None:
    known = make_catalog(tmp_path, HERE)
    assert await known.default() == HERE
    first = await known.prepare(HERE)
    assert await known.prepare(HERE) is first
    known.forget(HERE)
    assert await known.prepare(HERE) is not first
    known.forget(HERE)
    known.forget(HERE)


async def test_callers_at_the_same_time_share_the_work(tmp_path: Path) -> None:
    known = make_catalog(tmp_path)
    found: list[PreparedEnvironment] = []

    async def prepare() -> None:
        found.append(await known.prepare(HERE))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(prepare)
    assert found[0] is found[1] is found[2]


async def test_one_that_gives_up_does_not_hold_up_the_next(tmp_path: Path) -> None:
    known = make_catalog(tmp_path)
    with anyio.move_on_after(0):
        await known.prepare(HERE)
    with anyio.fail_after(patient(30)):
        assert (await known.prepare(HERE)).environment == HERE


def site_of_its_own(folder: Path) -> Environment:
    """A venv that sees the packages of the interpreter that runs the tests."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = (folder / "lib").glob("python*/site-packages")
    (here,) = {path for path in sys.path if path.endswith("site-packages") and Path(path).is_dir()}
    (site / "here.pth").write_text(f"{here}\n")
    return Environment(kind=EnvironmentKind.VENV, path=folder)


async def test_what_is_installed_behind_its_back_is_noticed(tmp_path: Path) -> None:
    environment = site_of_its_own(tmp_path / "venv")
    known = make_catalog(tmp_path)
    first = await known.prepare(environment)
    (first.interpreter.purelib / "new-1.dist-info").mkdir()
    assert await known.prepare(environment) is not first


@pytest.mark.parametrize("kind", [EnvironmentKind.VENV, EnvironmentKind.PYTHON])
async def test_one_that_is_gone_is_named(tmp_path: Path, kind: EnvironmentKind) -> None:
    place = tmp_path / "venv"
    venv = site_of_its_own(place)
    environment = (
        venv if kind is EnvironmentKind.VENV else Environment(kind=kind, path=place / "bin/python")
    )
    known = make_catalog(tmp_path)
    await known.prepare(environment)
    shutil.rmtree(place)
    with pytest.raises(UnusableEnvironmentError, match="does not exist"):
        await known.prepare(environment)


async def test_the_servers_own_settings_of_python_do_not_reach_the_interpreter(
    tmp_path: Path,
) -> None:
    known = Catalog(
        storage_root=tmp_path,
        cache=tmp_path / "cache",
        base_variables={**os.environ, "PYTHONHOME": "/nonexistent", "SECRET": "x"},
        passed_variables=(),
        configured=None,
        named={},
    )
    prepared = await known.prepare(HERE)
    assert "SECRET" not in prepared.variables


async def test_what_kernels_do_not_support_is_found_all_the_same(tmp_path: Path) -> None:
    venv = make_venv(tmp_path / "venv")
    catalog = Catalog(
        storage_root=tmp_path,
        cache=Path("/dev/null"),
        base_variables=os.environ,
        passed_variables=(),
        configured=Environment(kind=EnvironmentKind.VENV, path=venv),
        named={},
    )
    environment = await catalog.default()
    assert (await catalog.find(environment)).interpreter.prefix == venv
    with pytest.raises(UnusableEnvironmentError, match="KERNEL_EXEC_CACHE"):
        await catalog.prepare(environment)


def test_what_may_be_switched_to_has_a_name(tmp_path: Path) -> None:
    (tmp_path / "miniforge3" / "envs" / "ml" / "conda-meta").mkdir(parents=True)
    (tmp_path / "miniforge3" / "envs" / "odd name" / "conda-meta").mkdir(parents=True)
    catalog = Catalog(
        storage_root=tmp_path,
        cache=tmp_path,
        base_variables={"HOME": str(tmp_path)},
        passed_variables=(),
        configured=None,
        named={"lab": HERE},
    )
    assert catalog.known() == {
        "default": Environment(
            kind=EnvironmentKind.VENV_UV, path=tmp_path / ".kernel_exec" / "environment"
        ),
        "lab": HERE,
        "conda ml": Environment(kind=EnvironmentKind.CONDA, name="ml"),
    }

"""The managed default environment, and the catalog over it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kernel_exec.environments.catalog import Catalog
from kernel_exec.environments.default import ensure_default
from kernel_exec.environments.spec import Environment, EnvironmentKind
from kernel_exec.errors import UnusableEnvironmentError
from tests.real import HERE

MAKE = """
import os, sys, anyio
from pathlib import Path
from kernel_exec.environments.default import ensure_default
async def main():
    print((await ensure_default(Path(sys.argv[1]), variables=os.environ)).path)
anyio.run(main)
"""


async def test_it_is_made_once_and_then_used(tmp_path: Path) -> None:
    made = await ensure_default(tmp_path, variables=os.environ)
    assert made.path is not None
    stamp = (made.path / "pyvenv.cfg").stat().st_mtime_ns
    assert await ensure_default(tmp_path, variables=os.environ) == made
    assert (made.path / "pyvenv.cfg").stat().st_mtime_ns == stamp


def test_two_processes_may_start_at_once(tmp_path: Path) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", MAKE, str(tmp_path)], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    paths = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(paths) == 1


async def test_a_broken_one_is_set_aside_with_what_it_holds(tmp_path: Path) -> None:
    made = await ensure_default(tmp_path, variables=os.environ)
    assert made.path is not None
    (made.path / "precious").write_text("kept")
    (made.path / "bin" / "python").unlink()
    assert await ensure_default(tmp_path, variables=os.environ) == made
    kept = list((tmp_path / ".kernel_exec").glob("environment.broken-*/environment/precious"))
    assert [path.read_text() for path in kept] == ["kept"]


async def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnusableEnvironmentError, match="CODE_STORAGE_DIR"):
        await ensure_default(tmp_path / "file", variables=os.environ)


def catalog(folder: Path, configured: Environment | None) -> Catalog:
    return Catalog(
        storage_root=folder,
        cache=folder / "cache",
        base_variables=os.environ,
        passed_variables=(),
        configured=configured,
        named={},
    )


async def test_the_catalog_remembers_and_forgets(tmp_path: Path) -> None:
    known = catalog(tmp_path, HERE)
    assert await known.default() == HERE
    assert known.prepared(HERE) is None
    first = await known.prepare(HERE)
    assert await known.prepare(HERE) is first
    known.forget(HERE)
    assert await known.prepare(HERE) is not first


async def test_an_environment_that_is_gone_is_named(tmp_path: Path) -> None:
    known = catalog(tmp_path, None)
    place = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    environment = Environment(kind=EnvironmentKind.PYTHON, path=place / "bin" / "python")
    shutil.rmtree(place)
    with pytest.raises(UnusableEnvironmentError, match="is not there"):
        await known.prepare(environment)

"""Wheel and sdist: what they hold and say of themselves, and that all installers make them run."""

import email
import re
import sys
import tarfile
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from kernel_exec.server.greeting import VERSION
from tests.environments.pythons import require_python
from tests.shipping.tools import HEAVY, ROOT, UV, run, serves, uvx

pytestmark = [pytest.mark.network, pytest.mark.timeout(300)]

heavy = pytest.mark.skipif(not HEAVY, reason="takes minutes; see tools.py")

SDIST_LIMIT = WHEEL_LIMIT = 1_000_000
"""Bytes; both take half of it."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(UV, "build", "--quiet", "--python", sys.executable, "--out-dir", str(folder), cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def sdist(built: Path) -> Path:
    (found,) = built.glob("*.tar.gz")
    return found


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as opened:
        (name,) = [name for name in opened.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(opened.read(name))


def test_an_index_would_take_both_and_the_wheel_holds_what_wheels_hold(
    wheel: Path, sdist: Path
) -> None:
    uvx("twine", "twine", "check", "--strict", str(wheel), str(sdist))
    uvx("check-wheel-contents", "check-wheel-contents", str(wheel))


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        packed = {name for name in opened.namelist() if ".dist-info/" not in name}
    ours = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "kernel_exec").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == ours
    assert "kernel_exec/py.typed" in packed
    assert wheel.stat().st_size < WHEEL_LIMIT


def test_the_sdist_holds_what_a_wheel_is_built_from_and_nothing_else(sdist: Path) -> None:
    with tarfile.open(sdist) as opened:
        names = [name.partition("/")[2] for name in opened.getnames()]
    outside = {name for name in names if not name.startswith("kernel_exec/")}
    documents = {"CHANGELOG.md", "LICENSE", "README.md"}
    assert outside == documents | {".gitignore", "PKG-INFO", "pyproject.toml"}
    assert not [name for name in names if "__pycache__" in name]
    assert sdist.stat().st_size < SDIST_LIMIT


def test_the_metadata_is_complete(wheel: Path) -> None:
    said = metadata(wheel)
    assert (said["Name"], said["Version"]) == ("kernel-exec", VERSION)
    for field in ("Summary", "Author", "Keywords", "License-Expression", "Requires-Python"):
        assert said[field], field
    links = dict(each.split(", ") for each in said.get_all("Project-URL", []))
    assert set(links) == {"Repository", "Issues", "Changelog"}
    classifiers = said.get_all("Classifier", [])
    assert "Typing :: Typed" in classifiers
    versions = {name.rpartition(" ")[2] for name in classifiers if "Python :: 3." in name}
    assert versions == {"3.11", "3.12", "3.13", "3.14"}


def test_pictures_of_the_readme_are_found_from_anywhere(wheel: Path) -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", str(metadata(wheel).get_payload()))
    assert pictures
    assert [each for each in pictures if not each.startswith("https://")] == []
    for each in pictures:
        assert (ROOT / each.partition("/raw/main/")[2]).is_file(), each


@pytest.mark.kernel
async def test_a_tool_that_uv_installed_serves(wheel: Path, tmp_path: Path) -> None:
    place = {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin")}
    run(UV, "tool", "install", "--quiet", "--python", sys.executable, str(wheel), env=place)
    storage = tmp_path / "storage"
    storage.mkdir()
    assert await serves(str(tmp_path / "bin" / "kernel-exec"), [], storage) == VERSION


@heavy
@pytest.mark.kernel
@pytest.mark.parametrize("installer", ["uvx", "pipx", "pip"])
async def test_what_others_installed_serves(installer: str, wheel: Path, tmp_path: Path) -> None:
    storage, place = tmp_path / "storage", tmp_path / "place"
    storage.mkdir()
    if installer == "uvx":
        command, args = UV, ["tool", "run", "--python", sys.executable, "--from", str(wheel)]
        args.append("kernel-exec")
    elif installer == "pipx":
        env = {"PIPX_HOME": str(place), "PIPX_BIN_DIR": str(place / "bin")}
        argv = ["tool", "run", "pipx", "install", "--python", sys.executable, str(wheel)]
        run(UV, *argv, env=env)
        command, args = str(place / "bin" / "kernel-exec"), []
    else:
        run(sys.executable, "-m", "venv", str(place))
        run(str(place / "bin" / "pip"), "install", "--quiet", str(wheel))
        command, args = str(place / "bin" / "kernel-exec"), []
    assert await serves(command, args, storage) == VERSION


@heavy
@pytest.mark.kernel
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("resolution", ["highest", "lowest-direct"])
async def test_every_python_serves_with_the_newest_and_the_oldest_that_we_allow(
    version: str, resolution: str, wheel: Path, tmp_path: Path
) -> None:
    python, storage = require_python(version), tmp_path / "storage"
    storage.mkdir()
    run(UV, "venv", "--quiet", "--python", str(python), str(tmp_path / "venv"))
    inside = str(tmp_path / "venv" / "bin" / "python")
    argv = ["pip", "install", "--quiet", "--python", inside, "--resolution", resolution]
    run(UV, *argv, str(wheel))
    command = str(tmp_path / "venv" / "bin" / "kernel-exec")
    assert await serves(command, [], storage) == VERSION

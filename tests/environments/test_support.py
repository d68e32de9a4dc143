"""ipykernel reaches interpreters that have none, or a bad one, and changes nothing there."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest

from kernel_exec.environments.activation import kernel_variables
from kernel_exec.environments.catalog import PreparedEnvironment
from kernel_exec.environments.interpreters import Interpreter, ask
from kernel_exec.environments.spec import Environment, EnvironmentKind
from kernel_exec.environments.support import KernelSupport, SupportKind, find_support
from kernel_exec.errors import UnusableEnvironmentError
from kernel_exec.kernels.execution import Outcome, Request
from kernel_exec.kernels.local import LocalKernels

pytestmark = [pytest.mark.kernel, pytest.mark.network, pytest.mark.timeout(180)]


def uv(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "uv", "--quiet", *arguments], check=True)


def make_venv(place: Path, *packages: str, python: str = sys.executable) -> Path:
    uv("venv", "--python", python, str(place))
    if packages:
        uv("pip", "install", "--python", str(place / "bin" / "python"), *packages)
    return place


def tree_hash(folder: Path) -> str:
    """Over paths, sizes and contents of all that is below `folder`."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        whole.update(str(path).encode())
        if path.is_file():
            whole.update(path.read_bytes())
    return whole.hexdigest()


class Place:
    """A venv and a cache, and what is found out about them."""

    def __init__(self, venv: Path, cache: Path) -> None:
        self.environment = Environment(kind=EnvironmentKind.VENV_UV, path=venv)
        self.cache = cache
        self.executable = venv / "bin" / "python"

    async def interpreter(self) -> Interpreter:
        return await ask(self.executable, variables=os.environ)

    async def support(self, tool_variables: Mapping[str, str] = os.environ) -> KernelSupport:
        interpreter = await self.interpreter()
        return await find_support(
            interpreter,
            cache=self.cache,
            variables=kernel_variables(self.environment, interpreter, base=os.environ, passed=()),
            tool_variables=tool_variables,
        )

    async def run(self, source: str) -> Outcome:
        """How code ends in a kernel that is supported so."""
        interpreter = await self.interpreter()
        prepared = PreparedEnvironment(
            environment=self.environment,
            interpreter=interpreter,
            support=await self.support(),
            variables=kernel_variables(self.environment, interpreter, base=os.environ, passed=()),
        )
        start = LocalKernels(
            prepared=prepared,
            working_directory=self.cache,
            spill_dir=self.cache,
            runtime_dir=Path("/tmp"),
        )
        async with start(lambda event: None) as kernel:
            with anyio.fail_after(60):
                ending = await kernel.execute(Request(id="e", source=source))
        return ending.outcome


ENVIRONMENTS: dict[str, tuple[list[str], SupportKind, str]] = {
    "nothing installed": ([], SupportKind.OVERLAY, ""),
    "its own sound ipykernel": (["ipykernel==6.31.0"], SupportKind.OWN, "6.31.0"),
    "an ipykernel that loses replies": (["ipykernel==7.2.0"], SupportKind.SHADOW, ""),
    "an ipykernel that is too old": (["ipykernel==5.5.6"], SupportKind.SHADOW, ""),
    "old relations of ipykernel": (
        ["traitlets==4.3.3", "ipython==7.16.3", "jedi==0.17.2", "jupyter_client==6.1.12"],
        SupportKind.SHADOW,
        "",
    ),
    "relations that will do": (
        ["tornado==6.4.2", "python-dateutil==2.8.2"],
        SupportKind.OVERLAY,
        "",
    ),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
async def test_a_kernel_runs_and_the_environment_is_unchanged(tmp_path: Path, name: str) -> None:
    packages, kind, version = ENVIRONMENTS[name]
    place = Place(make_venv(tmp_path / "venv", *packages), tmp_path / "cache")
    before = tree_hash(tmp_path / "venv")
    support = await place.support()
    assert support.kind is kind
    assert not version or support.ipykernel_version == version
    pinned = [package.split("==") for package in packages if not package.startswith("ipykernel")]
    checks = "\n".join(
        f"from importlib.metadata import version; assert version('{package}') == '{wanted}'"
        for package, wanted in pinned
    )
    assert (
        await place.run(f"{checks}\nimport sys; assert sys.prefix == {str(tmp_path / 'venv')!r}")
        is Outcome.OK
    )
    if not packages:
        assert await place.run("import psutil") is Outcome.EXCEPTION
    assert tree_hash(tmp_path / "venv") == before


async def test_subprocesses_do_not_see_the_overlay(tmp_path: Path) -> None:
    place = Place(make_venv(tmp_path / "venv"), tmp_path / "cache")
    source = (
        "import subprocess, sys\n"
        "done = subprocess.run([sys.executable, '-c', 'import ipykernel'], capture_output=True)\n"
        "assert b'ModuleNotFoundError' in done.stderr"
    )
    assert await place.run(source) is Outcome.OK


async def test_an_overlay_is_shared_and_a_damaged_one_is_made_again(tmp_path: Path) -> None:
    first = Place(make_venv(tmp_path / "one"), tmp_path / "cache")
    second = Place(make_venv(tmp_path / "two"), tmp_path / "cache")
    made = (await first.support()).path
    assert made is not None
    assert (await second.support()).path == made
    (made / ".complete").unlink()
    again = await second.support()
    assert again.path == made
    assert (made / ".complete").is_file()


async def test_two_at_once_make_one_overlay(tmp_path: Path) -> None:
    places = [Place(make_venv(tmp_path / name), tmp_path / "cache") for name in ("one", "two")]
    found: list[KernelSupport] = []

    async def find(place: Place) -> None:
        found.append(await place.support())

    async with anyio.create_task_group() as tasks:
        for place in places:
            tasks.start_soon(find, place)
    assert found[0].path == found[1].path
    assert len([path for path in (tmp_path / "cache" / "overlays").iterdir() if path.is_dir()]) == 1


async def test_what_is_installed_later_changes_the_answer(tmp_path: Path) -> None:
    place = Place(make_venv(tmp_path / "venv"), tmp_path / "cache")
    assert (await place.support()).kind is SupportKind.OVERLAY
    uv("pip", "install", "--python", str(place.executable), "ipykernel==6.31.0")
    assert (await place.support()).kind is SupportKind.OWN


def offline(folder: Path) -> dict[str, str]:
    return {**os.environ, "UV_OFFLINE": "1", "UV_CACHE_DIR": str(folder / "empty-cache")}


async def test_without_a_network_the_servers_own_version_still_works(tmp_path: Path) -> None:
    place = Place(make_venv(tmp_path / "venv"), tmp_path / "cache")
    support = await place.support(offline(tmp_path))
    assert support.kind is SupportKind.OVERLAY
    assert await place.run("1 + 1") is Outcome.OK


async def test_without_a_network_another_version_says_what_to_do(tmp_path: Path) -> None:
    others = [f"3.{minor}" for minor in range(9, 15) if minor != sys.version_info.minor]
    for version in others:
        try:
            make_venv(tmp_path / "venv", python=version)
        except subprocess.CalledProcessError:
            continue
        place = Place(tmp_path / "venv", tmp_path / "cache")
        with pytest.raises(UnusableEnvironmentError, match="install ipykernel"):
            await place.support(offline(tmp_path))
        return
    pytest.skip("no other Python is installed")


@pytest.mark.parametrize("version", [f"3.{minor}" for minor in range(8, 15)])
async def test_every_python_gets_a_kernel(tmp_path: Path, version: str) -> None:
    try:
        make_venv(tmp_path / "venv", python=version)
    except subprocess.CalledProcessError:
        pytest.skip(f"Python {version} is not installed")
    place = Place(tmp_path / "venv", tmp_path / "cache")
    assert await place.run(f"import sys; assert sys.version.startswith('{version}')") is Outcome.OK

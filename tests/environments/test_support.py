"""ipykernel reaches interpreters that have none, or a bad one, and changes nothing there."""

import os
import re
import shutil
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
from kernel_exec.environments.support import (
    KernelSupport,
    SupportKind,
    constraints,
    find_support,
)
from kernel_exec.environments.tools import read_tools
from kernel_exec.errors import UnusableEnvironmentError
from kernel_exec.kernels.outcomes import Event, Outcome, Produced, Request
from kernel_exec.kernels.outputs import Stream
from tests.environments.pythons import contents, make_venv, require_python, uv
from tests.real import all_kernels
from tests.shared import CACHE
from tests.waits import patient

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.network,
    pytest.mark.slow,
    pytest.mark.timeout(180),
]


class Place:
    """A venv and a cache, and what is found out about them; a test of overlays has its own."""

    def __init__(self, venv: Path, cache: Path = CACHE) -> None:
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
            tools=read_tools(tool_variables, passed=()),
        )

    async def run(self, source: str) -> Outcome:
        """How code ends in a kernel that is supported so."""
        outcome, _ = await self.tell(source)
        return outcome

    async def tell(self, *sources: str) -> tuple[Outcome, str]:
        """How the last of the cells ends in such a kernel, and what all of them wrote."""
        interpreter = await self.interpreter()
        prepared = PreparedEnvironment(
            environment=self.environment,
            interpreter=interpreter,
            support=await self.support(),
            variables=kernel_variables(self.environment, interpreter, base=os.environ, passed=()),
        )
        folder = self.executable.parents[2]
        written: list[str] = []

        def listen(event: Event) -> None:
            if isinstance(event, Produced) and isinstance(event.output, Stream):
                written.append(event.output.text)

        async with all_kernels().open(
            prepared, listen, working_directory=folder, spill_dir=folder
        ) as kernel:
            with anyio.fail_after(patient(60)):
                endings = [
                    await kernel.execute(Request(id=f"e{number}", source=source))
                    for number, source in enumerate(sources)
                ]
        return endings[-1].outcome, "".join(written)


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
    place = Place(make_venv(tmp_path / "venv", *packages))
    before = contents(tmp_path / "venv")
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
    assert contents(tmp_path / "venv") == before


OLD = [
    *("traitlets==4.3.3", "tornado==6.0.4", "ipython==7.16.3", "jedi==0.17.2"),
    *("pyzmq==19.0.2", "jupyter_client==6.1.12", "python-dateutil==2.8.2"),
]


async def test_old_relations_are_hidden_no_more_than_needed(tmp_path: Path) -> None:
    venv = make_venv(tmp_path / "venv", *OLD, python=require_python("3.8"))
    place = Place(venv)
    before = contents(venv)
    assert (await place.support()).kind is SupportKind.SHADOW
    source = """
import dateutil, six, subprocess, sys
print(dateutil.__version__)
import traitlets
code = "import traitlets, IPython; print(traitlets.__version__, IPython.__version__)"
print(subprocess.run([sys.executable, "-Bc", code], stdout=subprocess.PIPE).stdout.decode())
"""
    outcome, told = await place.tell(source)
    assert outcome is Outcome.OK
    assert "2.8.2" in told
    assert "4.3.3 7.16.3" in told
    assert re.search(
        r"traitlets is version 5\.\S+ here, from the kernel's overlay; .* 4\.3\.3", told
    )
    assert "dateutil is" not in told
    assert contents(venv) == before


async def test_what_only_the_kernel_has_is_told_once(tmp_path: Path) -> None:
    place = Place(make_venv(tmp_path / "venv", "tornado==6.4.2"))
    outcome, told = await place.tell(
        "%time import traitlets.config as t, tornado, json\nx = 'IPython'",
        "def later():\n    from zmq import Context\nimport traitlets",
        "from dateutil import parser",
    )
    assert outcome is Outcome.OK
    only_here = re.findall(r"\[kernel-exec\] (\w+) comes from the kernel's overlay", told)
    assert only_here == ["traitlets", "zmq", "dateutil"]
    assert "install it with install_dependencies" in told
    assert await place.run("import numpy") is Outcome.EXCEPTION


async def test_an_ipykernel_that_does_not_start_is_not_used(tmp_path: Path) -> None:
    place = Place(make_venv(tmp_path / "venv", "ipykernel==6.31.0"))
    (broken,) = (tmp_path / "venv").glob("lib/python*/site-packages/ipykernel/kernelapp.py")
    source = broken.read_text().replace("def init_kernel(self", "def init_kernel_no_more(self")
    broken.unlink()  # it is one file with what is in uv's cache
    broken.write_text(source)
    assert (await place.support()).kind is SupportKind.SHADOW
    assert await place.run("1 + 1") is Outcome.OK


async def test_a_start_that_was_killed_proves_nothing_for_the_next_time(tmp_path: Path) -> None:
    place = Place(make_venv(tmp_path / "venv", "ipykernel==6.31.0"))
    (module,) = (tmp_path / "venv").glob("lib/python*/site-packages/ipykernel/kernelapp.py")
    starved = tmp_path / "starved"
    killed = f"import os\nif os.path.exists({str(starved)!r}): os.kill(os.getpid(), 9)\n"
    source = killed + module.read_text().replace("from __future__ import annotations", "")
    module.unlink()  # it is one file with what is in uv's cache
    module.write_text(source)
    starved.touch()
    assert (await place.support()).kind is SupportKind.SHADOW
    starved.unlink()
    assert (await place.support()).kind is SupportKind.OWN


async def test_a_venv_sees_what_its_system_has(tmp_path: Path) -> None:
    under = make_venv(tmp_path / "under", "six==1.16.0", "tornado==6.4.2")
    (site,) = under.glob("lib/python*/site-packages")
    uv("venv", "--system-site-packages", "--python", sys.executable, str(tmp_path / "venv"))
    (own,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (own / "system.pth").write_text(f"{site}\n")  # the system of a machine is not for tests
    before = contents(tmp_path / "venv") | contents(under)
    place = Place(tmp_path / "venv")
    outcome, told = await place.tell("import six, tornado; print(six.__version__, tornado.version)")
    assert (outcome, told) == (Outcome.OK, "1.16.0 6.4.2\n")
    assert contents(tmp_path / "venv") | contents(under) == before


AS_IN_PLAIN_PYTHON = """
import math, multiprocessing, pickle, subprocess, sys, warnings
def successor(x): return x + 1
class Thing: pass
assert type(pickle.loads(pickle.dumps(Thing()))) is Thing and Thing.__module__ == "__main__"
assert sys.executable == {executable!r}
said = subprocess.run([sys.executable, "-c", "import sys; print(sys.prefix)"], stdout=-1).stdout
assert said.decode().strip() == sys.prefix
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(successor, [1, 2]) == [2, 3]
with multiprocessing.get_context("spawn").Pool(2) as pool:
    assert pool.map(math.sqrt, [1, 4]) == [1.0, 2.0]
load = [sys.executable, "-c", "import pickle, sys; pickle.load(sys.stdin.buffer)"]
subprocess.run(load, input=pickle.dumps(warnings.filters), check=True)  # as scikit-learn does
"""


async def test_processes_and_pickle_are_as_in_plain_python(tmp_path: Path) -> None:
    place = Place(make_venv(tmp_path / "venv"))
    source = AS_IN_PLAIN_PYTHON.format(executable=str(place.executable))
    outcome, told = await place.tell(source)
    assert (outcome, told) == (Outcome.OK, "")


async def test_an_overlay_is_byte_compiled(tmp_path: Path) -> None:
    made = (await Place(make_venv(tmp_path / "venv")).support()).path
    assert made is not None
    assert list((made / "ipykernel" / "__pycache__").glob("kernelbase.*.pyc"))


INSTALLED = {
    "what ipykernel needs, as it is": ({"tornado": "6.2", "numpy": "2.0"}, {"tornado==6.2"}),
    "a matplotlib that needs an older backend": (
        {"matplotlib": "3.6.3"},
        {"matplotlib-inline<0.2"},
    ),
    "one that does not": ({"matplotlib": "3.7.0"}, set()),
    "one that has its backend": (
        {"matplotlib": "3.5.3", "matplotlib-inline": "0.1.7"},
        {"matplotlib-inline==0.1.7"},
    ),
}


@pytest.mark.parametrize("what", INSTALLED)
def test_an_overlay_fits_what_is_installed(what: str) -> None:
    installed, expected = INSTALLED[what]
    assert set(constraints(installed)) == expected


async def test_subprocesses_do_not_see_the_overlay(tmp_path: Path) -> None:
    place = Place(make_venv(tmp_path / "venv"))
    source = (
        "import subprocess, sys\n"
        "done = subprocess.run([sys.executable, '-c', 'import ipykernel'], capture_output=True)\n"
        "assert b'ModuleNotFoundError' in done.stderr"
    )
    assert await place.run(source) is Outcome.OK


FIND = """
import os, sys, anyio
from pathlib import Path
from kernel_exec.environments.interpreters import ask
from kernel_exec.environments.support import find_support
from kernel_exec.environments.tools import read_tools
async def main():
    told = await ask(Path(sys.argv[1]), variables=os.environ)
    made = await find_support(
        told,
        cache=Path(sys.argv[2]),
        variables=os.environ,
        tools=read_tools(os.environ, passed=()),
    )
    print(made.path)
anyio.run(main)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A cache, and the overlays that two processes have found there at once."""
    folder = tmp_path_factory.mktemp("found")
    python = make_venv(folder / "venv") / "bin" / "python"
    argv = [sys.executable, "-c", FIND, str(python), str(folder / "cache")]
    running = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = [process.communicate()[0].strip() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    return folder / "cache", paths


def test_two_processes_at_once_make_one_overlay(found: tuple[Path, list[str]]) -> None:
    one, other = found[1]
    assert one == other
    assert Path(one, ".complete").is_file()


@pytest.fixture
def cache(found: tuple[Path, list[str]], tmp_path: Path) -> Path:
    """A copy of that cache; a file there is one with the original, so it is never written to."""
    return Path(shutil.copytree(found[0], tmp_path / "cache", copy_function=os.link))


async def test_an_overlay_is_shared_and_one_that_was_never_finished_is_made_again(
    tmp_path: Path, cache: Path
) -> None:
    place = Place(make_venv(tmp_path / "another"), cache)
    (made,) = (each for each in (cache / "overlays").iterdir() if each.is_dir())
    assert (await place.support()).path == made
    (made / ".complete").unlink()
    left = made.with_name(f".making-{made.name}-x")  # by one that was killed
    left.mkdir()
    assert (await place.support()).path == made
    assert (made / ".complete").is_file()
    assert not left.exists()


async def test_an_overlay_that_lost_a_file_is_made_again(tmp_path: Path, cache: Path) -> None:
    place = Place(make_venv(tmp_path / "venv"), cache)
    made = (await place.support()).path
    assert made is not None
    lost, cut = made / "ipykernel" / "kernelbase.py", made / "zmq" / "__init__.py"
    lost.unlink()
    cut.unlink()
    cut.write_text("cut")
    assert (await place.support()).path == made
    assert lost.is_file()
    assert cut.read_text() != "cut"
    assert await place.run("1 + 1") is Outcome.OK
    assert not [path.name for path in made.parent.iterdir() if path.name.startswith(".making")]


async def test_one_who_gives_up_leaves_the_way_free(tmp_path: Path) -> None:
    place = Place(make_venv(tmp_path / "venv"), tmp_path / "cache")
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(place.support)
            while not list(tmp_path.glob("cache/overlays/.making-*/overlay")):
                await anyio.lowlevel.checkpoint()
            scope.cancel()
    with anyio.fail_after(patient(60)):
        assert (await place.support()).kind is SupportKind.OVERLAY


async def test_a_cache_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    place = Place(make_venv(tmp_path / "venv"), tmp_path / "cache")
    with pytest.raises(UnusableEnvironmentError, match="KERNEL_EXEC_CACHE"):
        await place.support()


async def test_an_interpreter_that_uv_does_not_understand_is_told(tmp_path: Path) -> None:
    place = Place(make_venv(tmp_path / "venv"), tmp_path / "cache")
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "noise.pth").write_text("import sys; print('hello')")
    with pytest.raises(UnusableEnvironmentError, match=r"(?s)Python .*install ipykernel"):
        await place.support()


async def test_a_version_that_is_none_constrains_nothing(tmp_path: Path) -> None:
    place = Place(make_venv(tmp_path / "venv"))
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "six.dist-info").mkdir()
    (site / "six.dist-info" / "METADATA").write_text("Name: six\nVersion: 2004d\n")
    assert (await place.support()).kind is SupportKind.OVERLAY


async def test_what_is_installed_later_changes_the_answer(tmp_path: Path) -> None:
    place = Place(make_venv(tmp_path / "venv"))
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


async def test_what_was_found_without_a_network_is_looked_for_again(tmp_path: Path) -> None:
    place = Place(make_venv(tmp_path / "venv", "tornado==6.4.2"), tmp_path / "cache")
    assert (await place.support(offline(tmp_path))).kind is SupportKind.SHADOW
    assert (await place.support()).kind is SupportKind.OVERLAY


async def test_without_a_network_another_version_says_what_to_do(tmp_path: Path) -> None:
    python = require_python("3.12" if sys.version_info[:2] != (3, 12) else "3.13")
    place = Place(make_venv(tmp_path / "venv", python=python), tmp_path / "cache")
    with pytest.raises(UnusableEnvironmentError, match=r"network was disabled.*install ipykernel"):
        await place.support(offline(tmp_path))


@pytest.mark.parametrize("version", [f"3.{minor}" for minor in range(8, 15)])
async def test_every_python_gets_a_kernel(tmp_path: Path, version: str) -> None:
    python = require_python(version)
    place = Place(make_venv(tmp_path / "venv", python=python))
    before = contents(tmp_path / "venv")
    assert await place.run(f"import sys; assert sys.version.startswith('{version}')") is Outcome.OK
    assert contents(tmp_path / "venv") == before

"""conda's prefixes are found, activated and supported without conda."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest

from kernel_exec.environments import activation, conda
from kernel_exec.environments.activation import activate
from kernel_exec.environments.catalog import Catalog
from kernel_exec.environments.interpreters import Interpreter, ask, find_executable
from kernel_exec.environments.spec import Environment, EnvironmentKind
from kernel_exec.errors import UnusableEnvironmentError
from kernel_exec.kernels.outcomes import Event, Outcome, Produced, Request
from kernel_exec.kernels.outputs import Stream
from kernel_exec.sandbox.walls import Sandbox, Walls
from tests.environments.conda import (
    NATIVE_LIB_VARIABLES,
    make_prefix,
    make_root,
    shared_channel,
    stand_in,
)
from tests.environments.pythons import contents
from tests.real import all_kernels
from tests.sandbox.holding import require_walls
from tests.shared import CACHE
from tests.waits import patient


def prefix(path: Path) -> Path:
    (path / "conda-meta").mkdir(parents=True)
    (path / "bin").mkdir()
    (path / "bin" / "python").symlink_to(sys.executable)
    return path


def client(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def find(name: str, home: Path, **base: str) -> Path:
    return conda.find_prefix(name, {"HOME": str(home), **base})


FOUND_BY = {
    "CONDA_EXE": lambda root: {"CONDA_EXE": str(root / "bin" / "conda")},
    "MAMBA_EXE": lambda root: {"MAMBA_EXE": str(root / "bin" / "mamba")},
    "MAMBA_ROOT_PREFIX": lambda root: {"MAMBA_ROOT_PREFIX": str(root)},
    "another activated environment": lambda root: {"CONDA_PREFIX": str(root / "envs" / "other")},
    "PATH": lambda root: {"PATH": f"relative:/usr/bin:{root / 'condabin'}"},
    "a list of folders": lambda root: {"CONDA_ENVS_DIRS": f"/nowhere:{root / 'envs'}"},
}


@pytest.mark.parametrize("way", FOUND_BY)
def test_an_environment_is_found_by_its_name(tmp_path: Path, way: str) -> None:
    root = prefix(tmp_path / "root")
    client(root / "condabin" / "conda")
    wanted = prefix(root / "envs" / "ml")
    assert find("ml", tmp_path / "home", **FOUND_BY[way](root)) == wanted


@pytest.mark.parametrize("place", ["miniforge3", "anaconda3", "opt/miniconda3", ".conda"])
def test_an_environment_is_found_in_the_usual_places(tmp_path: Path, place: str) -> None:
    wanted = prefix(tmp_path / place / "envs" / "ml")
    assert find("ml", tmp_path) == wanted


def test_a_linked_client_leads_to_its_root(tmp_path: Path) -> None:
    wanted = prefix(tmp_path / "root" / "envs" / "ml")
    real = client(tmp_path / "root" / "bin" / "conda")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "conda").symlink_to(real)
    assert find("ml", tmp_path, PATH=str(tmp_path / "links")) == wanted


def test_the_list_of_environments_is_read_and_what_is_gone_skipped(tmp_path: Path) -> None:
    (tmp_path / ".conda").mkdir()
    listed = prefix(tmp_path / "projects" / "ml")
    (tmp_path / ".conda" / "environments.txt").write_text(f"/gone/ml\n\nrelative/ml\n{listed} \n")
    assert find("ml", tmp_path) == listed
    (tmp_path / ".conda" / "environments.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UnusableEnvironmentError, match="; set CONDA_EXE"):
        find("ml", tmp_path)


def test_a_name_that_is_unknown_is_told_with_those_that_are(tmp_path: Path) -> None:
    root = prefix(tmp_path / "miniforge3")
    for name in ("ml", "stats"):
        prefix(root / "envs" / name)
    with pytest.raises(UnusableEnvironmentError, match=r"'mm'; known are base, ml, stats; name"):
        find("mm", tmp_path)
    for number in range(30):
        prefix(root / "envs" / f"x{number:02}")
    with pytest.raises(UnusableEnvironmentError, match="x16 and 13 more"):
        find("mm", tmp_path)


def test_a_prefix_must_be_one_and_have_python(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "bare" / "conda-meta").mkdir(parents=True)
    for name, message in (
        ("plain", "no conda-meta"),
        ("bare", "has no Python; install it"),
    ):
        environment = Environment(kind=EnvironmentKind.CONDA, path=tmp_path / name)
        with pytest.raises(UnusableEnvironmentError, match=message):
            find_executable(environment, {})


def test_the_client_of_the_root_comes_first(tmp_path: Path) -> None:
    root = prefix(tmp_path / "root")
    ml = prefix(root / "envs" / "ml")
    elsewhere = client(tmp_path / "bin" / "micromamba")
    home = {"HOME": str(tmp_path)}
    base = {**home, "PATH": str(elsewhere.parent)}
    assert conda.find_client(ml, home) is None
    assert conda.find_client(ml, base) == elsewhere
    named = client(tmp_path / "named" / "conda")
    assert conda.find_client(ml, {**base, "CONDA_EXE": str(named)}) == named
    own = client(root / "condabin" / "conda")
    assert conda.find_client(ml, {**base, "CONDA_EXE": str(named)}) == own


def test_a_client_that_code_could_write_is_not_taken(tmp_path: Path) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    ml = prefix(project / "envs" / "ml")
    client(project / "bin" / "conda")
    safe = client(elsewhere / "bin" / "conda")
    (tmp_path / "way").symlink_to(project / "link")
    (project / "link").symlink_to(elsewhere)
    home = {"HOME": str(tmp_path)}
    base = {**home, "CONDA_EXE": str(tmp_path / "way" / "bin" / "conda")}
    assert conda.find_client(ml, base, [project]) is None
    assert conda.find_client(ml, {**base, "PATH": str(safe.parent)}, [project]) == safe


async def test_behind_walls_a_name_leads_to_no_prefix_that_code_could_write(
    tmp_path: Path,
) -> None:
    project = tmp_path / "project"
    named = prefix(tmp_path / "safe")
    made = [prefix(project / "gone"), prefix(project / "two" / "deep"), named]
    (project / "link").symlink_to(named)
    listed = [*made, project / "link", prefix(project / "mine")]
    (tmp_path / ".conda").mkdir()
    (tmp_path / ".conda" / "environments.txt").write_text("\n".join(map(str, listed)))
    script = project / "gone" / "bin" / "python"
    script.unlink()
    client(script).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    environments = {
        each: Environment(kind=EnvironmentKind.CONDA, name=each)
        for each in ("gone", "deep", "link", "safe", "mine")
    }
    catalog = Catalog(
        storage_root=tmp_path / "storage",
        cache=CACHE,
        base_variables={"HOME": str(tmp_path), "PATH": os.defpath},
        passed_variables=(),
        configured=environments["mine"],
        named={},
        sandbox=Sandbox(walls=Walls.WORKSPACE, folder=project),
    )

    for each in ("gone", "deep", "link"):
        with pytest.raises(UnusableEnvironmentError, match=r"where code may write.* env add NAME"):
            await catalog.find(environments[each])
    for each in ("safe", "mine"):
        await catalog.find(environments[each])
    prepared = await catalog.prepare(environments["safe"])

    assert project / "mine" in prepared.sandbox.environments
    assert not (tmp_path / "ran").exists()


def test_conda_names_prefixes_as_it_does(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    assert conda.default_name(root) == "base"
    assert conda.default_name(root / "envs" / "ml") == "ml"
    assert conda.default_name(tmp_path / "projects" / "ml") == str(tmp_path / "projects" / "ml")


def test_records_that_can_not_be_read_are_left_out(tmp_path: Path) -> None:
    meta = prefix(tmp_path / "ml") / "conda-meta"
    (meta / "good.json").write_text('{"name": "good", "version": "1"}')
    (meta / "half.json").write_text('{"name": "ha')
    (meta / "list.json").write_text("[]")
    assert conda.records(tmp_path / "ml") == {"good": "1"}
    assert conda.records(tmp_path / "nowhere") == {}


# What follows uses genuine prefixes


@pytest.fixture(scope="module")
def channel() -> Path:
    return shared_channel()


async def make_ml(place: Path, channel: Path) -> Path:
    root = make_root(place / "miniforge3")
    stand_in(root)
    return await make_prefix(root / "envs" / "ml", channel, "python", "native-lib", "demo-noarch=1")


async def variables(ml: Path, **base: str) -> dict[str, str]:
    environment = Environment(kind=EnvironmentKind.CONDA, name="ml")
    interpreter = await interpreter_of(ml)
    home = str(ml.parents[2])
    return await activate(
        environment, interpreter, base={"PATH": "/usr/bin", "HOME": home} | base, passed=()
    )


async def interpreter_of(ml: Path) -> Interpreter:
    return await ask(ml / "bin" / "python", variables=os.environ)


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_prefix_is_activated_as_conda_does_it(tmp_path: Path, channel: Path) -> None:
    ml = await make_ml(tmp_path, channel)
    state = {"env_vars": {"STORED": "yes", "GONE": "***unset***", "NUMBER": 3}}
    (ml / "conda-meta" / "state").write_text(json.dumps(state))
    made = await variables(ml, CONDA_PREFIX="/server", PATH="/server/bin:/usr/bin")
    expected: Mapping[str, str] = {
        "CONDA_PREFIX": str(ml),
        "CONDA_DEFAULT_ENV": "ml",
        "CONDA_SHLVL": "1",
        "CONDA_EXE": str(tmp_path / "miniforge3" / "condabin" / "conda"),
        "PATH": f"{ml}/bin:/usr/bin",
        "STORED": "yes",
        "NATIVE_LIB_DATA": f"{ml}/share/native-lib",
        **NATIVE_LIB_VARIABLES,
    }
    assert expected.items() <= made.items()
    assert not {"GONE", "NUMBER", "SHLVL", "_", "PWD"} & made.keys()


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_scripts_may_say_fail_and_remove_but_not_stop(
    tmp_path: Path, channel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ml = await make_ml(tmp_path, channel)
    scripts = ml / "etc" / "conda" / "activate.d"
    (scripts / "a; touch b.sh").write_text("echo loud\nfalse\nunset LC_ALL\nexport ODD='a\nb=c'\n")
    made = await variables(ml, LC_ALL="C", LC_ODD="\udcff")
    assert made["ODD"] == "a\nb=c"
    assert "LC_ALL" not in made
    assert made["LC_ODD"] == "\udcff"
    assert not (Path("/") / "b.sh").exists()
    (scripts / "z.sh").write_text("exit 3\n")
    with pytest.raises(UnusableEnvironmentError, match=r"ended with 3.*z\.sh; repair or remove"):
        await variables(ml)
    (scripts / "z.sh").write_text("read x </dev/zero\nexec sleep 60\n")
    monkeypatch.setattr(activation, "_SCRIPTS_LIMIT", 0.3)
    with pytest.raises(UnusableEnvironmentError, match="took too long"):
        await variables(ml)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.kernel
@pytest.mark.timeout(180)
@pytest.mark.parametrize("walls", Walls)
async def test_a_kernel_of_a_prefix_leaves_it_unchanged(
    tmp_path: Path, channel: Path, walls: Walls
) -> None:
    if walls:
        require_walls()
    ml, work = await make_ml(tmp_path, channel), tmp_path / "work"
    work.mkdir()
    before = contents(ml)
    catalog = Catalog(
        storage_root=tmp_path,
        cache=CACHE,
        base_variables={**os.environ, "HOME": str(tmp_path)},
        passed_variables=(),
        configured=Environment(kind=EnvironmentKind.CONDA, name="ml"),
        named={},
        sandbox=Sandbox(walls=walls),
    )
    prepared = await catalog.prepare(await catalog.default())
    told: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Produced) and isinstance(event.output, Stream):
            told.append(event.output.text)

    async with all_kernels().open(
        prepared, listen, working_directory=work, spill_dir=work
    ) as kernel:
        with anyio.fail_after(patient(60)):
            ending = await kernel.execute(Request(id="e", source=SEEN_FROM_INSIDE))
    assert ending.outcome is Outcome.OK
    assert "".join(told).splitlines() == [str(ml), "1.0", f"{ml}/share/native-lib", f"{ml}/bin"]
    assert contents(ml) == before


SEEN_FROM_INSIDE = """
import os, sys, demo_noarch
print(sys.prefix)
print(demo_noarch.__version__)
print(os.environ["NATIVE_LIB_DATA"])
print(os.path.dirname(__import__("shutil").which("python")))
"""


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(180)
async def test_a_changed_script_is_noticed(tmp_path: Path, channel: Path) -> None:
    ml = await make_ml(tmp_path, channel)
    catalog = Catalog(
        storage_root=tmp_path,
        cache=CACHE,
        base_variables={**os.environ, "HOME": str(tmp_path)},
        passed_variables=(),
        configured=None,
        named={},
    )
    environment = Environment(kind=EnvironmentKind.CONDA, path=ml)
    first = await catalog.prepare(environment)
    assert await catalog.prepare(environment) is first
    (ml / "etc" / "conda" / "activate.d" / "new.sh").write_text("export NEW=1\n")
    assert (await catalog.prepare(environment)).variables["NEW"] == "1"
    assert "conda ml" in catalog.known()

"""Packages go into genuine conda prefixes through a client that speaks conda's command line."""

import os
import shutil
from pathlib import Path

import pytest

from kernel_exec.environments.interpreters import Interpreter, ask
from kernel_exec.environments.tools import read_tools
from kernel_exec.errors import InvalidArgumentError, PackageError
from kernel_exec.packages import installers
from kernel_exec.packages.install import Installed, install
from kernel_exec.packages.installers import conda_commands
from kernel_exec.packages.inventory import check
from tests.environments.conda import make_prefix, make_root, shared_channel, stand_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module", autouse=True)
def channel() -> Path:
    return shared_channel()


async def make_ml(place: Path, *, client: bool = True) -> Path:
    root = place / "root"
    if client:
        stand_in(make_root(root))
    ml = root / "envs" / "ml"
    return await make_prefix(ml, shared_channel(), "python", "demo-noarch=1.0")


async def interpreter(prefix: Path) -> Interpreter:
    return await ask(prefix / "bin" / "python", variables=os.environ)


async def put(
    prefix: Path, *requirements: str, upgrade: bool = False, **more: str
) -> tuple[Installed, list[str]]:
    heard: list[str] = []
    tool = {"HOME": str(prefix.parents[2]), "CONDA_CHANNELS": shared_channel().as_uri(), **more}
    done = await install(
        await interpreter(prefix),
        requirements,
        upgrade=upgrade,
        allow_build=False,
        variables=os.environ,
        tools=read_tools(tool, passed=()),
        locks=prefix.parents[2] / "locks",
        on_line=heard.append,
    )
    return done, heard


async def test_a_package_of_no_python_is_installed_and_told(tmp_path: Path) -> None:
    ml = await make_ml(tmp_path)
    done, heard = await put(ml, "native-lib", "demo-noarch")
    assert done.tool == "conda"
    assert (done.changes.before, done.changes.after) == ({"native-lib": ""}, {"native-lib": "1.0"})
    assert any(line.startswith("Executing transaction") for line in heard)
    (native,) = await check(await interpreter(ml), ["native-lib>=1"], variables=os.environ)
    assert (native.satisfied, native.location) == (True, str(ml))


async def test_behind_walls_no_python_that_conda_runs_is_customized_by_code(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "sitecustomize.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    ml = await make_ml(tmp_path, client=False)
    (site,) = ml.glob("lib/python*/site-packages")
    (site / "project.pth").write_text(f"{project}\n")
    conda = tmp_path / "conda"
    conda.write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\nexec {ml}/bin/python -c pass\n")
    conda.chmod(0o755)

    await install(
        await interpreter(ml),
        ["native-lib"],
        upgrade=False,
        allow_build=False,
        variables=os.environ,
        tools=read_tools({"CONDA_EXE": str(conda)}, passed=(), writable=(project,)),
        locks=tmp_path / "locks",
        on_line=print,
    )

    assert (tmp_path / "asked").exists()
    assert not (tmp_path / "ran").exists()


async def test_what_is_there_is_upgraded_and_the_rest_installed(tmp_path: Path) -> None:
    ml = await make_ml(tmp_path)
    done, _ = await put(ml, "demo-noarch", "native-lib", upgrade=True)
    assert done.changes.after == {"demo-noarch": "2.0", "native-lib": "1.0"}
    assert done.changes.before == {"demo-noarch": "1.0", "native-lib": ""}
    assert done.changes.modules == ("demo_noarch",)
    done, _ = await put(ml, "demo-noarch<2")
    assert done.changes.after == {"demo-noarch": "1.0"}


FAILURES = {
    "a name that no channel has": (["nothere"], r"nothere.*channels do not have it; add a channel"),
    "what can not hold together": (["needs-missing"], r"not-in-this-channel"),
    "a version that there is not": (["demo-noarch>=9"], r"demo-noarch"),
}


@pytest.mark.parametrize("what", FAILURES)
async def test_condas_own_explanation_is_passed_on(tmp_path: Path, what: str) -> None:
    requirements, message = FAILURES[what]
    ml = await make_ml(tmp_path)
    with pytest.raises(PackageError, match=rf"(?s)with conda failed \(exit code 1\).*{message}"):
        await put(ml, *requirements)
    (demo,) = await check(await interpreter(ml), ["demo-noarch==1.0"], variables=os.environ)
    assert demo.satisfied


async def test_a_channel_that_can_not_be_reached_is_told(tmp_path: Path) -> None:
    ml = await make_ml(tmp_path)
    with pytest.raises(PackageError, match="index could not be reached"):
        await put(ml, "native-lib", CONDA_CHANNELS="http://127.0.0.1:9/channel")


async def test_extras_are_refused_before_conda_runs(tmp_path: Path) -> None:
    ml = await make_ml(tmp_path)
    with pytest.raises(InvalidArgumentError, match="has extras"):
        await put(ml, "native-lib", "demo-noarch[x]")
    (native,) = await check(await interpreter(ml), ["native-lib"], variables=os.environ)
    assert native.distribution is None


async def test_a_real_client_installs_where_the_machine_has_one(tmp_path: Path) -> None:
    found = filter(None, map(shutil.which, ("conda", "mamba", "micromamba")))
    real = next(found, None)
    if real is None:
        pytest.skip("conda, mamba and micromamba are not installed")
    ml = await make_ml(tmp_path, client=False)
    done, _ = await put(ml, "native-lib", CONDA_EXE=real)
    assert (done.tool, done.changes.after) == ("conda", {"native-lib": "1.0"})


@pytest.mark.network
async def test_where_there_is_no_client_uv_installs(tmp_path: Path) -> None:
    ml = await make_ml(tmp_path, client=False)
    done, heard = await put(ml, "six==1.16.0", PATH="/usr/bin:/bin")
    assert (done.tool, done.changes.after) == ("uv", {"six": "1.16.0"})
    assert any("no conda, mamba or micromamba was found" in line for line in heard)


def test_only_a_bare_name_that_is_there_is_updated() -> None:
    commands = conda_commands(
        "conda", Path("/p"), ["a", "b>=2", "c"], upgrade=True, present=frozenset({"a", "b"})
    )
    assert commands == [
        ["conda", "update", "--prefix", "/p", "--yes", "a"],
        ["conda", "install", "--prefix", "/p", "--yes", "b>=2", "c"],
    ]


async def test_a_prefix_that_conda_left_half_done_is_told_and_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ml = await make_ml(tmp_path)
    carry_out = installers.carry_out

    async def tear(order: installers.Order, *, present: frozenset[str]) -> installers.Carried:
        (record,) = (ml / "conda-meta").glob("demo-noarch-*.json")
        record.unlink()
        (site,) = ml.glob("lib/python*/site-packages")
        shutil.rmtree(site / "demo_noarch-1.0.dist-info")
        return await carry_out(order, present=present)

    monkeypatch.setattr(installers, "carry_out", tear)
    monkeypatch.setattr(installers, "INSTALL_LIMIT", 0.0)
    message = r"demo-noarch: conda did not roll back\); install again; .*demo-noarch 1\.0 \(gone\)"
    with pytest.raises(PackageError, match=message):
        await put(ml, "native-lib")

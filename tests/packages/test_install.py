"""Installing packages, and telling what is installed."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import anyio
import pytest
from packaging.markers import default_environment

from kernel_exec.environments.interpreters import Interpreter, ask, distributions
from kernel_exec.environments.tools import read_tools
from kernel_exec.errors import InvalidArgumentError, PackageError
from kernel_exec.packages import installers
from kernel_exec.packages.install import Installed, install
from kernel_exec.packages.inventory import check
from kernel_exec.packages.mending import take_note
from tests.environments.pythons import make_venv


async def interpreter(venv: Path) -> Interpreter:
    return await ask(venv / "bin" / "python", variables=os.environ)


async def put(
    venv: Path, *requirements: str, upgrade: bool = False, **more: str
) -> tuple[Installed, list[str]]:
    heard: list[str] = []
    done = await install(
        await interpreter(venv),
        requirements,
        upgrade=upgrade,
        allow_build=False,
        variables=os.environ,
        tools=read_tools({**os.environ, **more}, passed=()),
        locks=venv.parent / "locks",
        on_line=heard.append,
    )
    return done, heard


def plain_venv(place: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    return place


@pytest.mark.network
@pytest.mark.timeout(120)
@pytest.mark.parametrize("make", [make_venv, plain_venv])
async def test_what_an_install_changed_is_told(tmp_path: Path, make: object) -> None:
    venv = make(tmp_path / "venv")  # type: ignore[operator] # one of two functions
    done, heard = await put(venv, "six==1.16.0")
    assert (done.changes.before, done.changes.after) == ({"six": ""}, {"six": "1.16.0"})
    assert "six==1.16.0" in done.output
    assert any("six==1.16.0" in line for line in heard)
    done, _ = await put(venv, "six")
    assert (done.changes.before, done.changes.after) == ({}, {})
    done, _ = await put(venv, "six", upgrade=True)
    assert done.changes.before == {"six": "1.16.0"}
    assert done.changes.modules == ("six",)
    assert list(venv.glob("lib/python*/site-packages/__pycache__/six.*.pyc"))


@pytest.mark.network
async def test_the_resolver_explains_what_can_not_be(tmp_path: Path) -> None:
    venv = make_venv(tmp_path / "venv")
    with pytest.raises(PackageError, match=r"(?s)exit code 1\).*six==1\.16\.0.*unsatisfiable"):
        await put(venv, "six==1.16.0", "six==1.15.0")
    (status,) = await check(await interpreter(venv), ["six"], variables=os.environ)
    assert not status.satisfied


@pytest.mark.network
async def test_a_package_without_a_wheel_needs_leave_to_be_built(tmp_path: Path) -> None:
    venv = make_venv(tmp_path / "venv")
    with pytest.raises(PackageError, match="allow_build=true builds from source"):
        await put(venv, "docopt==0.6.2")


async def test_an_index_that_can_not_be_reached_says_so(tmp_path: Path) -> None:
    venv = make_venv(tmp_path / "venv")
    with pytest.raises(PackageError, match="index could not be reached"):
        await put(venv, "six", UV_OFFLINE="1", UV_CACHE_DIR=str(tmp_path / "empty"))
    with pytest.raises(PackageError, match="index could not be reached"):
        await put(
            venv, "six",
            UV_DEFAULT_INDEX="http://127.0.0.1:9/simple", UV_HTTP_RETRIES="0",
            UV_CACHE_DIR=str(tmp_path / "empty"),
        )  # fmt: skip


async def test_settings_that_others_left_in_the_temporary_folder_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv = make_venv(tmp_path / "venv")
    (tmp_path / "uv.toml").write_text("this is no TOML")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(PackageError, match="index could not be reached"):
        await put(venv, "six", UV_OFFLINE="1", UV_CACHE_DIR=str(tmp_path / "empty"))


async def test_an_install_that_takes_too_long_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv = make_venv(tmp_path / "venv")
    monkeypatch.setattr(installers, "INSTALL_LIMIT", 0.0)
    with pytest.raises(
        PackageError, match=r"took more than 0 seconds.*usable; nothing has changed"
    ):
        await put(venv, "six")


@pytest.mark.network
@pytest.mark.timeout(120)
async def test_what_an_ended_install_left_half_done_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv = make_venv(tmp_path / "venv", "six==1.16.0", "idna==3.10", "toolz==1.0.0")
    (site,) = venv.glob("lib/python*/site-packages")
    carry_out = installers.carry_out

    async def tear(order: installers.Order, *, present: frozenset[str]) -> installers.Carried:
        """What a killed installer may leave: one torn, one gone, one without its list."""
        (site / "six.py").unlink()
        shutil.rmtree(site / "idna")
        shutil.rmtree(site / "idna-3.10.dist-info")
        (site / "toolz-1.0.0.dist-info" / "RECORD").unlink()
        for folder in ("six-1.16.0.dist-info", "toolz-1.0.0.dist-info"):
            os.utime(site / folder)
        return await carry_out(order, present=present)

    monkeypatch.setattr(installers, "carry_out", tear)
    monkeypatch.setattr(installers, "INSTALL_LIMIT", 0.0)
    message = "the environment is usable; nothing has changed"
    with pytest.raises(PackageError, match=message):
        await put(venv, "six>=1.17", upgrade=True)
    imported = "import six, idna, toolz; print(six.__version__, idna.__version__)"
    argv = [str(venv / "bin" / "python"), "-c", imported]
    assert subprocess.run(argv, capture_output=True, check=True).stdout == b"1.16.0 3.10\n"


@pytest.mark.network
async def test_what_a_killed_server_left_half_done_is_put_back_at_the_next_install(
    tmp_path: Path,
) -> None:
    venv = make_venv(tmp_path / "venv", "six==1.16.0", "idna==3.10")
    (site,) = venv.glob("lib/python*/site-packages")
    key = hashlib.sha256(os.fsencode(venv)).hexdigest()[:16]
    note = tmp_path / "locks" / f"{key}.json"
    note.parent.mkdir()
    before = await distributions(venv / "bin" / "python", variables=os.environ)
    take_note(note, before)
    (site / "six.py").unlink()
    os.utime(site / "six-1.16.0.dist-info")
    shutil.rmtree(site / "idna")
    shutil.rmtree(site / "idna-3.10.dist-info")

    _, told = await put(venv, "toolz")

    assert "an earlier install was interrupted; the environment is usable" in "".join(told)
    argv = [str(venv / "bin" / "python"), "-c", "import six, idna, toolz"]
    assert subprocess.run(argv, check=False).returncode == 0
    assert not note.exists()


async def stopped(venv: Path) -> list[str]:
    """What an install that is stopped with its first line has said."""
    said: list[str] = []
    with anyio.CancelScope() as scope:

        def hear(line: str) -> None:
            said.append(line)
            scope.cancel()

        cache = str(venv.parent / "cache")
        await install(
            await interpreter(venv),
            ["pandas", "scipy"],
            upgrade=False,
            allow_build=False,
            variables=os.environ,
            tools=read_tools({**os.environ, "UV_CACHE_DIR": cache}, passed=()),
            locks=venv.parent / "locks",
            on_line=hear,
        )
    return said


@pytest.mark.network
async def test_one_who_stops_an_install_is_told_in_which_state_it_is(tmp_path: Path) -> None:
    said = await stopped(make_venv(tmp_path / "venv"))
    assert "the install was stopped; the environment is usable; nothing has changed" in said[-1]
    assert not list((tmp_path / "locks").glob("*.json"))


@pytest.mark.network
async def test_what_a_stopped_install_had_no_time_to_mend_is_mended_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv = make_venv(tmp_path / "venv")
    monkeypatch.setattr("kernel_exec.packages.install._MEND_LIMIT", 0.0)
    await stopped(venv)
    assert list((tmp_path / "locks").glob("*.json"))
    _, heard = await put(venv, "six")
    assert "an earlier install was interrupted; the environment is usable" in heard[0]


@pytest.mark.network
@pytest.mark.timeout(120)
@pytest.mark.slow
async def test_pip_serves_where_uv_does_not_understand_the_interpreter(tmp_path: Path) -> None:
    venv = plain_venv(tmp_path / "venv")
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "noise.pth").write_text("import sys; print('hello')")
    done, heard = await put(venv, "six==1.16.0")
    assert (done.tool, done.changes.after) == ("pip", {"six": "1.16.0"})
    assert any("trying its own pip" in line for line in heard)
    with pytest.raises(PackageError, match=r"with pip failed \(exit code 1\)"):
        await put(venv, "six==0.0.0.1")


async def test_without_pip_the_words_of_uv_are_passed_on(tmp_path: Path) -> None:
    venv = make_venv(tmp_path / "venv")
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "noise.pth").write_text("import sys; print('hello')")
    with pytest.raises(PackageError, match="with uv failed"):
        await put(venv, "six")


def distribution(venv: Path, name: str, version: str, module: str) -> None:
    (site,) = venv.glob("lib/python*/site-packages")
    place = site / f"{name}-{version}.dist-info"
    place.mkdir()
    (place / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    (place / "top_level.txt").write_text(f"{module}\n")
    (site / f"{module}.py").write_text(f"open({str(venv / 'imported')!r}, 'w')")


SATISFIED = {
    "scikit-learn": True,
    "scikit_learn": True,
    "SciKit.Learn": True,
    "sklearn": True,
    "scikit-learn>=1.5": True,
    "sklearn>=1.5,<1.6": True,
    "scikit-learn>=2": False,
    "scikit-learn==1.5.*": True,
    "old": True,
    "old>=1": False,
    "rc": True,
    "rc>=1": True,
    "nothing": False,
    "nothing>=1": False,
}


async def test_what_is_installed_is_told_and_nothing_imported(tmp_path: Path) -> None:
    venv = make_venv(tmp_path / "venv")
    distribution(venv, "scikit_learn", "1.5.2", "sklearn")
    distribution(venv, "old", "2004d", "older")
    distribution(venv, "rc", "2.0rc1", "rc")
    found = await check(await interpreter(venv), list(SATISFIED), variables=os.environ)
    assert {each.requested: each.satisfied for each in found} == SATISFIED
    first = found[0]
    assert (first.distribution, first.version) == ("scikit_learn", "1.5.2")
    assert first.import_names == ("sklearn",)
    assert first.location is not None
    assert Path(first.location).parts[-1] == "site-packages"
    assert not (venv / "imported").exists()


async def test_a_requirement_whose_marker_excludes_the_environment_is_not_needed(
    tmp_path: Path,
) -> None:
    venv = make_venv(tmp_path / "venv")
    distribution(venv, "there", "1.0", "there")
    excluded = 'no-such[a]; sys_platform == "win32"'
    asked = [excluded, 'there; sys_platform == "win32"', "there"]

    found = await check(await interpreter(venv), asked, variables=os.environ)
    done, heard = await put(venv, excluded)

    assert [each.applies for each in found] == [False, False, True]
    assert [each.version for each in found] == [None, "1.0", "1.0"]
    assert done.excluded == (excluded,)
    assert (dict(done.changes.after), heard) == ({}, [])


async def test_the_markers_are_those_of_the_environment(tmp_path: Path) -> None:
    markers = (await interpreter(make_venv(tmp_path / "venv"))).markers
    assert markers == {name: str(value) for name, value in default_environment().items()}


async def test_what_is_no_requirement_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="is refused"):
        await check(await interpreter(make_venv(tmp_path / "venv")), ["-r x"], variables={})


@pytest.mark.network
async def test_two_at_once_are_told_each_what_it_has_changed(tmp_path: Path) -> None:
    venv = make_venv(tmp_path / "venv")
    found: dict[str, Installed] = {}

    async def one(requirement: str) -> None:
        found[requirement], _ = await put(venv, requirement)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one, "six==1.16.0")
        tasks.start_soon(one, "idna==3.10")
    assert found["six==1.16.0"].changes.after == {"six": "1.16.0"}
    assert found["idna==3.10"].changes.after == {"idna": "3.10"}


async def test_a_place_for_locks_is_needed(tmp_path: Path) -> None:
    venv = make_venv(tmp_path / "venv")
    (tmp_path / "locks").touch()
    with pytest.raises(PackageError, match=r"could not be carried out.*KERNEL_EXEC_CACHE"):
        await put(venv, "six")

"""Finding interpreters and asking them; what is wrong with one is told by name."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kernel_exec.environments import interpreters
from kernel_exec.environments.interpreters import ask, distributions, find_executable
from kernel_exec.environments.spec import Environment, EnvironmentKind
from kernel_exec.errors import InvalidArgumentError, UnusableEnvironmentError

PROBE = Path(interpreters.__file__).with_name("_probe.py")


def script(path: Path, body: str, mode: int = 0o755) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(mode)
    return path


async def test_it_tells_what_it_is() -> None:
    told = await ask(Path(sys.executable), variables=os.environ)
    assert told.version == sys.version_info[:3]
    assert told.prefix == Path(sys.prefix)
    assert told.python_version.count(".") == 2


WRONG: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda at: at / "none", "does not start"),
    "a folder": (lambda at: at, "is a folder, not an interpreter"),
    "not executable": (lambda at: script(at / "p", "true", 0o644), "does not start"),
    "garbage": (lambda at: script(at / "p", "echo hello"), "is not a working Python .*hello"),
    "silent": (lambda at: script(at / "p", "exit 3"), r"exit code 3\): it said nothing"),
    "crashing": (lambda at: script(at / "p", "kill -9 $$"), "is not a working Python"),
}


@pytest.mark.parametrize("kind", WRONG)
async def test_what_is_wrong_is_told(tmp_path: Path, kind: str) -> None:
    make, message = WRONG[kind]
    with pytest.raises(UnusableEnvironmentError, match=message):
        await ask(make(tmp_path), variables=os.environ)


async def test_one_that_never_answers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreters, "_PROBE_LIMIT", 0.3)
    with pytest.raises(UnusableEnvironmentError, match="did not answer"):
        await ask(script(tmp_path / "p", "sleep 60"), variables=os.environ)


async def test_what_a_noisy_start_prints_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('{}'); import sys; print(1, file=sys.stderr)")
    variables = {**os.environ, "PYTHONPATH": str(tmp_path)}
    told = await ask(Path(sys.executable), variables=variables)
    assert told.version == sys.version_info[:3]


def test_the_probe_is_old_python() -> None:
    ast.parse(PROBE.read_text(), feature_version=(3, 6))


@pytest.mark.parametrize("name", ["python3.6", "python3.7"])
async def test_a_python_that_is_too_old_says_so(name: str) -> None:
    found = shutil.which(name)
    if found is None or subprocess.run([found, "-V"], capture_output=True, check=False).returncode:
        pytest.skip(f"{name} is not installed")
    with pytest.raises(UnusableEnvironmentError, match=r"kernels need Python 3\.8"):
        await ask(Path(found), variables=os.environ)


async def test_distributions_are_told_with_their_import_names() -> None:
    found = {each.name.lower(): each for each in await distributions(
        Path(sys.executable), variables=os.environ
    )}  # fmt: skip
    assert found["pillow"].modules == ("PIL",)
    assert "packaging" in found["packaging"].modules


def find(environment: Environment, home: Path, **base: str) -> Path:
    return find_executable(environment, home=home, base=base)


def test_a_venv_must_be_one(tmp_path: Path) -> None:
    environment = Environment(kind=EnvironmentKind.VENV, path=tmp_path / "v")
    with pytest.raises(UnusableEnvironmentError, match="is not there"):
        find(environment, tmp_path)
    (tmp_path / "v").mkdir()
    with pytest.raises(UnusableEnvironmentError, match=r"no pyvenv\.cfg"):
        find(environment, tmp_path)
    (tmp_path / "v" / "pyvenv.cfg").touch()
    assert find(environment, tmp_path) == tmp_path / "v" / "bin" / "python"


def prefix(path: Path) -> Path:
    (path / "conda-meta").mkdir(parents=True)
    return path / "bin" / "python"


def test_conda_environments_are_found_by_name_without_conda(tmp_path: Path) -> None:
    named = Environment(kind=EnvironmentKind.CONDA, name="ml")
    with pytest.raises(UnusableEnvironmentError, match="'ml'"):
        find(named, tmp_path)
    by_client = prefix(tmp_path / "root" / "envs" / "ml")
    assert find(named, tmp_path, CONDA_EXE=str(tmp_path / "root" / "bin" / "conda")) == by_client
    usual = prefix(tmp_path / "miniforge3" / "envs" / "ml")
    assert find(named, tmp_path) == usual
    listed = prefix(tmp_path / "elsewhere" / "other")
    (tmp_path / ".conda").mkdir()
    (tmp_path / ".conda" / "environments.txt").write_text(f"{tmp_path}/elsewhere/other\n")
    assert find(Environment(kind=EnvironmentKind.CONDA, name="other"), tmp_path) == listed


NAMES_REFUSED = ["x; touch P #", "$(id)", "a b", "../../env", "-n base", "x\ny", "", "a" * 200]


@pytest.mark.parametrize("name", NAMES_REFUSED)
def test_a_name_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgumentError):
        Environment(kind=EnvironmentKind.CONDA, name=name)


def test_an_environment_needs_a_place() -> None:
    with pytest.raises(InvalidArgumentError, match="needs a path"):
        Environment(kind=EnvironmentKind.VENV)
    with pytest.raises(InvalidArgumentError, match="NUL"):
        Environment(kind=EnvironmentKind.VENV, path=Path("a\0b"))

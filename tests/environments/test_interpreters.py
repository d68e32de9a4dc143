"""Finding interpreters and asking them; what is wrong with one is told by name."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kernel_exec.environments import interpreters
from kernel_exec.environments.interpreters import NoAnswerError, ask, find_executable
from kernel_exec.environments.spec import Environment, EnvironmentKind
from kernel_exec.errors import InvalidArgumentError, UnusableEnvironmentError
from kernel_exec.places import home_folder
from tests.environments.pythons import require_python


def script(path: Path, body: str, mode: int = 0o755) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(mode)
    return path


def link(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


def binary(path: Path) -> Path:
    path.write_bytes(bytes(100))
    path.chmod(0o755)
    return path


LIAR = r'printf "\n%s\n{\"version\": 3}\n%s\n" "$6" "$6"'


async def test_it_tells_what_it_is() -> None:
    told = await ask(Path(sys.executable), variables=os.environ)
    assert told.version == sys.version_info[:3]
    assert told.prefix == Path(sys.prefix)
    assert told.python_version.count(".") == 2


WRONG: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda at: at / "none", "does not exist"),
    "a link to nothing": (lambda at: link(at / "p", at / "gone"), "is a link to .*gone'"),
    "below a file": (lambda at: script(at / "p", "true") / "python", "does not exist"),
    "a name too long": (lambda at: at / ("x" * 300), "can't be examined"),
    "a folder": (lambda at: at, "is a folder, not an interpreter"),
    "not executable": (lambda at: script(at / "p", "true", 0o644), "does not start"),
    "garbage": (lambda at: script(at / "p", "echo hello"), "is not a working Python .*hello"),
    "silent": (lambda at: script(at / "p", "exit 3"), r"exit code 3\): it printed nothing"),
    "crashing": (lambda at: script(at / "p", "kill -6 $$"), "is not a working Python"),
    "without interpreter line": (lambda at: binary(at / "p"), "does not start"),
    "a liar": (lambda at: script(at / "p", LIAR), "did not answer as a Python would"),
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
    with pytest.raises(NoAnswerError, match=r"did not answer within 0\.3 seconds"):
        await ask(script(tmp_path / "p", "sleep 60"), variables=os.environ)


async def test_one_that_was_killed_may_be_sound(tmp_path: Path) -> None:
    with pytest.raises(NoAnswerError, match="exit code -9"):
        await ask(script(tmp_path / "p", "kill -9 $$"), variables=os.environ)


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.7"])
async def test_a_python_that_is_too_old_says_so(version: str) -> None:
    python = require_python(version)
    with pytest.raises(UnusableEnvironmentError, match=r"is Python .*need Python 3\.8"):
        await ask(python, variables=os.environ)


def find(environment: Environment, home: Path, **base: str) -> Path:
    return find_executable(environment, {"HOME": str(home), **base})


@pytest.mark.parametrize("kind", EnvironmentKind)
def test_a_relative_path_is_refused(kind: EnvironmentKind, tmp_path: Path) -> None:
    with pytest.raises(UnusableEnvironmentError, match="'python3' is a relative path"):
        find(Environment(kind=kind, path=Path("python3")), tmp_path)


def test_a_file_is_no_venv(tmp_path: Path) -> None:
    with pytest.raises(UnusableEnvironmentError, match="does not exist or is not a folder"):
        find(Environment(kind=EnvironmentKind.VENV, path=Path(sys.executable)), tmp_path)


def test_the_users_folder_may_be_unknown() -> None:
    assert home_folder({"HOME": "/h"}) == Path("/h")
    assert home_folder({}).is_absolute()


def test_a_venv_must_be_one(tmp_path: Path) -> None:
    environment = Environment(kind=EnvironmentKind.VENV, path=tmp_path / "v")
    with pytest.raises(UnusableEnvironmentError, match="does not exist"):
        find(environment, tmp_path)
    (tmp_path / "v").mkdir()
    with pytest.raises(UnusableEnvironmentError, match=r"no pyvenv\.cfg"):
        find(environment, tmp_path)
    (tmp_path / "v" / "pyvenv.cfg").touch()
    assert find(environment, tmp_path) == tmp_path / "v" / "bin" / "python"


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

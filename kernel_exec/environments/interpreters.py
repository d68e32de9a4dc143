"""Finds the interpreter of an environment, and asks it what it is."""

import json
import os
import signal
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from kernel_exec import processes
from kernel_exec.errors import UnusableEnvironmentError
from kernel_exec.places import INSIDE, bare

from . import conda
from .spec import Environment, EnvironmentKind

OLDEST = (3, 8)
"""The oldest Python that kernel support can be had for."""

_PROBE_LIMIT = 20.0
"""Seconds for a question: a cold disk on a loaded machine takes three."""


class NoAnswerError(UnusableEnvironmentError):
    """Raised when an interpreter could not be heard now; nothing says that it is broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A Python that answered: what is filled in is known to be right.

    `abi` is the ending of extension modules made for it, `path` where its imports look, `markers`
    the values of environment markers (PEP 508).
    """

    executable: Path
    version: tuple[int, int, int]
    implementation: str
    prefix: Path
    base_prefix: Path
    platform: str
    purelib: Path
    abi: str = ""
    path: tuple[Path, ...] = ()
    markers: Mapping[str, str] = field(default_factory=dict)

    @property
    def python_version(self) -> str:
        """Such as `3.12.1`."""
        return ".".join(map(str, self.version))


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """An installed distribution, from its metadata."""

    name: str
    version: str
    location: str
    modules: tuple[str, ...]


_Answer = TypeVar("_Answer")


def find_executable(environment: Environment, base: Mapping[str, str]) -> Path:
    """Where an environment's interpreter should be, for a user with the variables `base`."""
    path = environment.path
    if path is None:
        path = conda.find_prefix(environment.name or "", base)
    try:
        return _executable_of(environment.kind, path)
    except OSError as error:
        raise _unseen(path, error) from error


def _executable_of(kind: EnvironmentKind, path: Path) -> Path:
    if not path.is_absolute():
        raise UnusableEnvironmentError(
            f"environment {str(path)!r} is a relative path; give an absolute one"
        )
    if kind is EnvironmentKind.PYTHON:
        return path
    if not path.is_dir():
        raise UnusableEnvironmentError(
            f"environment {str(path)!r} does not exist or is not a folder;"
            " create it or choose another"
        )
    if kind in {EnvironmentKind.VENV, EnvironmentKind.VENV_UV}:
        if not (path / "pyvenv.cfg").is_file():
            raise UnusableEnvironmentError(
                f"{str(path)!r} is not a virtual environment: it has no pyvenv.cfg;"
                f" create one with `python -m venv {path}` or choose another"
            )
        return path / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not conda.is_prefix(path):
        raise UnusableEnvironmentError(
            f"{str(path)!r} is not a conda environment: it has no conda-meta;"
            " give the prefix of one or choose another type"
        )
    executable = path / ("python.exe" if os.name == "nt" else "bin/python")
    if not (executable.exists() or executable.is_symlink()):
        raise UnusableEnvironmentError(
            f"the conda environment {str(path)!r} has no Python;"
            f" install it with `conda install --prefix {path} python`"
        )
    return executable


async def ask(executable: Path, *, variables: Mapping[str, str]) -> Interpreter:
    """Ask the interpreter itself.

    Raises:
        UnusableEnvironmentError: It is not there, does not run, or is too old.
        NoAnswerError: It may be sound, but did not answer.
        BusyError: It can't be started now.
    """
    answer = await _answer(executable, _interpreter, "interpreter", variables=variables)
    # a link is named as the user does, whatever the interpreter behind it calls itself
    interpreter = replace(answer, executable=executable)
    if interpreter.version[:2] < OLDEST:
        raise UnusableEnvironmentError(
            f"{str(executable)!r} is Python {interpreter.python_version}:"
            " kernels need Python 3.8 or newer"
        )
    return interpreter


async def distributions(
    executable: Path, *, variables: Mapping[str, str]
) -> tuple[Distribution, ...]:
    """What is installed for an interpreter; nothing is imported."""
    return await _answer(executable, _distributions, "distributions", variables=variables)


async def torn(executable: Path, *, since: float, variables: Mapping[str, str]) -> tuple[str, ...]:
    """Names of distributions touched after `since` (epoch seconds) of which files are missing."""
    return await _answer(executable, tuple, "torn", repr(since), variables=variables)


async def _answer(
    executable: Path, read: Callable[[Any], _Answer], *what: str, variables: Mapping[str, str]
) -> _Answer:
    try:
        _must_be_a_program(executable)
    except OSError as error:
        raise _unseen(executable, error) from error
    fence = uuid.uuid4().hex
    argv = [*bare(executable), "probe", fence, *what]
    try:
        finished = await processes.run(
            argv, env=variables, cwd=Path(INSIDE.anchor), limit=_PROBE_LIMIT
        )
    except processes.ProgramMissingError as error:
        raise UnusableEnvironmentError(
            f"the interpreter {str(executable)!r} does not start: {error};"
            " create the environment again or choose another"
        ) from error
    parts = finished.stdout.split(f"\n{fence}\n")
    if len(parts) == 3:
        try:
            return read(json.loads(parts[1]))
        except (KeyError, TypeError, ValueError) as error:
            raise UnusableEnvironmentError(
                f"{str(executable)!r} did not answer as a Python would"
            ) from error
    if finished.timed_out:
        raise NoAnswerError(
            f"the interpreter {str(executable)!r} did not answer within {_PROBE_LIMIT:g} seconds;"
            " try again, or choose another environment"
        )
    said = " ".join((finished.stderr or finished.stdout).strip().splitlines()[-3:])[-500:]
    killed = finished.returncode == -signal.SIGKILL  # by the system, for its memory
    raise (NoAnswerError if killed else UnusableEnvironmentError)(
        f"{str(executable)!r} is not a working Python (exit code {finished.returncode}):"
        f" {said or 'it printed nothing'}"
    )


def _must_be_a_program(executable: Path) -> None:
    shown = repr(str(executable))
    if executable.is_dir():
        raise UnusableEnvironmentError(
            f"{shown} is a folder, not an interpreter; name the executable in it"
            " or give the folder as a venv"
        )
    if executable.exists():
        return
    if executable.is_symlink():
        raise UnusableEnvironmentError(
            f"the interpreter {shown} is a link to {str(executable.readlink())!r}, which is gone;"
            " create the environment again or choose another"
        )
    raise UnusableEnvironmentError(
        f"interpreter {shown} does not exist; create the environment again or choose another"
    )


def _interpreter(answer: Any) -> Interpreter:
    major, minor, micro = answer["version"]
    return Interpreter(
        executable=Path(answer["executable"]),
        version=(int(major), int(minor), int(micro)),
        implementation=str(answer["implementation"]),
        prefix=Path(answer["prefix"]),
        base_prefix=Path(answer["base_prefix"]),
        platform=str(answer["platform"]),
        purelib=Path(answer["purelib"]),
        abi=str(answer["abi"]),
        path=tuple(map(Path, answer["path"])),
        markers=dict(answer["markers"]),
    )


def _distributions(answer: Any) -> tuple[Distribution, ...]:
    return tuple(Distribution(**{**each, "modules": tuple(each["modules"])}) for each in answer)


def _unseen(path: Path, error: OSError) -> UnusableEnvironmentError:
    return UnusableEnvironmentError(
        f"{str(path)!r} can't be examined: {error.strerror}; choose another environment"
    )

"""What is done with environments, each beside the plain tool's own way.

uv's own cache of packages is warm on both sides, which also get the same variables.
"""

import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest
from uv import find_uv_bin

from kernel_exec.environments.activation import activate, allowed_variables
from kernel_exec.environments.interpreters import Interpreter, ask
from kernel_exec.environments.spec import Environment, EnvironmentKind
from kernel_exec.environments.support import SupportKind, find_support
from kernel_exec.environments.tools import Tools, read_tools, run_uv, unreachable
from kernel_exec.packages.install import install
from tests.environments.conda import NATIVE_LIB_VARIABLES, channel, make_prefix, require_relocatable
from tests.environments.pythons import make_venv

from .timing import median_ms, timed

Row: TypeAlias = tuple[str, str, str, str]
"""What, ours, what it is measured against, the ratio."""

_FETCH_LIMIT = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """An environment, its interpreter and what its kernels get."""

    environment: Environment
    interpreter: Interpreter
    variables: Mapping[str, str]


async def environment_rows(folder: Path, rounds: int) -> list[Row]:
    """A row for each figure, or one with the reason why there is none."""
    found: list[Row] = []
    measures: dict[str, Callable[[Path, int], Awaitable[list[Row]]]] = {
        "an interpreter asked": _probe,
        "a conda prefix activated": _activation,
        "an overlay": _overlay,
        "six installed": _install,
    }
    for number, (what, measure) in enumerate(measures.items()):
        place = folder / str(number)
        place.mkdir()
        try:
            found += await measure(place, rounds)
        except pytest.skip.Exception as skipped:
            found.append((what, "", f"left out: {skipped}", ""))
    return found


async def _probe(folder: Path, rounds: int) -> list[Row]:
    place = await _venv(folder / "venv")
    python = place.interpreter.executable
    ours, plain = [], []
    for _ in range(max(5, rounds // 2)):
        plain.append(await timed(lambda: _run([str(python), "-c", "pass"], place.variables)))
        ours.append(await timed(lambda: ask(python, variables=place.variables)))
    return [_row("an interpreter asked", ours, plain, "`python -c pass`")]


async def _activation(folder: Path, rounds: int) -> list[Row]:
    require_relocatable()
    prefix = await make_prefix(folder / "ml", channel(folder), "python", "native-lib")
    environment = Environment(kind=EnvironmentKind.CONDA, path=prefix)
    variables = allowed_variables(os.environ, passed=())
    interpreter = await ask(prefix / "bin" / "python", variables=variables)
    (script,) = (prefix / "etc" / "conda" / "activate.d").glob("*.sh")
    plainly = ["bash", "-c", '. "$0"', str(script)]
    theirs = variables | {"CONDA_PREFIX": str(prefix)}
    told: dict[str, str] = {}

    async def ourselves() -> None:
        told.update(await activate(environment, interpreter, base=os.environ, passed=()))

    ours, plain = [], []
    for _ in range(rounds):
        plain.append(await timed(lambda: _run(plainly, theirs)))
        ours.append(await timed(ourselves))
    assert {"NATIVE_LIB_DATA", *NATIVE_LIB_VARIABLES} <= told.keys(), told
    return [_row("a conda prefix activated", ours, plain, "`bash -c` sourcing its script")]


async def _overlay(folder: Path, rounds: int) -> list[Row]:
    place = await _venv(folder / "venv")
    await _fetch(place, folder, "ipykernel")
    work = folder / "round"
    argv = _uv(
        place, "install", "--target", str(work / "target"), "--compile-bytecode", "ipykernel"
    )
    cold, noted, shared, plain = [], [], [], []
    for _ in range(max(5, rounds // 20)):
        other = await _venv(work / "venv")
        plain.append(await timed(lambda: _run(argv, _tools().variables)))
        cold.append(await timed(lambda: _support(place, work / "cache")))
        noted.append(await timed(lambda: _support(place, work / "cache")))
        shared.append(await timed(partial(_support, other, work / "cache")))
        shutil.rmtree(work)
    measure = "`uv pip install --target`"
    return [
        _row("an overlay, made", cold, plain, measure),
        _row("  there for another environment", shared, plain, measure),
        _row("  noted for this environment", noted, plain, measure),
    ]


async def _install(folder: Path, rounds: int) -> list[Row]:
    place = await _venv(folder / "venv")
    await _fetch(place, folder, "six")
    remove = _uv(place, "uninstall", "six")
    ours, plain = [], []
    for _ in range(max(5, rounds // 10)):
        plain.append(await timed(lambda: _run(_uv(place, "install", "six"), _tools().variables)))
        await _run(remove, _tools().variables)
        ours.append(await timed(lambda: _install_six(place)))
        await _run(remove, _tools().variables)
    return [_row("six installed", ours, plain, "`uv pip install`")]


async def _support(place: _Place, cache: Path) -> None:
    found = await find_support(
        place.interpreter, cache=cache, variables=place.variables, tools=_tools()
    )
    assert found.kind is SupportKind.OVERLAY, found


async def _install_six(place: _Place) -> None:
    done = await install(
        place.interpreter,
        ["six"],
        upgrade=False,
        allow_build=False,
        variables=place.variables,
        tools=_tools(),
        locks=place.interpreter.prefix.parent / "locks",
        on_line=lambda line: None,
    )
    assert set(done.changes.after) == {"six"}, done


async def _venv(path: Path) -> _Place:
    environment = Environment(kind=EnvironmentKind.VENV, path=make_venv(path))
    allowed = allowed_variables(os.environ, passed=())
    interpreter = await ask(path / "bin" / "python", variables=allowed)
    variables = await activate(environment, interpreter, base=os.environ, passed=())
    return _Place(environment=environment, interpreter=interpreter, variables=variables)


async def _fetch(place: _Place, folder: Path, package: str) -> None:
    """Warm uv's own cache; without an index there is no figure."""
    argv = _uv(place, "install", "--target", str(folder / "fetched"), "--compile-bytecode", package)
    finished = await run_uv(argv[1:], tools=_tools(), limit=_FETCH_LIMIT)
    if finished.timed_out or unreachable(finished):
        pytest.skip("the package index can't be reached")
    assert finished.returncode == 0, finished.stderr


async def _run(argv: Sequence[str], variables: Mapping[str, str]) -> None:
    """Run a plain tool, as shortly as it can be."""
    subprocess.run(
        argv, env=variables, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=True
    )


def _uv(place: _Place, verb: str, *arguments: str) -> list[str]:
    return [find_uv_bin(), "pip", verb, "--python", str(place.interpreter.executable), *arguments]


def _tools() -> Tools:
    return read_tools(os.environ, passed=())


def _row(what: str, ours: list[float], plain: list[float], measure: str) -> Row:
    mine, theirs = median_ms(ours), median_ms(plain)
    ratio = mine / theirs
    return what, _ms(mine), f"{_ms(theirs)} {measure}", f"{ratio:.{2 if ratio >= 0.1 else 3}f}"


def _ms(value: float) -> str:
    return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms"

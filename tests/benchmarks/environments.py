"""What is done with environments, each beside the plain tool's own way.

uv's own cache of packages is warm on both sides, which also get the same variables.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

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

from .timing import Figure, Spread, in_turn

_FETCH_LIMIT = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """An environment, its interpreter and what its kernels get."""

    environment: Environment
    interpreter: Interpreter
    variables: Mapping[str, str]


async def environment_figures(folder: Path, rounds: int) -> list[Figure]:
    """Those that can be measured here; stderr has the reason for each that can't."""
    found: list[Figure] = []
    for measure in (_probe, _activation, _overlay, _install):
        place = folder / measure.__name__
        place.mkdir()
        try:
            found += await measure(place, rounds)
        except pytest.skip.Exception as skipped:
            print(f"{measure.__name__}: {skipped}", file=sys.stderr)
    return found


async def _probe(folder: Path, rounds: int) -> list[Figure]:
    place = await _venv(folder / "venv")
    python = place.interpreter.executable
    plain, ours = await in_turn(
        max(5, rounds // 2),
        lambda _: _run([str(python), "-c", "pass"], place.variables),
        lambda _: ask(python, variables=place.variables),
    )
    return [_figure("inspecting an interpreter", ours, plain, "`python -c pass`")]


async def _activation(folder: Path, rounds: int) -> list[Figure]:
    require_relocatable()
    prefix = await make_prefix(folder / "ml", channel(folder), "python", "native-lib")
    environment = Environment(kind=EnvironmentKind.CONDA, path=prefix)
    variables = allowed_variables(os.environ, passed=())
    interpreter = await ask(prefix / "bin" / "python", variables=variables)
    (script,) = (prefix / "etc" / "conda" / "activate.d").glob("*.sh")
    plain, ours = await in_turn(
        rounds,
        lambda _: _run(
            ["bash", "-c", '. "$0"', str(script)], variables | {"CONDA_PREFIX": str(prefix)}
        ),
        lambda _: activate(environment, interpreter, base=os.environ, passed=()),
    )
    activated = await activate(environment, interpreter, base=os.environ, passed=())
    assert {"NATIVE_LIB_DATA", *NATIVE_LIB_VARIABLES} <= activated.keys(), activated
    return [_figure("activating a conda prefix", ours, plain, "`bash -c` sourcing its script")]


async def _overlay(folder: Path, rounds: int) -> list[Figure]:
    place, other = await _venv(folder / "venv"), await _venv(folder / "other")
    await _fetch(place, folder, "ipykernel")
    work = folder / "round"
    plainly = ("install", "--target", str(work / "target"), "--compile-bytecode", "ipykernel")

    async def shared(after: AsyncExitStack) -> None:
        after.callback(shutil.rmtree, work)
        await _support(other, work / "cache")

    plain, cold, noted, again = await in_turn(
        max(5, rounds // 20),
        lambda _: _run(_uv(place, *plainly), _tools().variables),
        lambda _: _support(place, work / "cache"),
        lambda _: _support(place, work / "cache"),
        shared,
    )
    measure = "`uv pip install --target` of ipykernel"
    return [
        _figure("building and testing the ipykernel overlay (warm uv cache)", cold, plain, measure),
        _figure("that overlay for another environment, tested again", again, plain, measure),
        _figure("that overlay for the same environment", noted, plain, measure),
    ]


async def _install(folder: Path, rounds: int) -> list[Figure]:
    place = await _venv(folder / "venv")
    await _fetch(place, folder, "six")
    remove = _uv(place, "uninstall", "six")

    async def plainly(after: AsyncExitStack) -> None:
        after.push_async_callback(_run, remove, _tools().variables)
        await _run(_uv(place, "install", "six"), _tools().variables)

    async def ourselves(after: AsyncExitStack) -> None:
        after.push_async_callback(_run, remove, _tools().variables)
        await _install_six(place)

    plain, ours = await in_turn(max(5, rounds // 10), plainly, ourselves)
    return [_figure("installing `six`, reporting the changes", ours, plain, "`uv pip install six`")]


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


def _figure(what: str, ours: Spread, theirs: Spread, measure: str) -> Figure:
    return Figure(what=what, ours=ours, theirs=theirs, measure=measure)

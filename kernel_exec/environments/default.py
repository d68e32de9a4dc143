"""The managed default environment: a uv venv below the storage root, made on first use."""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from kernel_exec.errors import UnusableEnvironmentError
from kernel_exec.places import Places

from .activation import allowed_variables
from .interpreters import NoAnswerError, ask, find_executable, home_folder
from .lockfile import locked
from .spec import Environment, EnvironmentKind
from .tools import Tools
from .uv import run_uv

_MAKE_LIMIT = 120.0
"""Seconds to make it: uv takes a tenth of one, a slow network disk more."""


def default_environment(storage_root: Path) -> Environment:
    """Where the default environment is, or will be."""
    return Environment(kind=EnvironmentKind.VENV_UV, path=Places(storage_root).environment)


async def ensure_default(
    storage_root: Path, *, variables: Mapping[str, str], tools: Tools
) -> Environment:
    """The default environment, made if it is not there; two processes may ask at once.

    One whose interpreter no longer runs, as after an upgrade of Python, is set aside and made
    anew; its packages stay in the folder that was set aside. One that only did not answer this
    time is left alone.

    Raises:
        UnusableEnvironmentError: It can't be made, or does not answer now.
        BusyError: No process can be started now.
    """
    folder = Places(storage_root).private
    environment = default_environment(storage_root)
    if await _works(environment, variables):
        return environment
    try:
        async with locked(folder / "environment.lock"):
            if not await _works(environment, variables):
                await _make(folder, tools)
    except OSError as error:
        raise UnusableEnvironmentError(
            f"the default environment can't be created in {str(folder)!r}: {error};"
            " set CODE_STORAGE_DIR to a writable folder, or choose an environment"
        ) from error
    return environment


async def _works(environment: Environment, variables: Mapping[str, str]) -> bool:
    """False when it is not there or broken; raises when that can't be told now."""
    try:
        executable = find_executable(environment, home=home_folder(variables), base=variables)
        await ask(executable, variables=allowed_variables(variables, passed=()))
    except NoAnswerError:
        raise
    except UnusableEnvironmentError:
        return False
    return True


async def _make(folder: Path, tools: Tools) -> None:
    place = folder / "environment"
    if place.exists() or place.is_symlink():
        aside = Path(tempfile.mkdtemp(prefix="environment.broken-", dir=folder))
        place.rename(aside / "environment")
    base = str(getattr(sys, "_base_executable", sys.executable))
    # a venv can't be moved once it is made; `ask` tells a half-made one from a whole one
    finished = await run_uv(
        ["venv", "--quiet", "--no-project", "--python", base, "--", str(place)],
        tools=tools,
        limit=_MAKE_LIMIT,
    )
    if finished.returncode != 0:
        said = finished.stderr.strip()[-500:]
        raise UnusableEnvironmentError(
            f"the default environment could not be created (exit code {finished.returncode}):"
            f" {said or 'uv printed nothing'}; choose an environment of your own, or try again"
        )

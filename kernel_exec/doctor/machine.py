"""What the machine itself has: the Python that runs this, the settings, walls for a sandbox."""

import importlib.metadata
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from kernel_exec import processes
from kernel_exec.environments.activation import allowed_variables
from kernel_exec.errors import KernelStartError, RefusedSettingError
from kernel_exec.kernels.confined import confine
from kernel_exec.kernels.launch import Launch
from kernel_exec.sandbox.unheld import refused
from kernel_exec.sandbox.walls import MECHANISMS, Sandbox, Walls
from kernel_exec.settings import Settings

from .check import Check, broken, works

_WALLS_LIMIT: Final = 10.0
"""Seconds for a program behind walls; it takes a tenth of one."""


async def python() -> Sequence[Check]:
    """The Python that runs this, and whether our libraries are as new as we need them."""
    there = f"Python {platform.python_version()} at {sys.executable}"
    missing = [
        f"{each} ({_version(each.name) or 'missing'})"
        for each in map(Requirement, importlib.metadata.requires("kernel-exec") or ())
        if (each.marker is None or each.marker.evaluate())
        and not each.specifier.contains(_version(each.name) or "0", prereleases=True)
    ]
    if missing:
        text = f"{there} lacks {', '.join(missing)}"
        return [broken("python", text, "reinstall kernel-exec, which brings its dependencies")]
    version = _version("kernel-exec")
    return [works("python", f"{there}, kernel-exec {version}")]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


async def settings(found: Settings, wrong: Sequence[RefusedSettingError]) -> Sequence[Check]:
    """The settings that are refused; without any, the files that they are in."""
    if wrong:
        return list(map(_refused, wrong))
    files = ", ".join(map(str, found.connection.config_files)) or "no configuration file"
    return [works("settings", files, found.connection.notice)]


def _refused(error: RefusedSettingError) -> Check:
    where = error.where.removeprefix("option ").removeprefix("variable ")
    way_out = "" if "; " in str(error) else f"correct or remove {error.where}"
    return broken(f"setting {where}", error, way_out)


async def sandbox(found: Settings) -> Sequence[Check]:
    """Which walls can be put around kernels here, as a program behind them shows.

    Where they are asked for, a kernel is tried behind them; see `kernels`.
    """
    return [await _tried(walls, found) for walls in (Walls.WORKSPACE, Walls.ISOLATED)]


async def _tried(walls: Walls, found: Settings) -> Check:
    name = f"sandbox {walls}"
    variables = allowed_variables(found.host.variables, passed=())
    with tempfile.TemporaryDirectory(prefix="kernel-exec-walls-") as place:
        work, run_dir = Path(place, "work"), Path(place, "run")
        work.mkdir()
        run_dir.mkdir()
        launch = Launch(
            argv=("true",), configuration={}, variables=variables, working_directory=work,
            run_dir=run_dir, visible=(),
        )  # fmt: skip
        try:
            launch = confine(launch, Sandbox(walls=walls), private=run_dir, spill_dir=None)
            finished = await processes.run(
                launch.argv, env=launch.variables, cwd=work, limit=_WALLS_LIMIT
            )
            if finished.returncode != 0:
                raise refused(walls, finished.stderr) or KernelStartError(
                    f"a program behind walls ended with {finished.returncode}; see its"
                    f" stderr: {finished.stderr}"
                )
        except KernelStartError as error:
            text, _, fix = str(error).rpartition("; ")
            return works(name, text, fix)
    return works(name, f"can be held ({MECHANISMS[sys.platform]})")

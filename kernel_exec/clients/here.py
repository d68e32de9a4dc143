"""What of this machine goes into an entry: how we are started, and the environment of a folder."""

import importlib.metadata
import json
import re
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from kernel_exec.configuration import Written, parse_path
from kernel_exec.environments.conda import is_prefix
from kernel_exec.environments.interpreters import find_executable
from kernel_exec.environments.spec import EnvironmentKind
from kernel_exec.options import BY_KEY, PLACE_OF
from kernel_exec.settings import process_variables, read_settings

from .entries import NAME

_PATHS = {key for key, setting in BY_KEY.items() if setting.parse is parse_path} - {
    PLACE_OF[EnvironmentKind.CONDA]
}
"""Settings that are a path, also a relative one."""

_SUFFIX = ".exe" if sys.platform == "win32" else ""


def launcher(variables: Mapping[str, str], *, is_shared: bool = False) -> tuple[str, ...]:
    """The command that starts this program from anywhere, and goes on to after an upgrade.

    That is the installed script, by the path under which `PATH` leads to it if it does; or uvx, if
    it has put this program into its cache. One that `is_shared` with others goes by `PATH`.
    """
    path = variables.get("PATH")
    if any((folder / "CACHEDIR.TAG").is_file() for folder in Path(sys.prefix).parents):
        beside = str(Path(variables.get("UV") or "uv").with_name("uvx"))  # uvx tells what ran it
        uvx = shutil.which("uvx", path=path) or beside
        return ("uvx" if is_shared else uvx, *_source(), NAME)
    script = Path(sys.argv[0])
    if script.name.removesuffix(_SUFFIX) != NAME or not script.exists():
        script = Path(sys.executable).with_name(f"{NAME}{_SUFFIX}")
    if not script.exists():
        return (sys.executable, "-P", "-m", "kernel_exec")  # not what the client's folder holds
    found = shutil.which(NAME, path=path)
    if found and Path(found).samefile(script):
        return (NAME if is_shared else str(Path(found).absolute()),)
    return (str(script.absolute()),)


def _source() -> list[str]:
    """Where uvx has this program from, unless that is the index."""
    with suppress(importlib.metadata.PackageNotFoundError, ValueError, KeyError):
        origin = importlib.metadata.distribution(NAME).read_text("direct_url.json")
        if origin is not None:
            return ["--from", str(json.loads(origin)["url"])]
    return []


def environment_in(folder: Path, variables: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """The variables that choose the environment of a folder, if it has one; and a warning or "".

    That is its `.venv`, or the one of the project that it is in; else the conda environment that is
    active, but not the base one, into which nothing should be installed.
    """
    projects = [each for each in (folder, *folder.parents) if (each / "pyproject.toml").is_file()]
    root = next((each for each in (folder, *projects[:1]) if (each / ".venv").is_dir()), None)
    if root is not None:
        kind = EnvironmentKind.VENV
        with suppress(OSError, ValueError):
            if re.search(r"(?m)^uv *=", (root / ".venv" / "pyvenv.cfg").read_text("utf-8")):
                kind = EnvironmentKind.VENV_UV
        return _choice(kind, root / ".venv"), ""
    prefix = variables.get("CONDA_PREFIX", "")
    if prefix and variables.get("CONDA_DEFAULT_ENV") != "base" and is_prefix(Path(prefix)):
        return _choice(EnvironmentKind.CONDA, Path(prefix)), ""
    if not projects:
        return {}, ""
    return {}, (
        f"{projects[0].parent} has no .venv, so code will run in an environment of kernel-exec's"
        " own; create it (as `uv sync` does) and run this again, or pass --venv-path"
    )


def given(options: Mapping[str, str | None], folder: Path) -> dict[str, str]:
    """The settings among `options`, once checked, as variables that mean the same anywhere."""
    settings = read_settings(options=options, variables={}, working_directory=folder)
    if settings.connection.environment is not None and settings.environment_source != "default":
        find_executable(settings.connection.environment, process_variables())
    written = {key: value for key, value in options.items() if value is not None}
    return {
        BY_KEY[key].variable: str(parse_path(Written(value=value, where=key, folder=folder)))
        if key in _PATHS
        else value
        for key, value in written.items()
    }


def shared(variables: Mapping[str, str], folder: Path, directory: str) -> dict[str, str]:
    """The variables with paths below `folder` as they are from there, where servers start.

    `directory` is what stands for the folder there, such as `.`.
    """
    paths = {BY_KEY[key].variable for key in _PATHS}
    return {
        name: Path(directory, Path(value).relative_to(folder)).as_posix()
        if name in paths and Path(value).is_relative_to(folder)
        else value
        for name, value in variables.items()
    }


def _choice(kind: EnvironmentKind, path: Path) -> dict[str, str]:
    place = BY_KEY[PLACE_OF[kind]].variable
    return {BY_KEY["env_type"].variable: kind.value, place: str(path)}

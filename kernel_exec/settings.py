"""Settings, read once: command-line options, environment variables, kernel_exec.toml, defaults.

The stronger source wins, setting by setting; the words that name the environment belong together
and are taken from the strongest source that has any of them.
"""

import difflib
import math
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from platformdirs import user_cache_path, user_data_path

from kernel_exec.environments.spec import Environment, EnvironmentKind
from kernel_exec.errors import InvalidArgumentError

CONFIG_FILE = "kernel_exec.toml"

_TEN_DAYS = 864_000.0
_MOST_KERNELS = 100
_MOST_IMAGES = 20

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One setting: its key in the file, its variable, its option and what it means."""

    key: str
    variable: str
    help: str

    @property
    def option(self) -> str:
        """Such as `--wait-seconds`."""
        return f"--{self.key.replace('_', '-')}"


WORDS = (
    Word(key="storage_dir", variable="CODE_STORAGE_DIR", help="Folder for scripts and history."),
    Word(key="env_type", variable="ENV_TYPE", help="conda, venv, venv-uv or python."),
    Word(key="conda_env_name", variable="CONDA_ENV_NAME", help="Name or prefix of a conda env."),
    Word(key="venv_path", variable="VENV_PATH", help="Folder of a venv."),
    Word(key="uv_venv_path", variable="UV_VENV_PATH", help="Folder of a venv made by uv."),
    Word(key="python_path", variable="KERNEL_EXEC_PYTHON_PATH", help="Any Python executable."),
    Word(key="cache", variable="KERNEL_EXEC_CACHE", help="Folder for kernel support."),
    Word(
        key="working_directory",
        variable="KERNEL_EXEC_WORKING_DIRECTORY",
        help="Where kernels work; the storage folder unless set.",
    ),
    Word(
        key="wait_seconds",
        variable="KERNEL_EXEC_WAIT_SECONDS",
        help="How long a call waits for its code, in seconds (45).",
    ),
    Word(
        key="time_limit",
        variable="KERNEL_EXEC_TIME_LIMIT",
        help="How long code may run, in seconds (1800); 0 for no limit.",
    ),
    Word(
        key="max_kernels",
        variable="KERNEL_EXEC_MAX_KERNELS",
        help="How many kernels may live at once (8).",
    ),
    Word(
        key="idle_limit",
        variable="KERNEL_EXEC_IDLE_LIMIT",
        help="After how many idle seconds a kernel is ended; 0 for never (0).",
    ),
    Word(
        key="pass_env",
        variable="KERNEL_EXEC_PASS_ENV",
        help="Names of variables that kernels get too, with commas between.",
    ),
    Word(
        key="inline_images",
        variable="KERNEL_EXEC_INLINE_IMAGES",
        help="How many pictures a result shows (2).",
    ),
)

_ENVIRONMENT_WORDS = ("env_type", "conda_env_name", "venv_path", "uv_venv_path", "python_path")
_PARTNERS = {
    EnvironmentKind.CONDA: "conda_env_name",
    EnvironmentKind.VENV: "venv_path",
    EnvironmentKind.VENV_UV: "uv_venv_path",
    EnvironmentKind.PYTHON: "python_path",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that can be set; times in seconds, None for no limit.

    `environment` None means the managed default. `server_variables` are the server's own
    environment variables, for tools that it starts; kernels get `pass_env` and an allow-list.
    """

    storage_root: Path
    environment: Environment | None
    named_environments: Mapping[str, Environment]
    cache: Path
    working_directory: Path
    wait_seconds: float
    time_limit: float | None
    max_kernels: int
    idle_limit: float | None
    pass_env: frozenset[str]
    inline_images: int
    server_variables: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """A value as somebody wrote it, what they wrote it as, and the folder it is relative to."""

    value: object
    name: str
    folder: Path

    def refuse(self, allowed: str) -> InvalidArgumentError:
        return InvalidArgumentError(f"{self.name} is {self.value!r}: {allowed}")


def read_settings(
    *,
    options: Mapping[str, str | None] | None = None,
    variables: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Settings from `options` (by key), `variables` (os.environ) and the file.

    Raises:
        InvalidArgumentError: One is wrong: its name as it was written, its value, what is allowed.
    """
    variables = dict(os.environ) if variables is None else variables
    folder = Path.cwd() if folder is None else folder
    options = options or {}
    file, file_given = _read_file(options.get("config"), variables, folder)
    sources = [
        _from_options(options, folder),
        _from_variables(variables, folder),
        file_given,
    ]
    found = _strongest(sources)
    storage_root = _path(found.get("storage_dir")) or user_data_path("kernel-exec")
    return Settings(
        storage_root=storage_root,
        environment=_environment(found),
        named_environments=_named(file, folder),
        cache=_path(found.get("cache")) or user_cache_path("kernel-exec"),
        working_directory=_path(found.get("working_directory")) or storage_root,
        wait_seconds=_seconds(found.get("wait_seconds"), 45.0),
        time_limit=_seconds(found.get("time_limit"), 1800.0) or None,
        max_kernels=_count(found.get("max_kernels"), 8, 1, _MOST_KERNELS),
        idle_limit=_seconds(found.get("idle_limit"), 0.0) or None,
        pass_env=_names(found.get("pass_env")),
        inline_images=_count(found.get("inline_images"), 2, 0, _MOST_IMAGES),
        server_variables=variables,
    )


def _from_options(options: Mapping[str, str | None], folder: Path) -> dict[str, _Given]:
    return {
        word.key: _Given(value=value, name=word.option, folder=folder)
        for word in WORDS
        if (value := options.get(word.key)) is not None
    }


def _from_variables(variables: Mapping[str, str], folder: Path) -> dict[str, _Given]:
    return {
        word.key: _Given(value=value, name=word.variable, folder=folder)
        for word in WORDS
        if (value := variables.get(word.variable))
    }


def _read_file(
    option: str | None, variables: Mapping[str, str], folder: Path
) -> tuple[Mapping[str, Any], dict[str, _Given]]:
    """The configuration file's content, and its settings."""
    named = option or variables.get("KERNEL_EXEC_CONFIG")
    path = folder / Path(named or CONFIG_FILE).expanduser()
    if not named and not path.is_file():
        return {}, {}
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidArgumentError(
            f"configuration file {str(path)!r} can't be read: {error.strerror}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(
            f"configuration file {str(path)!r} is not TOML: {error}"
        ) from error
    keys = [word.key for word in WORDS]
    for key in content:
        if key != "environments" and key not in keys:
            near = difflib.get_close_matches(key, [*keys, "environments"], n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(keys)}"
            raise InvalidArgumentError(f"unknown setting {key!r} in {str(path)!r}: {hint}")
    given = {
        key: _Given(value=value, name=f"{key} in {str(path)!r}", folder=path.parent)
        for key, value in content.items()
        if key != "environments"
    }
    return content, given


def _strongest(sources: Sequence[Mapping[str, _Given]]) -> dict[str, _Given]:
    found: dict[str, _Given] = {}
    for source in reversed(sources):
        if any(key in source for key in _ENVIRONMENT_WORDS):
            for key in _ENVIRONMENT_WORDS:
                found.pop(key, None)
        found.update(source)
    return found


def _environment(found: Mapping[str, _Given]) -> Environment | None:
    kind_given = found.get("env_type")
    given = {kind: found[key] for kind, key in _PARTNERS.items() if key in found}
    if kind_given is None:
        if len(given) > 1:
            names = ", ".join(each.name for each in given.values())
            raise InvalidArgumentError(f"{names} are set together: ENV_TYPE must say which one")
        if not given:
            return None
        kind = next(iter(given))
    else:
        kind = _kind(kind_given)
        if kind not in given:
            partner = next(word for word in WORDS if word.key == _PARTNERS[kind])
            raise kind_given.refuse(f"{partner.variable} must be set, too")
    return _made(kind, given[kind])


def _kind(given: _Given) -> EnvironmentKind:
    try:
        return EnvironmentKind(str(given.value))
    except ValueError as error:
        allowed = ", ".join(kind.value for kind in EnvironmentKind)
        raise given.refuse(f"allowed are {allowed}") from error


def _made(kind: EnvironmentKind, given: _Given) -> Environment:
    text = _text(given)
    try:
        if kind is EnvironmentKind.CONDA and "/" not in text and os.sep not in text:
            return Environment(kind=kind, name=text)
        return Environment(kind=kind, path=_path(given))
    except InvalidArgumentError as error:
        raise given.refuse(str(error)) from error


def _named(file: Mapping[str, Any], folder: Path) -> dict[str, Environment]:
    """The tables `[environments.NAME]`: kind, and path or name."""
    tables = file.get("environments", {})
    if not isinstance(tables, dict):
        raise InvalidArgumentError("environments in the file must be tables [environments.NAME]")
    named = {}
    for name, table in tables.items():
        where = f"[environments.{name}]"
        if not isinstance(table, dict) or set(table) - {"kind", "path", "name"}:
            raise InvalidArgumentError(f"{where} takes kind, and path or name")
        kind = _kind(_Given(value=table.get("kind", ""), name=f"kind in {where}", folder=folder))
        value = table.get("path", table.get("name", ""))
        named[name] = _made(kind, _Given(value=value, name=f"path in {where}", folder=folder))
    return named


def _text(given: _Given) -> str:
    if not isinstance(given.value, str) or not given.value or "\0" in given.value:
        raise given.refuse("it must be a text")
    return given.value


def _path(given: _Given | None) -> Path | None:
    return None if given is None else given.folder / Path(_text(given)).expanduser()


def _seconds(given: _Given | None, default: float) -> float:
    return _number(given, default, float, 0, _TEN_DAYS, "a number of seconds")


def _count(given: _Given | None, default: int, least: int, most: int) -> int:
    return _number(given, default, int, least, most, "a whole number")


def _number(
    given: _Given | None,
    default: _T,
    kind: Callable[[Any], _T],
    least: float,
    most: float,
    what: str,
) -> _T:
    if given is None:
        return default
    refusal = given.refuse(f"it must be {what} from {least:g} to {most:g}")
    if isinstance(given.value, bool) or not isinstance(given.value, (str, int, float)):
        raise refusal
    try:
        value = kind(given.value)
        inside = math.isfinite(float(given.value)) and least <= float(given.value) <= most
    except (ValueError, OverflowError) as error:
        raise refusal from error
    if not inside or float(given.value) != value:
        raise refusal
    return value


def _names(given: _Given | None) -> frozenset[str]:
    if given is None:
        return frozenset()
    value = given.value
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise given.refuse("it must be names of variables, with commas between")
    if not all(name.replace("_", "a").isalnum() for name in names if name):
        raise given.refuse("names of variables have letters, digits and '_' only")
    return frozenset(name for name in names if name)

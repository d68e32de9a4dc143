"""Settings, read once: options beat environment variables, which beat configuration files.

The only module that reads the environment; only it has the files read. Nothing here looks at what
a path leads to: whoever uses a folder or an interpreter finds out and reports whether it works.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import platformdirs

from kernel_exec.configuration import (
    CONFIG_NAME,
    Given,
    Layer,
    environment_of,
    named_environments,
    parse_kind,
    parse_path,
    refuse_unknown,
)
from kernel_exec.environments.spec import Environment, EnvironmentKind
from kernel_exec.errors import InvalidArgumentError
from kernel_exec.trust import ConfigFiles, read_files

_T = TypeVar("_T")
_U = TypeVar("_U")

_HOUR: Final = 3600
_DAY: Final = 24 * 3600
_TEN_DAYS: Final = 10 * _DAY
_CENTURY: Final = 36_525  # days
_KILOBYTE: Final = 1000
_MEGABYTE: Final = 1_000_000
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_()]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One thing that can be set; its key in the file, its variable and what it means."""

    key: str
    variable: str
    help: str

    @property
    def option(self) -> str:
        """Such as `--wait-seconds`."""
        return f"--{self.key.replace('_', '-')}"


def _ours(key: str, text: str) -> Word:
    return Word(key=key, variable=f"KERNEL_EXEC_{key.upper()}", help=text)


WORDS: Final = (
    Word(
        key="storage_dir",
        variable="CODE_STORAGE_DIR",
        help="Folder for scripts, history and notebooks (default: the user's data folder).",
    ),
    Word(
        key="env_type",
        variable="ENV_TYPE",
        help="Kind of the environment: conda, venv, venv-uv or python (default: a managed one).",
    ),
    Word(
        key="conda_env_name",
        variable="CONDA_ENV_NAME",
        help="Name of the conda environment, or the absolute path of its prefix.",
    ),
    Word(key="venv_path", variable="VENV_PATH", help="Folder of a virtual environment."),
    Word(
        key="uv_venv_path",
        variable="UV_VENV_PATH",
        help="Folder of a virtual environment created by uv.",
    ),
    _ours("python_path", "Path of a Python executable."),
    _ours("cache", "Cache folder; safe to delete (default: in the user's cache folder)."),
    _ours("working_directory", "Folder in which kernels start (default: the storage folder)."),
    _ours("wait_seconds", "How long a call waits for a result, in seconds (default: 45)."),
    _ours("time_limit", "How long code may run, in seconds; 0 for no limit (default: 1800)."),
    _ours(
        "max_kernels",
        "Maximum number of kernels at once, including isolated scripts and verification"
        " (default: 20).",
    ),
    _ours(
        "idle_limit",
        "Idle time after which a kernel ends, in seconds; 0 for never (default: 0).",
    ),
    _ours(
        "pass_env",
        "Names of further variables that kernels and installers see, separated by commas.",
    ),
    _ours(
        "history_days",
        "How long an unused session stays in history, in days; 0 for ever (default: 365).",
    ),
    _ours(
        "history_size",
        "Maximum size of history in MB; the least recently used sessions are deleted first; 0 for"
        " no limit (default: 10000).",
    ),
    _ours(
        "notebook_size",
        "Size of an exported notebook in KB beyond which plots get fewer colours and large outputs"
        " are written to files beside it; 0 for no limit (default: 500).",
    ),
    _ours("inline_images", "Images shown in one result (default: 2)."),
)
"""Everything that can be set, in the order of `--help` and the README."""

_CONFIG: Final = Word(key="config", variable="KERNEL_EXEC_CONFIG", help="Configuration file.")
_BY_KEY: Final = {word.key: word for word in (*WORDS, _CONFIG)}

_PARTNERS: Final = {
    EnvironmentKind.CONDA: "conda_env_name",
    EnvironmentKind.VENV: "venv_path",
    EnvironmentKind.VENV_UV: "uv_venv_path",
    EnvironmentKind.PYTHON: "python_path",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user has set; every path is absolute, times are in seconds.

    `environment` is None for the managed default; `environment_source`, `environment_files` and
    `storage_source` are where those were set. `history_size` and `notebook_size` are in bytes.
    They, `time_limit`, `idle_limit` and `history_age` are None for no limit. `server_variables`
    are the server's own, for tools that it starts itself. `notice` is a sentence for the user
    about a configuration file that was ignored, "" without one.
    """

    storage_root: Path
    storage_source: str
    environment: Environment | None
    environment_source: str
    named_environments: Mapping[str, Environment]
    environment_files: Mapping[str, Path]
    config_files: Sequence[Path]
    notice: str
    cache: Path
    working_directory: Path
    wait_seconds: float
    time_limit: float | None
    max_kernels: int
    idle_limit: float | None
    history_age: float | None
    history_size: float | None
    notebook_size: int | None
    pass_env: frozenset[str]
    inline_images: int
    server_variables: Mapping[str, str]

    @property
    def runtime_dir(self) -> Path:
        """Where sockets lie: a folder with a short path."""
        return Path(self.server_variables.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())


def process_variables() -> MutableMapping[str, str]:
    """The variables of this process, themselves."""
    return os.environ


def read_settings(
    *,
    options: Mapping[str, str | None],
    variables: Mapping[str, str] | None = None,
    working_directory: Path | None = None,
    config_required: bool = True,
) -> Settings:
    """Settings from `options` (by key), `variables` (default: the process's) and the files.

    Relative paths are taken from the file's folder, otherwise from `working_directory` (default:
    the current folder). An empty variable counts as one that is not set. A configuration file
    that was named must exist, unless `config_required` is False; the null device stands for none.

    Raises:
        InvalidArgumentError: A value is not allowed; says which, where it was set and what is.
    """
    variables = dict(os.environ if variables is None else variables)
    layers = _layers(options, variables, working_directory)
    files = _read_files(layers, required=config_required)
    layers += [_file_layer(file, table) for file, table in files.tables]
    named = [
        (name, environment, file)
        for file, table in reversed(files.tables)  # the strongest last, as it stays
        for name, environment in named_environments(table.get("environments", {}), file).items()
    ]

    def take(word: str, parse: Callable[[Given], _T], default: _U) -> _T | _U:
        given = _first(layers, word)
        return default if given is None else parse(given)

    storage_root = take("storage_dir", parse_path, None) or _user_folder("storage_dir")
    active = _environment(layers)
    return Settings(
        storage_root=storage_root,
        storage_source=take("storage_dir", lambda given: given.where, "the default folder"),
        environment=None if active is None else environment_of(*active),
        environment_source="default" if active is None else active[1].where,
        named_environments={name: environment for name, environment, _ in named},
        environment_files={name: file for name, _, file in named},
        config_files=[file for file, _ in files.tables],
        notice=files.notice,
        cache=take("cache", parse_path, None) or _user_folder("cache"),
        working_directory=take("working_directory", parse_path, storage_root),
        wait_seconds=take("wait_seconds", _seconds, 45.0),
        time_limit=take("time_limit", _limit, 1800.0),
        max_kernels=take("max_kernels", lambda given: _count(given, least=1, most=1000), 20),
        idle_limit=take("idle_limit", _limit, None),
        history_age=take("history_days", _days, 365.0 * _DAY),
        history_size=take("history_size", _megabytes, 10_000.0 * _MEGABYTE),
        notebook_size=take("notebook_size", _kilobytes, 500 * _KILOBYTE),
        pass_env=take("pass_env", _variable_names, frozenset()),
        inline_images=take("inline_images", lambda given: _count(given, least=0, most=20), 2),
        server_variables=variables,
    )


def user_config_folder() -> Path:
    """The folder of the user's own configuration file, and of what they trust.

    Raises:
        InvalidArgumentError: The user has no home folder.
    """
    return _user_folder("config")


def config_file_to_write(*, options: Mapping[str, str | None]) -> tuple[Path, bool]:
    """The configuration file that was named, otherwise the user's own, and whether it was named.

    It may be missing.

    Raises:
        InvalidArgumentError: It can't be a path, or the user has no home folder.
    """
    given = _first(_layers(options, os.environ, None), "config")
    if given is None:
        return user_config_folder() / CONFIG_NAME, False
    return parse_path(given), True


def _user_folder(word: str) -> Path:
    """A folder of ours in the user's home, wherever this system has it."""
    folders = platformdirs.PlatformDirs("kernel-exec", appauthor=False)
    places = {"storage_dir": "user_data_path", "cache": "user_cache_path"}
    try:
        folder: Path = getattr(folders, places.get(word, "user_config_path"))
        if folder.is_absolute():  # a `~` that stands for nothing would be a name in this folder
            return folder
    except RuntimeError:
        pass  # in newer versions of platformdirs
    raise InvalidArgumentError(
        f"no home folder is known for this user; set {_BY_KEY[word].variable}"
        f" or pass {_BY_KEY[word].option}"
    )


def _layers(
    options: Mapping[str, str | None], variables: Mapping[str, str], working_directory: Path | None
) -> list[Layer]:
    here = _current_folder() if working_directory is None else working_directory.absolute()
    return [
        Layer(values=options, folder=here, spell=lambda word: f"option {_BY_KEY[word].option}"),
        Layer(
            values={word: variables.get(one.variable) or None for word, one in _BY_KEY.items()},
            folder=here,
            spell=lambda word: f"variable {_BY_KEY[word].variable}",
        ),
    ]


def _read_files(layers: Sequence[Layer], *, required: bool) -> ConfigFiles:
    given = _first(layers, "config")
    named = None if given is None else parse_path(given)
    if named is not None and (str(named) == os.devnull or not (required or os.path.lexists(named))):
        return ConfigFiles(tables=())
    user = None
    with suppress(InvalidArgumentError):  # without a home there is no file of the user's own
        user = user_config_folder()
    files = read_files(named=named, folder=layers[0].folder, user=user)
    for file, table in files.tables:
        refuse_unknown_keys(table, file)
    return files


def refuse_unknown_keys(table: Mapping[str, object], file: Path) -> None:
    """Raise `InvalidArgumentError` when a configuration file has a key that is no setting."""
    refuse_unknown(
        table,
        [*(word.key for word in WORDS), "environments"],
        f"in {file}",
        variables={word.variable: word.key for word in WORDS},
    )


def _file_layer(file: Path, table: Mapping[str, object]) -> Layer:
    return Layer(values=table, folder=file.parent, spell=lambda word: f"`{word}` in {file}")


def _first(layers: Iterable[Layer], word: str) -> Given | None:
    return next((given for layer in layers if (given := layer.get(word)) is not None), None)


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise InvalidArgumentError(
            f"the current folder does not exist ({error.strerror}); start in one that does"
        ) from error


def _environment(layers: Sequence[Layer]) -> tuple[EnvironmentKind, Given] | None:
    """What the first layer that speaks of an environment says; its path or name may be below."""
    for place, layer in enumerate(layers):
        kind = layer.get("env_type")
        if kind is not None:
            wanted = parse_kind(kind)
            word = _PARTNERS[wanted]
            partner = _first(layers[place:], word)
            if partner is None:
                raise InvalidArgumentError(
                    f"{kind.where} is {wanted.value!r}, which also needs {layer.spell(word)}"
                )
            return wanted, partner
        found = [(kind_, given) for kind_, word in _PARTNERS.items() if (given := layer.get(word))]
        if len(found) > 1:
            both = " and ".join(given.where for _, given in found)
            raise InvalidArgumentError(
                f"{both} are set; set {layer.spell('env_type')} to choose one"
            )
        if found:
            return found[0]
    return None


def _number(given: Given, *, least: int, most: int, what: str) -> float:
    value = given.value
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise given.refuse(f"{what} from {least} to {most}")
    return value


def _seconds(given: Given) -> float:
    return float(_number(given, least=0, most=_HOUR, what="a number of seconds"))


def _limit(given: Given) -> float | None:
    """Seconds, or None for the 0 that means no limit."""
    what = "a number of seconds, 0 for no limit,"
    return float(_number(given, least=0, most=_TEN_DAYS, what=what)) or None


def _days(given: Given) -> float | None:
    """Seconds, or None for the 0 that means for ever."""
    what = "a number of days, 0 for ever,"
    return _number(given, least=0, most=_CENTURY, what=what) * _DAY or None


def _megabytes(given: Given) -> float | None:
    """Bytes, or None for the 0 that means no limit."""
    what = "a number of megabytes, 0 for no limit,"
    return _number(given, least=0, most=_MEGABYTE**2, what=what) * _MEGABYTE or None


def _kilobytes(given: Given) -> int | None:
    """Bytes, or None for the 0 that means no limit."""
    what = "a number of kilobytes, 0 for no limit,"
    return int(_number(given, least=0, most=_MEGABYTE, what=what) * _KILOBYTE) or None


def _count(given: Given, *, least: int, most: int) -> int:
    number = _number(given, least=least, most=most, what="a whole number")
    if number != int(number):
        raise given.refuse(f"a whole number from {least} to {most}")
    return int(number)


def _variable_names(given: Given) -> frozenset[str]:
    value = given.value
    names = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(names, list) or not all(
        isinstance(name, str) and _VARIABLE_NAME.fullmatch(name) for name in names
    ):
        raise given.refuse("names of environment variables, separated by commas")
    return frozenset(map(str, names))

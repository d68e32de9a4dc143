"""Settings, read once: options beat environment variables, which beat kernel_exec.toml.

The only module that reads the environment or the configuration file. Nothing here looks at what
a path leads to: whether a folder can be written or an interpreter works is found out by whoever
uses it, and told with its own way out.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import platformdirs

from kernel_exec.environments.spec import Environment, EnvironmentKind
from kernel_exec.errors import InvalidArgumentError

_T = TypeVar("_T")
_U = TypeVar("_U")

CONFIG_NAME: Final = "kernel_exec.toml"
"""The configuration file that is read when it lies in the current folder."""

_HOUR: Final = 3600
_TEN_DAYS: Final = 10 * 24 * 3600
_FILE_LIMIT: Final = 1_000_000
"""Bytes of a configuration file; a larger one is not ours."""
_PATH_LIMIT: Final = 4096
"""Characters of a path, as Linux has it."""
_SHOWN: Final = 200
"""Characters of a wrong value that a message repeats."""
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_()]*")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


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
    Word(key="venv_path", variable="VENV_PATH", help="Folder of the virtual environment."),
    Word(
        key="uv_venv_path",
        variable="UV_VENV_PATH",
        help="Folder of the virtual environment that uv made.",
    ),
    _ours("python_path", "Path of a Python executable."),
    _ours("cache", "Folder for what can be made anew (default: the user's cache folder)."),
    _ours("working_directory", "Folder in which kernels start (default: the storage folder)."),
    _ours("wait_seconds", "Seconds that a call waits for its result (default: 45)."),
    _ours("time_limit", "Seconds that an execution may run; 0 for no limit (default: 1800)."),
    _ours("max_kernels", "Kernels that may run at once (default: 8)."),
    _ours("idle_limit", "Seconds after which an idle kernel ends; 0 for never (default: 0)."),
    _ours("pass_env", "Names of variables that kernels get as well, with commas between them."),
    _ours("inline_images", "Images shown in one result (default: 2)."),
)
"""Everything that can be set, in the order of `--help` and the README."""

_CONFIG: Final = Word(key="config", variable="KERNEL_EXEC_CONFIG", help="Configuration file.")
_BY_KEY: Final = {word.key: word for word in (*WORDS, _CONFIG)}

_KINDS: Final = "one of " + ", ".join(EnvironmentKind)
_PARTNERS: Final = {
    EnvironmentKind.CONDA: "conda_env_name",
    EnvironmentKind.VENV: "venv_path",
    EnvironmentKind.VENV_UV: "uv_venv_path",
    EnvironmentKind.PYTHON: "python_path",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user has set; every path is absolute, times are in seconds.

    `environment` is None for the managed default. `time_limit` and `idle_limit` are None for no
    limit. `server_variables` are the server's own, for tools that it starts itself.
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


def read_settings(
    *,
    options: Mapping[str, str | None],
    variables: Mapping[str, str] | None = None,
    working_directory: Path | None = None,
) -> Settings:
    """Settings from `options` (by key), `variables` (default: the process's) and the file.

    Relative paths are taken from the file's folder, otherwise from `working_directory` (default:
    the current folder). An empty variable counts as one that is not set.

    Raises:
        InvalidArgumentError: A value is not allowed; says which, where it was set and what is.
    """
    variables = dict(os.environ if variables is None else variables)
    here = _current_folder() if working_directory is None else working_directory.absolute()
    layers = [
        _Layer(values=options, folder=here, spell=lambda word: f"option {_BY_KEY[word].option}"),
        _Layer(
            values={word: variables.get(one.variable) or None for word, one in _BY_KEY.items()},
            folder=here,
            spell=lambda word: f"variable {_BY_KEY[word].variable}",
        ),
    ]
    table, file = _read_file(_first(layers, "config"), here)
    layers.append(
        _Layer(values=table, folder=file.parent, spell=lambda word: f"`{word}` in {file}")
    )

    def take(word: str, parse: Callable[[_Given], _T], default: _U) -> _T | _U:
        given = _first(layers, word)
        return default if given is None else parse(given)

    folders = platformdirs.PlatformDirs("kernel-exec", appauthor=False)
    storage_root = take("storage_dir", _path, folders.user_data_path)
    return Settings(
        storage_root=storage_root,
        environment=_environment(layers),
        named_environments=_named_environments(table.get("environments", {}), file),
        cache=take("cache", _path, folders.user_cache_path),
        working_directory=take("working_directory", _path, storage_root),
        wait_seconds=take("wait_seconds", _seconds, 45.0),
        time_limit=take("time_limit", _limit, 1800.0),
        max_kernels=take("max_kernels", lambda given: _count(given, least=1, most=1000), 8),
        idle_limit=take("idle_limit", _limit, None),
        pass_env=take("pass_env", _variable_names, frozenset()),
        inline_images=take("inline_images", lambda given: _count(given, least=0, most=20), 2),
        server_variables=variables,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """A value as the user wrote it, where that was, and the folder that is relative to."""

    value: object
    where: str
    folder: Path

    def refuse(self, allowed: str) -> InvalidArgumentError:
        return InvalidArgumentError(f"{self.where} is {_shown(self.value)}: it must be {allowed}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """The values of one source, None where it says nothing; `spell` is how it writes a word."""

    values: Mapping[str, object]
    folder: Path
    spell: Callable[[str], str]

    def get(self, word: str) -> _Given | None:
        value = self.values.get(word)
        if value is None:
            return None
        return _Given(value=value, where=self.spell(word), folder=self.folder)


def _first(layers: Iterable[_Layer], word: str) -> _Given | None:
    return next((given for layer in layers if (given := layer.get(word)) is not None), None)


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise InvalidArgumentError(
            f"the current folder can't be found ({error.strerror}): start in one that exists"
        ) from error


def _read_file(config: _Given | None, here: Path) -> tuple[Mapping[str, object], Path]:
    """The configuration file's table and its path; empty when there is no file."""
    file = here / CONFIG_NAME if config is None else _path(config)
    if config is None and not file.exists():
        return {}, file
    try:
        if not file.is_file():
            raise InvalidArgumentError(f"the configuration file {file} is not a file that is there")
        with file.open("rb") as stream:
            content = stream.read(_FILE_LIMIT + 1)
        if len(content) > _FILE_LIMIT:
            raise InvalidArgumentError(f"{file} is longer than {_FILE_LIMIT:,} bytes: shorten it")
        table = tomllib.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise InvalidArgumentError(f"{file} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"{file} is not valid TOML: {error}") from error
    words = [word.key for word in WORDS]
    _refuse_unknown(table, [*words, "environments"], f"in {file}")
    return table, file


def _refuse_unknown(table: Iterable[str], allowed: Sequence[str], where: str) -> None:
    for key in table:
        if key not in allowed:
            # people write the variable's name into the file
            meant = [word for word in allowed if word in _BY_KEY and _BY_KEY[word].variable == key]
            close = difflib.get_close_matches(key.lower()[:_SHOWN], allowed, n=1, cutoff=0.0)
            raise InvalidArgumentError(
                f"{where} the key {_shown(key)} is not known:"
                f" the nearest that is allowed is `{(meant or close)[0]}`"
            )


def _environment(layers: Sequence[_Layer]) -> Environment | None:
    """What the first layer that speaks of an environment says; its kind's path may be below."""
    for place, layer in enumerate(layers):
        kind = layer.get("env_type")
        if kind is not None:
            wanted = _kind(kind)
            word = _PARTNERS[wanted]
            partner = _first(layers[place:], word)
            if partner is None:
                raise InvalidArgumentError(
                    f"{kind.where} is {wanted.value!r}: set {layer.spell(word)} as well"
                )
            return _of_kind(wanted, partner)
        found = [(kind_, given) for kind_, word in _PARTNERS.items() if (given := layer.get(word))]
        if len(found) > 1:
            both = " and ".join(given.where for _, given in found)
            raise InvalidArgumentError(
                f"{both} are set: set {layer.spell('env_type')} to say which is meant"
            )
        for wanted, given in found:
            return _of_kind(wanted, given)
    return None


def _of_kind(kind: EnvironmentKind, given: _Given) -> Environment:
    text = _text(given)
    # a relative prefix can't be told from a name that went wrong
    if kind is EnvironmentKind.CONDA and not (text.startswith("~") or Path(text).is_absolute()):
        return _conda(given)
    return Environment(kind=kind, path=_path(given))


def _conda(given: _Given) -> Environment:
    name = _text(given)
    if not _ENVIRONMENT_NAME.fullmatch(name):
        raise given.refuse(
            "a name of at most 100 letters, digits, '_', '.' and '-', or an absolute path"
        )
    return Environment(kind=EnvironmentKind.CONDA, name=name)


def _named_environments(tables: object, file: Path) -> dict[str, Environment]:
    where = f"`environments` in {file}"
    if not isinstance(tables, dict):
        raise _Given(value=tables, where=where, folder=file.parent).refuse(
            "tables, such as [environments.analysis]"
        )
    return {str(name): _named_environment(str(name), table, file) for name, table in tables.items()}


def _named_environment(name: str, table: object, file: Path) -> Environment:
    where = f"`environments.{name[:_SHOWN]}` in {file}"
    if not _ENVIRONMENT_NAME.fullmatch(name):
        raise InvalidArgumentError(
            f"in {file} the environment name {_shown(name)} is not allowed:"
            " use letters, digits, '_', '.' and '-', at most 100 of them"
        )
    if not isinstance(table, dict):
        raise _Given(value=table, where=where, folder=file.parent).refuse(
            f"a table, such as [environments.{name}]"
        )
    _refuse_unknown(table, ("kind", "path", "name"), f"in {where}")
    layer = _Layer(
        values=table,
        folder=file.parent,
        spell=lambda word: f"`environments.{name}.{word}` in {file}",
    )
    kind, path, called = (layer.get(word) for word in ("kind", "path", "name"))
    if kind is None:
        raise InvalidArgumentError(f"{where} has no `kind`: it must be {_KINDS}")
    wanted = _kind(kind)
    conda = wanted is EnvironmentKind.CONDA
    if (path is None) == (called is None) or (called is not None and not conda):
        needed = "either `name` or `path`" if conda else "`path`, and no `name`"
        raise InvalidArgumentError(f"{where} is of kind {wanted.value!r}: it must have {needed}")
    if called is not None:
        return _conda(called)
    assert path is not None
    return Environment(kind=wanted, path=_path(path))


def _kind(given: _Given) -> EnvironmentKind:
    if isinstance(given.value, str) and given.value in set(EnvironmentKind):
        return EnvironmentKind(given.value)
    raise given.refuse(_KINDS)


def _text(given: _Given) -> str:
    value = given.value
    if not isinstance(value, str) or not value.strip():
        raise given.refuse("a text that is not empty")
    if _NOT_TEXT.search(value):
        raise given.refuse("text in UTF-8 without NUL")
    return value


def _path(given: _Given) -> Path:
    value = _text(given)
    if len(value) > _PATH_LIMIT:
        raise given.refuse(f"a path of at most {_PATH_LIMIT} characters")
    try:
        return given.folder / Path(value).expanduser()
    except RuntimeError as error:
        raise given.refuse("a path whose `~` names a user with a home folder") from error


def _number(given: _Given, *, least: int, most: int, what: str) -> float:
    value = given.value
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise given.refuse(f"{what} from {least} to {most}")
    return value


def _seconds(given: _Given) -> float:
    return float(_number(given, least=0, most=_HOUR, what="a number of seconds"))


def _limit(given: _Given) -> float | None:
    """Seconds, or None for the 0 that means no limit."""
    what = "a number of seconds, 0 for no limit,"
    return float(_number(given, least=0, most=_TEN_DAYS, what=what)) or None


def _count(given: _Given, *, least: int, most: int) -> int:
    number = _number(given, least=least, most=most, what="a whole number")
    if number != int(number):
        raise given.refuse(f"a whole number from {least} to {most}")
    return int(number)


def _variable_names(given: _Given) -> frozenset[str]:
    value = given.value
    names = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(names, list) or not all(
        isinstance(name, str) and _VARIABLE_NAME.fullmatch(name) for name in names
    ):
        raise given.refuse("names of environment variables, with commas between them")
    return frozenset(map(str, names))


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python is willing to write
        return "a number with too many digits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"

"""Settings, read once: options beat environment variables, which beat configuration files.

The only module that reads the environment; only it has the files read. Nothing here looks at what
a path leads to: whoever uses a folder or an interpreter finds out and reports whether it works.
"""

import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import platformdirs
from platformdirs.unix import Unix

from kernel_exec.configuration import (
    Written,
    environment_of,
    named_environments,
    parse_kind,
    parse_path,
    refuse_unknown,
    written_in,
)
from kernel_exec.environments.spec import Environment, EnvironmentKind
from kernel_exec.errors import InvalidArgumentError, RefusedSettingError
from kernel_exec.inherited import INHERITED, Inherited
from kernel_exec.options import BY_KEY, PLACE_OF, SETTINGS
from kernel_exec.places import CONFIG_NAME, at_home, xdg_folder
from kernel_exec.sandbox.walls import Sandbox, Walls
from kernel_exec.trust import ConfigFiles, read_files

_Layer: TypeAlias = Mapping[str, Written]
"""What one source sets, by key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """What holds for everybody below one storage root.

    `storage_source` is where the storage root was set. `history_age`, `linger` and the limits are
    in seconds, `history_size` in bytes, each None for no limit. No kernel has less than `walls`.
    `variables` are the server's own,
    for what it starts for itself.
    """

    storage_root: Path
    storage_source: str
    cache: Path
    max_kernels: int
    spare_kernels: int
    idle_limit: float | None
    detached_limit: float | None
    history_age: float | None
    history_size: float | None
    linger: float
    log_level: str
    walls: Walls
    variables: Mapping[str, str]

    @property
    def runtime_dir(self) -> Path:
        """Where sockets lie: a folder with a short path."""
        return Path(self.variables.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """What one connection begins with; `folder` is where its client was started.

    `environment` is None for the managed default. `wait_seconds` and `time_limit` are in seconds,
    `notebook_size` in bytes, the last two None for no limit. `variables` are the client's, of which
    its kernels and installers see those that are allowed. `notice` is a sentence for the user about
    a configuration file that was ignored, "" without one. `inherited` is what its
    kernels and installers get besides.
    """

    folder: Path
    environment: Environment | None
    named_environments: Mapping[str, Environment]
    working_directory: Path
    wait_seconds: float
    time_limit: float | None
    pass_env: frozenset[str]
    notebook_size: int | None
    inline_images: int
    sandbox: Sandbox
    variables: Mapping[str, str]
    config_files: Sequence[Path] = ()
    notice: str = ""
    inherited: Inherited = INHERITED


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that the user has set; every path is absolute.

    `environment_source` and `environment_files` are where environments were configured.
    """

    host: HostSettings
    connection: ConnectionSettings
    environment_source: str
    environment_files: Mapping[str, Path]


_HERE = "the current folder"

_NOWHERE = Path(os.devnull, "kernel-exec")
"""What a user without a home has in place of folders there: one that can't be made."""

_OF_CONNECTION = ("wait_seconds", "time_limit", "pass_env", "notebook_size", "inline_images")
"""Settings of a connection that are what was written, or the default."""


def process_variables() -> MutableMapping[str, str]:
    """The variables of this process, themselves."""
    return os.environ


def read_settings(
    *,
    options: Mapping[str, str | None],
    variables: Mapping[str, str] | None = None,
    working_directory: Path | None = None,
    user: Mapping[str, str] | None = None,
    config_required: bool = True,
    without: Collection[str] = (),
) -> Settings:
    """Settings from `options` (by key), `variables` (default: the process's) and the files.

    Relative paths are taken from the file's folder, otherwise from `working_directory` (default:
    the current folder). `user` are the variables by which the user's folders are found (default:
    the process's). An empty variable counts as one that is not set. A configuration file
    that was named must exist, unless `config_required` is False; the null device stands for none.
    What was set at the places `without` which to do counts as not set.

    Raises:
        InvalidArgumentError: A value is not allowed; says which, where it was set and what is.
    """
    variables = dict(os.environ if variables is None else variables)
    here = current_folder(without) if working_directory is None else working_directory.absolute()
    home = "" if user is None else user.get("HOME", "")
    layers = [_kept(layer, without) for layer in _layers(options, variables, here, home)]
    files = _read_files(
        _first(layers, "config"), here, user, required=config_required, without=without
    )
    layers += [written_in(file, table, home=home) for file, table in files.tables]
    named = list(_named(files, home))
    active = _environment(layers)
    host = _of_host(layers, variables, user, without)
    return Settings(
        host=host,
        connection=ConnectionSettings(
            folder=here,
            environment=None if active is None else environment_of(*active),
            named_environments={name: environment for name, environment, _ in named},
            working_directory=_take(layers, "working_directory") or host.storage_root,
            **{key: _take(layers, key) for key in _OF_CONNECTION},
            sandbox=_sandbox(layers),
            variables=host.variables,
            config_files=[file for file, _ in files.tables],
            notice=files.notice,
        ),
        environment_source="default" if active is None else active[1].where,
        environment_files={name: file for name, _, file in named},
    )


def examine_settings(
    *, options: Mapping[str, str | None]
) -> tuple[Settings, Sequence[RefusedSettingError]]:
    """The settings without those that are refused, and why each of them is."""
    refused: dict[str, RefusedSettingError] = {}
    while True:
        try:
            return read_settings(options=options, without=refused), list(refused.values())
        except RefusedSettingError as error:
            if error.where in refused:
                raise
            refused[error.where] = error


def _kept(layer: _Layer, without: Collection[str]) -> _Layer:
    return {key: written for key, written in layer.items() if written.where not in without}


def _named(files: ConfigFiles, home: str) -> Iterator[tuple[str, Environment, Path]]:
    """Each named environment with its file; of one name the strongest last, as it stays."""
    for file, table in reversed(files.tables):
        for name, environment in named_environments(table, file, home=home).items():
            yield name, environment, file


def _of_host(
    layers: Sequence[_Layer],
    variables: Mapping[str, str],
    user: Mapping[str, str] | None,
    without: Collection[str],
) -> HostSettings:
    storage = _first(layers, "storage_dir")
    root = _take(layers, "storage_dir") or _user_folder("storage_dir", user, without)
    of_user = _user_folder("cache", user, {BY_KEY["cache"].option})
    variables, cache = at_home(variables, of_user, root)
    return HostSettings(
        storage_root=root,
        storage_source="the default folder" if storage is None else storage.where,
        cache=_take(layers, "cache") or cache,
        max_kernels=_take(layers, "max_kernels"),
        spare_kernels=_take(layers, "spare_kernels"),
        idle_limit=_take(layers, "idle_limit"),
        detached_limit=_take(layers, "detached_limit"),
        history_age=_take(layers, "history_days"),
        history_size=_take(layers, "history_size"),
        linger=_take(layers, "linger"),
        log_level=_take(layers, "log_level"),
        walls=_take(layers, "sandbox"),
        variables=variables,
    )


def _sandbox(layers: Sequence[_Layer]) -> Sandbox:
    return Sandbox(
        walls=_take(layers, "sandbox"),
        writable=_take(layers, "sandbox_write"),
        readable=_take(layers, "sandbox_read"),
        memory=_take(layers, "memory_limit"),
        processes=_take(layers, "process_limit"),
        file_size=_take(layers, "file_size_limit"),
    )


def user_config_folder() -> Path:
    """The folder of the user's own configuration; `InvalidArgumentError` if they have no home."""
    return _user_folder("config")


def config_file_to_write(*, options: Mapping[str, str | None]) -> tuple[Path, bool]:
    """The configuration file that was named, otherwise the user's own, and whether it was named.

    It may be missing.
    """
    written = _first(_layers(options, os.environ, current_folder()), "config")
    if written is None:
        return user_config_folder() / CONFIG_NAME, False
    return parse_path(written), True


def refuse_unknown_keys(table: Mapping[str, object], file: Path) -> None:
    """Raise `InvalidArgumentError` when a configuration file has a key that is no setting."""
    refuse_unknown(
        table,
        [*(setting.key for setting in SETTINGS), "environments"],
        f"in {file}",
        variables={setting.variable: setting.key for setting in SETTINGS},
    )


def _user_folder(
    key: str, user: Mapping[str, str] | None = None, without: Collection[str] = ()
) -> Path:
    """A folder of ours in the home of the `user`, wherever this system has it."""
    folders = platformdirs.PlatformDirs("kernel-exec", appauthor=False)
    places = {"storage_dir": "user_data_path", "cache": "user_cache_path"}
    with suppress(RuntimeError):  # what newer versions of platformdirs raise
        folder: Path = (
            getattr(folders, places.get(key, "user_config_path"))
            if user is None or not isinstance(folders, Unix)
            else xdg_folder(key, user)
        )
        if folder.is_absolute():  # a `~` that stands for nothing would be a name in this folder
            return folder
    setting = BY_KEY[key]
    if setting.option in without:
        return _NOWHERE
    raise RefusedSettingError(
        f"no home folder is known for this user; set {setting.variable} or pass {setting.option}",
        where=setting.option,
    )


def _layers(
    options: Mapping[str, str | None], variables: Mapping[str, str], here: Path, home: str = ""
) -> list[_Layer]:
    """What options and variables set, each with the way in which it was set."""
    if unknown := options.keys() - BY_KEY.keys():
        raise InvalidArgumentError(f"no setting has the key {min(unknown)!r}")
    set_by_option = {
        key: Written(value=value, where=f"option {BY_KEY[key].option}", folder=here, home=home)
        for key, value in options.items()
        if value is not None
    }
    set_by_variable = {
        key: Written(value=value, where=f"variable {setting.variable}", folder=here, home=home)
        for key, setting in BY_KEY.items()
        if (value := variables.get(setting.variable))
    }
    return [set_by_option, set_by_variable]


def _read_files(
    config: Written | None,
    here: Path,
    user: Mapping[str, str] | None,
    *,
    required: bool,
    without: Collection[str],
) -> ConfigFiles:
    named = None if config is None else parse_path(config)
    if named is not None and (str(named) == os.devnull or not (required or os.path.lexists(named))):
        return ConfigFiles(tables=())
    own = None
    with suppress(InvalidArgumentError):  # without a home there is no file of the user's own
        own = _user_folder("config", user)
    source = "" if config is None else config.where
    files = read_files(named=named, source=source, folder=here, user=own, without=without)
    if without:
        files = replace(
            files, tables=[(at, _kept_table(at, it, without)) for at, it in files.tables]
        )
    for file, table in files.tables:
        refuse_unknown_keys(table, file)
    return files


def _kept_table(
    file: Path, table: Mapping[str, object], without: Collection[str]
) -> Mapping[str, object]:
    kept = {key: each.value for key, each in _kept(written_in(file, table), without).items()}
    if isinstance(named := kept.get("environments"), dict):
        written = written_in(file, named, "environments.")
        kept["environments"] = {key: each.value for key, each in _kept(written, without).items()}
    return kept


def _take(layers: Sequence[_Layer], key: str) -> Any:
    """What the first layer says that has the key, read; otherwise the default."""
    written = _first(layers, key)
    return BY_KEY[key].default if written is None else BY_KEY[key].parse(written)


def _first(layers: Iterable[_Layer], key: str) -> Written | None:
    return next((layer[key] for layer in layers if key in layer), None)


def current_folder(without: Collection[str] = ()) -> Path:
    """The folder in which we were started."""
    try:
        return Path.cwd()
    except OSError as error:
        if _HERE in without:
            return Path(os.sep)
        raise RefusedSettingError(
            f"{_HERE} does not exist ({error.strerror}); start in one that does", where=_HERE
        ) from error


def _environment(layers: Sequence[_Layer]) -> tuple[EnvironmentKind, Written] | None:
    """What the first layer that speaks of an environment says; its path or name may be below."""
    kinds = [parse_kind(layer["env_type"]) if "env_type" in layer else None for layer in layers]
    for at, (kind, layer) in enumerate(zip(kinds, layers, strict=True)):
        if kind is not None:
            place = _first(layers[at:], PLACE_OF[kind])
            if place is None:
                needed = BY_KEY[PLACE_OF[kind]].names
                raise RefusedSettingError(
                    f"{layer['env_type'].where} is {kind.value!r}, which also needs {needed}",
                    where=layer["env_type"].where,
                )
            return kind, place
        found = [(kind, layer[key]) for kind, key in PLACE_OF.items() if key in layer]
        if len(found) > 1:
            both = " and ".join(written.where for _, written in found)
            choice = BY_KEY["env_type"].names
            raise RefusedSettingError(
                f"{both} are set; set {choice} to choose one", where=found[0][1].where
            )
        if found:
            return found[0]
    return None

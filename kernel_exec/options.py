"""Everything that can be set: its names, what it means, how it is read and what holds without.

Nothing here reads the environment; `settings` does.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from kernel_exec.configuration import Written, parse_kind, parse_path, parse_walls
from kernel_exec.environments.spec import EnvironmentKind
from kernel_exec.sandbox.walls import Walls

_HOUR: Final = 3600
_DAY: Final = 24 * 3600
_CENTURY: Final = 36_525  # days
_KILOBYTE: Final = 1000
_MEGABYTE: Final = 1_000_000
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_LOG_LEVELS: Final = ("debug", "info", "warning", "error")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_()]*")

_Parse: TypeAlias = Callable[[Written], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One thing that can be set; its key in the file, its variable and what it means.

    `default` is what holds where nobody sets it, as `parse` would return it.
    """

    key: str
    variable: str
    help: str
    parse: _Parse = parse_path
    default: object = None

    @property
    def option(self) -> str:
        """Such as `--wait-seconds`."""
        return f"--{self.key.replace('_', '-')}"

    @property
    def names(self) -> str:
        """How it can be set, for a message that asks for it."""
        return f"{self.variable} (option {self.option}, key `{self.key}`)"


def _ours(key: str, text: str, parse: _Parse = parse_path, default: object = None) -> Setting:
    variable = f"KERNEL_EXEC_{key.upper()}"
    return Setting(key=key, variable=variable, help=text, parse=parse, default=default)


def _number(what: str, *, most: int, least: int = 0, unit: int = 1, zero: str = "") -> _Parse:
    """Reads a number of `unit`s; with `zero`, 0 stands for None, and that is what it means."""
    allowed = f"{what}{f', 0 {zero},' if zero else ''} from {least} to {most}"
    whole = what == "a whole number"

    def parse(written: Written) -> float | None:
        value = written.value
        if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
            value = float(value)
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not least <= value <= most
            or (whole and value % 1)
        ):
            raise written.refuse(allowed)
        return (round(value * unit) if whole or unit > 1 else float(value)) or (None if zero else 0)

    return parse


def _variable_names(written: Written) -> frozenset[str]:
    value = written.value
    names = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(names, list) or not all(
        isinstance(name, str) and _VARIABLE_NAME.fullmatch(name) for name in names
    ):
        raise written.refuse("names of environment variables, separated by commas")
    return frozenset(map(str, names))


def _log_level(written: Written) -> str:
    if isinstance(written.value, str) and written.value.lower() in _LOG_LEVELS:
        return written.value.lower()
    raise written.refuse("one of " + ", ".join(_LOG_LEVELS))


def _folders(written: Written) -> tuple[Path, ...]:
    value = written.value
    names = value.split(os.pathsep) if isinstance(value, str) else value
    if not isinstance(names, list):
        raise written.refuse(f"folders, separated by {os.pathsep!r}")
    return tuple(parse_path(replace(written, value=name)) for name in names if name)


_SECONDS: Final = _number("a number of seconds", most=10 * _DAY, zero="for no limit")

SETTINGS: Final = (
    Setting(
        key="storage_dir",
        variable="CODE_STORAGE_DIR",
        help="Folder for scripts, history and notebooks (default: the user's data folder).",
    ),
    Setting(
        key="env_type",
        variable="ENV_TYPE",
        help="Kind of the environment: conda, venv, venv-uv or python (default: a managed one).",
        parse=parse_kind,
    ),
    Setting(
        key="conda_env_name",
        variable="CONDA_ENV_NAME",
        help="Name of the conda environment, or the absolute path of its prefix.",
    ),
    Setting(key="venv_path", variable="VENV_PATH", help="Folder of a virtual environment."),
    Setting(
        key="uv_venv_path",
        variable="UV_VENV_PATH",
        help="Folder of a virtual environment created by uv.",
    ),
    _ours("python_path", "Path of a Python executable."),
    _ours("cache", "Cache folder; safe to delete (default: in the user's cache folder)."),
    _ours("working_directory", "Folder in which kernels start (default: the storage folder)."),
    _ours(
        "wait_seconds",
        "How long a call waits for a result, in seconds (default: 45).",
        _number("a number of seconds", most=_HOUR),
        45.0,
    ),
    _ours(
        "time_limit",
        "How long code may run, in seconds; 0 for no limit (default: 1800).",
        _SECONDS,
        1800.0,
    ),
    _ours(
        "max_kernels",
        "Maximum number of kernels at once, including isolated scripts and verification"
        " (default: 20).",
        _number("a whole number", least=1, most=1000),
        20,
    ),
    _ours(
        "spare_kernels",
        "Kernels that are kept ready for what connected clients start next; 0 for none"
        " (default: 4).",
        _number("a whole number", most=1000),
        4,
    ),
    _ours(
        "idle_limit",
        "Idle time after which a kernel ends, in seconds; 0 for never (default: 0).",
        _SECONDS,
    ),
    _ours(
        "detached_limit",
        "How long a kernel that no client is connected to is kept after its last execution, in"
        " seconds; 0 for ever (default: 43200).",
        _SECONDS,
        43_200.0,
    ),
    _ours(
        "linger",
        "How long the host process stays without clients and kernels, in seconds (default: 60).",
        _number("a number of seconds", least=1, most=_DAY),
        60.0,
    ),
    _ours(
        "pass_env",
        "Names of further variables that kernels and installers see, separated by commas.",
        _variable_names,
        frozenset(),
    ),
    _ours(
        "sandbox",
        "Walls around code: off, workspace (secrets are hidden, few folders can be written to) or"
        " isolated (also no network) (default: off).",
        parse_walls,
        Walls.OFF,
    ),
    _ours(
        "sandbox_write",
        "Further folders that code behind walls may write to, separated by colons.",
        _folders,
        (),
    ),
    _ours(
        "sandbox_read",
        "Further folders that isolated code may read, separated by colons.",
        _folders,
        (),
    ),
    _ours(
        "memory_limit",
        "Memory in MB that a kernel and its processes may take before they are ended; 0 for no"
        " limit (default: 75 % of what is free at the start).",
        _number("a number of megabytes", most=_MEGABYTE**2, unit=_MEGABYTE, zero="for no limit"),
        0.75,  # the share of what is free then
    ),
    _ours(
        "process_limit",
        "Processes and threads of a kernel behind walls; 0 for no limit (default: 4096).",
        _number("a whole number", most=_MEGABYTE, zero="for no limit"),
        4096,
    ),
    _ours(
        "file_size_limit",
        "Size in MB of a file that code may write; 0 for no limit (default: 0).",
        _number("a number of megabytes", most=_MEGABYTE**2, unit=_MEGABYTE, zero="for no limit"),
    ),
    _ours(
        "history_days",
        "How long an unused session stays in history, in days; 0 for ever (default: 365).",
        _number("a number of days", most=_CENTURY, unit=_DAY, zero="for ever"),
        365 * _DAY,
    ),
    _ours(
        "history_size",
        "Maximum size of history in MB; the least recently used sessions are deleted first; 0 for"
        " no limit (default: 10000).",
        _number("a number of megabytes", most=_MEGABYTE**2, unit=_MEGABYTE, zero="for no limit"),
        10_000 * _MEGABYTE,
    ),
    _ours(
        "notebook_size",
        "Size of an exported notebook in KB beyond which plots get fewer colours and large outputs"
        " are written to files beside it; 0 for no limit (default: 500).",
        _number("a number of kilobytes", most=_MEGABYTE, unit=_KILOBYTE, zero="for no limit"),
        500 * _KILOBYTE,
    ),
    _ours(
        "inline_images",
        "Images shown in one result (default: 2).",
        _number("a whole number", most=20),
        2,
    ),
    _ours(
        "log_level",
        "Least severe messages in the log: debug, info, warning or error (default: info).",
        _log_level,
        "info",
    ),
)
"""Everything that can be set, in the order of `--help` and the README."""

BY_KEY: Final = {
    setting.key: setting for setting in (*SETTINGS, _ours("config", "Configuration file."))
}
"""The same by key, and the configuration file that the others may be in."""

PLACE_OF: Final = {
    EnvironmentKind.CONDA: "conda_env_name",
    EnvironmentKind.VENV: "venv_path",
    EnvironmentKind.VENV_UV: "uv_venv_path",
    EnvironmentKind.PYTHON: "python_path",
}
"""The key of each kind's path or name."""

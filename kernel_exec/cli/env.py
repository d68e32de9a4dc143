"""`kernel-exec env`: the configured environments, listed, added and checked."""

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import click

from kernel_exec.configuration import Written, environment_of, with_environment, write
from kernel_exec.environments.activation import allowed_variables
from kernel_exec.environments.catalog import default_environment
from kernel_exec.environments.interpreters import Interpreter, ask, find_executable
from kernel_exec.environments.spec import Environment, EnvironmentKind
from kernel_exec.errors import NotFoundError
from kernel_exec.settings import Settings, config_file_to_write

from .reading import print_json, settings_of

Options: TypeAlias = Mapping[str, str | None]

_KINDS = {
    "venv": EnvironmentKind.VENV,
    "uv_venv": EnvironmentKind.VENV_UV,
    "conda": EnvironmentKind.CONDA,
    "python": EnvironmentKind.PYTHON,
}
"""The options of `env add`."""

_SHOWN = 1000
"""Characters of a message in a line; `--json` has it all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """An environment as it is listed.

    The active one is where servers begin, and has no name in the file: it is `(configured)`, or
    `(default)` for the managed one. Names in the file have no parentheses.
    """

    name: str
    environment: Environment
    source: str
    active: bool = False

    @property
    def place(self) -> str:
        """Its path, or the name by which conda knows it."""
        return str(self.environment.path or self.environment.name)

    def as_json(self) -> dict[str, object]:
        """What `env list --json` says."""
        path = self.environment.path
        return {
            "name": self.name,
            "kind": self.environment.kind.value,
            "path": None if path is None else str(path),
            "conda_name": self.environment.name,
            "active": self.active,
            "source": self.source,
        }


@click.group(no_args_is_help=False)  # its help is no error message
def env() -> None:
    """List, add and check the configured environments."""


@env.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.pass_obj
def list_(options: Options, as_json: bool) -> None:
    """Print the environments: where servers begin, then those by name."""
    found = _configured(settings_of(options))
    if as_json:
        print_json([each.as_json() for each in found])
        return
    width = _width(found)
    for each in found:
        kind = each.environment.kind.value
        click.echo(f"{each.name:{width}}  {kind:7}  {_one_line(each.place)}")


@env.command()
@click.argument("name")
@click.option("--venv", metavar="PATH", help="Folder of a virtual environment.")
@click.option("--uv-venv", metavar="PATH", help="Folder of a virtual environment created by uv.")
@click.option("--conda", metavar="NAME|PREFIX", help="A conda environment.")
@click.option("--python", metavar="PATH", help="A Python executable.")
@click.option("--replace", is_flag=True, help="Replace the environment of that name.")
@click.option("--json", "as_json", is_flag=True, help="Print the environment as a JSON object.")
@click.pass_obj
def add(options: Options, /, name: str, replace: bool, as_json: bool, **places: str | None) -> None:
    """Write an environment into the configuration file.

    Its Python must answer first. With --sandbox, its code always has at least these walls. The
    file is the one that --config or KERNEL_EXEC_CONFIG names, otherwise your own
    (`kernel-exec env path`); it is created if missing.
    """
    given = {option: place for option, place in places.items() if place is not None}
    if len(given) != 1:
        raise click.UsageError("one of --venv, --uv-venv, --conda and --python must be given")
    ((option, place),) = given.items()
    settings = settings_of(options, config_required=False)
    where = f"option --{option.replace('_', '-')}"
    environment = _tidied(
        environment_of(_KINDS[option], Written(value=place, where=where, folder=Path.cwd()))
    )
    walls = settings.connection.sandbox.walls if options.get("sandbox") else None
    interpreter = anyio.run(_probe, settings, environment)
    file, was_named = config_file_to_write(options=options)
    content = with_environment(file, name, environment, walls=walls, replace=replace)
    write(file, content, make_folder=not was_named)
    click.echo(f"added `{name}` (Python {interpreter.python_version}) to {file}", err=True)
    if as_json:
        print_json(_named(name, environment, file).as_json())


@env.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.pass_obj
def check(options: Options, names: Sequence[str], as_json: bool) -> int:
    """Start a kernel in each environment and report the result.

    All are checked, or those with a NAME. The exit code is 1 if one does not work. The managed
    environment is created and kernel support is downloaded if missing.
    """
    settings = settings_of(options)
    found = _configured(settings)
    chosen = [_find(found, name) for name in dict.fromkeys(names)] or found
    # kernels take a tenth of a second to import, which `list` need not wait for
    checks: Any = importlib.import_module("kernel_exec.doctor.kernels")
    rows: list[dict[str, Any]] = []
    width = _width(chosen)
    for each in chosen:
        managed = each.active and settings.connection.environment is None
        checked = anyio.run(checks.check, settings, None if managed else each.environment)
        row = {word: each.as_json()[word] for word in ("name", "kind", "path")} | checked.as_json()
        rows.append(row)
        if not as_json:
            click.echo(_line(row, width))
    if as_json:
        print_json(rows)
    return 0 if all(row["ok"] for row in rows) else 1


@env.command()
@click.argument("name", default="")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_obj
def path(options: Options, name: str, as_json: bool) -> None:
    """Print the path of the configuration file, or of a Python.

    The file is the one that `env add` writes to, and may not exist yet. The Python is that of
    the environment NAME.
    """
    if name:
        settings = settings_of(options)
        environment = _find(_configured(settings), name).environment
        found = find_executable(environment, settings.host.variables)
    else:
        found, _ = config_file_to_write(options=options)
    if as_json:
        print_json({"path": str(found)})
    else:
        click.echo(found)


def _configured(settings: Settings) -> list[Configured]:
    active = Configured(
        name="(default)" if settings.connection.environment is None else "(configured)",
        environment=settings.connection.environment
        or default_environment(settings.host.storage_root),
        source=settings.environment_source,
        active=True,
    )
    return [active] + [
        _named(name, environment, settings.environment_files[name])
        for name, environment in settings.connection.named_environments.items()
    ]


def _named(name: str, environment: Environment, file: Path) -> Configured:
    return Configured(name=name, environment=environment, source=f"`environments.{name}` in {file}")


def _find(found: Sequence[Configured], name: str) -> Configured:
    for each in found:
        if each.name == name:
            return each
    if found[0].name.strip("()") == name:  # a shell wants parentheses quoted
        return found[0]
    names = ", ".join(repr(each.name) for each in found)
    raise NotFoundError(
        f"no environment {name!r} is configured; known are {names}; `kernel-exec env add` adds one"
    )


async def _probe(settings: Settings, environment: Environment) -> Interpreter:
    connection = settings.connection
    variables = allowed_variables(connection.variables, passed=connection.pass_env)
    executable = find_executable(environment, settings.host.variables)
    return await ask(executable, variables=variables)


def _tidied(environment: Environment) -> Environment:
    """The environment by a path without `..`, unless that leads elsewhere, as beyond a link."""
    if environment.path is None:
        return environment
    plain = Path(os.path.normpath(environment.path))
    try:
        same = plain.samefile(environment.path)
    except OSError:
        same = False
    return Environment(kind=environment.kind, path=plain) if same else environment


def _line(row: Mapping[str, Any], width: int) -> str:
    if not row["ok"]:
        return f"fail {row['name']:{width}}  {_shortened(_one_line(row['error']))}"
    support = f"{row['kernel_support']} (ipykernel {row['ipykernel_version']})"
    return (
        f"ok   {row['name']:{width}}  Python {row['python_version']}  {support}"
        f"  {_one_line(row['executable'])}"
    )


def _width(found: Sequence[Configured]) -> int:
    return max(len(each.name) for each in found)


def _one_line(text: str) -> str:
    """Text in one line whatever characters are in it."""
    return text if text.isprintable() else repr(text)


def _shortened(text: str) -> str:
    half = _SHOWN // 2
    return text if len(text) <= _SHOWN else f"{text[:half]} [...] {text[-half:]}"

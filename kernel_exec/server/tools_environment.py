"""The tools about environments and packages; results have the keys of the server we replace."""

import os
from collections.abc import Iterator
from pathlib import Path

from mcp_types import CallToolResult

from kernel_exec import installs
from kernel_exec.configuration import Written, parse_path
from kernel_exec.connection import Connection
from kernel_exec.content.installs import install_fields
from kernel_exec.content.plain import counted, one_line
from kernel_exec.content.status import sandbox_line
from kernel_exec.environments.spec import Environment, EnvironmentKind
from kernel_exec.errors import InvalidArgumentError, NotFoundError, UnusableEnvironmentError
from kernel_exec.history.entries import ID_SHOWN
from kernel_exec.jsons import JSON, JSONObject, text
from kernel_exec.packages.inventory import PackageStatus
from kernel_exec.places import home_folder
from kernel_exec.server import arguments
from kernel_exec.sessions.naming import whose

from .call import Call
from .results import structured, with_fields

_ARGUMENTS = {
    EnvironmentKind.CONDA: "conda_name",
    EnvironmentKind.VENV: "venv_path",
    EnvironmentKind.VENV_UV: "uv_venv_path",
    EnvironmentKind.PYTHON: "python_path",
}
"""The argument of each kind's path or name, and what the server we replace calls it."""

_LONGEST = 500
"""Characters of a path that a line shows."""

_MOST_MODULES = 3
"""Modules of a package that its line names."""


async def install_dependencies(call: Call, asked: arguments.InstallDependencies) -> CallToolResult:
    """Install packages into the environment while its kernel lives.

    Its words are those of an execution; its fields are those of the server we replace, and those
    that are needed to follow it.
    """
    session, entry = await installs.install(
        call.connection, asked.packages, upgrade=asked.upgrade, allow_build=asked.allow_build
    )
    call.begun(session, entry)
    entry = await call.follow(session, entry, call.window(asked.wait_seconds))
    result = await call.present(session, entry)
    told = (result.meta or {})["kernel-exec"]
    fields = {key: told[key] for key in ("status", "outcome", "execution_id", "error") if told[key]}
    fields["env_type"] = session.environment.kind.value
    return with_fields(result, {**fields, **install_fields(entry)})


async def check_installed_packages(
    call: Call, asked: arguments.CheckInstalledPackages
) -> CallToolResult:
    """What is installed, from metadata: of what is named, or else all."""
    fields: dict[str, JSON] = {
        "status": "success",
        "env_type": (await call.connection.current_environment()).kind.value,
    }
    if not asked.packages:
        versions = await installs.versions(call.connection)
        lines = [f"{one_line(name)} {one_line(version)}" for name, version in versions.items()]
        return structured({**fields, "packages": versions}, lines or ["no packages"])
    found = await installs.check(call.connection, asked.packages)
    needed = [each for each in found if each.applies]
    fields |= {
        "all_installed": bool(needed) and all(each.satisfied for each in needed),
        "not_installed": [each.requested for each in needed if not each.satisfied],
        "package_details": {each.requested: _checked(each) for each in found},
    }
    return structured(fields, map(package_line, found))


async def configure_environment(
    call: Call, asked: arguments.ConfigureEnvironment
) -> CallToolResult:
    """Switch to another environment, once it is known to work."""
    base = call.connection.working_directory
    home = str(home_folder(call.connection.settings.variables))
    environment = _environment(call.connection, asked, base, home)
    directory = _folder(asked.working_directory, base, home) if asked.working_directory else None
    switched = await call.connection.switch(environment, working_directory=directory)
    current, folder = switched.current, str(call.connection.working_directory)
    message = (
        f"switched to {current.environment.key}; the previous environment's kernel and variables"
        " are kept"
    ) + ("; the next kernel starts in the working directory" if directory else "")
    return structured(
        {
            "status": "success",
            "message": message,
            "previous": _seed_config(switched.previous),
            "current": {**_seed_config(current.environment), **current.facts},
            "working_directory": folder,
        },
        [message, f"Python {current.interpreter.python_version}, working directory {folder}"],
    )


async def get_environment_config(
    call: Call, asked: arguments.GetEnvironmentConfig
) -> CallToolResult:
    """What is configured, what was found, and which kernels live."""
    connection, settings, host = call.connection, call.connection.settings, call.connection.host
    environment = await connection.current_environment()
    try:
        found = (await connection.catalog.prepare(environment)).facts
    except UnusableEnvironmentError as error:  # what is configured can be shown all the same
        found = {"error": str(error)}
    fields: dict[str, JSON] = {
        "status": "success",
        "config": {**_seed_config(environment), **found},
        "storage_root": str(host.storage_root),
        "config_files": [str(file) for file in settings.config_files],
        **({"notice": settings.notice} if settings.notice else {}),
        "working_directory": str(call.connection.working_directory),
        "limits": {
            "wait_seconds": settings.wait_seconds,
            "time_limit": settings.time_limit,
            "max_kernels": host.max_kernels,
            "idle_limit": host.idle_limit,
        },
        "sandbox": _sandbox(connection),
        "environments": _environments(connection, environment),
    }
    return structured(fields, _config_lines(connection, environment, found))


def _sandbox(connection: Connection) -> JSONObject:
    """What holds for the next kernel of the connection."""
    sandbox = connection.catalog.sandbox
    return sandbox.facts(
        memory=sandbox.memory, descriptors=connection.settings.inherited.descriptors
    )


def _config_lines(
    connection: Connection, environment: Environment, found: JSONObject
) -> Iterator[str]:
    """The configuration as a model reads it."""
    settings, host = connection.settings, connection.host
    yield f"environment {environment.key}"
    if error := text(found, "error"):
        yield f"it can't be used: {error}"
    else:
        yield (
            f"Python {text(found, 'python_version')}, ipykernel"
            f" {text(found, 'ipykernel_version')} ({text(found, 'kernel_support')})"
        )
    yield f"working directory {one_line(connection.working_directory, _LONGEST)}"
    yield f"storage root {one_line(host.storage_root, _LONGEST)}"
    yield from (f"configuration file {one_line(each, _LONGEST)}" for each in settings.config_files)
    if settings.notice:
        yield settings.notice
    limit = (
        "without a limit" if settings.time_limit is None else f"for up to {settings.time_limit:g} s"
    )
    idle = f", each ends after {host.idle_limit:g} s of idleness" if host.idle_limit else ""
    yield (
        f"a call waits {settings.wait_seconds:g} s, code runs {limit},"
        f" at most {counted(host.max_kernels, 'kernel')}{idle}"
    )
    yield sandbox_line(_sandbox(connection))
    for name, other in connection.catalog.known().items():
        if other.key != environment.key:
            yield f"also configured: {one_line(name)}, {other.key}"
    for session in connection.open_sessions:
        status = session.status()
        where = "" if session.environment.key == environment.key else f"@{session.environment.key}"
        number = f", kernel {status.generation}" if status.generation else ""
        of = " ".join(
            filter(None, [whose(session, connection.owner.id), f"({session.id[:ID_SHOWN]})"])
        )
        yield f"session {session.name}{where} {one_line(of)}: {status.state}{number}"


def _environments(connection: Connection, current: Environment) -> list[JSON]:
    """All environments that may be switched to or have a kernel, with their kernels' states."""
    found = {
        environment.key: (name, environment)
        for name, environment in connection.catalog.known().items()
    }
    kernels: dict[str, list[JSON]] = {}
    for session in connection.open_sessions:
        found.setdefault(session.environment.key, ("", session.environment))
        status = session.status()
        kernels.setdefault(session.environment.key, []).append(
            {
                "session": session.name,
                "id": session.id,
                "client": whose(session, connection.owner.id) or "this one",
                "state": status.state,
                "generation": status.generation,
                "python_version": status.python_version,
            }
        )
    return [
        {
            "name": name,
            **_seed_config(environment),
            "current": key == current.key,
            "kernels": kernels.get(key, []),
        }
        for key, (name, environment) in found.items()
    ]


def _environment(
    connection: Connection, asked: arguments.ConfigureEnvironment, base: Path, home: str
) -> Environment:
    """The environment that the arguments name; a relative path is taken from `base`."""
    if asked.name:
        known = connection.catalog.known()
        if asked.name not in known:
            names = ", ".join(map(repr, known))
            raise NotFoundError(f"no environment named {asked.name!r}; known are {names}")
        return known[asked.name]
    if not asked.type:
        raise InvalidArgumentError("configure_environment needs type or name")
    kind = EnvironmentKind(asked.type)
    argument = _ARGUMENTS[kind]
    value = getattr(asked, argument)
    if not value:
        raise InvalidArgumentError(f"type {kind.value!r} needs {argument}")
    if kind is EnvironmentKind.CONDA and not (value.startswith("~") or Path(value).is_absolute()):
        return Environment(kind=kind, name=value)
    return Environment(
        kind=kind, path=parse_path(Written(value=value, where=argument, folder=base, home=home))
    )


def _folder(value: str, base: Path, home: str) -> Path:
    """The folder that `working_directory` names; a relative one is taken from `base`."""
    path = parse_path(Written(value=value, where="working_directory", folder=base, home=home))
    try:
        if path.is_dir() and os.access(path, os.X_OK):
            return path
        objection = "it is not a folder" if path.exists() else "it does not exist"
        objection = "this user may not enter it" if path.is_dir() else objection
    except OSError as error:
        objection = error.strerror or str(error)
    raise InvalidArgumentError(
        f"working_directory {str(path)!r} can't be used: {objection};"
        " create the folder or choose another"
    )


def package_line(package: PackageStatus) -> str:
    """A package in a line, with its modules where its name does not show them."""
    if not package.applies:
        return f"{package.requested}: not needed, its marker excludes this environment"
    if package.distribution is None:
        return f"{package.requested}: not installed"
    line = f"{one_line(package.distribution)} {one_line(package.version)}"
    if not package.satisfied:
        return f"{line} does not satisfy {package.requested}"
    modules = _unlike_its_name(package)
    return f"{line} (import {', '.join(map(one_line, modules))})" if modules else line


def _unlike_its_name(package: PackageStatus) -> list[str]:
    """The first modules of a package whose name is not that of one of them."""
    names = [name for name in package.import_names if name.isidentifier() and name[0] != "_"]
    plain = (package.distribution or package.name).replace("-", "_")
    alike = {package.name, plain, plain.lower()}.intersection(names)
    return [] if alike else names[:_MOST_MODULES]


def _checked(package: PackageStatus) -> JSON:
    fields: dict[str, JSON] = {
        "installed": package.distribution is not None,
        "satisfied": package.satisfied,
    }
    if package.distribution is not None:
        fields |= {"version": package.version, "location": package.location}
    if package.distribution not in {None, package.name}:
        fields["distribution"] = package.distribution
    if modules := _unlike_its_name(package):
        fields["import_names"] = modules
    if package.distribution is None:
        fields["error"] = f"no distribution and no module here has the name {package.name!r}"
    elif not package.satisfied:
        fields["error"] = f"version {package.version} does not satisfy {package.requested!r}"
    if not package.applies:
        fields["excluded"] = "its marker excludes this environment, so it is not needed here"
    return fields


def _seed_config(environment: Environment) -> JSONObject:
    """An environment in the words of the server we replace."""
    where: JSON = str(environment.path) if environment.path is not None else environment.name
    return {"type": environment.kind.value, _ARGUMENTS[environment.kind]: where}

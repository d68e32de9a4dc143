"""Installs packages into an environment, and tells what is installed there."""

import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from kernel_exec import processes
from kernel_exec.errors import PackageError

from .activation import allowed_variables
from .installer import run_uv, unreachable
from .interpreters import Distribution, Interpreter, distributions
from .requirements import parse_requirement

INSTALL_LIMIT = 1800.0
"""Seconds for one install: the largest frameworks take minutes on a slow line."""

_SHOWN = 3000
"""Characters of an installer's explanation that are passed on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What an install changed: versions by name before and after ("" for none).

    `modules` are the import names of what was replaced or removed, `seconds` how long it took,
    `output` the installer's words.
    """

    before: Mapping[str, str]
    after: Mapping[str, str]
    modules: tuple[str, ...]
    seconds: float
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageStatus:
    """What is installed for one name; `satisfied` also weighs the version that was asked for."""

    requested: str
    distribution: str | None
    version: str | None
    location: str | None
    import_names: tuple[str, ...]
    satisfied: bool


async def install(
    interpreter: Interpreter,
    requirements: Sequence[str],
    *,
    upgrade: bool,
    allow_build: bool,
    variables: Mapping[str, str],
    on_line: Callable[[str], None],
) -> Installed:
    """Install parsed requirements into the interpreter's environment, with uv.

    `variables` are the server's; the interpreter gets the allowed ones.

    Wheels only, unless `allow_build` lets packages run code of theirs to build themselves.

    Raises:
        PackageError: It failed; the message holds the installer's explanation.
    """
    allowed = allowed_variables(variables, passed=())
    before = await distributions(interpreter.executable, variables=allowed)
    argv = ["pip", "install", "--python", str(interpreter.executable)]
    argv += ["--upgrade"] if upgrade else []
    argv += [] if allow_build else ["--only-binary", ":all:"]
    argv += ["--compile-bytecode", "--no-progress", "--", *requirements]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:  # where no file can pass for a package
        (Path(folder) / "uv.toml").touch()  # uv looks no further up, where anybody may put one
        finished = await run_uv(
            argv, variables=variables, cwd=Path(folder), limit=INSTALL_LIMIT, on_line=on_line
        )
    if finished.returncode != 0 or finished.timed_out:
        raise PackageError(_explain(finished, requirements, allow_build=allow_build))
    after = await distributions(interpreter.executable, variables=allowed)
    return _compare(before, after, time.monotonic() - began, _shorten(finished.stderr))


async def check(
    interpreter: Interpreter, packages: Sequence[str], *, variables: Mapping[str, str]
) -> list[PackageStatus]:
    """What is installed of `packages`, by distribution or import name, with or without version.

    Raises:
        InvalidArgumentError: One of them is not a plain requirement.
    """
    requirements = [Requirement(parse_requirement(package)) for package in packages]
    allowed = allowed_variables(variables, passed=())
    installed = await distributions(interpreter.executable, variables=allowed)
    return [
        _status(package, requirement, installed)
        for package, requirement in zip(packages, requirements, strict=True)
    ]


def _status(
    requested: str, requirement: Requirement, installed: Sequence[Distribution]
) -> PackageStatus:
    found = _find(requirement.name, installed)
    return PackageStatus(
        requested=requested,
        distribution=found.name if found else None,
        version=found.version if found else None,
        location=found.location if found else None,
        import_names=found.modules if found else (),
        satisfied=found is not None and _satisfies(found.version, requirement),
    )


def _satisfies(version: str, requirement: Requirement) -> bool:
    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:  # of the time before PEP 440
        return not requirement.specifier


def _find(name: str, installed: Sequence[Distribution]) -> Distribution | None:
    wanted = canonicalize_name(name)
    for each in installed:
        if canonicalize_name(each.name) == wanted:
            return each
    for each in installed:
        if name in each.modules:
            return each
    return None


def _compare(
    before: Sequence[Distribution], after: Sequence[Distribution], seconds: float, output: str
) -> Installed:
    was = {canonicalize_name(each.name): each for each in before}
    now = {canonicalize_name(each.name): each for each in after}
    changed = [
        name
        for name in sorted({*was, *now})
        if name not in was or name not in now or was[name].version != now[name].version
    ]
    return Installed(
        before={name: was[name].version if name in was else "" for name in changed},
        after={name: now[name].version if name in now else "" for name in changed},
        modules=tuple(
            sorted({module for name in changed if name in was for module in was[name].modules})
        ),
        seconds=seconds,
        output=output,
    )


def _explain(
    finished: processes.Finished, requirements: Sequence[str], *, allow_build: bool
) -> str:
    asked = ", ".join(requirements)
    if finished.timed_out:
        return f"installing {asked} took more than {INSTALL_LIMIT:.0f} seconds and was ended"
    said = _shorten(finished.stderr)
    way_out = ""
    if unreachable(finished):
        way_out = "\nThe package index could not be reached: check the network or its settings."
    elif not allow_build and "no usable wheels" in re.sub(r"\s+", " ", said):
        way_out = "\nThere is no wheel: allow_build=true builds from source, running its code."
    return f"installing {asked} failed (exit code {finished.returncode}):\n{said}{way_out}"


def _shorten(said: str) -> str:
    stripped = said.strip()
    if len(stripped) <= _SHOWN:
        return stripped
    return f"{stripped[: _SHOWN // 3]}\n[…]\n{stripped[-2 * _SHOWN // 3 :]}"

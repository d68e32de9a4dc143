"""What is installed in an environment, and what changed there; nothing is imported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from kernel_exec.environments import conda
from kernel_exec.environments.interpreters import Distribution, Interpreter, distributions

from .requirements import applies, parse_requirements

Inventory = Sequence[Distribution]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Versions by name before and after ("" for none) of all that changed.

    `modules` are the import names of what was put there, replaced or removed.
    """

    before: Mapping[str, str]
    after: Mapping[str, str]
    modules: tuple[str, ...]

    def __str__(self) -> str:
        """Such as `six 1.16.0 -> 1.17.0, pandas 2.3.3 (new)`."""
        return ", ".join(_change(name, self.before[name], self.after[name]) for name in self.after)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageStatus:
    """What is installed for the `name` in a requirement.

    `satisfied` also weighs the version that was asked for. `applies` is False when the
    requirement's marker excludes the environment.
    """

    requested: str
    name: str
    distribution: str | None
    version: str | None
    location: str | None
    import_names: tuple[str, ...]
    satisfied: bool
    applies: bool = True


async def take_inventory(interpreter: Interpreter, *, variables: Mapping[str, str]) -> Inventory:
    """All distributions, and what else conda has installed; `variables` are the interpreter's."""
    found = list(await distributions(interpreter.executable, variables=variables))
    names = {canonicalize_name(each.name) for each in found}
    place = str(interpreter.prefix)
    return found + [
        Distribution(name=name, version=version, location=place, modules=())
        for name, version in conda.records(interpreter.prefix).items()
        if canonicalize_name(name) not in names
    ]


def compare(before: Inventory, after: Inventory) -> Changes:
    """What changed between two inventories."""
    was = {canonicalize_name(each.name): each for each in before}
    now = {canonicalize_name(each.name): each for each in after}
    changed = [
        name
        for name in sorted({*was, *now})
        if name not in was or name not in now or was[name].version != now[name].version
    ]
    modules = {
        module
        for name in changed
        for there in (was, now)
        if name in there
        for module in there[name].modules
    }
    return Changes(
        before={name: was[name].version if name in was else "" for name in changed},
        after={name: now[name].version if name in now else "" for name in changed},
        modules=tuple(sorted(modules)),
    )


async def check(
    interpreter: Interpreter, packages: Sequence[object], *, variables: Mapping[str, str]
) -> list[PackageStatus]:
    """What is installed of `packages`, by distribution or import name, with or without version.

    Nothing is run when one of them is not a plain requirement.
    """
    parse_requirements(packages)
    installed = await take_inventory(interpreter, variables=variables)
    markers = interpreter.markers
    return [_status(str(package).strip(), installed, markers) for package in packages]


def _status(requested: str, installed: Inventory, markers: Mapping[str, str]) -> PackageStatus:
    requirement = Requirement(requested)
    found = _find(requirement.name, installed)
    return PackageStatus(
        requested=requested,
        name=requirement.name,
        distribution=found.name if found else None,
        version=found.version if found else None,
        location=found.location if found else None,
        import_names=found.modules if found else (),
        satisfied=found is not None and _satisfies(found.version, requirement),
        applies=applies(requested, markers),
    )


def _satisfies(version: str, requirement: Requirement) -> bool:
    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:  # of the time before PEP 440, or conda's own
        return not requirement.specifier


def _find(name: str, installed: Inventory) -> Distribution | None:
    wanted = canonicalize_name(name)
    for each in installed:
        if canonicalize_name(each.name) == wanted:
            return each
    for each in installed:
        if name in each.modules:
            return each
    return None


def _change(name: str, before: str, after: str) -> str:
    if not before:
        return f"{name} {after} (new)"
    return f"{name} {before} -> {after}" if after else f"{name} {before} (gone)"

"""What a notebook needs, as PEP 723 script metadata in its first cell. Pure.

Imports are found with `ast` and mapped to distributions by what the interpreter has installed;
versions are pinned, so that `uv` and `juv` make the same environment again. Names that no
distribution is known for are told in a comment and never become requirements: a package of that
name may be anybody's.

Source: PEP 723 (the block), PEP 440 (`==3.12.*`; a local version label matches a pin without it).
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from .plain import parsed

Inventory: TypeAlias = Mapping[str, Sequence[tuple[str, str]]]
"""By import name, the distributions that provide it with their versions."""

_STANDARD = sys.stdlib_module_names | frozenset(
    {"asynchat", "asyncore", "cgi", "cgitb", "crypt", "distutils", "imaplib", "imp", "nntplib"}
    | {"pipes", "smtpd", "spwd", "telnetlib", "uu", "xdrlib"}
)
"""Of this Python, and of older and newer ones."""

_OF_THE_KERNEL = frozenset({"IPython", "ipykernel", "_"})
"""Imports that any kernel has; `_` stands for what a magic may bind."""

_SHOWN = 20
"""Names that a comment tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """An install that succeeded, after entry `number` - 1: what was asked for, and what changed."""

    number: int
    asked: tuple[str, ...] = ()
    before: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a notebook needs: requirements, and imports that no distribution is known for."""

    python: str
    dependencies: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def needs(
    sources: Iterable[tuple[int, str]],
    installs: Sequence[Install],
    *,
    python_version: str,
    inventory: Inventory | None,
) -> Needs:
    """What code by entry number needs; without an inventory, what installs tell of it.

    A distribution that was replaced after its first import counts with the version it had then.
    What was asked to be installed counts as well: not all that is needed is imported by name.
    """
    first: dict[str, int] = {}
    for number, source in sources:
        for name in imports(source):
            first.setdefault(name, number)
    known = inventory or {}
    foreign = [name for name in first if not is_standard(name)]
    found = {
        name: (version, first[module])
        for module in foreign
        for name, version in _providers(module, known.get(module, ()))
    }
    installed: dict[str, tuple[str, str]] = {
        canonicalize_name(name): (name, version)
        for pairs in known.values()
        for name, version in pairs
    }
    for install in installs:
        for asked in install.asked:
            if inventory is None:
                found.setdefault(asked, (install.after.get(asked, ""), install.number))
            elif asked in installed:
                name, version = installed[asked]
                found.setdefault(name, (version, install.number))
    unknown = [name for name in foreign if name not in known]
    pinned = {
        canonicalize_name(name): _pin(name, _version_then(name, version, number, installs))
        for name, (version, number) in found.items()
    }
    return Needs(
        python=".".join(python_version.split(".")[:2]),
        dependencies=tuple(pinned[name] for name in sorted(pinned)),
        unknown=tuple(sorted(unknown)),
    )


def block(needed: Needs, *, known: bool) -> str:
    """The source of the first cell: comments only; `known` is False without an inventory."""
    python = f'# requires-python = "=={needed.python}.*"' if needed.python else ""
    listed = "".join(f'\n#     "{requirement}",' for requirement in needed.dependencies)
    inside = f"# dependencies = [{listed}\n# ]" if listed else "# dependencies = []"
    lines = ["# /// script", *([python] if python else []), inside, "# ///"]
    names = ", ".join(needed.unknown[:_SHOWN])
    more = len(needed.unknown) - _SHOWN
    told = names + (f" and {more} more" if more > 0 else "")
    if not known:
        why = "its interpreter is gone, so no versions are known"
        lines.append(f"# {why}; imported: {told}" if told else f"# {why}")
    elif told:
        lines.append(f"# no distribution is known for: {told}")
    return "\n".join(lines)


def imports(source: str) -> Iterator[str]:
    """The top-level names of what code imports, anywhere in it."""
    tree = parsed(source) if "import" in source else None
    for node in ast.walk(tree) if tree is not None else ():
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]
            case _:
                pass


def is_standard(name: str) -> bool:
    """Whether any kernel can import it."""
    return name in _STANDARD or name in _OF_THE_KERNEL


def asked_for(requirements: str) -> tuple[str, ...]:
    """The canonical names of requirements, one a line."""
    names = []
    for line in requirements.splitlines():
        try:
            names.append(canonicalize_name(Requirement(line).name))
        except InvalidRequirement:
            continue
    return tuple(names)


def _providers(module: str, pairs: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
    """The distribution that has the module's name; else all that have a part in it."""
    same = [pair for pair in pairs if canonicalize_name(pair[0]) == canonicalize_name(module)]
    return same or pairs


def _version_then(name: str, now: str, number: int, installs: Sequence[Install]) -> str:
    canonical = canonicalize_name(name)
    for install in installs:
        if install.number > number and install.before.get(canonical):
            return install.before[canonical]
    return now


def _pin(name: str, version: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", name):
        return canonicalize_name(re.sub(r"[^A-Za-z0-9._-]", "-", name)).strip("-")
    try:
        return f"{name}=={Version(version).public}"
    except InvalidVersion:
        return name

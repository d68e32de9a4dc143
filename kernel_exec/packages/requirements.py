"""Which requirement strings are accepted for an installer. Pure.

Only the name form of PEP 508: name, extras, version, marker. Everything that an installer reads
as an option, a path, an address or an archive can run code or redirect the install, also with
`--dry-run` (measured), so it is refused before anything runs.
"""

from collections.abc import Mapping, Sequence

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import Specifier

from kernel_exec.errors import InvalidArgumentError

MOST = 50
"""Requirements in one call."""

_LONGEST = 200
_ARCHIVES = (
    *(".whl", ".zip", ".egg", ".conda", ".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".tlz"),
    *(".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.lz", ".tar.lzma"),
)
_WAY_OUT = "give a name with an optional version, such as 'pandas>=2'"


def parse_requirements(packages: Sequence[object]) -> tuple[str, ...]:
    """Normalised requirements, without repetitions; refuses what `parse_requirement` does."""
    if not packages:
        raise InvalidArgumentError("packages is empty; name at least one")
    if len(packages) > MOST:
        raise InvalidArgumentError(f"{len(packages)} packages in one call: at most {MOST}")
    return tuple(dict.fromkeys(parse_requirement(package) for package in packages))


def parse_requirement(package: object) -> str:
    """One normalised requirement; `InvalidArgumentError` says why it is no plain one."""
    refusal = _refusal(package)
    if refusal:
        shown = ascii(package)[:80]
        raise InvalidArgumentError(f"package {shown} is refused: {refusal}; {_WAY_OUT}")
    return str(Requirement(str(package).strip()))


def applies(requirement: str, markers: Mapping[str, str]) -> bool:
    """False when a requirement's marker excludes an environment whose `markers` have these values.

    Values that are not given are those of the server's own Python.
    """
    marker = Requirement(requirement).marker
    return marker is None or marker.evaluate({**markers, "extra": ""})


def conda_spec(requirement: str) -> str:
    """A normalised requirement as conda writes it, without its marker; refuses one with extras."""
    parsed = Requirement(requirement)
    if parsed.extras:
        raise InvalidArgumentError(
            f"package {requirement!r} has extras, and conda packages have none;"
            " name the packages that the extras stand for"
        )
    return parsed.name.lower() + ",".join(sorted(map(_conda_clause, parsed.specifier)))


def _conda_clause(clause: Specifier) -> str:
    if clause.operator == "==" and clause.version.endswith(".*"):
        return f"={clause.version.removesuffix('.*')}"  # conda would read it as ==
    operator = "==" if clause.operator == "===" else clause.operator
    return f"{operator}{clause.version}"


def _refusal(package: object) -> str:
    """Why a requirement is not accepted, or ""."""
    if not isinstance(package, str):
        return "it is not a text"
    if len(package) > _LONGEST:
        return f"it is longer than {_LONGEST} characters"
    if not (package.isascii() and package.isprintable()):
        return "it has a character that is no printable ASCII, and may look like another or hide"
    stripped = package.strip()
    if stripped.startswith(("-", ".", "/", "~")):
        return "it is an option or a path"
    try:
        requirement = Requirement(stripped)
    except InvalidRequirement as error:
        return f"it is not a requirement ({str(error).splitlines()[0][:80]})"
    if requirement.url is not None:
        return "it names an address"
    if requirement.name.lower().endswith(_ARCHIVES):
        return "it names an archive"
    try:
        applies(stripped, {})
    except ValueError as error:
        return f"its marker compares what can't be compared ({str(error)[:80]})"
    return ""

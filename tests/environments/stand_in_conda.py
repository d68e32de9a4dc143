"""A program that speaks the command line of conda's `install` and `update`, over py-rattler.

It is run by its path; the first argument is the root of the installation that it plays, the rest
is conda's. What it prints, and where, follows conda; so do its exit codes. Beyond that it knows
little: `CONDA_CHANNELS` says which channels there are, the caches are `pkgs` in the root.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rattler import (
    Channel,
    Gateway,
    MatchSpec,
    PrefixRecord,
    RepoDataRecord,
    Subdir,
    VirtualPackage,
    install,
    solve,
)
from rattler.exceptions import GatewayError, InvalidMatchSpecError, SolverError

VERSION = "26.7.2"

_Records = Mapping[str, RepoDataRecord]
"""Records by the names of their packages."""


class CondaError(Exception):
    """Raised when conda would end with a message and exit code 1."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a command line asks for."""

    prefix: Path
    texts: Sequence[str]
    update: bool
    agreed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where packages come from, and where they are cached."""

    channels: Sequence[str]
    caches: Path
    gateway: Gateway


def main(root: str, *argv: str) -> int:
    listed = os.environ.get("CONDA_CHANNELS", "")
    caches = Path(root) / "pkgs"
    place = Place(
        channels=[each.strip() for each in listed.split(",") if each.strip()],
        caches=caches,
        gateway=Gateway(cache_dir=caches / "cache"),
    )
    try:
        asyncio.run(_fulfil(_request(argv), place))
    except CondaError as error:
        print(f"\n{error}\n", file=sys.stderr)
        return 1
    return 0


def _request(argv: Sequence[str]) -> Request:
    parser = argparse.ArgumentParser("conda")
    parser.add_argument("-V", "--version", action="version", version=f"conda {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("install", "update"):
        command = commands.add_parser(name)
        command.add_argument("-p", "--prefix", type=Path, required=True)
        command.add_argument("-y", "--yes", action="store_true")
        command.add_argument("-q", "--quiet", action="store_true")
        command.add_argument("packages", nargs="+")
    told = parser.parse_args(argv)
    return Request(
        prefix=told.prefix.absolute(),
        texts=told.packages,
        update=told.command == "update",
        agreed=told.yes,
    )


async def _fulfil(request: Request, place: Place) -> None:
    before = _installed(request.prefix)
    asked = {text: _spec(text) for text in request.texts}
    if request.update:
        _refuse_what_update_cannot(asked, before, request.prefix)
    with _step("Collecting package metadata"):
        available = await _available(list(asked.values()), place)
    with _step("Solving environment"):
        _refuse_what_is_missing(asked, [*before.values(), *available], place.channels)
        after = await _solved(list(asked.values()), before, place, update=request.update)
    plan = list(_plan(before, after))
    if not plan:
        print("\n# All requested packages already installed.\n", flush=True)
        return
    _print_plan(request, plan)
    if not request.agreed:
        raise CondaError("CondaSystemExit", "Exiting.")
    await _execute(after, request.prefix, place)


def _installed(prefix: Path) -> _Records:
    if not prefix.is_dir():
        raise CondaError("EnvironmentLocationNotFound", f"Not a conda environment: {prefix}")
    if not (prefix / "conda-meta" / "history").is_file():
        raise CondaError(
            "DirectoryNotACondaEnvironmentError",
            "The target directory exists, but it is not a conda environment.\n"
            "Use 'conda create' to convert the directory to a conda environment.\n"
            f"  target directory: {prefix}",
        )
    paths = (prefix / "conda-meta").glob("*.json")
    return _by_name([PrefixRecord.from_path(path) for path in paths])


def _by_name(records: Sequence[RepoDataRecord]) -> _Records:
    return {record.name.normalized: record for record in records}


def _spec(text: str) -> MatchSpec:
    try:
        return MatchSpec(text)
    except InvalidMatchSpecError as error:
        raise CondaError("InvalidMatchSpec", f"Invalid spec '{text}': {error}") from error


def _refuse_what_update_cannot(
    asked: Mapping[str, MatchSpec], before: _Records, prefix: Path
) -> None:
    for text, spec in asked.items():
        if str(spec) != _name(spec):
            raise CondaError(
                "CondaError",
                f"Invalid spec for 'conda update': {text}\nUse 'conda install' instead.",
            )
        if _name(spec) not in before:
            raise CondaError(
                "PackageNotInstalledError",
                "Package is not installed in prefix.\n"
                f"  prefix: {prefix}\n  package name: {_name(spec)}",
            )


def _name(spec: MatchSpec) -> str:
    return spec.name.normalized


async def _available(specs: Sequence[MatchSpec], place: Place) -> list[RepoDataRecord]:
    """The records of the packages that were asked for; asks each channel for both its folders."""
    found: list[RepoDataRecord] = []
    for channel in place.channels:
        for folder in (Subdir.current(), Subdir("noarch")):
            try:
                answers = await place.gateway.query([channel], [folder], specs, recursive=False)
            except GatewayError as error:
                url = f"{channel.rstrip('/')}/{folder}/repodata.json"
                raise CondaError(
                    "CondaHTTPError",
                    f"HTTP 000 CONNECTION FAILED for url <{url}>\nElapsed: -\n\n"
                    "An HTTP error occurred when trying to retrieve this URL.\n"
                    "HTTP errors are often intermittent, and a simple retry will get you on"
                    " your way.",
                ) from error
            found += [record for answer in answers for record in answer]
    return found


def _refuse_what_is_missing(
    asked: Mapping[str, MatchSpec], known: Sequence[RepoDataRecord], channels: Sequence[str]
) -> None:
    missing = [
        text for text, spec in asked.items() if not any(spec.matches(each) for each in known)
    ]
    if missing:
        raise CondaError(
            "PackagesNotFoundError",
            "The following packages are not available from current channels:\n\n"
            f"{_dashes(missing)}\n\nCurrent channels:\n\n{_dashes(channels)}",
        )


def _dashes(lines: Sequence[str]) -> str:
    return "\n".join(f"  - {line}" for line in lines)


async def _solved(
    specs: Sequence[MatchSpec], before: _Records, place: Place, *, update: bool
) -> _Records:
    """What shall be installed: all that is, as it is unless it has to change, and the specs."""
    names = {_name(spec) for spec in specs}
    others = [MatchSpec(name) for name in before if name not in names]
    kept = [record for name, record in before.items() if not (update and name in names)]
    try:
        records = await solve(
            [Channel(channel) for channel in place.channels],
            [*specs, *others],
            gateway=place.gateway,
            locked_packages=kept,
            virtual_packages=VirtualPackage.detect(),
        )
    except SolverError as error:
        raise CondaError(
            "LibMambaUnsatisfiableError", f"Encountered problems while solving:\n{error}"
        ) from error
    return _by_name(records)


def _plan(before: _Records, after: _Records) -> Iterator[tuple[str, str]]:
    """What happens to each package that changes: the title of its list, and its line there."""
    for name, new in sorted(after.items()):
        old = before.get(name)
        if old is None:
            yield "NEW packages will be INSTALLED", f"{name:<18} {new.channel}::{_described(new)}"
        elif _build(old) != _build(new):
            change = "DOWNGRADED" if new.version < old.version else "UPDATED"
            yield f"packages will be {change}", f"{name:<18} {_build(old)} --> {_build(new)}"


def _build(record: RepoDataRecord) -> str:
    return f"{record.version}-{record.build}"


def _described(record: RepoDataRecord) -> str:
    return f"{record.name.normalized}-{_build(record)}"


def _print_plan(request: Request, plan: Sequence[tuple[str, str]]) -> None:
    print("\n## Package Plan ##\n")
    print(f"  environment location: {request.prefix}\n")
    print("  added / updated specs:")
    print("\n".join(f"    - {text}" for text in request.texts), end="\n\n")
    for title in sorted({title for title, _ in plan}):
        print(f"\nThe following {title}:\n")
        print("\n".join(f"  {line}" for each, line in plan if each == title))
    print("\n", flush=True)


async def _execute(after: _Records, prefix: Path, place: Place) -> None:
    for done in ("Downloading and Extracting Packages", "Preparing transaction"):
        with _step(done):
            pass
    with _step("Executing transaction"):
        await install(
            list(after.values()),
            target_prefix=prefix,
            cache_dir=place.caches,
            show_progress=False,
        )


@contextmanager
def _step(title: str) -> Iterator[None]:
    print(f"{title}: ", end="", flush=True)
    try:
        yield
    except BaseException:
        print("failed", flush=True)
        raise
    print("done", flush=True)


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # rattler's threads may crash an interpreter that tidies up

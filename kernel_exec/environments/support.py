"""How ipykernel reaches an interpreter, without a change to its environment.

In this order: the environment's **own** ipykernel when it is sound; an **overlay**, ipykernel in
a folder of ours at the end of `sys.path`, in versions that agree with the environment's; a
**shadow**, the same folder first while ipykernel is imported and last afterwards.

Overlays live in a cache that all servers share. One is made once for a Python version, platform
and set of constraints, beside its final place, and moved there when it is whole. Its marker lists
its files, so that one that lost some is made again.
"""

import hashlib
import importlib.metadata
import json
import re
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from anyio import to_thread
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from kernel_exec import processes
from kernel_exec.errors import UnusableEnvironmentError

from .installer import run_uv, unreachable
from .interpreters import Distribution, Interpreter, distributions
from .lockfile import locked

_REQUIREMENT = "ipykernel>=6,!=7.0.*,!=7.1.*,!=7.2.*,!=7.3.*"
"""7.0 to 7.3 lose replies (ipykernel#1554)."""

_LEFT_OUT = ("debugpy", "psutil")
"""Nobody debugs here; and a package that the environment lacks must not seem to be there, so
psutil goes, too, where ipykernel can do without it (from 7.4)."""

_OLDER_NEEDS = {
    *("appdirs", "backcall", "entrypoints", "exceptiongroup", "importlib-metadata"),
    *("ipython-genutils", "nest-asyncio", "pickleshare", "py", "setuptools", "typing-extensions"),
    *("tomli", "zipp"),
}
"""What ipykernel and its relations need on a Python older than the server's."""

_BUILD_LIMIT = 300.0
_SMOKE_LIMIT = 60.0
_MARKER = ".complete"
_UNLISTED = {".pyc", ".pyi"}
"""Three files of four, and nothing that a kernel could not do without."""

_SMOKE = """\
import sys
folder, first = sys.argv[1:]
if folder:
    sys.path.insert(0, folder) if first else sys.path.append(folder)
import ipykernel.kernelapp, ipykernel.ipkernel, jupyter_client.localinterfaces
print("\\n<ipykernel %s>" % ipykernel.__version__)
"""


class SupportKind(StrEnum):
    """Where ipykernel comes from."""

    OWN = "own"
    OVERLAY = "overlay"
    SHADOW = "shadow"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelSupport:
    """How ipykernel reaches an interpreter; `path` is the folder of an overlay or shadow."""

    kind: SupportKind
    path: Path | None
    ipykernel_version: str


async def find_support(
    interpreter: Interpreter,
    *,
    cache: Path,
    variables: Mapping[str, str],
    tool_variables: Mapping[str, str],
) -> KernelSupport:
    """The best kernel support for an interpreter; what was found is remembered in `cache`.

    `variables` are the kernel's, `tool_variables` those of uv.

    Raises:
        UnusableEnvironmentError: There is none, with the way out.
        BusyError: No process can be started now.
    """
    note = cache / "support" / f"{fingerprint(interpreter)}.json"
    known = _recall(note)
    if known is not None and (known.path is None or await to_thread.run_sync(_whole, known.path)):
        return known
    installed = await distributions(interpreter.executable, variables=variables)
    builder = _Builder(interpreter, installed, cache, variables, tool_variables)
    support = await builder.own() or await builder.overlay() or await builder.shadow()
    if support is None:
        raise UnusableEnvironmentError(
            f"no ipykernel can be had for {str(interpreter.executable)!r}"
            f" (Python {interpreter.python_version}): {builder.trouble or 'it does not import'};"
            " install ipykernel 6 or 7.4 into the environment, or let the server reach a"
            " package index once"
        )
    if not builder.offline:  # there may be a better one once the index can be reached
        _remember(note, support)
    return support


def is_there(support: KernelSupport) -> bool:
    """False when its folder is gone: people clear their caches."""
    return support.path is None or (support.path / _MARKER).is_file()


def fingerprint(interpreter: Interpreter) -> str:
    """Changes when the interpreter or what is installed for it changes."""
    stamps = [str(interpreter.executable), interpreter.python_version]
    marks = (interpreter.executable, interpreter.prefix / "pyvenv.cfg", interpreter.purelib)
    for path in (*marks, *interpreter.path):
        try:
            status = path.stat()
            stamps.append(f"{path}:{status.st_ino}:{status.st_mtime_ns}")
        except OSError:
            stamps.append("")
    return hashlib.sha256("\n".join(stamps).encode("utf-8", "surrogateescape")).hexdigest()[:24]


class _Builder:
    """The three ways, tried on one interpreter."""

    def __init__(
        self,
        interpreter: Interpreter,
        installed: Sequence[Distribution],
        cache: Path,
        variables: Mapping[str, str],
        tool_variables: Mapping[str, str],
    ) -> None:
        self.trouble = ""
        self.offline = False
        self._interpreter = interpreter
        self._installed = {canonicalize_name(each.name): each.version for each in installed}
        self._cache = cache
        self._variables = variables
        self._tool_variables = tool_variables

    async def own(self) -> KernelSupport | None:
        version = self._installed.get(canonicalize_name("ipykernel"))
        if version is None or not _sound(version):
            return None
        return await self._try(SupportKind.OWN, None)

    async def overlay(self) -> KernelSupport | None:
        constraints = self._constraints()
        folder = await self._made(constraints)
        return None if folder is None else await self._try(SupportKind.OVERLAY, folder)

    async def shadow(self) -> KernelSupport | None:
        folder = await self._made(())
        return None if folder is None else await self._try(SupportKind.SHADOW, folder)

    def _constraints(self) -> tuple[str, ...]:
        """The environment's versions of what ipykernel needs."""
        needed = {canonicalize_name(each.name) for each in closure("ipykernel")} | _OLDER_NEEDS
        return tuple(
            f"{name}=={version}"
            for name, version in sorted(self._installed.items())
            if name in needed - {"ipykernel", *_LEFT_OUT} and _is_version(version)
        )

    async def _try(self, kind: SupportKind, folder: Path | None) -> KernelSupport | None:
        """Import ipykernel that way, in the interpreter."""
        first = "first" if kind is SupportKind.SHADOW else ""
        finished = await processes.run(
            [
                str(self._interpreter.executable),
                "-B",
                "-c",
                _SMOKE,
                "" if folder is None else str(folder),
                first,
            ],
            env=self._variables,
            cwd=Path(self._interpreter.prefix.anchor),
            limit=_SMOKE_LIMIT,
        )
        if finished.returncode != 0 or finished.timed_out:
            self.trouble = (finished.stderr.strip().splitlines() or [""])[-1][-300:]
            return None
        said = re.search(r"^<ipykernel (.+)>$", finished.stdout, re.MULTILINE)
        if said is None or not _sound(said[1]):
            self.trouble = f"its ipykernel {said[1] if said else ''} is not sound"
            return None
        return KernelSupport(kind=kind, path=folder, ipykernel_version=said[1])

    async def _made(self, constraints: Sequence[str]) -> Path | None:
        """The overlay for these constraints, made if need be; None when they can't be met."""
        python = self._interpreter
        key = hashlib.sha256(
            "\n".join(
                [
                    *(python.implementation, python.python_version, python.platform, python.abi),
                    *constraints,
                ]
            ).encode()
        ).hexdigest()[:16]
        overlays = self._cache / "overlays"
        name = f"{python.implementation.lower()}{python.version[0]}{python.version[1]}"
        folder = overlays / f"{name}-{key}"
        if await to_thread.run_sync(_whole, folder):
            return folder
        try:
            async with locked(overlays / f"{folder.name}.lock"):
                if await to_thread.run_sync(_whole, folder):
                    return folder
                return await self._make(folder, constraints)
        except OSError as error:
            raise UnusableEnvironmentError(
                f"the cache {str(self._cache)!r} can't be written: {error};"
                " set KERNEL_EXEC_CACHE to a folder that can"
            ) from error

    async def _make(self, folder: Path, constraints: Sequence[str]) -> Path | None:
        prefix = f".making-{folder.name}-"
        for left in folder.parent.glob(f"{prefix}*"):  # by one that was killed: we hold the lock
            await to_thread.run_sync(partial(shutil.rmtree, left, ignore_errors=True))
        with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent) as name:
            work, target = Path(name), Path(name) / "overlay"
            finished = await self._install(work, target, constraints)
            if finished.returncode != 0 and not await self._replace(finished, target, constraints):
                return None
            await to_thread.run_sync(_seal, target)
            if folder.exists():
                folder.rename(work / "damaged")
            target.rename(folder)
        return folder

    async def _replace(
        self, finished: processes.Finished, target: Path, constraints: Sequence[str]
    ) -> bool:
        """What uv could not fetch, the server has, when no constraint forbids its versions."""
        said = finished.stderr.strip()
        self.trouble = said if len(said) <= 600 else f"{said[:300]} [...] {said[-300:]}"
        if finished.timed_out:
            self.trouble = f"fetching it took more than {_BUILD_LIMIT:.0f} seconds"
        self.offline |= finished.timed_out or unreachable(finished)
        if not self.offline or constraints or not self._like_the_server():
            return False
        await to_thread.run_sync(_copy_own, target)
        return True

    async def _install(
        self, work: Path, target: Path, constraints: Sequence[str]
    ) -> processes.Finished:
        overrides, limits = work / "overrides.txt", work / "constraints.txt"
        overrides.write_text('debugpy; sys_platform == "never"\n')
        limits.write_text("".join(f"{each}\n" for each in constraints))
        (work / "uv.toml").touch()  # uv looks no further up
        argv = ["pip", "install", "--quiet", "--compile-bytecode"]
        argv += ["--python", str(self._interpreter.executable), "--target", str(target)]
        argv += ["--overrides", str(overrides), "--constraints", str(limits)]
        argv += ["--only-binary", ":all:", "--", _REQUIREMENT]
        return await run_uv(argv, variables=self._tool_variables, cwd=work, limit=_BUILD_LIMIT)

    def _like_the_server(self) -> bool:
        return (
            self._interpreter.version[:2] == sys.version_info[:2]
            and self._interpreter.platform == sysconfig.get_platform()
            and self._interpreter.implementation == "CPython"
            and self._interpreter.abi == sysconfig.get_config_var("EXT_SUFFIX")
        )


def closure(name: str) -> Iterable[importlib.metadata.Distribution]:
    """The server's own distribution `name` and all that it needs."""
    ahead, seen = [name], {canonicalize_name(name)}
    while ahead:
        try:
            distribution = importlib.metadata.distribution(ahead.pop())
        except importlib.metadata.PackageNotFoundError:
            continue
        yield distribution
        for text in distribution.requires or ():
            needed = Requirement(text)
            wanted = needed.marker is None or needed.marker.evaluate({"extra": ""})
            if wanted and canonicalize_name(needed.name) not in seen:
                seen.add(canonicalize_name(needed.name))
                ahead.append(needed.name)


def _copy_own(target: Path) -> None:
    """Make an overlay of the server's own ipykernel: no network is needed."""
    shutil.rmtree(target, ignore_errors=True)  # what uv began
    target.mkdir()
    for distribution in closure("ipykernel"):
        if canonicalize_name(distribution.name) in _LEFT_OUT:
            continue
        for file in distribution.files or ():
            source = Path(str(distribution.locate_file(file)))
            if ".." not in file.parts and source.is_file():
                copy = target / str(file)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)


def _seal(target: Path) -> None:
    """Finish an overlay: list its files with their sizes in its marker."""
    _leave_out_psutil(target)
    listed = [
        f"{path.stat().st_size} {path.relative_to(target).as_posix()}"
        for path in sorted(target.rglob("*"))
        if path.is_file() and path.suffix not in _UNLISTED
    ]
    (target / _MARKER).write_text("\n".join(listed), "utf-8")


def _whole(folder: Path) -> bool:
    """True when an overlay has all the files that its marker lists."""
    try:
        listed = (folder / _MARKER).read_text("utf-8").splitlines()
        return bool(listed) and all(
            (folder / name).stat().st_size == int(size)
            for size, _, name in (line.partition(" ") for line in listed)
        )
    except (OSError, ValueError):
        return False


def _leave_out_psutil(target: Path) -> None:
    versions = [path.name.split("-")[1] for path in target.glob("ipykernel-*.dist-info")]
    if versions and Version(versions[0].removesuffix(".dist")) >= Version("7.4"):
        for path in target.glob("psutil*"):
            shutil.rmtree(path)


def _sound(version: str) -> bool:
    return _is_version(version) and Requirement(_REQUIREMENT).specifier.contains(
        version, prereleases=True
    )


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def _recall(note: Path) -> KernelSupport | None:
    try:
        told = json.loads(note.read_text("utf-8"))
        path = Path(told["path"]) if told["path"] else None
        support = KernelSupport(
            kind=SupportKind(told["kind"]), path=path, ipykernel_version=str(told["version"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return support


def _remember(note: Path, support: KernelSupport) -> None:
    told = {
        "kind": support.kind.value,
        "path": str(support.path) if support.path is not None else "",
        "version": support.ipykernel_version,
    }
    try:
        note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=note.parent, delete=False) as file:
            file.write(json.dumps(told))
        Path(file.name).replace(note)
    except OSError:
        pass  # it will be found again

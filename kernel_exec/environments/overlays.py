"""Overlays: ipykernel with what it needs, in a folder that an interpreter adds to `sys.path`.

An overlay lies in a cache that all servers share. One is made once for a Python version, platform
and set of constraints, beside its final place, and moved there when it is whole. Its marker lists
its files, so that one that lost some is made again.
"""

import hashlib
import importlib.metadata
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from anyio import to_thread
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from kernel_exec import processes
from kernel_exec.errors import UnusableEnvironmentError
from kernel_exec.files import work_folder
from kernel_exec.leases import locked

from .interpreters import Interpreter
from .tools import Tools, run_uv, unreachable

SOUND = Requirement("ipykernel>=6,!=7.0.*,!=7.1.*,!=7.2.*,!=7.3.*")
"""7.0 to 7.3 lose replies (ipykernel#1554)."""

_WANTED = "ipykernel>=6.29,!=7.0.*,!=7.1.*,!=7.2.*,!=7.3.*"
"""Of those the ones that say truly what they need: older ones resolve, and then do not start."""

LEFT_OUT = ("debugpy", "psutil")
"""Nobody debugs here; and a package that the environment lacks must not seem to be there, so
psutil goes, too, where ipykernel can do without it (from 7.4)."""

_BUILD_LIMIT = 300.0
MARKER = ".complete"
_UNLISTED = {".pyc", ".pyi"}
"""Three files of four, and nothing that a kernel could not do without."""


class Overlays:
    """Makes overlays for one interpreter; tells why when it can't."""

    def __init__(self, interpreter: Interpreter, *, cache: Path, tools: Tools) -> None:
        """`tools` is what uv gets."""
        self.trouble = ""
        self.offline = False
        self._interpreter = interpreter
        self._cache = cache
        self.tools = tools

    async def ensure(self, constraints: Sequence[str]) -> Path | None:
        """The overlay for these constraints, made if need be; None when they can't be met."""
        folder = self._cache / "overlays" / self._name(constraints)
        if await to_thread.run_sync(whole, folder):
            return folder
        try:
            async with locked(folder.with_name(f"{folder.name}.lock")):
                if await to_thread.run_sync(whole, folder):
                    return folder
                return await self._make(folder, constraints)
        except OSError as error:
            raise UnusableEnvironmentError(
                f"the cache {str(self._cache)!r} can't be written: {error};"
                " set KERNEL_EXEC_CACHE to a writable folder"
            ) from error

    async def compatible(self, pins: Sequence[str]) -> tuple[str, ...]:
        """Of `pins`, such as `six==1.16.0`, those that can hold together with ipykernel.

        uv prefers the versions that its output file names already.
        """
        with work_folder(self.tools.private, "kernel-exec-pins-") as folder:
            wanted, resolved = folder / "wanted.in", folder / "resolved.txt"
            limits = [each for each in pins if "==" not in each]
            wanted.write_text("\n".join([_WANTED, *limits]))
            resolved.write_text("".join(f"{each}\n" for each in pins))
            argv = ["pip", "compile", "--quiet", "--no-header", "--no-annotate"]
            argv += ["--only-binary", ":all:"]
            argv += ["--output-file", str(resolved), "--", str(wanted)]
            finished = await run_uv(
                argv, tools=self.tools, limit=_BUILD_LIMIT, python=self._interpreter.executable
            )
            kept = {*limits, *resolved.read_text().splitlines()}
        self.offline |= finished.timed_out or unreachable(finished)
        return tuple(pin for pin in pins if finished.returncode == 0 and pin in kept)

    def _name(self, constraints: Sequence[str]) -> str:
        python = self._interpreter
        parts = [python.implementation, python.python_version, python.platform, python.abi]
        key = hashlib.sha256("\n".join([*parts, _WANTED, *constraints]).encode()).hexdigest()[:16]
        return f"{python.implementation.lower()}{python.version[0]}{python.version[1]}-{key}"

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
        argv = ["pip", "install", "--quiet", "--target", str(target)]
        argv += ["--overrides", str(overrides), "--constraints", str(limits)]
        argv += ["--only-binary", ":all:", "--", _WANTED]
        python = self._interpreter.executable
        return await run_uv(
            argv, tools=self.tools, limit=_BUILD_LIMIT, python=python, compiled=target
        )

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
        if canonicalize_name(distribution.name) in LEFT_OUT:
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
    (target / MARKER).write_text("\n".join(listed), "utf-8")


def whole(folder: Path) -> bool:
    """True when an overlay has all the files that its marker lists."""
    try:
        listed = (folder / MARKER).read_text("utf-8").splitlines()
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

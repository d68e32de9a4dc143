"""How ipykernel reaches an interpreter: its own, an overlay, or a shadow.

The user's environment is never changed. Its own ipykernel serves when it is sound; otherwise one
comes from an overlay. Constrained to the versions that the environment has, the overlay goes
behind everything on `sys.path`; where that does not do, it goes first while ipykernel imports
(shadow), constrained as far as it can be, so that as little as possible is hidden.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from anyio import to_thread
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from kernel_exec import processes
from kernel_exec.errors import UnusableEnvironmentError
from kernel_exec.files import work_folder, write_whole
from kernel_exec.places import INSIDE, bare, is_exposed

from .activation import activation_files
from .interpreters import Distribution, Interpreter, distributions
from .overlays import LEFT_OUT, MARKER, SOUND, Overlays, closure, whole
from .tools import Tools

_OLDER_NEEDS = {
    *("appdirs", "backcall", "entrypoints", "exceptiongroup", "importlib-metadata"),
    *("ipython-genutils", "nest-asyncio", "pickleshare", "py", "setuptools", "typing-extensions"),
    *("tomli", "zipp"),
}
"""What ipykernel and its relations need on a Python older than the server's."""

_ENTWINED = {
    *("comm", "ipython", "ipython-genutils", "jedi", "jupyter-client", "jupyter-core", "parso"),
    *("matplotlib-inline", "traitlets"),
}
"""What belongs so closely to ipykernel that a shadow brings its own."""

_SHOWN = Version("3.7")
"""The first matplotlib whose figures the newer versions of matplotlib-inline can show."""

_SMOKE_LIMIT = 60.0

KERNEL_TAKES = 16
"""Processes and threads that a kernel, its guardian and our side of it take together: the system
counts them as one kind."""

_KILLED = 9
"""SIGKILL, which Windows has no name for."""


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
    tools: Tools,
) -> KernelSupport:
    """The best kernel support for an interpreter; what was found is remembered in `cache`.

    `variables` are the kernel's, `tools` is what uv gets.
    """
    note = cache / "support" / f"{fingerprint(interpreter)}.json"
    known = _recall(note)
    if known is not None and (known.path is None or await to_thread.run_sync(whole, known.path)):
        return known
    installed = await distributions(interpreter.executable, variables=variables)
    overlays = Overlays(interpreter, cache=cache, tools=tools)
    ways = _Ways(interpreter, installed, overlays, variables, tools.writable)
    try:
        support = await ways.own() or await ways.overlay() or await ways.shadow()
    except OSError as error:
        raise UnusableEnvironmentError(
            f"no kernel can be tried without a work folder: {error}; make room there, let the"
            " server's user write there, or set TMPDIR to another folder"
        ) from error
    if support is None:
        trouble = overlays.trouble or ways.trouble or "it does not import"
        raise UnusableEnvironmentError(
            f"ipykernel could not be provided for {str(interpreter.executable)!r}"
            f" (Python {interpreter.python_version}): {trouble};"
            " install ipykernel 6 or 7.4 into the environment, or let the server reach a"
            " package index once"
        )
    # there may be a better one once the index can be reached, or when nothing disturbs
    if not overlays.offline and not ways.disturbed:
        _remember(note, support)
    return support


def is_there(support: KernelSupport) -> bool:
    """False when its folder is gone: people clear their caches."""
    return support.path is None or (support.path / MARKER).is_file()


def fingerprint(interpreter: Interpreter) -> str:
    """Changes when the interpreter or what is installed for it changes."""
    stamps = [str(interpreter.executable), interpreter.python_version]
    marks = (interpreter.executable, interpreter.prefix / "pyvenv.cfg", interpreter.purelib)
    for path in (*marks, *activation_files(interpreter.prefix), *interpreter.path):
        try:
            status = path.stat()
            stamps.append(f"{path}:{status.st_ino}:{status.st_mtime_ns}")
        except OSError:
            stamps.append("")
    return hashlib.sha256("\n".join(stamps).encode("utf-8", "surrogateescape")).hexdigest()[:24]


def constraints(installed: Mapping[str, str]) -> tuple[str, ...]:
    """The versions in an environment of what ipykernel needs, and what its matplotlib allows."""
    needed = {canonicalize_name(each.name) for each in closure("ipykernel")} | _OLDER_NEEDS
    versions = {name: each for name, each in installed.items() if _is_version(each)}
    same = [
        f"{name}=={version}"
        for name, version in sorted(versions.items())
        if name in needed - {"ipykernel", *LEFT_OUT}
    ]
    plots = versions.get("matplotlib")
    if plots is not None and Version(plots) < _SHOWN and "matplotlib-inline" not in versions:
        same.append("matplotlib-inline<0.2")
    return tuple(same)


class _Ways:
    """The three ways, tried on one interpreter."""

    def __init__(
        self,
        interpreter: Interpreter,
        installed: Sequence[Distribution],
        overlays: Overlays,
        variables: Mapping[str, str],
        writable: Collection[Path] | None,
    ) -> None:
        self.trouble = ""
        self.disturbed = False
        self._interpreter = interpreter
        self._installed: dict[str, str] = {
            canonicalize_name(each.name): each.version for each in installed
        }
        self._overlays = overlays
        self._variables = variables
        self._writable = writable

    async def own(self) -> KernelSupport | None:
        version = self._installed.get(canonicalize_name("ipykernel"))
        if version is None or not _sound(version):
            return None
        return await self._try(SupportKind.OWN, None)

    async def overlay(self) -> KernelSupport | None:
        if "ipykernel" in self._installed:
            return None  # it comes first on the path, and has just turned out not to be sound
        folder = await self._overlays.ensure(constraints(self._installed))
        return None if folder is None else await self._try(SupportKind.OVERLAY, folder)

    async def shadow(self) -> KernelSupport | None:
        """As little of the environment's as possible is hidden."""
        known = constraints(self._installed)
        apart = [each for each in known if each.split("==")[0] not in _ENTWINED]
        together = await self._overlays.compatible(apart)
        for attempt in dict.fromkeys((together, ())):
            folder = await self._overlays.ensure(attempt)
            if folder is not None and (support := await self._try(SupportKind.SHADOW, folder)):
                return support
        return None

    async def _try(self, kind: SupportKind, folder: Path | None) -> KernelSupport | None:
        """Start a kernel that way, up to the point where it would answer.

        Where there are walls it starts outside of them, and without what code could have written.
        """
        python = self._interpreter.executable
        command = [str(python), "-B", str(INSIDE)] if self._writable is None else bare(python)
        processes.require_threads(KERNEL_TAKES, what="a kernel")
        with work_folder(self._overlays.tools.private, "kernel-exec-try-") as work:
            configuration = _smoke(work, kind, folder) | {"path": self._closed_path()}
            (work / "launch.json").write_text(json.dumps(configuration))
            finished = await processes.run(
                [*command, "launch", "launch.json"],
                env=self._variables,
                cwd=work,
                limit=_SMOKE_LIMIT,
            )
        shown = re.search(r"^<ipykernel (.+)>$", finished.stdout, re.MULTILINE)
        # a busy machine is slow, and one without memory kills: neither says anything of this way
        self.disturbed |= finished.timed_out or finished.returncode == -_KILLED
        if finished.returncode != 0 or finished.timed_out or shown is None:
            self.trouble = (finished.stderr.strip().splitlines() or [""])[-1][-300:]
            return None
        if not _sound(shown[1]):
            self.trouble = f"its ipykernel {shown[1]} is a broken version"
            return None
        return KernelSupport(kind=kind, path=folder, ipykernel_version=shown[1])

    def _closed_path(self) -> list[str] | None:
        """Where the start imports from behind walls: the environment itself is never written to."""
        if self._writable is None:
            return None
        python = self._interpreter
        own = [each.resolve() for each in (python.prefix, python.base_prefix)]
        return [
            str(each)
            for each in python.path
            if any(map(each.resolve().is_relative_to, own)) or not is_exposed(each, self._writable)
        ]


def _smoke(work: Path, kind: SupportKind, folder: Path | None) -> dict[str, object]:
    """The configuration of a start in `work` that ends before it serves; sockets lie there."""
    ports = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
    connection: dict[str, object] = {port: number for number, port in enumerate(ports, 1)}
    connection |= {"transport": "ipc", "ip": "s", "key": "", "signature_scheme": "hmac-sha256"}
    (work / "connection.json").write_text(json.dumps(connection))
    return {
        "smoke": True,
        "connection_file": str(work / "connection.json"),
        "run_dir": str(work),
        "support": kind.value,
        "overlay": "" if folder is None else str(folder),
    }


def _sound(version: str) -> bool:
    return _is_version(version) and SOUND.specifier.contains(version, prereleases=True)


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def _recall(note: Path) -> KernelSupport | None:
    try:
        known = json.loads(note.read_bytes())
        path = None if known["path"] is None else Path(known["path"])
        return KernelSupport(
            kind=SupportKind(known["kind"]), path=path, ipykernel_version=known["ipykernel_version"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(note: Path, support: KernelSupport) -> None:
    try:
        note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = {**asdict(support), "path": support.path and str(support.path)}
        write_whole(note, json.dumps(known).encode(), mode=0o600)
    except OSError:
        pass  # it will be found again

"""Which installer an environment needs, and what it is told: always argv, never a shell.

uv serves Python environments; where it does not understand an interpreter, that interpreter's
own pip. A conda prefix gets conda, mamba or micromamba, and uv only where none of them is found.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from packaging.utils import canonicalize_name

from kernel_exec import processes
from kernel_exec.environments import conda
from kernel_exec.environments.interpreters import Interpreter
from kernel_exec.environments.tools import Tools, run_uv, unreachable
from kernel_exec.errors import PackageError

from .requirements import conda_spec

INSTALL_LIMIT = 1800.0
"""Seconds for one install: the largest frameworks take minutes on a slow line."""

_PUT_BACK_LIMIT = 15.0
"""Seconds to link files that are there already."""

_NOT_UNDERSTOOD = re.compile(
    r"failed to inspect python|querying python at|failed to query python|broken symlink",
    re.IGNORECASE,
)


_UNREACHABLE = re.compile(
    r"failed to establish a new connection|name resolution"  # pip
    r"|CondaHTTPError|ConnectionFailed|could not connect|download error",
    re.IGNORECASE,
)


class Tool(StrEnum):
    """What installs."""

    UV = "uv"
    PIP = "pip"
    CONDA = "conda"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be installed; `tools` is what installers get, `on_line` hears them live."""

    interpreter: Interpreter
    requirements: Sequence[str]
    upgrade: bool
    allow_build: bool
    tools: Tools
    on_line: Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """An order that was carried out, for better or worse: by what, and how it ended."""

    tool: Tool
    finished: processes.Finished

    @property
    def failed(self) -> bool:
        """True when it did not do all that was asked."""
        return self.finished.returncode != 0 or self.finished.timed_out

    @property
    def was_ended(self) -> bool:
        """True when the time limit or a signal ended it, perhaps between two of its changes."""
        return self.failed and (self.finished.timed_out or self.finished.returncode < 0)

    @property
    def unreachable(self) -> bool:
        """True when it failed because the package index or a channel could not be reached."""
        if self.tool is Tool.UV:
            return unreachable(self.finished)
        said = self.finished.stderr + self.finished.stdout
        return self.failed and _UNREACHABLE.search(said) is not None


async def carry_out(order: Order, *, present: frozenset[str]) -> Carried:
    """Install what is ordered, with the installer that the environment needs.

    `present` are the normalised names of what is there already.
    """
    prefix = order.interpreter.prefix
    if conda.is_prefix(prefix):
        client = conda.find_client(prefix, order.tools.variables, order.tools.writable or ())
        if client is not None:
            return await _with_conda(order, client, present)
        order.on_line("no conda, mamba or micromamba was found; uv installs into the prefix")
    return await _with_uv(order)


def conda_commands(
    client: str, prefix: Path, specs: Sequence[str], *, upgrade: bool, present: frozenset[str]
) -> list[list[str]]:
    """The commands for conda: only what is there already, and named without a version, updates."""
    update = [
        spec
        for spec in specs
        if upgrade and not set("<>=!~") & set(spec) and canonicalize_name(spec) in present
    ]
    groups = {"update": update, "install": [spec for spec in specs if spec not in update]}
    return [
        [client, verb, "--prefix", str(prefix), "--yes", *named]
        for verb, named in groups.items()
        if named
    ]


async def _with_conda(order: Order, client: Path, present: frozenset[str]) -> Carried:
    if changed := order.tools.changed_conda_files():
        raise PackageError(
            "conda's configuration has changed since the server started"
            f" ({', '.join(map(str, changed))}); restart the server if the change is yours"
        )
    specs = [conda_spec(each) for each in order.requirements]
    commands = conda_commands(
        str(client), order.interpreter.prefix, specs, upgrade=order.upgrade, present=present
    )
    done = processes.Finished(returncode=0, stdout="", stderr="")
    for argv in commands:
        finished = await _run(argv, order, copies=False)
        done = processes.Finished(
            returncode=finished.returncode,
            stdout=done.stdout + finished.stdout,
            stderr=done.stderr + finished.stderr,
            timed_out=finished.timed_out,
        )
        if finished.returncode != 0 or finished.timed_out:
            break
    return Carried(tool=Tool.CONDA, finished=done)


async def _with_uv(order: Order) -> Carried:
    argv = ["pip", "install", "--no-progress", *_choices(order), "--", *order.requirements]
    finished = await run_uv(
        argv,
        tools=order.tools,
        limit=INSTALL_LIMIT,
        python=order.interpreter.executable,
        compiled=order.interpreter.purelib,
        on_line=order.on_line,
    )
    walled = order.tools.writable is not None  # pip would run what is installed
    if finished.returncode != 0 and not walled and _NOT_UNDERSTOOD.search(finished.stderr):
        order.on_line("uv does not understand this interpreter: trying its own pip")
        by_pip = await _with_pip(order)
        if "No module named pip" not in by_pip.finished.stderr:
            return by_pip
    return Carried(tool=Tool.UV, finished=finished)


async def _with_pip(order: Order) -> Carried:
    argv = [str(order.interpreter.executable), "-I", "-m", "pip", "install", "--no-input"]
    argv += ["--disable-pip-version-check", "--progress-bar", "off", *_choices(order), "--"]
    return Carried(tool=Tool.PIP, finished=await _run([*argv, *order.requirements], order))


def _choices(order: Order) -> list[str]:
    """What uv and pip spell alike."""
    upgrade = ["--upgrade"] if order.upgrade else []
    return upgrade if order.allow_build else [*upgrade, "--only-binary", ":all:"]


async def _run(argv: Sequence[str], order: Order, *, copies: bool = True) -> processes.Finished:
    """Run an installer, with copies of its user's configuration if that is how it reads one."""
    with order.tools.work_folder() as (work, variables):
        env = dict(variables if copies else order.tools.variables)
        if order.tools.writable is not None:
            env["PYTHONPATH"] = str(_uncustomized(work.parent))
        return await processes.run(
            argv,
            env=env,
            cwd=work,
            limit=INSTALL_LIMIT,
            umask=order.tools.umask,
            on_line=order.on_line,
        )


def _uncustomized(folder: Path) -> Path:
    """What comes first on the path of each Python that conda runs: code may have written others."""
    first = folder / "first"
    first.mkdir()
    for name in ("sitecustomize.py", "usercustomize.py"):
        (first / name).touch()
    return first


async def put_back(order: Order, versions: Mapping[str, str]) -> str:
    """Make distributions whole, in these versions by name; says what failed, or "".

    Only from what uv has already: whoever has stopped an install does not want a download.
    """
    argv = ["pip", "install", "--quiet"]
    argv += ["--no-deps", "--offline", *(f"--reinstall-package={name}" for name in versions), "--"]
    argv += [f"{name}=={version}" for name, version in versions.items()]
    python = order.interpreter.executable
    finished = await run_uv(argv, tools=order.tools, limit=_PUT_BACK_LIMIT, python=python)
    return finished.stderr.strip()[-300:] if finished.returncode != 0 else ""

"""What the machine itself has: the Python that runs this, the settings, walls for a sandbox."""

import ctypes
import errno
import importlib.metadata
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from kernel_exec import processes
from kernel_exec.environments.activation import allowed_variables
from kernel_exec.errors import RefusedSettingError
from kernel_exec.settings import Settings

from .check import Check, broken

_BUBBLEWRAP: Final = (
    *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--die-with-parent"),
    *("--cap-drop", "ALL", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--", "true"),
)
"""What walls around a kernel would take; versions tell nothing, as systems forbid it."""

_BUBBLEWRAP_LIMIT: Final = 10.0
"""Seconds for it; it takes a hundredth of one."""

_LANDLOCK_CREATE_RULESET, _ASK_FOR_ABI = 444, 1
"""The same number on every architecture; `landlock(7)`."""

_PR_SET_SECCOMP, _SECCOMP_FILTER = 22, 2


async def python() -> Sequence[Check]:
    """The Python that runs this, and whether our libraries are as new as we need them."""
    there = f"Python {platform.python_version()} at {sys.executable}"
    missing = [
        f"{each} ({_version(each.name) or 'missing'})"
        for each in map(Requirement, importlib.metadata.requires("kernel-exec") or ())
        if (each.marker is None or each.marker.evaluate())
        and not each.specifier.contains(_version(each.name) or "0", prereleases=True)
    ]
    if missing:
        text = f"{there} lacks {', '.join(missing)}"
        return [broken("python", text, "reinstall kernel-exec, which brings its dependencies")]
    version = _version("kernel-exec")
    return [Check(name="python", ok=True, text=f"{there}, kernel-exec {version}")]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


async def settings(found: Settings, refused: Sequence[RefusedSettingError]) -> Sequence[Check]:
    """The settings that are refused; without any, the files that they are in."""
    if refused:
        return [broken(f"setting {_named(each)}", each, _way_out(each)) for each in refused]
    files = ", ".join(map(str, found.connection.config_files)) or "no configuration file"
    return [Check(name="settings", ok=True, text=files, fix=found.connection.notice)]


def _named(refused: RefusedSettingError) -> str:
    return refused.where.removeprefix("option ").removeprefix("variable ")


def _way_out(refused: RefusedSettingError) -> str:
    """The way out if the message does not end with it."""
    return "" if "; " in str(refused) else f"correct or remove {refused.where}"


async def sandbox(found: Settings) -> Sequence[Check]:
    """Which walls could be put around kernels here; none is needed."""
    if not sys.platform.startswith("linux"):
        return [Check(name="sandbox", ok=True, text="only known on Linux")]
    return [await _bubblewrap(found), _landlock(), _seccomp()]


async def _bubblewrap(found: Settings) -> Check:
    name = "sandbox bubblewrap"
    variables = allowed_variables(found.host.variables, passed=())
    program = shutil.which("bwrap", path=variables.get("PATH"))
    if program is None:
        return Check(name=name, ok=True, text="not installed", fix="install bubblewrap")
    finished = await processes.run(
        [program, *_BUBBLEWRAP], env=variables, cwd=Path("/"), limit=_BUBBLEWRAP_LIMIT
    )
    if finished.returncode != 0:
        said = (finished.stderr.strip().splitlines() or [f"exit code {finished.returncode}"])[-1]
        fix = "allow unprivileged user namespaces (AppArmor, seccomp or the container forbid them)"
        return Check(name=name, ok=True, text=f"does not work here: {said}", fix=fix)
    return Check(name=name, ok=True, text=f"works ({program})")


def _landlock() -> Check:
    name = "sandbox landlock"
    abi = _libc().syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_FOR_ABI)
    if abi < 1:
        fix = "use Linux 5.13 or newer with `landlock` among its security modules"
        return Check(name=name, ok=True, text="not in this kernel", fix=fix)
    return Check(name=name, ok=True, text=f"works (ABI {abi})")


def _seccomp() -> Check:
    """A filter that is nowhere is looked for only by a system that would take one."""
    _libc().prctl(_PR_SET_SECCOMP, _SECCOMP_FILTER, None, 0, 0)
    if ctypes.get_errno() == errno.EFAULT:
        return Check(name="sandbox seccomp", ok=True, text="works")
    fix = "use a Linux that is built with seccomp filters"
    return Check(name="sandbox seccomp", ok=True, text="not in this kernel", fix=fix)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)

"""Installs packages into an environment, and leaves a usable one whatever happens."""

import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio
from packaging.utils import canonicalize_name

from kernel_exec.environments.interpreters import Interpreter
from kernel_exec.environments.tools import Tools
from kernel_exec.errors import PackageError
from kernel_exec.leases import locked

from . import installers
from .inventory import Changes, compare, take_inventory
from .mending import mend, read_note, take_note
from .requirements import applies

_MEND_LIMIT = 20.0
"""Seconds to look at what a stopped install has left and to mend it, at most; a server that
leaves waits for it."""

_SHOWN = 3000
"""Characters of an installer's explanation that are passed on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What an install changed, by which installer (`uv`, `pip` or `conda`), its words, seconds.

    `excluded` are the requirements whose marker excludes the environment; `tool` is "" when that
    left nothing to install.
    """

    changes: Changes
    tool: str = ""
    seconds: float = 0.0
    output: str = ""
    excluded: tuple[str, ...] = ()


async def install(
    interpreter: Interpreter,
    requirements: Sequence[str],
    *,
    upgrade: bool,
    allow_build: bool,
    variables: Mapping[str, str],
    tools: Tools,
    locks: Path,
    on_line: Callable[[str], None],
) -> Installed:
    """Install parsed requirements into the interpreter's environment, one install at a time.

    `variables` are the interpreter's, `tools` what installers get, `locks` a folder that all
    servers share. Wheels only, unless `allow_build` lets packages run code of theirs to build
    themselves. One that is cancelled tells `on_line` in which state it has left the environment.

    Raises `PackageError` with the installer's explanation when it failed.
    """
    applying = [each for each in requirements if applies(each, interpreter.markers)]
    excluded = tuple(each for each in requirements if each not in applying)
    if not applying:
        return Installed(changes=Changes(before={}, after={}, modules=()), excluded=excluded)
    order = installers.Order(
        interpreter=interpreter,
        requirements=applying,
        upgrade=upgrade,
        allow_build=allow_build,
        tools=tools,
        on_line=on_line,
    )
    key = hashlib.sha256(os.fsencode(interpreter.prefix)).hexdigest()[:16]
    try:
        # two at once would each report what the other has changed
        async with locked(locks / f"{key}.lock"):
            installed = await _install(order, variables, locks / f"{key}.json")
            return replace(installed, excluded=excluded)
    except OSError as error:
        raise PackageError(
            f"the install could not be carried out: {error}; KERNEL_EXEC_CACHE, CODE_STORAGE_DIR"
            " and TMPDIR must be writable folders"
        ) from error


async def _install(order: installers.Order, variables: Mapping[str, str], note: Path) -> Installed:
    look = partial(take_inventory, order.interpreter, variables=variables)
    if (earlier := read_note(note)) is not None:
        state = await mend(order, earlier, variables)
        order.on_line(f"an earlier install was interrupted; {state}")
    before, clock = await look(), time.monotonic()
    begun = take_note(note, before)
    state, is_mended = "", True
    try:
        present = frozenset(canonicalize_name(each.name) for each in before)
        carried = await installers.carry_out(order, present=present)
        if carried.was_ended:
            state = await mend(order, begun, variables)
    except anyio.get_cancelled_exc_class():
        with anyio.move_on_after(_MEND_LIMIT, shield=True) as mending:
            order.on_line(f"the install was stopped; {await mend(order, begun, variables)}")
        is_mended = not mending.cancelled_caught
        raise
    finally:
        if is_mended:  # or else the next install does it
            note.unlink(missing_ok=True)
    if carried.failed:
        raise PackageError(_explain(carried, order, state))
    return Installed(
        changes=compare(before, await look()),
        tool=carried.tool.value,
        seconds=time.monotonic() - clock,
        output=_shorten(carried.finished.stderr or carried.finished.stdout),
    )


def _explain(carried: installers.Carried, order: installers.Order, state: str) -> str:
    finished, asked = carried.finished, ", ".join(order.requirements)
    if finished.timed_out:
        limit = f"{installers.INSTALL_LIMIT:.0f} seconds"
        return f"installing {asked} took more than {limit} and was ended; {state}"
    if finished.returncode < 0:
        return f"{carried.tool} was killed (signal {-finished.returncode}); {state}"
    said = _shorten(finished.stderr if finished.stderr.strip() else finished.stdout)
    return (
        f"installing {asked} with {carried.tool} failed (exit code {finished.returncode}):\n"
        f"{said}{_way_out(carried, said, allow_build=order.allow_build)}"
    )


def _way_out(carried: installers.Carried, said: str, *, allow_build: bool) -> str:
    folded = re.sub(r"\s+", " ", said)
    if carried.unreachable:
        more = "" if carried.tool is installers.Tool.CONDA else " and UV_DEFAULT_INDEX"
        return f"\nThe package index could not be reached; check the network, HTTPS_PROXY{more}."
    if "externally managed" in folded:
        return "\nThis interpreter belongs to the system; create a venv and configure that."
    if carried.tool is installers.Tool.CONDA and "PackagesNotFoundError" in folded:
        return (
            "\nconda's channels do not have it; add a channel to conda's configuration, or run"
            " `%pip install` in a cell to take it from the package index."
        )
    if not allow_build and ("no usable wheels" in folded or "No matching distribution" in folded):
        return "\nIf there is no wheel, allow_build=true builds from source, which runs its code."
    return ""


def _shorten(said: str) -> str:
    stripped = said.strip()
    if len(stripped) <= _SHOWN:
        return stripped
    return f"{stripped[: _SHOWN // 3]}\n[…]\n{stripped[-2 * _SHOWN // 3 :]}"

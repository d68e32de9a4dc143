"""A start behind walls: the same start, with a prefix that goes through them first."""

import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path

from kernel_exec.jsons import JSONObject
from kernel_exec.places import INSIDE, PRIVATE_FOLDER
from kernel_exec.sandbox import seatbelt, seccomp, unheld
from kernel_exec.sandbox.bubblewrap import BINDS, arguments
from kernel_exec.sandbox.policy import Policy
from kernel_exec.sandbox.secrets import secrets_below
from kernel_exec.sandbox.walls import MECHANISMS, Sandbox, Walls

from .launch import Launch

if sys.platform != "win32":
    import pwd

_PROGRAMS = "/usr/local/bin:/usr/bin:/bin:/run/current-system/sw/bin"
"""Where bubblewrap is taken from: nowhere that a project or an environment could put one."""

_LEADING_OUT = (
    *("DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "DOCKER_HOST", "GPG_AGENT_INFO", "SSH_AGENT_PID"),
    *("SSH_AUTH_SOCK", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR"),
)
"""Variables that name what nothing behind walls can reach."""

_LINKS = 40
"""How many the system itself follows."""


def confine(launch: Launch, sandbox: Sandbox, *, private: Path, spill_dir: Path | None) -> Launch:
    """The same start behind the walls that are asked for.

    `private` is our own folder, and `spill_dir` what the kernel may write to of it.

    Raises:
        KernelStartError: They can't be held here, or not with these folders.
    """
    walls = sandbox.walls
    if walls is Walls.OFF:
        return launch
    if sys.platform not in MECHANISMS:
        raise unheld.unknown_system(walls, sys.platform)
    policy = policy_for(launch, sandbox, private=private, spill_dir=spill_dir)
    policy.check()
    if any(map(policy.ours[0].is_relative_to, policy.writable)):
        _require_place(policy.walls, policy.ours[0])
    policy.temporary.mkdir(mode=0o700)
    is_linux = sys.platform == "linux"
    temporary = Path("/tmp") if is_linux else policy.temporary
    variables = _variables(launch.variables, walls, str(temporary))
    writable = [*map(str, policy.writable), str(temporary)]
    shown = [*map(str, (*policy.shown(), *policy.needed)), *writable]
    told: JSONObject = {
        "walls": str(walls),
        "writable": writable,
        "shown": shown if walls is Walls.ISOLATED else [],
    }
    launch = replace(launch, configuration={**launch.configuration, "sandbox": told})
    if is_linux:
        return _behind_bubblewrap(launch, policy, variables)
    prefix = (seatbelt.PROGRAM, "-p", seatbelt.profile(policy))
    return replace(launch, argv=(*prefix, *launch.argv), variables=variables)


def view_of(
    launch: Launch, sandbox: Sandbox, *, private: Path, spill_dir: Path
) -> tuple[object, ...]:
    """What the walls of this start would be now: equal as long as they would be the same.

    Raises as `confine` does, and `OSError` when a folder is gone.
    """
    policy = policy_for(launch, sandbox, private=private, spill_dir=spill_dir)
    policy.check()
    if sys.platform != "linux":
        return (seatbelt.profile(policy),)
    words = [*arguments(policy, {}, _listing)]
    shown = (Path(each) for word, each in pairwise(words) if word in BINDS)
    # a file that was replaced is another one, and so is a folder that was made again
    found = [each.stat() for each in (*policy.writable, *filter(Path.is_file, shown))]
    return (*words, *((each.st_dev, each.st_ino) for each in found))


def _require_place(walls: Walls, ours: Path) -> None:
    """Make the folder that is to be covered: it may be there later, where code would see it."""
    try:
        ours.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unheld.no_place(walls, ours, error) from error


def _behind_bubblewrap(launch: Launch, policy: Policy, variables: Mapping[str, str]) -> Launch:
    """The start through bubblewrap, which is not reached by the variables or the folder of code."""
    program = shutil.which("bwrap", path=_PROGRAMS)
    if program is None:
        raise unheld.not_installed(policy.walls)
    filtered = seccomp.program(policy.walls, platform.machine())
    if filtered is None:
        raise unheld.unknown_machine(policy.walls, platform.machine())
    told, rules = launch.run_dir / "walls.arguments", launch.run_dir / "walls.filter"
    words = arguments(policy, variables, _listing)
    told.write_bytes(b"".join(os.fsencode(f"{each}\0") for each in words))
    rules.write_bytes(filtered)
    ours = (sys.executable, "-I", "-S", "-B", str(INSIDE), "confine")
    return replace(
        launch,
        argv=(*ours, str(policy.walls), program, str(told), str(rules), *launch.argv),
        variables={},
        working_directory=Path("/"),
    )


def policy_for(
    launch: Launch, sandbox: Sandbox, *, private: Path, spill_dir: Path | None
) -> Policy:
    """What the kernel of this start sees."""
    homes = tuple(_homes(launch.variables))
    named = {*chain(sandbox.secrets, *map(secrets_below, homes))}
    secrets = {each for each in named if os.path.lexists(each)}
    run_dir, working_directory = _real([launch.run_dir, launch.working_directory])
    writable = (sandbox.folder or working_directory, *sandbox.writable)
    for each in (*writable, *sandbox.readable):
        if next(_real([each])) != each:
            raise unheld.moved(sandbox.walls, each)
    ours = (*_real([private]), *_roots(writable))
    others = tuple(_others(sandbox, writable, ours))
    return Policy(
        walls=sandbox.walls,
        writable=writable,
        own=tuple(_real(each for each in (launch.run_dir, spill_dir) if each and each.is_dir())),
        temporary=run_dir / "tmp",
        needed=(*_real(launch.visible), *others),
        readable=sandbox.readable,
        hidden=frozenset({*ours, run_dir, *_real(secrets)}),
        absent=frozenset(_real(named - secrets)),
        sockets=frozenset(_sockets()),
        homes=tuple(_real(homes)),
        working_directory=working_directory,
        runtime=run_dir.parent,
        ours=ours,
    )


def _roots(writable: Sequence[Path]) -> Iterator[Path]:
    """Our folders of other storage roots, which are no more for code than those of its own."""
    found = (each / PRIVATE_FOLDER for folder in writable for each in _folders(folder))
    yield from _real(each for each in found if os.path.lexists(each) and each.is_dir())


def _folders(folder: Path, depth: int = 2) -> Iterator[Path]:
    """A folder and those below it, without links; what can't be listed or vanishes has none."""
    yield folder
    if depth > 0:
        with suppress(OSError):
            for each in sorted(each for each in folder.iterdir() if _is_folder(each)):
                yield from _folders(each, depth - 1)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _others(sandbox: Sandbox, writable: Sequence[Path], ours: Sequence[Path]) -> Iterator[Path]:
    """Environments, and what else runs outside of walls, in folders that code may write to.

    What lies in our own folder is out of reach, and made when it is needed.

    Raises:
        KernelStartError: Code could put something else in the place of one.
    """

    def free(path: Path) -> bool:
        return any(folder in path.parents for folder in writable)

    for each in chain(*map(_folders, writable)):
        if any(os.path.lexists(each / mark) for mark in ("pyvenv.cfg", "conda-meta")):
            yield from filter(free, _real([each]))
    for place in sandbox.environments:
        python = place / "bin" / "python" if (place / "bin" / "python").exists() else place
        kept = [*_real([_folder_of(place)])]
        kept += [each.parents[1] for each in _real([python]) if each.parent.name == "bin"]
        kept = [each for each in kept if each.exists() and (free(each) or each in writable)]
        for step in steps(python):
            if free(step) and not any(map(step.is_relative_to, (*kept, *ours))):
                raise unheld.replaceable(sandbox.walls, place, step)
        yield from kept


def steps(path: Path) -> Iterator[Path]:
    """The links that lead to what a path names, and the first thing on its way that is missing."""
    ahead, here, links = [*reversed(path.parts[1:])], Path(path.anchor), 0
    while ahead and links < _LINKS:
        part = ahead.pop()
        here = here.parent if part == ".." else here / part
        if here.is_symlink():
            yield here
            links += 1
            target = here.readlink()
            ahead += [*reversed(target.parts[1:] if target.is_absolute() else target.parts)]
            here = Path(target.anchor) if target.is_absolute() else here.parent
        elif not here.exists():
            yield here
            return


def _folder_of(place: Path) -> Path:
    """The folder of an environment that may be named by its executable."""
    return next((each for each in place.parents if (each / "pyvenv.cfg").exists()), place)


def _real(paths: Iterable[Path]) -> Iterator[Path]:
    return (Path(os.path.realpath(path)) for path in paths)


def _homes(variables: Mapping[str, str]) -> Iterator[Path]:
    """The user's home folder, as the variables and as the system have it."""
    yield from (Path(home) for home in [variables.get("HOME", "")] if Path(home).is_absolute())
    try:
        yield Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:  # a container's user without a name
        return


def _sockets() -> Iterator[Path]:
    """Every socket with a path that somebody listens on now."""
    listed = Path("/proc/net/unix")
    if not listed.exists():  # a Mac, where a rule closes them
        return
    for line in listed.read_text("utf-8", "replace").splitlines()[1:]:
        path = line.partition(" /")[2]
        if path and os.path.lexists(f"/{path}"):
            yield Path(os.path.realpath(f"/{path}"))


def _listing(folder: Path) -> Iterable[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return ()


def _variables(variables: Mapping[str, str], walls: Walls, temporary: str) -> Mapping[str, str]:
    kept = {name: value for name, value in variables.items() if name not in _LEADING_OUT}
    kept.update({name: temporary for name in ("TMP", "TEMP") if name in kept})
    kept["TMPDIR"] = temporary
    kept.setdefault("MPLCONFIGDIR", f"{temporary}/matplotlib")  # no home can be written to
    if walls is Walls.ISOLATED:
        kept = {name: value for name, value in kept.items() if not name.startswith("XDG_")}
        kept["HOME"] = temporary
    return kept

"""Why walls can't be held here: what would stay open, and the ways out."""

import re
from pathlib import Path

from kernel_exec.errors import KernelStartError

from .walls import Walls

_REFUSAL = re.compile(r"^(?:bwrap|confine|sandbox-exec): (?!execvp)(.*)", re.MULTILINE)
"""What goes wrong before the kernel's own program runs."""

_OUTDATED = re.compile(
    r"Can't (?:find source path|get type of source) (.*): No such file|(.*) was exchanged meanwhile"
)
"""What bubblewrap and `inside/confine.py` say of a path that was another thing before."""

_OPEN = {
    Walls.WORKSPACE: "secrets, files elsewhere, other processes and other programs' sockets",
    Walls.ISOLATED: "secrets, files elsewhere, other processes, other programs' sockets,"
    " the network and risky system calls",
}

_SWITCHES = {
    "kernel/apparmor_restrict_unprivileged_userns": ("1", "0", " or an AppArmor profile for bwrap"),
    "kernel/unprivileged_userns_clone": ("0", "1", ""),
    "user/max_user_namespaces": ("0", "10000", ""),
}
"""What forbids namespaces, below `/proc/sys`: the value that does, one that does not."""


class OutdatedViewError(KernelStartError):
    """Raised when what walls are to show has changed since we looked; a newer look may serve."""


def not_installed(walls: Walls) -> KernelStartError:
    """Nothing else could hold them: Landlock hides no file and no process, and closes no path."""
    why = f"bubblewrap (bwrap) is not installed, so code would reach {_OPEN[walls]}"
    return _unheld(walls, why, "install the package bubblewrap")


def unknown_machine(walls: Walls, machine: str) -> KernelStartError:
    """We know no numbers of its system calls."""
    calls = ", risky system calls" if walls is Walls.ISOLATED else ""
    why = f"no filter of system calls for {machine}, so code would reach keyrings{calls}"
    return _unheld(walls, f"{why} and unusual sockets", "use x86_64 or aarch64")


def unknown_system(walls: Walls, system: str) -> KernelStartError:
    """Neither Linux nor macOS."""
    why = f"no walls are known for {system}, so code would reach {_OPEN[walls]}"
    return _unheld(walls, why, "use Linux, or a container or virtual machine")


def refused(walls: Walls, stderr: str, proc: Path = Path("/proc")) -> KernelStartError | None:
    """The system has refused what holds them, as `stderr` of the start shows; else None."""
    found = _REFUSAL.search(stderr)
    if found is None:
        return None
    said = found[1].strip()
    if (outdated := _OUTDATED.search(said)) is not None:
        return OutdatedViewError(
            f"sandbox {str(walls)!r} can't be built: {outdated[1] or outdated[2]!r} was removed or"
            " exchanged meanwhile, as were others before it; run the code again"
        )
    if "Landlock" in said:
        why = f"Landlock can't close abstract sockets of other programs ({said})"
        return _unheld(walls, why, "use Linux 6.12 or newer with Landlock, or `isolated`")
    why = f"bubblewrap failed ({said}), so code would reach {_OPEN[walls]}"
    if "option" in said:
        return _unheld(walls, why, "install bubblewrap 0.8 or newer")
    return _unheld(walls, why, _allow_namespaces(proc))


def no_place(walls: Walls, folder: Path, error: OSError) -> KernelStartError:
    """A folder of ours, where code writes, that can't be covered before it is there."""
    return KernelStartError(
        f"sandbox {str(walls)!r} can't hide {str(folder)!r}, which can't be made"
        f" ({error.strerror}); free some space, or set CODE_STORAGE_DIR to a writable folder"
    )


def moved(walls: Walls, folder: Path) -> KernelStartError:
    """A folder that was opened by its path, at which there is a link by now."""
    return KernelStartError(
        f"sandbox {str(walls)!r} can't open {str(folder)!r}: a link was put on the way there since"
        " the client began; remove it, or have a person start the client again"
    )


def replaceable(walls: Walls, environment: Path, step: Path) -> KernelStartError:
    """Code could put an environment of its own on the way to this one."""
    return KernelStartError(
        f"sandbox {str(walls)!r} can't keep {str(environment)!r} as it is: {str(step)!r} is a link"
        " or missing, in a folder that code may write to, so code could replace it; create it, or"
        " have a person configure the path that it leads to"
    )


def _allow_namespaces(proc: Path) -> str:
    for name, (forbids, allows, otherwise) in _SWITCHES.items():
        try:
            value = (proc / "sys" / name).read_text("ascii").strip()
        except OSError:
            continue
        if value == forbids:
            setting = name.replace("/", ".")
            return f"allow user namespaces with `sysctl -w {setting}={allows}`{otherwise}"
    return (
        "allow user namespaces; a container needs its runtime's options for that, such as Docker's"
        " `--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt"
        " systempaths=unconfined`"
    )


def _unheld(walls: Walls, why: str, way_out: str) -> KernelStartError:
    return KernelStartError(
        f"sandbox {str(walls)!r} can't be held here: {why}; {way_out}, or have a person choose"
        " another word (KERNEL_EXEC_SANDBOX)"
    )

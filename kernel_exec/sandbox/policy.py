"""What the code behind walls sees, and where it may write: a value made of paths. Pure.

Every path in it is real: no part of it is a link.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernel_exec.errors import KernelStartError

from .walls import Walls

SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store"),
    *("/etc/alternatives", "/etc/ca-certificates", "/etc/fonts", "/etc/group", "/etc/ld.so.cache"),
    *("/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/magic", "/etc/mime.types"),
    *("/etc/nsswitch.conf", "/etc/os-release", "/etc/passwd", "/etc/pki", "/etc/ssl/certs"),
    *("/etc/ssl/openssl.cnf", "/etc/timezone", "/sys/devices/system/cpu"),
)
"""What `isolated` shows of the machine."""

REPLACED = ("/dev", "/proc", "/run", "/tmp", "/var/tmp")
"""What each kernel has of its own, or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the code sees.

    `writable` are the folders of the user that it may change, in one of which the working directory
    lies; `own` those that belong to this kernel alone; `temporary` what it finds as `/tmp`.
    `needed` is shown in any case, and never changed: its environment, and what we start it with.
    `hidden` is never shown, nor are `sockets`, which may lie in folders that are writable.
    `readable` are further folders that `isolated` shows. `runtime` is where all kernels have their
    sockets, and each sees no more of it than what is its own.
    """

    walls: Walls
    writable: tuple[Path, ...]
    own: tuple[Path, ...]
    temporary: Path
    needed: tuple[Path, ...]
    readable: tuple[Path, ...]
    hidden: frozenset[Path]
    sockets: frozenset[Path]
    homes: tuple[Path, ...]
    working_directory: Path
    runtime: Path
    absent: frozenset[Path]
    """Secrets that are not there yet; they stay hidden when they come."""

    ours: tuple[Path, ...]
    """Our own folders below storage roots, which are hidden, also in a folder that is writable."""

    def shown(self) -> Iterator[Path]:
        """The trees that are shown as they are, less what is hidden in them."""
        if self.walls is Walls.WORKSPACE:
            yield Path("/")
        else:
            yield from map(Path, SYSTEM)
            yield from self.readable

    def check(self) -> None:
        """Raise `KernelStartError` when these folders can't be writable and the rest hold."""
        if not any(map(self.working_directory.is_relative_to, self.writable)):
            raise _refused(self.walls, self.working_directory, "is none that a person has opened")
        for folder in self.writable:
            if folder == Path("/") or any(str(folder) == each for each in REPLACED):
                raise _refused(self.walls, folder, "belongs to the system")
            if any(home.is_relative_to(folder) for home in self.homes):
                raise _refused(
                    self.walls, folder, "holds your home folder, whose files run outside of walls"
                )
            others = sorted(self.hidden.difference(self.ours))
            secret = next((each for each in others if each.is_relative_to(folder)), None)
            if secret is not None:
                raise _refused(self.walls, folder, f"holds {str(secret)!r}, which stays hidden")
            if any(map(folder.is_relative_to, others)):
                raise _refused(self.walls, folder, "is hidden itself")
            environment = next((each for each in self.needed if folder.is_relative_to(each)), None)
            if environment is not None:
                raise _refused(self.walls, folder, f"is part of {str(environment)!r}")


def _refused(walls: Walls, folder: Path, why: str) -> KernelStartError:
    return KernelStartError(
        f"sandbox {str(walls)!r} can't let code write in {str(folder)!r}: it {why}; choose another"
        " working directory (configure_environment, KERNEL_EXEC_WORKING_DIRECTORY) or folder"
        " (KERNEL_EXEC_SANDBOX_WRITE)"
    )


def innermost_last(paths: Sequence[Path]) -> list[Path]:
    """Without duplicates, what lies in another one after it."""
    return sorted(set(paths), key=lambda path: len(path.parts))

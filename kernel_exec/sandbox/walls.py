"""What the user asks for: one of three words, folders that are opened, and limits. Pure.

off        the code has the rights of the user
workspace  reads what the user can read but secrets, writes in a few folders, sees no process
           but its own
isolated   sees the system's libraries, its environment and its working directory, and no
           network
"""

import os
import sys
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

from kernel_exec.jsons import JSONObject


class Walls(IntEnum):
    """The words; a greater one promises more."""

    OFF = 0
    WORKSPACE = 1
    ISOLATED = 2

    def __str__(self) -> str:
        """As it is written in settings and results."""
        return self.name.lower()


MECHANISMS = {"linux": "bubblewrap", "darwin": "sandbox-exec (untested)"}
"""What holds walls on a system; on others they are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """What holds for the kernels of a connection, or for an environment.

    `writable` and `readable` are folders that are opened beyond what the word opens, which is the
    `folder` that the client began in; None opens whatever folder a kernel works in. `memory` and
    `file_size` are in bytes, None for no limit; `memory` may also be a share of what is free when a
    kernel starts. `processes` is the number of processes and threads. Code behind walls never
    changes what lies in `environments`, nor sees `secrets`, which lie where variables say.
    """

    walls: Walls = Walls.OFF
    folder: Path | None = None
    writable: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    environments: tuple[Path, ...] = ()
    secrets: tuple[Path, ...] = ()
    memory: float | None = None
    processes: int | None = None
    file_size: int | None = None

    def facts(self, *, memory: float | None, descriptors: int) -> JSONObject:
        """What is in force, as results and records have it; sizes are in bytes."""
        return {
            "walls": str(self.walls),
            "mechanism": MECHANISMS.get(sys.platform, "") if self.walls else "",
            "limits": {
                "memory": memory,
                "processes": self.processes if self.walls else None,
                "file_size": self.file_size,
                "open_files": descriptors,
            },
        }

    def within(self, folder: Path) -> "Sandbox":
        """The same for a client that begins in `folder`; what it opens is settled from now on.

        Code could put a link to anywhere in the place of a folder.
        """
        settled = [Path(os.path.realpath(each)) for each in (folder, *self.writable)]
        readable = tuple(Path(os.path.realpath(each)) for each in self.readable)
        return replace(self, folder=settled[0], writable=tuple(settled[1:]), readable=readable)

    def at_least(self, least: Walls) -> "Sandbox":
        """The same with walls that promise no less than `least`."""
        return self if self.walls >= least else replace(self, walls=least)


OPEN = Sandbox()
"""No walls, no limits."""

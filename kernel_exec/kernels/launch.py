"""The start of a kernel as a value: all that is decided before anything happens. Pure.

`guard` carries it out. Whoever puts walls around a kernel, or starts it elsewhere, makes another
value of it: with a prefix of `argv`, or with other paths.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kernel_exec.environments.catalog import PreparedEnvironment
from kernel_exec.jsons import JSONObject
from kernel_exec.places import INSIDE

from .messages import Channel

SOCKETS = "s"
"""The sockets' file names are this and a number: their paths may have 107 bytes."""

PORTS = {"shell": 1, "iopub": 2, "stdin": 3, "control": 4, "hb": 5}
"""The numbers in the names of the sockets, as a connection file has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a kernel is started.

    The program `argv` is followed by the path of a file with `configuration`, what our launcher
    (`inside/launch.py`) reads, and by the descriptor that its guardian speaks on. It must be able
    to read what is `visible`, and to write into `run_dir` (sockets and the files of the process),
    `working_directory`, and the folder for what is too long for messages, which requests name.
    """

    argv: tuple[str, ...]
    configuration: JSONObject
    variables: Mapping[str, str]
    working_directory: Path
    run_dir: Path
    visible: tuple[Path, ...]

    @property
    def connection_file(self) -> Path:
        """What Jupyter calls so: the kernel reads addresses and key in it."""
        return self.run_dir / "connection.json"

    @property
    def addresses(self) -> Mapping[Channel, str]:
        """The ZMQ endpoints of the channels that we use."""
        return {
            channel: f"ipc://{self.run_dir / SOCKETS}-{PORTS[channel.value]}" for channel in Channel
        }


def plan_launch(prepared: PreparedEnvironment, *, working_directory: Path, run_dir: Path) -> Launch:
    """How to start a kernel of an environment."""
    interpreter, support = prepared.interpreter, prepared.support
    overlay = () if support.path is None else (support.path,)
    return Launch(
        # -B: a .pth file may import before our launcher does, and must leave no trace either
        argv=(str(interpreter.executable), "-B", str(INSIDE), "guardian"),
        configuration={
            "connection_file": str(run_dir / "connection.json"),
            "run_dir": str(run_dir),
            "support": support.kind.value,
            "overlay": "".join(map(str, overlay)),
            "umask": prepared.inherited.umask,
            "limits": [[number, *each] for number, each in prepared.inherited.limits.items()],
            # outside of a namespace all processes of the user would count
            "processes": prepared.sandbox.processes if prepared.sandbox.walls else None,
            "file_size": prepared.sandbox.file_size,
        },
        variables=prepared.variables,
        working_directory=working_directory,
        run_dir=run_dir,
        visible=(
            *(interpreter.executable, interpreter.prefix, interpreter.base_prefix),
            *(INSIDE.parent, *overlay),
        ),
    )

"""The server with stamps at its hops, and kernels with theirs.

python -m tests.benchmarks.stamped_server FOLDER OPTIONS…
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import kernel_exec.kernels.local as local_kernels
from kernel_exec.cli.main import main as command_line
from kernel_exec.history.database import Database
from kernel_exec.host import services, stdio
from kernel_exec.host.wire import Wire
from kernel_exec.kernels.channels import Channels
from kernel_exec.kernels.driver import Driver
from kernel_exec.server import create
from kernel_exec.server.call import Call
from kernel_exec.server.presenting import Presenter
from kernel_exec.sessions.ledger import Ledger
from kernel_exec.sessions.session import Session

from .stamps import around, write

_KERNEL = Path(__file__).with_name("stamped_kernel.py")


def main(folder: str) -> None:
    """Serve, and write the stamps to `folder` at the end."""
    around(stdio, "decode", "transport in", "decode")
    around(create, "parse", "SDK in", "validation")
    around(Session, "submit", "script stored", "history begin")
    around(Channels, "send", "queue and worker", "pack and send")
    around(Driver, "receive", "wire")
    around(Ledger, "end", "conversation", "history end")
    around(Call, "present", "waiter wakes")
    around(Presenter, "show", after="render")
    around(Database, "flush", "commit begins", "commit")
    around(create, "bounded", "presented", "bounded")
    around(stdio, "encode", "SDK out", "encode")
    around(Wire, "send", after="transport out")
    _replace(local_kernels, "plan_launch", _stamped_launch)
    _replace(services, "exit_now", partial(_stamped_end, folder))
    command_line()


def _stamped_launch(plan: Callable[..., Any]) -> Callable[..., Any]:
    def planned(*args: object, **kwargs: object) -> Any:
        launch = plan(*args, **kwargs)
        python, flag, inside, *rest = launch.argv
        return replace(launch, argv=(python, flag, str(_KERNEL), str(Path(inside).parent), *rest))

    return planned


def _stamped_end(folder: str, leave: Callable[[int], None]) -> Callable[[int], None]:
    def ended(code: int) -> None:
        write(folder)
        leave(code)

    return ended


def _replace(owner: object, name: str, by: Callable[[Any], Any]) -> None:
    setattr(owner, name, by(getattr(owner, name)))


if __name__ == "__main__":
    main(sys.argv.pop(1))

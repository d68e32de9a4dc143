"""The relay: what a client starts when a host process serves it.

It finds or starts the host, hands over what is the client's (descriptors 0, 1 and 2, folder,
settings, variables) in one message, and then only waits: the host reads and writes the client's
pipes itself. What the host says last is the exit code. A signal ends the conversation, never the
host, and a relay that is killed hangs up, which the host notices at once.
"""

import importlib
import os
import signal
import socket
import sys
import time
from array import array
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from kernel_exec.errors import KernelExecError
from kernel_exec.places import CONFIG_NAME, xdg_folder

from .door import (
    CODE,
    HANDSHAKE,
    WAY_OUT,
    Lines,
    folder_of,
    knock,
    line_of,
    listens,
    make_folder,
    recorded,
)
from .secrecy import hide_variables

if sys.platform != "win32":
    import fcntl
    import resource

_ANSWER_LIMIT = 10.0
"""Seconds in which a host that serves answers, however many clients come at once."""

_START_LIMIT = 120.0
"""Seconds in which a host that has been started serves: cold imports on a loaded machine."""

_PATIENCE = 30.0
"""Seconds to try again while hosts come and go."""

_FAREWELL = 6.0
"""Seconds that the host has to end a conversation after a signal; its own limit is five."""

_GATE = "gate"
"""What a relay holds while it starts a host."""

LEAVE = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
"""Signals that ask a server to end."""

_KEPT = {
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
}  # fmt: skip
_KEPT_PREFIXES = ("LC_", "XDG_", "PYTHON")
"""Variables that the host itself gets: those by which Python and the user's folders are found."""

_PROGRAM = """
import sys
if sys.argv[1] not in sys.path: sys.path.append(sys.argv[1])
from kernel_exec.host.start import main
main()
"""


class _Met(NamedTuple):
    """A host that serves the client from now on."""

    connection: socket.socket
    lines: Lines
    log: str


def relay(options: Mapping[str, str | None]) -> str:
    """Have the host serve the client on descriptors 0, 1 and 2, and exit as it says.

    Comes back only when no host does: with the reason that the client is to be told, or with ""
    when this process can serve it as well.
    """
    fill_standard_descriptors()
    for number in LEAVE:
        signal.signal(number, lambda *_: os._exit(0))
    modes = [(descriptor, os.get_blocking(descriptor)) for descriptor in (0, 1, 2)]
    hide_variables(os.environ)
    met = _meet(options)
    if isinstance(met, str):
        for number in LEAVE:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return met
    code = _wait(met)
    for descriptor, blocking in modes:  # what a host that was killed has not put back
        with suppress(OSError):
            os.set_blocking(descriptor, blocking)
    os._exit(code)


def fill_standard_descriptors() -> None:
    """Open what is closed of 0, 1 and 2, before anything else of ours gets such a number."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(opened)


def _meet(options: Mapping[str, str | None]) -> _Met | str:
    """Find the host or start it, as often as it takes while hosts come and go."""
    try:
        order = order_of(options)
    except OSError:  # the current folder was removed
        return ""
    root = _known_root(options)
    folder = None if root is None else folder_of(root)
    limit = time.monotonic() + _PATIENCE
    while time.monotonic() < limit:
        answered = None if folder is None else _greet(folder, order)
        if answered is not None:
            return answered
        word = start(order, folder)
        if "folder" not in word:
            return ""
        folder = Path(word["folder"])
    return f"the host process of this storage folder ({folder}) can't be reached; {WAY_OUT}"


def order_of(options: Mapping[str, str | None]) -> dict[str, object]:
    """What is a client's own, for the host that serves it.

    Raises:
        OSError: The current folder does not exist.
    """
    umask = os.umask(0o077)
    os.umask(umask)
    numbers = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
    return {
        "options": dict(options),
        "variables": dict(os.environ),
        "directory": os.getcwd(),  # noqa: PTH109 - as it is
        "umask": umask,
        "limits": [(number, *resource.getrlimit(number)) for number in numbers],
    }


def _known_root(options: Mapping[str, str | None]) -> Path | None:
    """The storage root; None where the settings are refused."""
    variables = os.environ
    root = options.get("storage_dir") or variables.get("CODE_STORAGE_DIR")
    if root and not root.startswith("~"):
        return Path(root).absolute()
    files = [Path(CONFIG_NAME), xdg_folder("config", variables) / CONFIG_NAME]
    named = options.get("config") or variables.get("KERNEL_EXEC_CONFIG")
    if not (root or named or sys.platform == "darwin" or any(map(os.path.lexists, files))):
        return xdg_folder("storage_dir", variables)
    # only here: it takes as long to import as all else that a relay does
    settings = importlib.import_module("kernel_exec.settings")
    try:
        host: Any = settings.read_settings(options=options).host
    except KernelExecError:
        return None
    return Path(host.storage_root)


def _greet(folder: Path, order: Mapping[str, object]) -> _Met | str | None:
    """What the host says to this client; None when there is none, or it was about to leave."""
    record = recorded(folder)
    connection = None if record is None else knock(record)
    if record is None or connection is None:
        return None
    connection.settimeout(_ANSWER_LIMIT if record.ready else _START_LIMIT)
    lines = Lines(connection)
    try:
        connection.sendall(line_of({"relay": HANDSHAKE, "code": CODE, **order}))
        answer = lines.next()
        if answer is not None and "served" in answer:
            # not before: those that wait in the queue of a host that hangs would stay open there
            passed = array("i", (0, 1, 2))
            connection.sendmsg([b"\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
    except TimeoutError:
        answer = {"refused": f"the host process {record.pid} does not answer; {WAY_OUT}"}
    except OSError:
        answer = None
    if answer is not None and "served" in answer:
        connection.settimeout(None)
        return _Met(connection, lines, str(answer["served"]))
    connection.close()
    return None if answer is None or "again" in answer else str(answer.get("refused", ""))


def start(order: Mapping[str, object], folder: Path | None) -> dict[str, Any]:
    """Start a host unless there is one; where it is, or nothing when there can be none.

    Of many relays that start at once all but one wait, and find the host that it has started.
    """
    gate = None
    try:
        is_new = folder is not None and not folder.parents[2].exists()
        if folder is not None:
            make_folder(folder)
            gate = os.open(folder / _GATE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            fcntl.flock(gate, fcntl.LOCK_EX)
            if (record := recorded(folder)) is not None and listens(record):
                return {"folder": str(folder)}
        word = _started(order)
        if folder is not None and is_new and not word:  # what nobody wants to use is not made
            (folder / _GATE).unlink(missing_ok=True)
            for each in (folder, *folder.parents[:3]):
                each.rmdir()
        return word
    except OSError:
        return {}
    finally:
        if gate is not None:
            os.close(gate)


def _started(order: Mapping[str, object]) -> dict[str, Any]:
    """Where the host is met that a new process has become, or has found.

    `processes` would take a while to import, and this program is to outlive us.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        program = [sys.executable, "-P", "-c", _PROGRAM, str(Path(__file__).parents[2])]
        kept = {
            name: value
            for name, value in os.environ.items()
            if name in _KEPT or name.startswith(_KEPT_PREFIXES)
        }
        descriptors = [
            (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        ]
        pid = os.posix_spawn(sys.executable, program, kept, file_actions=descriptors)
        theirs.close()
        ours.sendall(line_of(dict(order)))
        word = Lines(ours).next()
        os.waitpid(pid, 0)
    return word or {}


def _wait(met: _Met) -> int:
    """Wait until the host says that the conversation is over; the exit code."""

    def leave(*_: object) -> None:
        for number in LEAVE:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
        signal.setitimer(signal.ITIMER_REAL, _FAREWELL)
        with suppress(OSError):
            met.connection.shutdown(socket.SHUT_WR)

    for number in LEAVE:
        signal.signal(number, leave)
    if os.isatty(0):
        os.write(2, b"waiting for an MCP client on stdin; Ctrl-D ends it\n")
    last = met.lines.next()
    if last is not None:
        return int(last.get("exit", 1))
    with suppress(OSError):
        os.write(2, f"error: the host process ended; see {met.log}\n".encode())
    return 1

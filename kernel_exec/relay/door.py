"""Where the host process of a storage root is met: a socket, and the record that leads to it.

The socket lies in a folder of its own with a short path, wherever the host found room for one, and
the record below the storage root says where: a relay with another `TMPDIR`, or another name of the
root, finds the same host. Whoever holds the lock beside the record is the host. A record without
one is what a host left that was killed; a lock without a record is a host that is leaving.

Containers that share a storage root can't reach each other's processes and must not be served by
them, so each has a host of its own.
"""

import json
import os
import socket
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from kernel_exec.places import Places

HANDSHAKE: Final = 1
"""The version of what relay and host say to each other before a client is served."""

_PACKAGE = Path(__file__).parents[1]
CODE: Final = f"{_PACKAGE} {(_PACKAGE / '__init__.py').stat().st_mtime_ns}"
"""The code that runs here; a host whose own has been replaced on the disk should be, too."""

LOCK: Final = "lock"
"""What the host holds as long as it lives."""

TURN: Final = "turn"
"""What whoever wants to become the host holds until it has an answer to that."""

WAY_OUT: Final = "`kernel-exec stop --force` ends it, and its kernels with it"
"""What helps against a host that is there and does not answer."""

_RECORD: Final = "record.json"
_NAMESPACES: Final = ("mnt", "pid", "net", "user")

_CONNECT_LIMIT = 5.0
"""Seconds for a host that lives to take a connection: its system does, unless far too many wait."""

_LINE_LIMIT = 1 << 24
"""Bytes of a line between relay and host: an environment has two million at most."""


class Record(NamedTuple):
    """What a host writes of itself; `ready` once it serves, and not only listens."""

    socket: str
    pid: int
    handshake: int
    ready: bool


def folder_of(root: Path) -> Path:
    """The folder of the host that a process in our place can reach."""
    seen = []
    for name in _NAMESPACES:
        with suppress(OSError):
            seen.append(os.readlink(f"/proc/self/ns/{name}"))  # noqa: PTH115 - no path
    with suppress(OSError):
        seen.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii"))
    return Places(root).hosts / f"{zlib.crc32(' '.join(seen).encode()):08x}"


def make_folder(folder: Path) -> None:
    """Make the folder of a host with all above it, which only their user may enter."""
    private = folder.parents[1]
    private.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in (private, folder.parent, folder):
        each.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.geteuid():
        raise PermissionError(f"{folder} is another user's")


def recorded(folder: Path) -> Record | None:
    """What the host of `folder` has written; None without one."""
    try:
        record = json.loads((folder / _RECORD).read_text("utf-8"))
        return Record(
            str(record["socket"]), int(record["pid"]), int(record["handshake"]), record["ready"]
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None


def write_record(folder: Path, record: Record) -> None:
    """Let relays find the host; they never see half a record."""
    new = folder / f"{_RECORD}.new"
    new.write_text(json.dumps(record._asdict()), "utf-8")
    new.chmod(0o600)
    new.replace(folder / _RECORD)


def remove_record(folder: Path) -> None:
    """Let no relay come any more."""
    (folder / _RECORD).unlink(missing_ok=True)


def knock(record: Record) -> socket.socket | None:
    """A connection to the host that has written `record`; None when it does not listen.

    Nothing is said to another user's process that listens in its place.
    """
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(_CONNECT_LIMIT)
        connection.connect(record.socket)
        if is_ours(connection):
            return connection
    except (OSError, ValueError):
        pass
    connection.close()
    return None


def listens(record: Record) -> bool:
    """Whether somebody takes connections where `record` leads to."""
    connection = knock(record)
    if connection is not None:
        connection.close()
    return connection is not None


def is_ours(connection: socket.socket) -> bool:
    """True when the process at the other end is this user's."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the folder, which only its user may enter, has to do
    return _peer(connection)[1] == os.geteuid()


def peer_pid(connection: socket.socket) -> int:
    """The number of the process at the other end; 0 where the system does not say."""
    return _peer(connection)[0] if hasattr(socket, "SO_PEERCRED") else 0


def _peer(connection: socket.socket) -> tuple[int, int, int]:
    size = struct.calcsize("3i")
    pid, uid, gid = struct.unpack(
        "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    return pid, uid, gid


def line_of(message: dict[str, Any]) -> bytes:
    """`message` as one line; text that is no Unicode, as variables may be, comes back as it was."""
    return json.dumps(message).encode("ascii") + b"\n"


class Lines:
    """The messages that the other end sends, one in each line."""

    def __init__(self, connection: socket.socket) -> None:
        """Waits as long as `connection` does."""
        self._connection = connection
        self._rest = b""

    def next(self) -> dict[str, Any] | None:
        """The next message; None when the other end is gone, or speaks another language.

        Raises:
            TimeoutError: None has come in time.
        """
        try:
            while b"\n" not in self._rest and len(self._rest) < _LINE_LIMIT:
                received = self._connection.recv(1 << 16)
                if not received:
                    return None
                self._rest += received
            line, _, self._rest = self._rest.partition(b"\n")
            message = json.loads(line)
        except TimeoutError:
            raise
        except (OSError, ValueError):
            return None
        return message if isinstance(message, dict) else None

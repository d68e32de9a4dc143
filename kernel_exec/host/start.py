"""How a host process begins: started by a relay, it finds out whether it is needed.

    python -c ... with a socket as stdin, on which the relay sends the options, variables and folder
    of its client; the answer is where the host is met, or nothing when there can be none.

The socket listens before anything heavy is imported, so that early clients wait in its backlog.
"""

import gc
import importlib
import os
import select
import signal
import socket
import stat
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kernel_exec.errors import KernelExecError, StorageError, unusable
from kernel_exec.inherited import Inherited
from kernel_exec.leases import Lease, take
from kernel_exec.log import note, open_log
from kernel_exec.places import Places
from kernel_exec.relay.door import (
    HANDSHAKE,
    LOCK,
    TURN,
    Lines,
    Record,
    folder_of,
    is_ours,
    line_of,
    listens,
    make_folder,
    recorded,
    remove_record,
    write_record,
)
from kernel_exec.relay.secrecy import hide_variables
from kernel_exec.settings import Settings, process_variables, read_settings

_LEAVING_LIMIT = 20
"""Seconds to wait for a host that is leaving: its kernels and its history take a few."""

_OPENING_LIMIT = 20.0
"""Seconds to wait for a host whose socket was removed: it looks every few seconds."""

_POLL = 0.05
"""Seconds between two looks at it."""

_PREFIX = "kx-host-"
_SHORT = Path("/tmp")
"""Where the socket lies when the configured folder is missing, or its path too long."""

SHORT_STAY = 1.0
"""Seconds for which a host stays that can't serve, to say why to those that have come."""

_BACKLOG = 512
"""Clients that wait while the host starts, or has more to do."""


@dataclass(slots=True, kw_only=True)
class Door:
    """What a host listens on; `folder` has its record, `lease` makes it the host."""

    folder: Path
    lease: Lease
    runtime_dir: Path
    listener: socket.socket
    place: Path
    is_ready: bool = False

    @property
    def is_open(self) -> bool:
        """False once somebody has removed or replaced the socket, or what leads to it."""
        try:
            return stat.S_ISSOCK(self.place.lstat().st_mode) and self.lease.is_valid
        except OSError:
            return False

    def announce(self) -> None:
        """Write where the host is met, and whether it serves."""
        record = Record(str(self.place), os.getpid(), HANDSHAKE, self.is_ready)
        write_record(self.folder, record)

    def open_again(self) -> socket.socket | None:
        """Listen at a new place; the old listener, None if another host has our place by now.

        Raises:
            OSError, StorageError: It can't be made.
        """
        if not self.lease.is_valid:  # the storage root was removed
            make_folder(self.folder)
            lease = take(self.folder / LOCK)
            if lease is None:
                return None
            self.lease.drop()
            self.lease = lease
        listener, place = _listen(self.runtime_dir)
        _remove(self.place)
        before, self.listener, self.place = self.listener, listener, place
        self.announce()
        return before

    def close(self) -> None:
        """Take no client any more; whoever waits finds the next host."""
        remove_record(self.folder)
        self.listener.close()
        _remove(self.place)


def main() -> None:
    """Become the host, unless there is one or can be none."""
    os.setsid()
    if os.fork():  # the host is nobody's child, or a client that ends its children would end it
        os._exit(0)
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - what the client left open for its children
        if int(name) > 2:
            with suppress(OSError):
                os.close(int(name))
    os.chdir("/")
    with socket.socket(fileno=os.dup(0)) as relay:
        order = Lines(relay).next()
        if order is None:  # it was killed
            return
        try:
            host = replace(settings_of(order).host, variables=dict(process_variables()))
            folder = folder_of(host.storage_root)
            make_folder(folder)
            log = open_log(Places(host.storage_root).log)
            door = _claim(folder, host.runtime_dir, relay)
        except (KernelExecError, OSError):
            relay.sendall(line_of({}))  # its client is served without us, and hears why
            return
        relay.sendall(line_of({"folder": str(folder)}))
    if door is not None:
        hide_variables(process_variables())
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        divert(log)
        try:
            process = imported("kernel_exec.host.process")
        except Exception as error:  # noqa: BLE001 - another version of a library raises anything
            _refuse(door, unusable(error), Places(host.storage_root).log)
            return
        process.run(host, door)


def imported(name: str) -> Any:
    """A module of ours, with all that it imports."""
    gc.disable()  # of what is imported nothing is garbage, and looking takes an eighth longer
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def _refuse(door: Door, reason: str, log: Path) -> None:
    """Tell `reason` to those that have come, and leave."""
    with suppress(OSError):
        note(log, f"the host process can't start: {reason}")
    door.listener.settimeout(SHORT_STAY)
    with suppress(OSError):
        while True:
            client, _ = door.listener.accept()
            with client:
                client.settimeout(SHORT_STAY)
                if is_ours(client):
                    client.sendall(line_of({"refused": reason}))
                    Lines(client).next()
    door.close()


def settings_of(order: Mapping[str, object]) -> Settings:
    """The settings of a client that has sent its options, its variables and its folder."""
    options, variables = order.get("options"), order.get("variables")
    settings = read_settings(
        options=options if isinstance(options, dict) else {},
        variables=(user := variables if isinstance(variables, dict) else {}),
        user=user,
        working_directory=Path(str(order.get("directory", "/"))),
    )
    umask, limits = order.get("umask"), order.get("limits")
    if not isinstance(umask, int) or not isinstance(limits, list):
        return settings
    inherited = Inherited(umask & 0o777, {number: (soft, hard) for number, soft, hard in limits})
    return replace(settings, connection=replace(settings.connection, inherited=inherited))


def divert(log: int) -> None:
    """Let what anybody prints, here or in a child, go to the open file `log`."""
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.close(log)


def _claim(folder: Path, runtime_dir: Path, relay: socket.socket) -> Door | None:
    """The door of a new host, which listens; None when there is a host already."""
    turn = take(folder / TURN, wait=True)
    assert turn is not None
    try:
        lease = take(folder / LOCK)
        if lease is None and recorded(folder) is None:
            signal.alarm(_LEAVING_LIMIT)  # ends this process, which nobody needs then
            lease = take(folder / LOCK, wait=True)
            signal.alarm(0)
        limit = time.monotonic() + _OPENING_LIMIT
        while lease is None and time.monotonic() < limit:
            there = recorded(folder)
            # one whose socket was removed sees that soon; our client may not want to wait for it
            if there is None or listens(there) or select.select([relay], [], [], _POLL)[0]:
                break
            lease = take(folder / LOCK)
        if lease is None:
            return None
        if (left := recorded(folder)) is not None:
            _remove(Path(left.socket))
        listener, place = _listen(runtime_dir)
        door = Door(
            folder=folder, lease=lease, runtime_dir=runtime_dir, listener=listener, place=place
        )
        door.announce()
        return door
    finally:
        turn.drop()


def _listen(runtime_dir: Path) -> tuple[socket.socket, Path]:
    """A socket in a new folder, which nobody else may enter or has put anything into."""
    trouble: Exception | None = None
    for place in (runtime_dir, _SHORT):
        listener = socket.socket(socket.AF_UNIX)
        try:
            path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place)) / "s"
            try:
                listener.bind(str(path))
                path.chmod(0o600)
                listener.listen(_BACKLOG)
                listener.setblocking(False)
            except BaseException:
                _remove(path)
                raise
        except OSError as error:  # also where the path is too long
            trouble = error
            listener.close()
        else:
            return listener, path
    raise StorageError(f"no place for the host's socket: {trouble}") from trouble


def _remove(place: Path) -> None:
    """Remove a socket of a host with its folder, and nothing that has taken its place."""
    if not place.parent.name.startswith(_PREFIX):
        return
    with suppress(OSError):
        if stat.S_ISSOCK(place.lstat().st_mode):
            place.unlink()
    with suppress(OSError):
        place.parent.rmdir()

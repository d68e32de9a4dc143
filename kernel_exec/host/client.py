"""The command line's way to a running host: requests and answers as JSON lines.

Imports next to nothing: light commands start in the time that Python takes.
"""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from kernel_exec.errors import BusyError
from kernel_exec.relay.door import (
    HANDSHAKE,
    WAY_OUT,
    Lines,
    folder_of,
    knock,
    line_of,
    peer_pid,
    recorded,
)

_ANSWER_LIMIT = 5.0
"""Seconds for a host that serves to answer whether it does: a person waits."""

_START_LIMIT = 120.0
"""Seconds for one that has just been started."""


class HostClient:
    """A conversation with a host; `with` it, or `close` it."""

    def __init__(self, connection: socket.socket, pid: int) -> None:
        """`pid` is the host's process number."""
        self.pid = pid
        self._connection = connection
        self._lines = Lines(connection)
        connection.sendall(line_of({"control": HANDSHAKE}))

    def ask(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The answers to a request as they come; the last has `end`.

        Raises:
            BusyError: The host has ended meanwhile.
        """
        try:
            self._connection.sendall(line_of(request))
        except OSError:
            raise self._gone() from None
        while (answer := self._lines.next()) is not None:
            yield answer
            if answer.get("end"):
                return
        raise self._gone()

    def require_answer(self, limit: float) -> None:
        """Raise `BusyError` unless the host answers in so many seconds."""
        self._connection.settimeout(limit)
        try:
            list(self.ask({"command": "ping"}))
        except TimeoutError:
            raise BusyError(f"the host process {self.pid} does not answer; {WAY_OUT}") from None
        self._connection.settimeout(None)

    def finish(self) -> None:
        """End what is going on there, and wait until it has ended, a few seconds at most."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
            self._connection.settimeout(_ANSWER_LIMIT)
            while self._lines.next() is not None:
                pass

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _gone(self) -> BusyError:
        return BusyError(f"the host process {self.pid} has ended meanwhile; try again")


def pid_of_host(storage_root: Path) -> int | None:
    """The process number of the host of `storage_root`, also where it does not answer."""
    record = recorded(folder_of(storage_root))
    connection = None if record is None else knock(record)
    if record is None or connection is None:
        return None
    with connection:
        return peer_pid(connection) or record.pid


def open_host(storage_root: Path, *, patience: float | None = None) -> HostClient | None:
    """A conversation with the host of `storage_root`; None when none runs.

    It has `patience` seconds to answer; by default as many as one that lives may need.

    Raises:
        BusyError: It does not answer.
    """
    record = recorded(folder_of(storage_root))
    connection = None if record is None else knock(record)
    if record is None or connection is None:
        return None
    try:
        client = HostClient(connection, record.pid)
        client.require_answer(patience or (_ANSWER_LIMIT if record.ready else _START_LIMIT))
    except BaseException:
        connection.close()
        raise
    return client

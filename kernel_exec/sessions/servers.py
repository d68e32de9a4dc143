"""The servers that share a history: which of them live, and what the dead ones left open."""

import os
import sqlite3
from pathlib import Path
from typing import Final

import psutil

from kernel_exec.kernels.execution import Outcome
from kernel_exec.kernels.messages import JSON

from .schema import Cell, decode, encode

SERVER_DIED: Final = "server_died"
"""Why an entry was interrupted, or a kernel ended, that a server which is gone had left open."""

_SAME_START: Final = 2.0
"""Seconds by which two readings of one start time may differ: the boot time is rounded."""


def enlist(connection: sqlite3.Connection, server: str) -> None:
    """Put this process, by the name `server`, among those that live."""
    row = (server, os.getpid(), *_birth(psutil.Process()))
    connection.execute("INSERT OR REPLACE INTO server VALUES (?, ?, ?, ?, ?)", row)


def dismiss(connection: sqlite3.Connection, server: str) -> None:
    """Take this process from among those that live."""
    connection.execute("DELETE FROM server WHERE id = ?", (server,))


def bury_dead_servers(connection: sqlite3.Connection) -> None:
    """End what servers that are no longer alive had left open; others are left alone."""
    for id_, *birth in connection.execute("SELECT * FROM server").fetchall():
        if not _alive(*birth):
            connection.execute("DELETE FROM server WHERE id = ?", (id_,))
    open_entries = connection.execute(
        "SELECT id, details FROM entry WHERE outcome IN ('queued', 'running')"
        " AND server NOT IN (SELECT id FROM server)"
    ).fetchall()
    connection.executemany(
        "UPDATE entry SET outcome = ?, details = ? WHERE id = ?",
        [(Outcome.INTERRUPTED.value, _with_reason(details), id_) for id_, details in open_entries],
    )
    connection.execute(
        "UPDATE kernel SET end_reason = ? WHERE ended IS NULL AND end_reason = ''"
        " AND server NOT IN (SELECT id FROM server)",
        (SERVER_DIED,),
    )


def _with_reason(details: Cell) -> str:
    try:
        known: dict[str, JSON] = dict(decode(details))
    except (TypeError, ValueError, RecursionError):
        known = {}
    return encode({**known, "reason": SERVER_DIED})


def _alive(pid: int, boot_id: str, booted: float, started: float) -> bool:
    """True while the process that was born so runs; a number may name another one by now."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        boot_now, booted_now, started_now = _birth(process)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    # When the clock is set, the start moves with the boot time (Linux), or stays (elsewhere).
    since_boot = (started_now - booted_now) - (started - booted)
    return boot_now == boot_id and min(abs(started_now - started), abs(since_boot)) < _SAME_START


def _birth(process: psutil.Process) -> tuple[str, float, float]:
    """Which boot, when that was and when `process` began, in seconds since the epoch."""
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot_id = ""
    return boot_id, psutil.boot_time(), process.create_time()

"""The servers that share a history, and an end to what the dead ones left open."""

import json
import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import Final

from kernel_exec.errors import StorageError
from kernel_exec.jsons import JSON
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.leases import Lease, is_held, take

from .schema import Cell, decode, encode

SERVER_DIED: Final = "server_died"
"""Why an entry was interrupted, or a kernel ended, that a server which is gone had left open."""

_SUFFIX: Final = ".lock"


def enlist(folder: Path, server: str) -> Lease:
    """The lease that shows others that `server`, this one, is alive.

    Raises one of `FAILURES`.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    lease = take(folder / f"{server}{_SUFFIX}")
    if lease is None:
        raise StorageError(f"another process examines {str(folder)!r}: try again")
    return lease


def living_servers(folder: Path) -> set[str]:
    """Those that hold their lease; the files of dead ones are removed.

    Only one process at a time may ask, and none may enlist meanwhile. Raises one of `FAILURES`.
    """
    living = set()
    for path in folder.glob(f"*{_SUFFIX}"):
        if is_held(path):
            living.add(path.stem)
        else:
            path.unlink(missing_ok=True)
    return living


def bury_dead_servers(connection: sqlite3.Connection, living: Collection[str]) -> None:
    """End what servers other than the `living` ones had left open."""
    names = json.dumps(sorted(living))
    open_entries = connection.execute(
        "SELECT id, details FROM entry WHERE outcome IN ('queued', 'running')"
        " AND server NOT IN (SELECT value FROM json_each(?))",
        (names,),
    ).fetchall()
    connection.executemany(
        "UPDATE entry SET outcome = ?, details = ? WHERE id = ?",
        [(Outcome.INTERRUPTED.value, _with_reason(details), id_) for id_, details in open_entries],
    )
    connection.execute(
        "UPDATE kernel SET end_reason = ? WHERE ended IS NULL AND end_reason = ''"
        " AND server NOT IN (SELECT value FROM json_each(?))",
        (SERVER_DIED, names),
    )


def _with_reason(details: Cell) -> str:
    try:
        known: dict[str, JSON] = dict(decode(details))
    except (TypeError, ValueError, RecursionError):
        known = {}
    return encode({**known, "reason": SERVER_DIED})

"""`kernel-exec sessions`: what sessions there are.

History is read from its file; only what has a kernel is asked from the host process.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import click

from kernel_exec.content.plain import counted, one_line
from kernel_exec.errors import BusyError
from kernel_exec.history.database import Database, count, find, last_uses
from kernel_exec.history.entries import EXECUTED, ID_SHOWN, SessionRecord
from kernel_exec.history.schema import ENTRY, KERNEL, SESSION, Query
from kernel_exec.host.client import open_host
from kernel_exec.places import Places
from kernel_exec.settings import Settings

from .reading import asked, history_root, print_json, settings_of, warn

_COLUMNS = ("name", "id", "state", "client", "folder", "environment", "steps", "memory", "used")
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


@click.command()
@click.option("-n", "--last", default=20, show_default=True, help="How many to list; 0 for all.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_obj
def sessions(options: dict[str, str | None], last: int, as_json: bool) -> None:
    """List the sessions, with what they do and what they take.

    The one used last comes first.
    """
    settings = settings_of(options)
    with history_of(settings) as history:
        found, spares = live(settings)
        opened = {row["id"]: row for row in found}
        records, used = by_use(history)
        rows = list(opened.values())
        for record in reversed(records):
            if last and len(rows) >= last:
                break
            if record.id not in opened:
                rows.append(_ended(history, record, used.get(record.id, record.created)))
    rows.sort(key=lambda row: float(row["last_used"]), reverse=True)
    if as_json:
        print_json(rows[: last or None])
        return
    for line in _table(rows[: last or None]):
        click.echo(line)
    if spares:
        memory = sum(each["memory_bytes"] or 0 for each in spares) / 1e6
        click.echo(f"{counted(len(spares), 'spare kernel')} for the next start, {memory:.0f} MB")


@contextmanager
def history_of(settings: Settings) -> Iterator[Database]:
    """The history of the storage folder, to be read; raises what `history_root` does."""
    database = Database(Places(history_root(settings)).private, examine=False)
    try:
        database.flush()  # which opens it
        if database.degraded:
            warn(f"history can't be opened: {database.degraded}")
        yield database
    finally:
        database.close()


def live(settings: Settings) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What the host process says of its open sessions and its spare kernels; none without one."""
    host = None
    try:
        host = open_host(settings.host.storage_root)
    except BusyError as error:
        warn(str(error))
    if host is None:
        return [], []
    with closing(host):
        told = next(asked(host, "sessions"))
    return told["sessions"], told.get("spare_kernels", [])


def by_use(history: Database) -> tuple[list[SessionRecord], dict[str, float]]:
    """All sessions, those used last at the end, and when that was."""
    used = last_uses(history)
    records = find(history, Query(table=SESSION))
    return sorted(records, key=lambda each: used.get(each.id, each.created)), used


def _ended(history: Database, record: SessionRecord, used: float) -> dict[str, Any]:
    kernels = find(history, Query(table=KERNEL, where={"session": (record.id,)}, last=1))
    lives = any(each.ended is None and not each.end_reason for each in kernels)
    where = {"session": (record.id,), "kind": EXECUTED}
    return {
        "name": record.name,
        "id": record.id,
        "client": record.client,
        "connected": False,
        "folder": record.folder,
        "environment": record.environment,
        "state": "running in another server" if lives else "ended",
        "memory_bytes": None,
        "running": None,
        "executions": count(history, Query(table=ENTRY, where=where)),
        "last_used": used,
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """The rows as lines whose columns are aligned."""
    now = time.time()
    cells = [
        [
            one_line(row["name"]),
            row["id"][:ID_SHOWN],
            row["state"],
            one_line(row["client"] or "-") + ("" if row["connected"] else " (left)"),
            one_line(row["folder"] or "-"),
            one_line(row["environment"]),
            str(row["executions"]),
            "-" if row["memory_bytes"] is None else f"{row['memory_bytes'] / 1e6:.0f} MB",
            _ago(now - row["last_used"]),
        ]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *cells, strict=True)]
    for line in (_COLUMNS, *cells):
        padded = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        yield "  ".join(padded).rstrip()


def _ago(seconds: float) -> str:
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return "now"

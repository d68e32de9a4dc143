"""`kernel-exec sessions`, `interrupt`, `restart`, `stop`: what sessions there are, and their end.

History is read from its file; only what has a kernel is asked from the host process.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any

import click
import psutil

from kernel_exec.content.plain import one_line
from kernel_exec.errors import BusyError, NotFoundError
from kernel_exec.history.database import Database, count, find, last_uses
from kernel_exec.history.entries import EXECUTED, ID_SHOWN, SessionRecord
from kernel_exec.history.schema import ENTRY, KERNEL, SESSION, Query
from kernel_exec.host.client import HostClient, open_host, pid_of_host
from kernel_exec.settings import Settings

from .reading import asked, history_of, settings_of

_COLUMNS = ("name", "id", "state", "client", "folder", "environment", "steps", "memory", "used")
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_FORCED = 2.0
"""Seconds that a host has to answer before it is killed, once somebody wants it to be."""

_ENDING = 15.0
"""Seconds that a host may take to end: its kernels and its history take a few."""


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
        opened = {row["id"]: row for row in live(settings)}
        records, used = by_use(history)
        rows = list(opened.values())
        for record in reversed(records):
            if last and len(rows) >= last:
                break
            if record.id not in opened:
                rows.append(_ended(history, record, used.get(record.id, record.created)))
    rows.sort(key=lambda row: float(row["last_used"]), reverse=True)
    if as_json:
        click.echo(json.dumps(rows[: last or None], indent=2))
        return
    for line in _table(rows[: last or None]):
        click.echo(line)


@click.command()
@click.argument("session")
@click.option("--force", is_flag=True, help="Kill the kernel if it does not obey.")
@click.pass_obj
def interrupt(options: dict[str, str | None], session: str, force: bool) -> None:
    """Stop what runs in a session, and keep its kernel."""
    with closing(require_host(settings_of(options))) as host:
        for told in asked(host, "interrupt", session=session, force=force):
            name = told["session"]
            if told["execution"] is None:
                click.echo(f"nothing is running in session {name}")
            else:
                click.echo(f"session {name}: step {told['step']} is {told['outcome']}")


@click.command()
@click.argument("session")
@click.pass_obj
def restart(options: dict[str, str | None], session: str) -> None:
    """Start a new kernel in a session.

    The variables of the one before are lost.
    """
    with closing(require_host(settings_of(options))) as host:
        for told in asked(host, "restart", session=session):
            lost = len(told["lost"])
            gone = f"; {lost} variable{'' if lost == 1 else 's'} lost" if lost else ""
            click.echo(f"session {told['session']}: kernel {told['generation']} started{gone}")


@click.command()
@click.argument("session", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="End the host process with all kernels.")
@click.option("--force", is_flag=True, help="Kill a host process that does not answer.")
@click.pass_obj
def stop(
    options: dict[str, str | None], session: tuple[str, ...], everything: bool, force: bool
) -> None:
    """End the kernels of sessions, or the host process with all of them.

    History stays, and what is run next starts a new kernel.
    """
    if bool(session) == (everything or (force and not session)):
        raise click.UsageError("name sessions, or pass --all")
    settings = settings_of(options)
    root = settings.host.storage_root
    try:
        host = open_host(root, patience=_FORCED if force else None)
    except BusyError:
        if not force:
            raise
        _end(pid_of_host(root), kill=True, patience=0)
        return
    if host is None:
        click.echo("no host process is running", err=True)
        return
    with closing(host):
        if session:
            for told in asked(host, "stop", sessions=list(session)):
                click.echo(f"stopped {', '.join(told['stopped'])}")
            return
        list(asked(host, "stop"))
        _end(host.pid, kill=force)


def _end(pid: int | None, *, kill: bool, patience: float = _ENDING) -> None:
    """Wait until the host process is gone, which is killed if it is not after a while."""
    process = None
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
    if process is not None and psutil.wait_procs([process], timeout=patience)[1]:
        if not kill:
            raise BusyError(f"the host process {pid} has not ended yet; --force kills it")
        process.kill()
        psutil.wait_procs([process])
    click.echo("the host process has ended")


def require_host(settings: Settings) -> HostClient:
    """The running host process.

    Raises:
        NotFoundError: There is none.
    """
    host = open_host(settings.host.storage_root)
    if host is None:
        raise NotFoundError(
            f"no host process is running for {str(settings.host.storage_root)!r}, so no session has"
            " a kernel; `kernel-exec show` reads history, `kernel-exec run` starts a kernel"
        )
    return host


def live(settings: Settings) -> list[dict[str, Any]]:
    """What the host process says of the sessions that it has open; none without one."""
    host = None
    try:
        host = open_host(settings.host.storage_root)
    except BusyError as error:
        click.echo(f"warning: {error}", err=True)
    if host is None:
        return []
    with closing(host):
        return [row for told in asked(host, "sessions") for row in told["sessions"]]


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

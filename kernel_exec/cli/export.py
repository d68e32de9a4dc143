"""`kernel-exec export`: a session's document, from the history that servers left."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio
import click

from kernel_exec.documents.export import export_session
from kernel_exec.documents.paths import FORMATS, default_path, format_of
from kernel_exec.documents.writing import PRIVATE
from kernel_exec.environments.activation import allowed_variables
from kernel_exec.errors import InvalidArgumentError, NotFoundError, StorageError
from kernel_exec.history.entries import SessionRecord, matching
from kernel_exec.history.store import Store, open_store
from kernel_exec.inherited import INHERITED
from kernel_exec.notebooks.build import OutputOptions

from .reading import history_root, settings_of, warn

_NAMED = 10
"""Sessions that a message lists."""


@click.command()
@click.argument("session", default="")
@click.option(
    "--format",
    "document",
    metavar="FORMAT",
    type=click.Choice(FORMATS),
    help="ipynb: a notebook; html: a page to review; py: a percent script; md: a report"
    " (default: by the ending of --output, or ipynb).",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write (default: in `notebooks` below the storage folder).",
)
@click.option(
    "--title",
    default="",
    help="Title of the document (default: the first note, or the first step's title).",
)
@click.option("--no-outputs", is_flag=True, help="Leave out all outputs.")
@click.option("--no-timing", is_flag=True, help="Leave out all times.")
@click.option(
    "--overwrite", is_flag=True, help="Replace a file that was not exported from this session."
)
@click.pass_obj
def export(
    options: dict[str, str | None],
    session: str,
    document: str | None,
    output: Path | None,
    title: str,
    no_outputs: bool,
    no_timing: bool,
    overwrite: bool,
) -> None:
    """Write a session's notebook from history, the latest or SESSION, and print its path.

    SESSION is a name, an id as in a notebook's metadata, or a unique beginning of either; of
    several sessions with one name, the last one used is exported. Servers may be running meanwhile.
    With --no-outputs or --no-timing the document is meant for version control and names no path of
    this machine.
    """
    settings = settings_of(options)
    connection, root = settings.connection, settings.host.storage_root
    target = None if output is None else output.absolute()
    if target is not None:
        format_of(target, document or "")
    wanted = OutputOptions(outputs=not no_outputs, times=not no_timing)

    async def written() -> Path:
        async with open_store(history_root(settings)) as store:
            if store.notice:
                warn(store.notice)
            record = await find_session(store, session)
            exported = await export_session(
                store,
                record,
                target or default_path(root, record, f".{document or 'ipynb'}"),
                overwrite=overwrite,
                limit=connection.notebook_size,
                variables=allowed_variables(connection.variables, passed=connection.pass_env),
                title=title,
                options=wanted,
                umask=PRIVATE if target is None and not wanted.portable else INHERITED.umask,
                check=partial(_require_below, root) if target is None else None,
            )
            return exported.path

    click.echo(anyio.run(written))


def _require_below(root: Path, folder: Path) -> None:
    """Refuse what a link, which code may have put there, leads out of the storage root."""
    if not folder.is_relative_to(os.path.realpath(root)):
        raise InvalidArgumentError(
            f"a link below {str(root)!r} leads to {str(folder)!r}; choose the file with --output"
        )


async def find_session(store: Store, wanted: str) -> SessionRecord:
    """The session `wanted` by name, id or a unique beginning, or the latest ("")."""
    records = await store.sessions()
    if not records:
        if store.degraded:
            raise StorageError(f"history can't be read: {store.degraded}")
        raise NotFoundError("history has no sessions yet; run code first")
    found = matching(wanted, records) if wanted else records
    if not found:
        raise NotFoundError(f"no session {wanted!r} in history; it has {_names(records)}")
    if wanted and len({each.name for each in found}) > 1:
        raise InvalidArgumentError(
            f"{wanted!r} may be any of {_names(found)}; use more of its name"
        )
    used = await store.last_uses()
    latest = sorted(found, key=lambda each: used.get(each.id, 0.0), reverse=True)
    for each in latest:
        if await store.entries(each.id, last=1):
            return each
    return latest[0]


def _names(records: Sequence[SessionRecord]) -> str:
    names = list(dict.fromkeys(repr(record.name) for record in reversed(records)))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more

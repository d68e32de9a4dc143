"""`kernel-exec export`: a session's notebook, from the history that servers left."""

from collections.abc import Sequence
from pathlib import Path

import anyio
import click

from kernel_exec.errors import NotFoundError, StorageError
from kernel_exec.notebooks.export import default_path, export_ipynb, read_notebook
from kernel_exec.sessions.history import SessionRecord
from kernel_exec.sessions.store import Store, open_store
from kernel_exec.settings import read_settings

_NAMED = 10
"""Sessions that a message lists."""


@click.command()
@click.argument("session", default="")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write (default: below `notebooks` in the storage folder).",
)
@click.option("--overwrite", is_flag=True, help="Replace a file that is no export of the session.")
@click.pass_obj
def export(
    options: dict[str, str | None], session: str, output: Path | None, overwrite: bool
) -> None:
    """Write a session's notebook from history, the latest or SESSION, and print its path.

    SESSION is a name, or an id as in a notebook's metadata; of several with one name the one
    that was used last is meant. Servers may be running meanwhile.
    """
    settings = read_settings(options=options)
    target = None if output is None else output.absolute()
    click.echo(anyio.run(_export, settings.storage_root, session, target, overwrite))


async def _export(root: Path, wanted: str, target: Path | None, overwrite: bool) -> Path:
    # opening the store would make a database where somebody mistyped a folder
    if not (root / ".kernel_exec").is_dir():
        raise NotFoundError(
            f"no history is below {str(root)!r}: set CODE_STORAGE_DIR or --storage-dir to the"
            " storage folder of the server"
        )
    async with open_store(root) as store:
        if store.notice:
            click.echo(f"warning: {store.notice}", err=True)
        record = await _find(store, wanted)
        path = target or default_path(root, record, ".ipynb")
        return await export_ipynb(await read_notebook(store, record), path, overwrite=overwrite)


async def _find(store: Store, wanted: str) -> SessionRecord:
    """The session `wanted` by name or id, or the latest ("")."""
    records = await store.sessions()
    if not records:
        if store.degraded:
            raise StorageError(f"history can't be read: {store.degraded}")
        raise NotFoundError("history holds no session yet: run code in one first")
    found = [each for each in records if not wanted or wanted in {each.name, each.id}]
    if not found:
        raise NotFoundError(f"history holds no session {wanted!r}: it holds {_names(records)}")
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

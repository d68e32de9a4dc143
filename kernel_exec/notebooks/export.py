"""Writes a notebook to a file: whole or not at all, and never over what is not ours."""

import importlib
import json
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import Any

from anyio import to_thread

from kernel_exec.errors import InvalidArgumentError, StorageError
from kernel_exec.kernels.messages import JSONObject, mapping
from kernel_exec.kernels.outputs import fold
from kernel_exec.sessions.history import SessionRecord
from kernel_exec.sessions.store import Store

from .build import Step, build, writable

_NAME = 80
"""Characters of a session's name in a file name; file systems allow 255 in all."""
_MESSAGE = 300
"""Characters of what the validation says, which may quote a whole cell."""


def default_path(storage_root: Path, session: SessionRecord, suffix: str) -> Path:
    """Where a session's document goes unless somebody says otherwise."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", session.name)[:_NAME].lstrip(".") or "session"
    return storage_root / "notebooks" / f"{name}-{session.id[:8]}{suffix}"


async def read_notebook(store: Store, session: SessionRecord) -> JSONObject:
    """The notebook of a session, from its history."""
    entries = await store.entries(session.id)
    events = await store.session_events(session.id)
    kernels = await store.kernels(session.id)

    def make() -> JSONObject:
        steps = [
            Step(entry=entry, outputs=tuple(fold(events.get(entry.id, ())))) for entry in entries
        ]
        return build(session=session, kernels=kernels, steps=steps)

    return await to_thread.run_sync(make)


async def export_ipynb(notebook: JSONObject, path: Path, *, overwrite: bool) -> Path:
    """Write `notebook` to `path`, which ends in `.ipynb`; the folder is made.

    An earlier export of the same session is replaced.

    Raises:
        InvalidArgumentError: The path is not allowed, or holds something else; or the notebook
            is not valid.
        StorageError: It can't be written.
    """
    return await to_thread.run_sync(_write, notebook, path, overwrite)


def _write(notebook: JSONObject, path: Path, overwrite: bool) -> Path:
    if path.suffix != ".ipynb":
        raise InvalidArgumentError(f"path {str(path)!r} must be a file name that ends in .ipynb")
    whole = {key: writable(value) for key, value in notebook.items()}
    _validate(whole)
    written = json.dumps(whole, ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not overwrite and not _replaceable(notebook, path):
            raise InvalidArgumentError(
                f"{str(path)!r} is there and no export of this session:"
                " choose another path, or set overwrite"
            )
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
            complete = Path(folder, path.name)
            with complete.open("w", encoding="utf-8", newline="\n") as file:
                file.write(written)
                file.flush()
                os.fsync(file.fileno())
            complete.chmod(_mode(path))
            complete.replace(path)  # replaces a link, and never follows it
    except OSError as error:
        raise StorageError(
            f"{str(path)!r} can't be written: {error.strerror or error}; choose another path"
        ) from error
    except ValueError as error:  # a NUL character, or one that the file system can't hold
        raise InvalidArgumentError(f"path {str(path)!r} is not allowed: {error}") from error
    return path


def _mode(path: Path) -> int:
    """Who may do what with the file: its owner alone, unless they gave the one there to others."""
    try:
        before = path.lstat().st_mode
    except FileNotFoundError:
        return 0o600
    return stat.S_IMODE(before) & 0o666 if stat.S_ISREG(before) else 0o600


def _validate(notebook: JSONObject) -> None:
    # its import takes 0.3 s, which a server that exports nothing need not wait for
    nbformat: Any = importlib.import_module("nbformat")
    try:
        nbformat.validate(nbformat.from_dict(notebook))
    except nbformat.ValidationError as error:
        where = ".".join(map(str, error.absolute_path)) or "the notebook"
        raise InvalidArgumentError(
            f"no valid notebook of format 4.5: {where}: {str(error.message)[:_MESSAGE]}"
        ) from error


def _replaceable(notebook: JSONObject, path: Path) -> bool:
    """True when there is nothing at `path`, or an export of the same session."""
    try:
        # neither a link nor a pipe, which would be waited for
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        written = path.read_bytes()
    except FileNotFoundError:
        return True
    try:
        there = json.loads(written)
    except (ValueError, RecursionError):
        return False
    ours = _session(notebook)
    return ours is not None and isinstance(there, dict) and _session(there) == ours


def _session(notebook: JSONObject) -> object:
    return mapping(mapping(notebook, "metadata"), "kernel_exec").get("session")

"""Writes a notebook to a file: whole or not at all, and never over what is not ours."""

import importlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from anyio import to_thread

from kernel_exec.errors import InvalidArgumentError, StorageError
from kernel_exec.kernels.messages import JSONObject, mapping
from kernel_exec.sessions.history import SessionRecord


def default_path(storage_root: Path, session: SessionRecord, suffix: str) -> Path:
    """Where a session's document goes unless somebody says otherwise."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", session.name)
    return storage_root / "notebooks" / f"{name}-{session.id[:8]}{suffix}"


async def export_ipynb(notebook: JSONObject, path: Path, *, overwrite: bool) -> Path:
    """Write `notebook` to `path`, which ends in `.ipynb`; the folder is made.

    An earlier export of the same session is replaced.

    Raises:
        InvalidArgumentError: The path is not allowed, or holds something else.
        StorageError: It can't be written.
    """
    return await to_thread.run_sync(_write, notebook, path, overwrite)


def _write(notebook: JSONObject, path: Path, overwrite: bool) -> Path:
    if path.suffix != ".ipynb":
        raise InvalidArgumentError(f"path {str(path)!r} must end in .ipynb")
    # its import takes 0.3 s, which a server that exports nothing need not wait for
    nbformat: Any = importlib.import_module("nbformat")
    nbformat.validate(nbformat.from_dict(notebook))
    written = json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not overwrite and not _replaceable(notebook, path):
            raise InvalidArgumentError(
                f"{str(path)!r} is there and no export of this session:"
                " choose another path, or set overwrite"
            )
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
            whole = Path(folder, path.name)
            with whole.open("w", encoding="utf-8") as file:
                file.write(written)
                file.flush()
                os.fsync(file.fileno())
            whole.replace(path)  # replaces a link, and never follows it
    except OSError as error:
        raise StorageError(f"{str(path)!r} can't be written: {error.strerror}") from error
    return path


def _replaceable(notebook: JSONObject, path: Path) -> bool:
    """True when there is nothing at `path`, or an export of the same session."""
    if path.is_symlink():
        return False
    try:
        there = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
    return _session(there) == _session(notebook) if isinstance(there, dict) else False


def _session(notebook: JSONObject) -> object:
    return mapping(mapping(notebook, "metadata"), "kernel_exec").get("session")

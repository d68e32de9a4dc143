"""The storage folder, and the log in it."""

import os
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kernel_exec.errors import StorageError
from kernel_exec.leases import lock
from kernel_exec.places import Places, nearest
from kernel_exec.settings import Settings

from .check import Check, broken, works

_LITTLE = 200_000_000
"""Bytes below which a disk is about to be full: an environment with pandas takes as many."""

_SAMPLE = 65_536
"""Bytes that are written to see whether any can be."""


async def storage(settings: Settings) -> Sequence[Check]:
    """Whether the storage folder and the cache can be written and locked, and have room."""
    root, source = settings.host.storage_root, settings.host.storage_source
    places = Places(root)
    fix = f"choose another folder with CODE_STORAGE_DIR or --storage-dir (now: {source})"
    found = _of_folder("storage", root, fix)
    if found.ok and places.private.is_dir():
        private = _of_folder("storage", places.private, fix)
        found = found if private.ok else private
    if found.ok and places.history.exists() and not os.access(places.history, os.R_OK | os.W_OK):
        fix = f"make {places.history} yours and writable"
        found = broken("storage", f"{places.history} can't be written", fix)
    fix = "choose another folder with KERNEL_EXEC_CACHE or --cache"
    return [found, _of_folder("cache", settings.host.cache, fix)]


def _of_folder(name: str, folder: Path, fix: str) -> Check:
    """Whether a folder can be used, or the one that it would be made in."""
    there = nearest(folder)
    if not there.is_dir():
        return broken(name, f"{there} is not a folder", fix)
    try:
        _try_out(there)
    except StorageError as error:
        return broken(name, error, fix)
    except OSError as error:
        where = "" if there == folder else f" in {there}"
        return broken(name, f"{folder} can't be written{where}: {error.strerror}", fix)
    text = "is writable" if there == folder else "does not exist yet; a server creates it"
    return _with_room(name, there, f"{folder} {text}")


def _try_out(folder: Path) -> None:
    """Write and lock a file that has no name, so that nothing is left whatever happens."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"\0" * _SAMPLE)
        file.flush()
        os.fsync(file.fileno())
        lock(folder / "file", file.fileno())


def _with_room(name: str, folder: Path, text: str) -> Check:
    free = shutil.disk_usage(folder).free
    if free < _LITTLE:
        fix = "make room there, or set KERNEL_EXEC_HISTORY_SIZE to less"
        return broken(name, f"{text}, but only {_size(free)} are free", fix)
    return works(name, f"{text}, {_size(free)} free")


async def log(settings: Settings) -> Sequence[Check]:
    """Where the log is, and how large."""
    path, level = Places(settings.host.storage_root).log, settings.host.log_level
    try:
        status = path.lstat()
    except FileNotFoundError:
        return [works("log", f"{path} does not exist yet (level {level})")]
    if not stat.S_ISREG(status.st_mode) or not os.access(path, os.W_OK):
        return [broken("log", f"{path} can't be written", "make it writable, or remove it")]
    return [works("log", f"{path} ({_size(status.st_size)}, level {level})")]


def _size(count: float) -> str:
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"

"""Large contents as files named by their SHA-256: written whole or not at all, kept once."""

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

from kernel_exec.errors import StorageError
from kernel_exec.files import write_whole

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Blobs:
    """Contents below one folder; every file is durable before its name is handed out.

    Any number of processes may use the same folder. Directories are 0700, files 0600.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, content: bytes) -> str:
        """Keep `content` and return its SHA-256 in hex; raises `OSError`."""
        name = hashlib.sha256(content).hexdigest()
        path = self._path(name)
        with suppress(FileNotFoundError):
            if path.stat().st_size == len(content):  # one cut short by a lost disk is written anew
                return name
        _make_folder(self._folder.parent, self._folder)
        _make_folder(self._folder, path.parent)
        write_whole(path, content, mode=0o600)
        _sync_folder(path.parent)
        return name

    def get(self, name: str) -> bytes:
        """The content whose SHA-256 is `name`.

        Raises:
            StorageError: There is no such file, or it holds something else.
        """
        if not _SHA256.fullmatch(name):
            raise StorageError(f"{name!r} does not name a content")
        path = self._path(name)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StorageError(f"{path} can't be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != name:
            raise StorageError(f"{path} was changed")
        return content

    def remove(self, name: str) -> int:
        """Remove a content; the bytes that it took. Raises `OSError`."""
        path = self._path(name)
        if not _SHA256.fullmatch(name) or not path.exists():
            return 0
        size = path.lstat().st_size
        path.unlink(missing_ok=True)
        return size

    def folders(self) -> list[Path]:
        """The folders that contents lie in."""
        return sorted(self._folder.glob("??"))

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name


def _make_folder(parent: Path, folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    _sync_folder(parent)


def _sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable; Windows can't open a folder, and needs no such step."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)

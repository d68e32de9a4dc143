"""Where our own files lie."""

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from kernel_exec.errors import InvalidArgumentError

INSIDE: Final = Path(__file__).with_name("inside") / "main.py"
"""What a foreign interpreter runs, with a word for what it is to do: launch, probe or warden."""

PRIVATE_FOLDER: Final = ".kernel_exec"
"""The folder below a storage root that is the server's own: no tool reads or writes there."""

CONFIG_NAME: Final = "kernel_exec.toml"
"""The configuration file in the user's configuration folder, and in folders that they trust."""

CELLS_FOLDER: Final = "cells"
"""The folder below a storage root for code that ran without a file name of its own."""

_XDG: Final = {
    "storage_dir": ("XDG_DATA_HOME", ".local/share"),
    "cache": ("XDG_CACHE_HOME", ".cache"),
    "config": ("XDG_CONFIG_HOME", ".config"),
}


def bare(executable: Path) -> list[str]:
    """The command of an interpreter that does what is named, and runs nothing that is installed."""
    return [str(executable), "-E", "-S", "-B", str(INSIDE)]  # -B: it must leave no trace


def is_exposed(path: Path, writable: Collection[Path]) -> bool:
    """True when a path lies in or leads through a folder of `writable`, or to nothing."""
    if not path.exists():
        return True
    places, ahead = set[Path](), [path]
    for each in ahead:
        places.add(Path(os.path.realpath(each)))
        for link in (each, *each.parents):
            place = Path(os.path.realpath(link.parent), link.name)
            if link.is_symlink() and place not in places:
                places.add(place)
                ahead.append(link.parent / link.readlink())
    folders = {Path(os.path.realpath(each)) for each in writable}
    return any(not folders.isdisjoint((each, *each.parents)) for each in places)


def xdg_folder(kind: str, variables: Mapping[str, str]) -> Path:
    """Our folder of a kind in the home of the user who has these variables, as Linux has it."""
    variable, below = _XDG[kind]
    given = variables.get(variable, "").strip()
    home = variables.get("HOME") or Path("~").expanduser()
    return Path(given or Path(home, below), "kernel-exec")


def home_folder(variables: Mapping[str, str]) -> Path:
    """The user's folder; that of nobody when the system knows none, as in some containers."""
    if home := variables.get("HOME"):
        return Path(home)
    try:
        return Path.home()
    except RuntimeError:
        return Path("/nonexistent")


def nearest(path: Path) -> Path:
    """The path itself, or what exists of the way there."""
    return next(each for each in (path, *path.parents) if os.path.lexists(each))


def make_root(root: Path, source: str) -> None:
    """Make the storage root unless it exists; `source` is what has set it.

    Raises:
        InvalidArgumentError: It can't be made.
    """
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidArgumentError(
            f"{source} is {str(root)!r}, which can't be used as a folder ({error.strerror});"
            " choose another one with CODE_STORAGE_DIR or --storage-dir"
        ) from error


def at_home(
    variables: Mapping[str, str], cache: Path, root: Path
) -> tuple[Mapping[str, str], Path]:
    """A user's variables and the cache folder, both below `root` for one without a home.

    Users of containers often have none, or one that can't be written to.
    """
    there = nearest(cache)
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return variables, cache
    cache = Places(root).private / "cache"
    changed = {"UV_CACHE_DIR": variables.get("UV_CACHE_DIR") or str(cache / "uv")}
    if not os.access(variables.get("HOME", ""), os.X_OK):
        changed["HOME"] = str(root)
    return {**variables, **changed}, cache


class Places(NamedTuple):
    """What lies where below the storage root `root`; nothing of it need be there.

    A tuple and no dataclass, which takes as long to import as all else that a relay does.
    """

    root: Path

    @property
    def private(self) -> Path:
        """The server's own folder."""
        return self.root / PRIVATE_FOLDER

    @property
    def environment(self) -> Path:
        """The managed default environment."""
        return self.private / "environment"

    @property
    def history(self) -> Path:
        """The history database."""
        return self.private / "history.db"

    @property
    def blobs(self) -> Path:
        """Large outputs of history, each named by its content."""
        return self.private / "blobs"

    @property
    def leases(self) -> Path:
        """A lock for each session that some server has open, named by its id."""
        return self.private / "sessions"

    def lease(self, session_id: str) -> Path:
        """That of one session."""
        return self.leases / f"{session_id}.lock"

    @property
    def spill(self) -> Path:
        """What is too long for the wire, in a folder for each session, named by its id."""
        return self.private / "spill"

    def make_spill_dir(self, session_id: str) -> Path:
        """The folder there of one session, made if possible; outputs are cut without it."""
        folder = self.spill / session_id
        with suppress(OSError):
            for each in (self.spill, folder):
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    @property
    def hosts(self) -> Path:
        """What leads to host processes, in a folder for each place from which one is reached."""
        return self.private / "hosts"

    @property
    def log(self) -> Path:
        """What went wrong in servers."""
        return self.private / "server.log"

    @property
    def http_token(self) -> Path:
        """What clients carry that come over HTTP, unless they were given another one."""
        return self.private / "http_token"

    @property
    def notebooks(self) -> Path:
        """Exports, unless somebody says otherwise."""
        return self.root / "notebooks"

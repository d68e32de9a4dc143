"""Where our own files lie: below a storage root, and in this package."""

from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

INSIDE: Final = Path(__file__).with_name("inside") / "main.py"
"""What a foreign interpreter runs, with a word for what it is to do: launch, probe or warden."""

PRIVATE_FOLDER: Final = ".kernel_exec"
"""The folder below a storage root that is the server's own: no tool reads or writes there."""

CELLS_FOLDER: Final = "cells"
"""The folder below a storage root for code that ran without a file name of its own."""


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
    def host_log(self) -> Path:
        """What went wrong in host processes."""
        return self.private / "host.log"

    @property
    def notebooks(self) -> Path:
        """Exports, unless somebody says otherwise."""
        return self.root / "notebooks"

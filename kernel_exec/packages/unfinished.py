"""A note of what an environment was before an install, there for as long as the install takes.

One that is found before the next install begins is that of a server which was killed: what it was
doing is mended then.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from kernel_exec.environments.interpreters import Distribution

from .inventory import Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """An install that began, in seconds of the epoch, and what was installed before it."""

    began: float
    before: Inventory


def write(note: Path, begun: Begun) -> None:
    """Take note of an install that begins.

    Raises:
        OSError: It can't be written.
    """
    told = {"began": begun.began, "before": [asdict(each) for each in begun.before]}
    half = note.with_suffix(".new")
    half.write_text(json.dumps(told), "utf-8")
    half.replace(note)


def read(note: Path) -> Begun | None:
    """The install that was never finished; None when there is none."""
    try:
        told = json.loads(note.read_text("utf-8"))
        before = [
            Distribution(
                name=str(each["name"]),
                version=str(each["version"]),
                location=str(each["location"]),
                modules=tuple(map(str, each["modules"])),
            )
            for each in told["before"]
        ]
        return Begun(began=float(told["began"]), before=before)
    except (OSError, ValueError, KeyError, TypeError):
        return None

"""The stored file that a path means: itself, else with its suffix, else that of a cell."""

import difflib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

from kernel_exec.errors import NotFoundError
from kernel_exec.places import CELLS_FOLDER

from .confined import Place, place_below

_MOST_LISTED: Final = 5000
"""Files of the storage root that are compared with a name that none has."""

_UNIQUE_PART: Final = re.compile(r"_[0-9a-f]{8}(?=\.py$)")


def found_below(root: Path, given: str) -> Place:
    """Where the file is that `given` means; its own place if nothing like it exists.

    Raises `NotFoundError` when there is none, but one with a name much like it.
    """
    place = place_below(root, given)
    for each in _meant(place):
        if os.path.lexists(each.path):  # how it is opened does not rely on it
            return each
    if len(place.parts) == 1 and (near := _near(root, place.parts[0])):
        raise NotFoundError(f"no file {str(place.path)!r}; did you mean {near!r}?")
    return place


def _meant(place: Place) -> Iterator[Place]:
    """The places that a path may mean, the likeliest first."""
    *folders, name = place.parts
    names = [name] if name.endswith(".py") else [name, f"{name}.py"]
    for each in names:
        yield replace(place, parts=(*folders, each))
    if not folders:
        for each in names:
            yield replace(place, parts=(CELLS_FOLDER, each))


def _near(root: Path, name: str) -> str:
    """The name of the file directly below the root that is most like `name`, the newest first."""
    wanted = name if name.endswith(".py") else f"{name}.py"
    listed: dict[str, tuple[float, str]] = {}
    with suppress(OSError), os.scandir(root) as files:
        for file in islice(files, _MOST_LISTED):
            if not file.name.startswith(".") and file.is_file(follow_symlinks=False):
                plain = _UNIQUE_PART.sub("", file.name)
                latest = (file.stat(follow_symlinks=False).st_mtime, file.name)
                listed[plain] = max(listed.get(plain, latest), latest)
    near = difflib.get_close_matches(wanted, listed, n=1, cutoff=0.75)
    return listed[near[0]][1] if near else ""

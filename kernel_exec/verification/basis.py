"""What a verdict rests on, as far as anybody can know it: while that is unchanged, it holds.

The code, what it is compared with, the interpreter, its packages and the files of the working
directory count. Files elsewhere, the network and the clock can't be known, so whoever uses a
verdict again says so.
"""

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Sequence
from pathlib import Path

from anyio import to_thread

from kernel_exec.environments.catalog import PreparedEnvironment
from kernel_exec.environments.interpreters import distributions
from kernel_exec.jsons import JSON

from .plan import PlannedCell

_MOST_FILES = 20_000
"""Files that are looked at; where there are more, every verification runs."""


async def basis(
    plan: Sequence[PlannedCell],
    prepared: PreparedEnvironment,
    *,
    working_directory: Path,
    apart: Path,
    time_limit: float | None,
) -> str:
    """A text that changes when something changes that a verdict rests on; "" when nobody knows.

    The folder `apart` is where documents go, which no code is run for.
    """
    interpreter = prepared.interpreter
    installed = await distributions(interpreter.executable, variables=prepared.variables)
    files = await to_thread.run_sync(files_below, working_directory, apart)
    if files is None:
        return ""
    code: list[JSON] = [
        [cell.source, cell.outputs, cell.may_fail, cell.skipped, cell.generated] for cell in plan
    ]
    rests_on: list[JSON] = [
        importlib.metadata.version("kernel-exec"),
        time_limit,
        code,
        [prepared.environment.key, str(interpreter.executable), interpreter.python_version],
        sorted(f"{each.name} {each.version} {each.location}" for each in installed),
        [str(working_directory), files],
    ]
    return hashlib.sha256(json.dumps(rests_on, sort_keys=True).encode()).hexdigest()


def files_below(folder: Path, apart: Path) -> str | None:
    """A digest of the names, sizes and times of files below `folder`; None for too many.

    What is hidden, such as a repository's own files, and compiled code do not count.
    """
    digest = hashlib.sha256()
    seen = 0
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and name != "__pycache__" and Path(place, name) != apart
        )
        seen += len(files) + len(folders)
        if seen > _MOST_FILES:
            return None
        for path in (Path(place, name) for name in sorted(files)):
            try:
                found = path.stat()
            except OSError:
                continue  # a link that leads nowhere, or gone by now
            entry = f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n"
            digest.update(entry.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()

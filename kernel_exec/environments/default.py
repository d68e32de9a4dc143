"""The managed default environment: a uv venv below the storage root, made on first use."""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from filelock import AsyncFileLock

from kernel_exec.errors import UnusableEnvironmentError

from .installer import run_uv
from .interpreters import ask, find_executable
from .spec import Environment, EnvironmentKind

_MAKE_LIMIT = 120.0


async def ensure_default(storage_root: Path, *, variables: Mapping[str, str]) -> Environment:
    """The default environment, made if it is not there; two processes may ask at once.

    One whose interpreter no longer runs, as after an upgrade of Python, is set aside and made
    anew; its packages stay in the folder that was set aside.

    Raises:
        UnusableEnvironmentError: It can't be made.
    """
    folder = storage_root / ".kernel_exec"
    environment = Environment(kind=EnvironmentKind.VENV_UV, path=folder / "environment")
    if await _works(environment, variables):
        return environment
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = AsyncFileLock(folder / "environment.lock", thread_local=False)
        await lock.acquire()
    except OSError as error:
        raise UnusableEnvironmentError(
            f"the default environment can't be made in {str(folder)!r}: {error};"
            " set CODE_STORAGE_DIR to a folder that can be written, or name an environment"
        ) from error
    try:
        if not await _works(environment, variables):
            await _make(folder, variables)
    finally:
        await lock.release()
    return environment


async def _works(environment: Environment, variables: Mapping[str, str]) -> bool:
    try:
        executable = find_executable(environment, home=Path.home(), base=variables)
        await ask(executable, variables=variables)
    except UnusableEnvironmentError:
        return False
    return True


async def _make(folder: Path, variables: Mapping[str, str]) -> None:
    place = folder / "environment"
    if place.exists():
        aside = Path(tempfile.mkdtemp(prefix="environment.broken-", dir=folder))
        place.rename(aside / "environment")
    base = str(getattr(sys, "_base_executable", sys.executable))
    # a venv can't be moved once it is made; `ask` tells a half-made one from a whole one
    finished = await run_uv(
        ["venv", "--quiet", "--no-project", "--python", base, "--", str(place)],
        variables=variables,
        cwd=folder,
        limit=_MAKE_LIMIT,
    )
    if finished.returncode != 0:
        raise UnusableEnvironmentError(
            f"the default environment could not be made (exit code {finished.returncode}):"
            f" {finished.stderr.strip()[-500:]}"
        )

"""Real kernels for tests: those of the interpreter that runs the tests."""

import os
import sys
import tempfile
from functools import partial
from pathlib import Path

from kernel_exec.environments.catalog import Catalog, PreparedEnvironment
from kernel_exec.environments.spec import Environment, EnvironmentKind
from kernel_exec.kernels.kernel import KernelStarter
from kernel_exec.kernels.local import LocalKernels
from kernel_exec.places import Places
from tests.shared import CACHE

HERE = Environment(kind=EnvironmentKind.PYTHON, path=Path(sys.executable))


def all_kernels(root: Path | None = None) -> LocalKernels:
    """Where real kernels come from; those behind walls that are started ahead need `root`."""
    runtime_dir = Path(tempfile.gettempdir())
    return LocalKernels(runtime_dir=runtime_dir, places=Places(root or runtime_dir))


async def prepared(folder: Path) -> PreparedEnvironment:
    """The environment of the interpreter that runs the tests, for the storage root `folder`."""
    catalog = Catalog(
        storage_root=folder,
        cache=CACHE,
        base_variables=os.environ,
        passed_variables=(),
        configured=HERE,
        named={},
    )
    return await catalog.prepare(HERE)


async def local_kernels(folder: Path) -> KernelStarter:
    """A starter of kernels that work in `folder`."""
    spill_dir = folder / "spill"
    spill_dir.mkdir(exist_ok=True)
    return partial(
        all_kernels().open, await prepared(folder), working_directory=folder, spill_dir=spill_dir
    )

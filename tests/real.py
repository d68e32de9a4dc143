"""Real kernels for tests: those of the interpreter that runs the tests."""

import os
import sys
import tempfile
from pathlib import Path

from kernel_exec.environments.catalog import Catalog
from kernel_exec.environments.spec import Environment, EnvironmentKind
from kernel_exec.kernels.local import LocalKernels
from tests.shared import CACHE

HERE = Environment(kind=EnvironmentKind.PYTHON, path=Path(sys.executable))


async def local_kernels(folder: Path) -> LocalKernels:
    """A starter of kernels that work in `folder`."""
    catalog = Catalog(
        storage_root=folder,
        cache=CACHE,
        base_variables=os.environ,
        passed_variables=(),
        configured=HERE,
        named={},
    )
    spill_dir = folder / "spill"
    spill_dir.mkdir(exist_ok=True)
    return LocalKernels(
        prepared=await catalog.prepare(HERE),
        working_directory=folder,
        spill_dir=spill_dir,
        runtime_dir=Path(tempfile.gettempdir()),
    )

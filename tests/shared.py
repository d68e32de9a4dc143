"""The cache that all tests of a run share, as all servers of a machine do.

What a Python needs for kernels is found out once, and its overlay made once, by whoever comes
first; a test of that brings a cache of its own.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

_VARIABLE = "KERNEL_EXEC_TEST_CACHE"
"""Leads the workers of a run to the folder of the process that started them."""


def _made() -> str:
    folder = os.environ[_VARIABLE] = tempfile.mkdtemp(prefix="kernel-exec-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


CACHE = Path(os.environ.get(_VARIABLE) or _made())

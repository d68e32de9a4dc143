"""Whether walls can be held where the tests run."""

import shutil
import subprocess
from functools import cache

import pytest


def require_walls() -> None:
    """Skip the test that calls it where bubblewrap is missing, or may not make namespaces."""
    if not _can_hold():
        pytest.skip("bubblewrap is missing, or may not make namespaces")


@cache
def _can_hold() -> bool:
    program = shutil.which("bwrap")
    if program is None:
        return False
    argv = [program, "--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "true"]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0

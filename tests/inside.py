"""The modules that describe values inside a kernel, imported here as they are there."""

import importlib
import sys
from typing import Any

_PARTS = ("variables", "cells", "figures", "frames", "names")
"""Each after those that it needs itself."""


def part(name: str) -> Any:
    """One of these modules, such as `frames`; kernels of any Python run it: no types."""
    for each in _PARTS:
        module = importlib.import_module(f"kernel_exec.kernels._{each}")
        sys.modules.setdefault(f"_kernel_exec_{each}", module)
    return importlib.import_module(f"kernel_exec.kernels._{name}")

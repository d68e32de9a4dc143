"""Shows matplotlib's figures in the result of their cell; loaded in the kernel's process.

Standard library only, Python 3.8 syntax. ipykernel names its backend in the variable `MPLBACKEND`,
which child processes would get, too: those have no cell, and may not even have that backend. Here
matplotlib is told when it is imported. It obeys the variable first, and `matplotlib.use`.
"""

import os
import sys

_LIBRARY = "matplotlib"


class Inline:
    """Stands before all finders of modules."""

    def __init__(self, backend):
        """`backend` is what matplotlib uses unless it is told otherwise."""
        self._backend = backend

    def find_spec(self, name, path=None, target=None):
        """What the other finders find of matplotlib, with a loader that sets its backend."""
        if name != _LIBRARY:
            return None
        others = (each for each in sys.meta_path if each is not self and hasattr(each, "find_spec"))
        found = (each.find_spec(name, path, target) for each in others)
        spec = next((each for each in found if each is not None), None)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module
            spec.loader.exec_module = lambda module: self._set_backend(module, load(module))
        return spec

    def _set_backend(self, module, loaded):
        chosen = os.environ.get("MPLBACKEND")
        if module.__name__ == _LIBRARY and not chosen and hasattr(module, "rcParams"):
            module.rcParams["backend"] = self._backend

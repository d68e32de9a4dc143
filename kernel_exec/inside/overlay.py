"""Notes on imports of what only the kernel has; loaded in the kernel's process.

Standard library only, Python 3.8 syntax. What an overlay brings can be imported by user code, too,
and would be missing when the code runs elsewhere; in a shadow, what the kernel has imported is
there instead of the environment's own version. Each name is noted once in a kernel's life.
"""

import ast
import importlib.machinery
import os
import sys
import warnings
from importlib import metadata

_ONLY_HERE = (
    "%s comes from the kernel's overlay: the environment does not have it; install it with"
    " install_dependencies if the code needs it"
)
_HIDDEN = "%s is version %s here, from the kernel's overlay; the environment's own is %s"
_DISTRIBUTIONS = {"dateutil": "python-dateutil", "zmq": "pyzmq"}


class Behind:
    """Finds modules in folders that `sys.path`, which child processes get, does not name."""

    def __init__(self, folders):
        """`folders` come after everything else."""
        self._folders = folders

    def find_spec(self, name, path=None, target=None):
        """The spec of a module that nothing else has found."""
        if path is not None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, self._folders, target)
        return spec if spec is not None and spec.loader is not None else None

    def find_distributions(self, context):
        """The distributions there, which libraries ask for plug-ins."""
        if context.path is not sys.path:
            return iter(())
        here = metadata.DistributionFinder.Context(name=context.name, path=self._folders)
        return metadata.MetadataPathFinder.find_distributions(here)


class OverlayImports:
    """Knows what an overlay brings; `folder` is "" when there is none."""

    def __init__(self, folder):
        """Look at what there is."""
        self._folder = folder
        self._names = {name.partition(".")[0] for name in os.listdir(folder)} if folder else set()

    def warnings(self, code, transform):
        """What to say of the imports in a cell; `transform` makes Python of its magics."""
        mentioned = {name for name in self._names if name in code}
        imported = mentioned & _imported(code, transform) if mentioned else set()
        self._names -= imported
        return [note for note in map(self._warning, sorted(imported)) if note]

    def _warning(self, name):
        spec = importlib.machinery.PathFinder.find_spec(name)
        if spec is None or spec.loader is None:
            return _ONLY_HERE % name
        loaded = getattr(sys.modules.get(name), "__file__", None) or ""
        if not loaded.startswith(self._folder + os.sep):
            return ""
        here, own = (_version(name, where) for where in ([self._folder], [*sys.path]))
        return _HIDDEN % (name, here, own) if own and here != own else ""


def _imported(code, transform):
    """The top-level names of modules that are imported anywhere in a cell."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # running it will warn
            tree = ast.parse(transform(code))
    except Exception:
        return set()  # running it will tell what is wrong
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    return names


def _version(name, path):
    """The version of the distribution that brings `name` to `path`, "" when none tells."""
    named = _DISTRIBUTIONS.get(name, name)
    found = next(iter(metadata.distributions(name=named, path=path)), None)
    return found.version if found is not None else ""

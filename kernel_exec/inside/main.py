"""The one way into this folder; for any Python, even one that can only tell that it is too old.

    python main.py guardian CONFIGURATION.json DESCRIPTOR
    python main.py launch CONFIGURATION.json
    python main.py bare [OPTIONS] (-c CODE | -m MODULE) [ARGUMENT ...]
    python main.py probe FENCE (interpreter | distributions | torn SINCE)
    python main.py warden VARIABLE MARK FOLDER

The files beside this one become a package of a name that can't meet the user's.
"""

import os
import sys
import types

try:
    from importlib.machinery import FileFinder, SourceFileLoader
except ImportError:  # Python 2, which only says what it is
    FileFinder = None
    SourceFileLoader = object


class Loader(SourceFileLoader):
    """Loads the files beside this one."""

    def get_code(self, fullname):
        """The module's code, which is kept compiled even under `python -B`: that folder is ours."""
        before, sys.dont_write_bytecode = sys.dont_write_bytecode, False
        try:
            return super().get_code(fullname)
        finally:
            sys.dont_write_bytecode = before


def main():
    """Do what the first argument names, with the others."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    package = sys.modules["_kernel_exec"] = types.ModuleType("_kernel_exec")
    package.__path__ = [here]
    if FileFinder is not None:
        sys.path_importer_cache[here] = FileFinder(here, (Loader, [".py"]))
    name = "_kernel_exec." + sys.argv.pop(1)
    __import__(name)
    sys.modules[name].main()


if __name__ == "__main__":
    main()

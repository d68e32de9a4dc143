"""The one way into this folder; for any Python, even one that can only tell that it is too old.

    python main.py launch CONFIGURATION.json
    python main.py probe FENCE (interpreter | distributions | torn SINCE)
    python main.py warden VARIABLE MARK FOLDER

The files beside this one become a package of a name that can't meet the user's.
"""

import os
import sys
import types


def main():
    """Do what the first argument names, with the others."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    package = sys.modules["_kernel_exec"] = types.ModuleType("_kernel_exec")
    package.__path__ = [here]
    name = "_kernel_exec." + sys.argv.pop(1)
    __import__(name)
    sys.modules[name].main()


if __name__ == "__main__":
    main()

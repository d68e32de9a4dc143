"""What the server asks a kernel beside running cells; runs in the kernel's process.

Python 3.8 syntax. Each answer's `repr` is JSON, since that is how IPython sends the value of an
expression.
"""

import fnmatch
import importlib
import json
import site
import sys
import sysconfig

from IPython.core.getipython import get_ipython

from . import names
from .variables import describe_variable


class _Text:
    """A value whose representation is a given text, so that it travels as it is."""

    def __init__(self, text):
        self._text = text

    def __repr__(self):
        return self._text


def variables(pattern="*", most=500):
    """The user's variables whose name matches, as JSON; imports nothing, changes nothing."""
    shell = get_ipython()
    found = []
    total = 0
    for name, value in sorted(names.visible(shell).items(), key=lambda item: item[0]):
        if not fnmatch.fnmatch(name, pattern):
            continue
        total += 1
        if len(found) < most:
            found.append(describe_variable(name, value))
    return _Text(json.dumps({"variables": found, "total": total}))


def versions(modules):
    """The distributions that provide `modules`, and their versions; before Python 3.10 none."""
    from importlib import metadata

    if not hasattr(metadata, "packages_distributions"):
        return _Text("{}")
    providers = metadata.packages_distributions()
    found = {each for name in modules for each in providers.get(name, ())}
    return _Text(json.dumps({name: metadata.version(name) for name in sorted(found)}))


def refresh(modules):
    """Make what was just installed importable; which of `modules` were imported before, as JSON."""
    importlib.invalidate_caches()
    for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        site.addsitedir(folder)  # reads new .pth files
    return _Text(json.dumps(sorted(name for name in modules if name in sys.modules)))

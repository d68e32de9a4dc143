"""What the server asks a kernel beside running cells; runs in the kernel's process.

Python 3.8 syntax. Answered in the thread of the control channel, also while code runs. Each answer
is JSON.
"""

import fnmatch
import importlib
import site
import sys
import sysconfig

from . import names
from .variables import describe_variable

_MOST = 500


def answer(shell, question, arguments):
    """The answer to one of the questions below."""
    return _QUESTIONS[question](shell, *arguments)


def _variables(shell, pattern):
    """The user's variables whose name matches; imports nothing, changes nothing."""
    found = []
    total = 0
    for name, value in sorted(names.visible(shell).items(), key=lambda item: item[0]):
        if not fnmatch.fnmatch(name, pattern):
            continue
        total += 1
        if len(found) < _MOST:
            found.append(describe_variable(name, value))
    return {"variables": found, "total": total}


def _versions(shell, modules):
    """The distributions that provide `modules`, and their versions; before Python 3.10 none."""
    from importlib import metadata

    if not hasattr(metadata, "packages_distributions"):
        return {}
    providers = metadata.packages_distributions()
    found = {each for name in modules for each in providers.get(name, ())}
    return {name: metadata.version(name) for name in sorted(found)}


def _refresh(shell, modules):
    """Make what was just installed importable; which of `modules` were imported before."""
    importlib.invalidate_caches()
    for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        site.addsitedir(folder)  # reads new .pth files
    return sorted(name for name in modules if name in sys.modules)


_QUESTIONS = {"variables": _variables, "versions": _versions, "refresh": _refresh}

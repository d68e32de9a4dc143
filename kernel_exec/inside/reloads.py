"""Modules that were written again after they were imported; loaded in the kernel's process.

Standard library only, Python 3.8 syntax. Importing such a module again runs its old code. Followed
are the user's own modules, not those of the library or of installed packages, with their content as
of the end of the cell that imported them; `importlib.reload` gives a module another spec.
"""

import ast
import os
import sys
import sysconfig
import types
import warnings

_LARGEST = 1000000
"""Bytes of a module's file that is followed."""

_MOST = 200
_NAMED = 3


class Reloads:
    """Knows the user's own modules that are loaded."""

    def __init__(self):
        """What is loaded now is not the user's."""
        self._known = set(sys.modules)
        self._latest = None
        self._loaded = {}
        self._imported = set()
        paths = [*sysconfig.get_paths().values(), os.path.dirname(os.__file__)]
        self._foreign = tuple({os.path.join(os.path.realpath(path), "") for path in paths})

    def begin(self, code, transform):
        """A cell begins; `transform` makes Python of its magics."""
        mentioned = [name for name in self._loaded if name.partition(".")[0] in code]
        self._imported = _imported(code, transform) if mentioned else set()

    def finish(self):
        """What to say of the modules that the cell has imported again."""
        names = [
            name
            for name in self._loaded
            if any(each == name or each.startswith(name + ".") for each in self._imported)
        ]
        stale = [name for name in names if self._is_stale(name)]
        self._imported = set()
        latest = len(sys.modules), next(reversed(sys.modules))
        if latest != self._latest:  # what is imported comes behind all others
            self._latest = latest
            for name in set(sys.modules) - self._known:
                self._known.add(name)
                self._note(name)
        return [_SAY.format(name) for name in stale[:_NAMED]]

    def _is_stale(self, name):
        module, spec, mark, content = self._loaded[name]
        if sys.modules.get(name) is not module or vars(module).get("__spec__") is not spec:
            self._note(name)
            return False
        file = vars(module).get("__file__")
        if type(file) is not str or _mark(file) == mark:
            return False
        return _content(file) not in (content, None)

    def _note(self, name):
        self._loaded.pop(name, None)
        module = sys.modules.get(name)
        if type(module) is not types.ModuleType or len(self._loaded) >= _MOST:
            return
        file, spec = vars(module).get("__file__"), vars(module).get("__spec__")
        if type(file) is not str or not file.endswith(".py") or spec is None:
            return
        place = os.path.realpath(file)
        if place.startswith(self._foreign) or "site-packages" in place:
            return
        content = _content(file)
        if content is not None:
            self._loaded[name] = (module, spec, _mark(file), content)


_SAY = (
    "the file of `{0}` has changed since it was imported and its old code runs:"
    " `import importlib, {0}; importlib.reload({0})`"
)


def _mark(file):
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _content(file):
    """A hash of what is in a file; None for one that is too long, or can't be read."""
    try:
        with open(file, "rb") as opened:
            content = opened.read(_LARGEST + 1)
    except OSError:
        return None
    return hash(content) if len(content) <= _LARGEST else None


def _imported(code, transform):
    """The modules that a cell imports, also those that it may import from one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(transform(code))
    except Exception:
        return set()  # running it has told what is wrong
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names |= {"%s.%s" % (node.module, alias.name) for alias in node.names}
    return names

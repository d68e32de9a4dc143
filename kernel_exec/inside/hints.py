"""The next step after a mistake, which only the kernel knows; loaded in the kernel's process.

Standard library only, Python 3.8 syntax. Nothing here may cost a cell its result: each part goes
through `attempt`, looks at a bounded number of things, and runs no code of the user's.

Three parts follow a cell: the commands that have failed, modules that were written again after they
were imported, and its error, of which `suggestions` and `missing` know more. Importing such a
module again runs its old code. Followed are the user's own modules, not those of the library or of
installed packages, with their content as of the end of the cell that imported them;
`importlib.reload` gives a module another spec.
"""

import ast
import json
import os
import re
import shlex
import shutil
import sys
import sysconfig
import types
import warnings
from importlib.util import find_spec

from . import missing, suggestions, walls
from .defence import attempt

_FRAMES = 100
"""Frames of a traceback that are looked at, those next to the error."""

_MOST_LINES = 5
_LONGEST_LINE = 400
"""Characters of one line."""


class Hints:
    """Collects what to say of one cell after the other."""

    def __init__(self):
        """No cell has begun."""
        self.commands = Commands()
        self._reloads = Reloads()

    def begin(self, code, transform):
        """A cell begins; `transform` makes Python of its magics."""
        attempt(self.commands.begin, code)
        attempt(self._reloads.begin, code, transform)

    def finish(self, shell):
        """The lines for the cell that has ended; "" for none."""
        result = shell.last_execution_result
        error = result.error_in_exec if result is not None else None
        lines = [
            *(attempt(of_error, error, otherwise=[]) if error is not None else []),
            *attempt(self.commands.finish, otherwise=[]),
            *attempt(self._reloads.finish, otherwise=[]),
        ]
        shown = [" ".join(line.split())[:_LONGEST_LINE] for line in lines if line]
        return "\n".join(shown[:_MOST_LINES])


def of_error(error):
    """The lines for an error."""
    frames, line = [], 0
    step = BaseException.__dict__["__traceback__"].__get__(error)
    while type(step) is types.TracebackType:
        frames.append(step.tb_frame)
        line = step.tb_lineno
        del frames[:-_FRAMES]
        step = step.tb_next
    found = (walls.refused, suggestions.meant, missing.column, missing.file)
    meant = [find(error, frames) for find in found]
    return [*meant, missing.key(error, frames, line)]


# Commands

_PIP = re.compile(
    r"^[ \t]*(?P<sign>[!%])[ \t]*(?P<python>\{sys\.executable\}[ \t]+-m[ \t]+)?"
    r"pip3?[ \t]+install\b(?P<rest>.*)$",
    re.MULTILINE,
)
_HARMLESS = {"-q", "-qq", "-U", "--quiet", "--upgrade"}
_PLAIN = re.compile(r"[A-Za-z0-9][\w.\-\[\],<>=!~]*")
_LONGEST_COMMAND = 60
"""Characters of a command that are repeated."""

_MOST_COMMANDS = 3
_MORE = ("%d more command failed", "%d more commands failed")


class Commands:
    """The commands of a cell that have failed."""

    def __init__(self):
        """None yet."""
        self._failed = []
        self._pip = ""

    def begin(self, code):
        """A cell begins."""
        self._failed = []
        self._pip = pip(code, shutil.which("pip")) if "pip" in code else ""

    def ended(self, command, code):
        """A command has ended with this exit code."""
        if code:
            self._failed.append((command, code))

    def finish(self):
        """The lines."""
        lines = [_failure(*each) for each in self._failed[:_MOST_COMMANDS]]
        more = len(self._failed) - len(lines)
        return [*lines, *([_MORE[more > 1] % more] if more else []), self._pip]


def _failure(command, code):
    line = " ".join(command.replace(sys.executable, "python").split())
    shown = line if len(line) <= _LONGEST_COMMAND else line[: _LONGEST_COMMAND - 1] + "…"
    how = "was ended by signal %d" % -code if code < 0 else "ended with exit code %d" % code
    return "`!%s` %s" % (shown, how)


def pip(code, program):
    """The way to install without pip; `program` is the pip that the shell finds, or None."""
    found = _PIP.search(code)
    if found is None:
        return ""
    packages = _packages(found["rest"])
    ours = "use install_dependencies%s" % (
        "(packages=%s)" % json.dumps(packages) if packages else ""
    )
    in_kernel = found["sign"] == "%" or found["python"]
    if find_spec("pip") is None if in_kernel else program is None:
        return "%s: there is no pip here" % ours
    if not in_kernel and not _is_ours(program):
        return "%s: `!pip` is %s, whose Python is not the kernel's" % (ours, program)
    return "%s instead of pip: it also names modules that need a restart" % ours


def _is_ours(program):
    """True for a pip that installs for this Python."""
    folder = os.path.dirname(sys.executable)
    try:
        with open(program, "rb") as script:
            first = os.fsdecode(script.readline(500))
    except OSError:
        return True  # nobody knows
    python = first[2:].split()[:1] if first.startswith("#!") else []
    if python and "python" in os.path.basename(python[0]):
        return os.path.realpath(os.path.dirname(python[0])) == os.path.realpath(folder)
    return os.path.dirname(program) == folder


def _packages(rest):
    """The requirements of a plain call of pip, none for any other."""
    try:
        words = shlex.split(rest, comments=True)
    except ValueError:
        return []
    words = [word for word in words if word not in _HARMLESS]
    return words if all(map(_PLAIN.fullmatch, words)) else []


# Modules that were written again

_LARGEST = 1000000
"""Bytes of a module's file that is followed."""

_MOST_MODULES = 200
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
        if type(module) is not types.ModuleType or len(self._loaded) >= _MOST_MODULES:
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

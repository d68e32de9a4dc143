"""What to say of a cell's shell commands; loaded in the kernel's process.

Standard library only, Python 3.8 syntax.
"""

import json
import os
import re
import shlex
import shutil
import sys
from importlib.util import find_spec

_PIP = re.compile(
    r"^[ \t]*(?P<sign>[!%])[ \t]*(?P<python>\{sys\.executable\}[ \t]+-m[ \t]+)?"
    r"pip3?[ \t]+install\b(?P<rest>.*)$",
    re.MULTILINE,
)
_HARMLESS = {"-q", "-qq", "-U", "--quiet", "--upgrade"}
_PLAIN = re.compile(r"[A-Za-z0-9][\w.\-\[\],<>=!~]*")
_LONGEST = 60
"""Characters of a command that are repeated."""

_MOST = 3
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
        lines = [_failure(*each) for each in self._failed[:_MOST]]
        more = len(self._failed) - len(lines)
        return [*lines, *([_MORE[more > 1] % more] if more else []), self._pip]


def _failure(command, code):
    line = " ".join(command.replace(sys.executable, "python").split())
    shown = line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
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

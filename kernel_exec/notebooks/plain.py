"""IPython's syntax as Python that names the same names. Pure."""

import ast
import keyword
import re
import warnings

_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_ARGUMENT = re.compile(r"(?<!\S)[^\W\d]\w*")
_ASSIGNED = re.compile(r"^(?P<bound>\s*[^\W\d][\w, \t]*=)\s*(?:!|%)(?P<rest>.*)$", re.DOTALL)
_LINE = re.compile(
    r"""^(?P<indent>\s*)(?:
        %time\b(?P<timed>.*)
        | %(?P<magic>[^\W\d]\w*).*
        | (?:!(?!=)|\?).*
        | [%\w.*]+\?{1,2}\s*
    )$""",
    re.DOTALL | re.VERBOSE,
)
_RUNS_PYTHON = frozenset({"capture", "prun", "time"})
_CHANGES_NAMES = frozenset({"cd", "env", "load_ext", "pylab", "reset", "run", "set_env", "store"})
"""Line magics after which names, or what reading one gives, may be others."""


def identifiers(written: str) -> frozenset[str]:
    """All that could be a name in `written`, whatever its language."""
    return frozenset(word for word in _IDENTIFIER.findall(written) if not keyword.iskeyword(word))


def parsed(source: str) -> ast.Module | None:
    """Plain Python as it stands; what is none may be so without IPython's own syntax."""
    for read in (str, plain_python):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the kernel has given them
                return ast.parse(read(source))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None


def plain_python(source: str) -> str:
    """`source` with magics, shell commands and help replaced by Python.

    A magic becomes a call with each identifier in it: it may use and change any of them.
    """
    lines = _logical(source)
    first = next((index for index, line in enumerate(lines) if line.strip()), 0)
    if lines[first].startswith("%%"):
        magic = _IDENTIFIER.match(lines[first], 2)
        if magic is None or magic[0] not in _RUNS_PYTHON:
            return _mention(source)
        rest = lines[first][magic.end() :]
        # %%capture binds the name it is given
        lines[first] = f"{given[0]} = None" if (given := _ARGUMENT.search(rest)) else ""
    return "\n".join(map(_plain, lines))


def _logical(source: str) -> list[str]:
    """The lines of `source`; a magic or command goes on after a backslash."""
    lines: list[str] = []
    for line in source.split("\n"):
        before = lines[-1] if lines else ""
        if before.endswith("\\") and before.lstrip().startswith(("!", "%")):
            lines[-1] = f"{before[:-1]} {line}"
        else:
            lines.append(line)
    return lines


def _plain(line: str) -> str:
    if assigned := _ASSIGNED.match(line):
        return f"{assigned['bound']} {_mention(assigned['rest'])}"
    found = _LINE.match(line)
    if found is None:
        return line
    if found["timed"] is not None:
        return f"{found['indent']}{found['timed'].strip() or 'pass'}"
    if found["magic"] in _CHANGES_NAMES:
        return f"{found['indent']}from _ import *"
    return f"{found['indent']}{_mention(line)}"


def _mention(written: str) -> str:
    return f"_({', '.join(sorted(identifiers(written)))})"

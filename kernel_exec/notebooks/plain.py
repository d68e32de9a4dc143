"""IPython's syntax as Python that imports the same. Pure."""

import ast
import re
import warnings

_MAGIC = re.compile(r"^(?P<bound>\s*(?:[^\W\d][\w, \t]*=\s*)?)(?:!(?!=)|%(?=[^\W\d]))(?P<rest>.*)$")
_HELP = re.compile(r"^\s*(?:\?.*|[%\w.*]+\?{1,2}\s*)$")
_RUNS_PYTHON = re.compile(r"%%(?:capture|prun|time|timeit)\b")


def parsed(source: str) -> ast.Module | None:
    """Plain Python as it stands; what is none may be so without IPython's own syntax."""
    for read in (str, _plain_python):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the kernel has given them
                return ast.parse(read(source))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None


def _plain_python(source: str) -> str:
    """`source` with `None` for magics, shell commands and help; `%time` runs what follows it."""
    first, _, rest = source.strip().partition("\n")
    if first.startswith("%%"):
        source = rest if _RUNS_PYTHON.match(first) else ""
    # a magic or command goes on after a backslash
    joined = re.sub(r"(?m)^(\s*[!%].*)\\\n", r"\1 ", source)
    return "\n".join(map(_plain, joined.split("\n")))


def _plain(line: str) -> str:
    if _HELP.match(line):
        return "None"
    found = _MAGIC.match(line)
    if found is None:
        return line
    magic, _, rest = found["rest"].partition(" ")
    return f"{found['bound']}{rest if rest and magic == 'time' else None}"

r"""What code that does no more than list a folder shows, now and then. Pure.

A rerun works in the session's own folder, which by now has what the session wrote: one more name
in a listing and another time of a file say nothing about the code. That is sure only where a cell
makes one listing and shows nothing else, so what it may be written with is counted here, and all
else makes a difference a real one. So do a name that is gone and another size.
"""

import ast
import re
from collections import Counter
from collections.abc import Set as AbstractSet

from kernel_exec.notebooks.needs import parsed_python

_LISTS = frozenset({"glob", "iglob", "iterdir", "listdir", "rglob", "scandir", "walk"})
_SHOWS = frozenset(
    {"Path", "abspath", "basename", "cwd", "display", "endswith", "getcwd", "getsize", "is_dir"}
    | {"is_file", "isdir", "isfile", "join", "list", "lower", "print", "relative_to", "relpath"}
    | {"repr", "sorted", "startswith", "stat", "str"}
)
"""Calls that show names and sizes of files, or choose among them."""

_MODULES = frozenset({"glob", "os", "os.path", "pathlib"})
_ATTRIBUTES = frozenset({"name", "parent", "path", "st_size", "stem", "suffix"})
_NODES = (
    *(ast.Module, ast.Import, ast.ImportFrom, ast.alias, ast.Expr, ast.Assign, ast.For, ast.If),
    *(ast.Name, ast.Attribute, ast.Constant, ast.Call, ast.keyword, ast.Starred, ast.expr_context),
    *(ast.ListComp, ast.GeneratorExp, ast.comprehension, ast.JoinedStr, ast.FormattedValue),
    *(ast.BoolOp, ast.boolop, ast.UnaryOp, ast.unaryop, ast.Compare, ast.cmpop),
)
"""What a listing is written with. Numbers and names in one display could not be told apart."""

_SHELL = re.compile(r"\s*[!%]ls(?:\s+-[A-QS-Za-z1]+)*(?:\s+[^-\s|;&<>$`{}\\][^\s|;&<>$`{}\\]*)?\s*")
"""`ls` of one folder, for in several a file could have moved."""

_ROW = re.compile(
    r"([-a-z][-rwxsStT]{9}[.+@]?) +\d+ +(\S+ +\S+) +([\d.,]+[KMGTP]?) +"
    r"(?:[A-Z][a-z]{2} +\d{1,2} +(?:\d\d:\d\d|\d{4})|\d{4}-\d\d-\d\d \d\d:\d\d\S*) (.+)"
)
_TOTAL = re.compile(r"total [\d.,]+[KMGTP]?")
_QUOTED = re.compile(r"(?:(?:Posix|Windows)Path\()?('[^'\n]*'|\"[^\"\n]*\")\)?(?:,\s*)?")

_LONGEST = 2000
"""Characters of code that only lists; to read much more would take long and find nothing."""

_NAMED = 5
"""Names that are shown."""


def only_lists(source: str) -> bool:
    """Whether code makes one listing of a folder, and surely shows nothing else."""
    if len(source) > _LONGEST:
        return False
    lines = source.split("\n")
    shell = [line for line in lines if _SHELL.fullmatch(line)]
    tree = parsed_python("\n".join(line for line in lines if line not in shell))
    if tree is None:
        return False
    nodes = list(ast.walk(tree))
    calls = [(_called(node), node) for node in nodes if isinstance(node, ast.Call)]
    listings = [node for name, node in calls if name in _LISTS]
    if len(shell) + len(listings) != 1 or not {name for name, _ in calls} <= _LISTS | _SHOWS:
        return False
    # which folder is listed may be a variable of the session; what is shown may not
    inside = {node for each in listings for node in ast.walk(each) if isinstance(node, ast.Name)}
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and _is_stored(node)}
    known = bound | _SHOWS | _MODULES
    return all(node in inside or _is_plain(node, known) for node in nodes)


def _called(call: ast.Call) -> str:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _is_stored(node: ast.Name | ast.Tuple) -> bool:
    return isinstance(node.ctx, ast.Store)


def _is_plain(node: ast.AST, known: AbstractSet[str]) -> bool:
    """Whether a part of code is one that a listing may have."""
    match node:
        case ast.Name(id=name):
            return name in known
        case ast.Attribute(attr=name):
            return name in _ATTRIBUTES | _LISTS | _SHOWS
        case ast.Import(names=names):
            return all(each.name in _MODULES for each in names)
        case ast.ImportFrom(module=module):
            return module in _MODULES
        case ast.Tuple():  # as in `for folder, folders, files in`
            return _is_stored(node)
        case _:
            return isinstance(node, _NODES)


def growth(before: str, after: str) -> str:
    """How a later listing differs, in words; "" where it is not only longer or of other times."""
    ours, theirs = _elements(before), _elements(after)
    if ours - theirs:
        return ""
    if not (more := sorted((theirs - ours).elements())):
        return "a folder's listing, in which only the order or times of files differ"
    named = ", ".join(more[:_NAMED]) + (", …" if len(more) > _NAMED else "")
    return f"a folder's listing with {len(more):,} more than there were: {named}"


def _elements(listing: str) -> Counter[str]:
    """The names in a listing and the lines around them, without the times of files."""
    names: list[str] = []
    if listing.count("[") == 1:  # in several lists a file could have moved
        names = _QUOTED.findall(listing)
        listing = _QUOTED.sub("", listing)
    lines = (line.strip() for line in listing.split("\n"))
    return Counter(
        names + [_untimed(line) for line in lines if line and not _TOTAL.fullmatch(line)]
    )


def _untimed(line: str) -> str:
    """A line of `ls -l` without times, and of a folder without its size; any other as it is."""
    if (row := _ROW.fullmatch(line)) is None:
        return line
    mode, owners, size, name = row.groups()
    kept = [mode, owners, *([] if mode.startswith("d") else [size])]
    return f"{name} ({' '.join(kept)})"

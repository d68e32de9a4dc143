"""Which failed cells later cells need. Pure.

A cell that failed may have assigned names, or changed objects, before it raised; a notebook
without it would not run. `ast` finds what a cell may have touched and what a cell uses. Both are
over-estimates, so that a cell is kept rather than missed.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_ASSIGNED_MAGIC = re.compile(r"^(\s*)([A-Za-z_][\w, ]*?)\s*=\s*[!%].*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Names that a cell may bind or change, and names that it reads; `everything` by a star."""

    touched: frozenset[str] = frozenset()
    used: frozenset[str] = frozenset()
    everything: bool = False


def names_of(source: str) -> Names | None:
    """The names in a cell; None when it does not parse, so that nothing of it can have run."""
    try:
        tree = ast.parse(plain_python(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    touched: set[str] = set()
    used: set[str] = set()
    everything = False
    for node in ast.walk(tree):
        touched.update(_touched(node))
        used.update(_used(node))
        everything |= isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
    return Names(touched=frozenset(touched), used=frozenset(used), everything=everything)


def needed(sources: Sequence[str], failed: Sequence[bool]) -> list[bool]:
    """For each cell, whether it belongs into the notebook's running body.

    A cell that did not fail always does; a failed one does when a later one that belongs there
    uses what it may have touched. Going backwards decides each with what comes after it.
    """
    kept = [not each for each in failed]
    wanted: set[str] = set()
    for index in range(len(sources) - 1, -1, -1):
        found = names_of(sources[index])
        if found is None:
            kept[index] = kept[index] and not failed[index]
            continue
        if failed[index]:
            kept[index] = bool(found.touched & wanted) or (found.everything and bool(wanted))
        if kept[index]:
            wanted |= found.used
    return kept


def plain_python(source: str) -> str:
    """`source` with IPython's own syntax replaced by Python that names the same names."""
    lines = source.split("\n")
    first = next((line for line in lines if line.strip()), "")
    if first.startswith("%%"):
        # %%time and %%capture run Python; the others something else
        if not re.match(r"%%(time|timeit|capture|prun)\b", first):
            return ""
        lines[lines.index(first)] = ""
    return "\n".join(map(_plain_line, lines))


def _plain_line(line: str) -> str:
    if assigned := _ASSIGNED_MAGIC.match(line):
        return f"{assigned[1]}{assigned[2]} = None"
    stripped = line.lstrip()
    indent = line[: len(line) - len(stripped)]
    if stripped.startswith(("!", "%", "?")):
        return f"{indent}pass"
    if stripped.rstrip().endswith("?") and "#" not in stripped and "'" not in stripped:
        return f"{indent}pass"
    return line


def _touched(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(ctx=ast.Store() | ast.Del()):
            yield node.id
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name
        case ast.Import() | ast.ImportFrom():
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0]
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
            yield name
        case (
            ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del())
        ):
            yield from _root(node)
        case ast.Call(func=ast.Attribute() as method):
            yield from _root(method)
        case ast.Call():
            # a call may change what it is given
            for argument in node.args:
                yield from _root(argument)
        case _:
            pass


def _used(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(ctx=ast.Load() | ast.Del()):
            yield node.id
        case ast.AugAssign(target=ast.Name(id=name)):
            yield name
        case ast.Global(names=names) | ast.Nonlocal(names=names):
            yield from names
        case _:
            pass


def _root(node: ast.AST) -> Iterator[str]:
    """The name at the bottom of `a.b[0].c`."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call, ast.Starred)):
        node = node.func if isinstance(node, ast.Call) else node.value
    if isinstance(node, ast.Name):
        yield node.id

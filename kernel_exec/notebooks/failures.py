"""Which failed cells later cells need. Pure.

A cell that failed may have bound names, or changed objects, before it raised; a notebook without
it would show other values. `ast` finds what a cell may have touched and what a cell uses. Where
the two meet, the cell is needed. What can't be known is assumed: methods change their object,
calls change their arguments, assigned names share an object, and functions read and change what
their bodies name. Only a name that a later cell certainly binds anew needs nothing from before.

What counts as bound, changed, used and shared is in one module: `needed` is right only as long as
these rules fit each other.
"""

import ast
import builtins
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .plain import identifiers, plain_python

_READ_ONLY = frozenset(
    {"abs", "bool", "callable", "dir", "display", "float", "format", "hasattr", "hash", "id", "int"}
    | {"isinstance", "issubclass", "len", "print", "range", "repr", "round", "str", "type"}
)
"""Functions that leave their arguments as they are."""

_ANYTHING = frozenset({"exec", "eval", "globals", "locals", "get_ipython", "vars"})
"""Functions that may read or bind any name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of one kernel: it ended well, it `failed`, or it can't be run again (`stopped`).

    A failed one may be `broken`: it failed with a SyntaxError, so if it does not parse here
    either, nothing of it ran.
    """

    source: str
    failed: bool = False
    stopped: bool = False
    broken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a cell belongs into the running body, and which names of it later cells use."""

    keep: bool
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a cell does with names.

    `bound` may be bound or deleted, `mutated` may be changed in place, `used` are read before the
    cell has certainly bound them, `used_objects` before it has done so other than by an import
    (which finds the object that was there). `rebound` are certainly bound when the cell ends well.
    `imported` are bound by imports; `everything` says that it may bind any name, `anything` that
    it may read any. `bodies` are the names that a function or an object knows, `aliases` those
    that may stand for one object.
    """

    bound: frozenset[str] = frozenset()
    mutated: frozenset[str] = frozenset()
    used: frozenset[str] = frozenset()
    used_objects: frozenset[str] = frozenset()
    rebound: frozenset[str] = frozenset()
    imported: frozenset[str] = frozenset()
    everything: bool = False
    anything: bool = False
    bodies: Mapping[str, frozenset[str]] = field(default_factory=dict)
    aliases: tuple[frozenset[str], ...] = ()


def needed(cells: Sequence[Cell]) -> list[Verdict]:
    """For each cell of one kernel, in order, whether the notebook runs it.

    One that ended well always runs, one that was stopped never does; a failed one does when a
    later cell that runs uses what it may have touched. Going backwards decides each cell with
    what comes after it.
    """
    found = [_read(cell) for cell in cells]
    bodies = _merged(each.bodies for each in found)
    aliases = _merged(_sharing(found))
    verdicts: list[Verdict] = []
    names_wanted = objects_wanted = frozenset[str]()
    anything_wanted = False
    for cell, names in zip(reversed(cells), reversed(found), strict=True):
        lost = frozenset[str]()
        if cell.failed or cell.stopped:
            changed = _changed(names, bodies, aliases)
            lost = (names.bound & names_wanted) | (changed & objects_wanted)
            if names.everything:
                lost = objects_wanted
            elif anything_wanted:
                lost = names.bound | names.mutated
        keep = not cell.stopped and (not cell.failed or bool(lost))
        verdicts.append(Verdict(keep=keep, names=tuple(sorted(lost))))
        if keep:
            certain = frozenset[str]() if cell.failed else names.rebound
            names_wanted = (names_wanted - certain) | _reached(names.used, bodies)
            objects_wanted -= certain - names.imported
            objects_wanted |= _reached(names.used_objects, bodies)
            anything_wanted |= names.anything
    return verdicts[::-1]


def names_of(source: str) -> Names | None:
    """The names in a cell; None when it does not parse."""
    tree = _parsed(source)
    if tree is None:
        return None
    used: set[str] = set()
    used_objects: set[str] = set()
    imported: set[str] = set()
    rebound: set[str] = set()
    for statement in tree.body:
        read = {name for node in ast.walk(statement) for name in _used(node)}
        used |= read - rebound
        used_objects |= read - (rebound - imported)
        rebound |= set(_certainly_bound(statement))
        imported |= set(_imported(statement))
    nodes = list(ast.walk(tree))
    return Names(
        bound=frozenset(name for node in nodes for name in _bound(node)),
        mutated=frozenset(name for node in nodes for name in _mutated(node)),
        used=frozenset(used),
        used_objects=frozenset(used_objects),
        rebound=frozenset(rebound),
        imported=frozenset(name for node in nodes for name in _imported(node)),
        everything=any(_calls_anything(node) or _imports_all(node) for node in nodes),
        anything=any(map(_calls_anything, nodes)),
        bodies=_merged(map(_bodies, nodes)),
        aliases=tuple(alias for node in nodes if len(alias := _aliased(node)) > 1),
    )


def _read(cell: Cell) -> Names:
    """The names in a cell; code that ran and does not parse here may do all with all it names.

    The kernel's Python may be newer than ours, and IPython takes prompts and indented code.
    """
    names = names_of(cell.source)
    if names is not None:
        return names
    words = frozenset() if cell.broken else identifiers(cell.source)
    return Names(
        bound=words,
        mutated=words,
        used=words,
        used_objects=words,
        bodies=_tied(words),
        aliases=(words,) if words else (),
    )


def _parsed(source: str) -> ast.Module | None:
    """Plain Python as it stands; what is none may be so without IPython's own syntax."""
    for read in (str, plain_python):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the kernel has given them
                return ast.parse(read(source))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None


def _changed(
    names: Names, bodies: Mapping[str, frozenset[str]], aliases: Mapping[str, frozenset[str]]
) -> frozenset[str]:
    """What a cell may change in place: itself, through functions, or by another name."""
    called = frozenset(name for name in names.used | names.bound if name in bodies)
    return _reached(names.mutated | _reached(called, bodies), aliases)


def _reached(names: Iterable[str], edges: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """`names` and all that `edges` lead to from them."""
    reached: set[str] = set()
    ahead = set(names)
    while ahead:
        reached |= ahead
        ahead = {far for name in ahead for far in edges.get(name, ())} - reached
    return frozenset(reached)


def _merged(parts: Iterable[Mapping[str, frozenset[str]]]) -> dict[str, frozenset[str]]:
    whole: dict[str, set[str]] = {}
    for part in parts:
        for name, names in part.items():
            whole.setdefault(name, set()).update(names)
    return {name: frozenset(names) for name, names in whole.items()}


def _sharing(found: Sequence[Names]) -> Iterator[dict[str, frozenset[str]]]:
    """For each name, those that may share its object; builtins and imports tie nothing together."""
    ties_nothing = frozenset(dir(builtins)).union(*(names.imported for names in found))
    for names in found:
        for alias in names.aliases:
            yield _tied(alias - ties_nothing)


def _tied(names: frozenset[str]) -> dict[str, frozenset[str]]:
    """Edges by which each of `names` leads to all of them, through one, so that they stay few."""
    one = min(names, default="")
    return {**dict.fromkeys(names, frozenset({one})), one: names} if names else {}


def _certainly_bound(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement binds on every way through it that does not raise."""
    match statement:
        case ast.Assign(targets=targets):
            for target in targets:
                parts = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
                yield from (part.id for part in parts if isinstance(part, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import() | ast.ImportFrom():
            yield from _imported(statement)
        case _:
            pass


def _bound(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import() | ast.ImportFrom():
            yield from _imported(node)
        case (
            ast.ExceptHandler(name=str(name))
            | ast.MatchAs(name=str(name))
            | ast.MatchStar(name=str(name))
            | ast.MatchMapping(rest=str(name))
        ):
            yield name
        case _:
            pass


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0]


def _mutated(node: ast.AST) -> Iterator[str]:
    match node:
        case (
            ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del())
        ):
            yield from _names_in(node.value)
        case ast.AugAssign(target=ast.Name(id=name)):
            yield name
        case ast.Import(names=names):
            # a submodule becomes an attribute of its package
            yield from (each.name.partition(".")[0] for each in names if "." in each.name)
        case ast.Call(func=ast.Name(id=name)) if name in _READ_ONLY:
            pass
        case ast.Call(func=callee, args=args, keywords=keywords):
            if isinstance(callee, ast.Attribute):
                yield from _names_in(callee.value)
            for argument in (*args, *(named.value for named in keywords)):
                yield from _names_in(argument)
        case ast.For(iter=drained) | ast.AsyncFor(iter=drained) | ast.comprehension(iter=drained):
            yield from _names_in(drained)
        case _:
            pass


def _used(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Load() | ast.Del()):
            yield name
        case ast.AugAssign(target=ast.Name(id=name)):
            yield name
        case ast.Global(names=names) | ast.Nonlocal(names=names):
            yield from names
        case ast.Call(func=callee, args=args, keywords=keywords):
            # a query, a formula or a statement of SQL names variables
            if not (isinstance(callee, ast.Name) and callee.id in _READ_ONLY):
                for argument in (*args, *(named.value for named in keywords)):
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        yield from identifiers(argument.value)
        case _:
            pass


def _bodies(node: ast.AST) -> dict[str, frozenset[str]]:
    """The names inside a function, by the names it goes by."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name: _mentioned(node)}
    targets, value = _given(node)
    if value is None:
        return {}
    names = {name for target in targets for name in _names_in(target)}
    inner = [each for each in ast.walk(value) if isinstance(each, ast.Lambda)]
    known = {name for each in inner for name in _mentioned(each)}
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        known.add(value.func.id)  # an object knows what its class does
    if isinstance(value, ast.GeneratorExp):
        known |= names  # to use it is to change it
    return dict.fromkeys(names, frozenset(known)) if known else {}


def _given(node: ast.AST) -> tuple[Sequence[ast.expr], ast.expr | None]:
    """The targets that a node gives a value, and that value."""
    match node:
        case ast.Assign(targets=targets, value=value):
            return targets, value
        case (
            ast.AnnAssign(target=target, value=ast.expr() as value)
            | ast.AugAssign(target=target, value=value)
            | ast.NamedExpr(target=target, value=value)
            | ast.For(target=target, iter=value)
            | ast.AsyncFor(target=target, iter=value)
            | ast.withitem(context_expr=value, optional_vars=ast.expr() as target)
        ):
            return [target], value
        case _:
            return [], None


def _aliased(node: ast.AST) -> frozenset[str]:
    """Names that may stand for one object, or for an object and a part of it."""
    match node:
        case ast.Call(func=ast.Name(id=name)) if name in _READ_ONLY:
            return frozenset()
        case ast.Call(func=callee, args=args, keywords=keywords):
            into = [callee.value] if isinstance(callee, ast.Attribute) else []
            handed = [*into, *args, *(each.value for each in keywords)]
            return frozenset(name for part in handed for name in _parts(part))
        case ast.Match(subject=subject, cases=cases):
            captured = {name for case in cases for part in ast.walk(case) for name in _bound(part)}
            return frozenset({*captured, *_parts(subject)})
        case _:
            targets, value = _given(node)
            stored = {name for target in targets for name in _names_in(target)}
            return frozenset(stored.union(_parts(value) if value else ()))


def _parts(value: ast.AST) -> Iterator[str]:
    """Names whose objects `value` may hold; arithmetic and read-only functions make new ones."""
    ahead = [value]
    while ahead:
        match ahead.pop():
            case ast.Name(id=name):
                yield name
            case ast.BinOp() | ast.Compare() | ast.JoinedStr() | ast.Lambda():
                pass
            case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
                if name not in _READ_ONLY:
                    ahead += [*args, *keywords]
            case other:
                ahead += ast.iter_child_nodes(other)


def _names_in(part: ast.AST) -> Iterator[str]:
    return (node.id for node in ast.walk(part) if isinstance(node, ast.Name))


def _mentioned(node: ast.AST) -> frozenset[str]:
    return frozenset(name for each in ast.walk(node) for name in (*_used(each), *_bound(each)))


def _calls_anything(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="dir"), args=args):
            return not args
        case ast.Call(func=ast.Name(id=name)):
            return name in _ANYTHING
        case _:
            return False


def _imports_all(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and node.names[0].name == "*"

"""What code does with names, as far as its text tells. Pure.

What can't be known is assumed: methods change their object, calls change their arguments
(`harmless` knows those that do not), assigned names share an object, and functions read and
change what their bodies name.

What counts as bound, changed, used and shared is in one module: `failures` is right only as long
as these rules fit each other.
"""

import ast
import builtins
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .harmless import NOTHING_KNOWN, READ_ONLY, Known, is_calm, is_harmless
from .plain import identifiers, parsed

_ANYTHING = frozenset({"exec", "eval", "globals", "locals", "get_ipython", "vars"})
"""Functions that may read or bind any name."""

_CHAIN = ast.Name | ast.Attribute | ast.Subscript

_NUMBERED = re.compile(r"In|Out|_i?\d+|_ih|_oh|_dh")
"""Names that IPython binds by the number of a cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a cell does with names.

    `bound` may be bound or deleted, `mutated` may be changed in place. `read` are read, `used` are
    read before the cell has certainly bound them, `used_objects` before it has done so other than
    by an import (which finds the object that was there). `rebound` are certainly bound when the
    cell ends well, `imported` are bound by imports. A `traceable` name that stands for the same
    address as before stands for the same object; another's may be made where the first was freed.
    `data` are known to call nothing, whatever made them. `everything` says that it may bind any
    name, `anything` that it may read any, `numbered` that it uses what the kernel has counted,
    such as `Out[3]`. `bodies` are the names that a function or an object knows, `aliases` those
    that may stand for one object.
    """

    bound: frozenset[str] = frozenset()
    traceable: frozenset[str] = frozenset()
    data: frozenset[str] = frozenset()
    mutated: frozenset[str] = frozenset()
    read: frozenset[str] = frozenset()
    used: frozenset[str] = frozenset()
    used_objects: frozenset[str] = frozenset()
    rebound: frozenset[str] = frozenset()
    imported: frozenset[str] = frozenset()
    everything: bool = False
    anything: bool = False
    numbered: bool = False
    bodies: Mapping[str, frozenset[str]] = field(default_factory=dict)
    aliases: tuple[frozenset[str], ...] = ()


def names_of(body: Sequence[ast.stmt], known: Known = NOTHING_KNOWN) -> Names:
    """The names in the statements of a cell, or of a part of it; `known` from before it."""
    read_at_all: set[str] = set()
    used: set[str] = set()
    used_objects: set[str] = set()
    imported: set[str] = set()
    rebound: set[str] = set()
    walked = [tuple(ast.walk(statement)) for statement in body]
    for statement, inside in zip(body, walked, strict=True):
        read = {name for node in inside for name in _used(node)}
        read_at_all |= read
        used |= read - rebound
        used_objects |= read - (rebound - imported)
        rebound |= set(_certainly_bound(statement))
        imported |= set(_imported(statement))
    nodes = [node for inside in walked for node in inside]
    times = Counter(name for node in nodes for name in _bound(node))
    imports = Counter(name for node in nodes for name in _imported(node))
    imported |= imports.keys()
    if imported:
        used_objects.add("sys")  # what is found depends on its path
    here = known.without({*times, *(node.arg for node in nodes if isinstance(node, ast.arg))})
    return Names(
        bound=frozenset(times),
        traceable=frozenset(
            name for name in rebound | imported if times[name] in {1, imports[name]}
        ),
        mutated=frozenset(name for node in nodes for name in _mutated(node, here)),
        read=frozenset(read_at_all),
        used=frozenset(used),
        used_objects=frozenset(used_objects),
        rebound=frozenset(rebound),
        data=frozenset(filter(here.is_data, here.kinds)),
        imported=frozenset(imported),
        everything=any(_calls_anything(node) or _imports_all(node) for node in nodes),
        anything=any(map(_calls_anything, nodes)),
        numbered=any(map(_is_numbered, nodes)),
        bodies=merged(map(_bodies, nodes)),
        aliases=tuple(alias for node in nodes if len(alias := _aliased(node)) > 1),
    )


def in_any_order(names: Names) -> Names:
    """The same of code that may have stopped anywhere and still ended well, as in `%%capture`."""
    return replace(
        names,
        used=names.read,
        used_objects=names.used_objects | names.read,
        rebound=frozenset(),
        traceable=frozenset(),
    )


def counts_cells(source: str) -> bool:
    """Whether code uses what the kernel has counted, such as `Out[3]`."""
    if not any(map(_NUMBERED.fullmatch, identifiers(source))):
        return False
    tree = parsed(source)
    return tree is None or any(map(_is_numbered, ast.walk(tree)))


def names_of_words(source: str) -> Names:
    """The names in code that does not parse here: it may do all with all it names.

    The kernel's Python may be newer than ours, and IPython takes prompts and indented code.
    """
    words = identifiers(source)
    return Names(
        bound=words,
        mutated=words,
        read=words,
        used=words,
        used_objects=words,
        numbered=any(map(_NUMBERED.fullmatch, words)),
        bodies=tied(words),
        aliases=(words,) if words else (),
    )


def changed_by(
    names: Names, bodies: Mapping[str, frozenset[str]], aliases: Mapping[str, frozenset[str]]
) -> frozenset[str]:
    """What a cell may change in place: itself, through functions, or by another name."""
    called = frozenset(name for name in names.read - names.data if name in bodies)
    return reached(names.mutated | reached(called, bodies), aliases)


def reached(names: Iterable[str], edges: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """`names` and all that `edges` lead to from them."""
    found: set[str] = set()
    ahead = set(names)
    while ahead:
        found |= ahead
        ahead = {far for name in ahead for far in edges.get(name, ())} - found
    return frozenset(found)


def sharing(cells: Sequence[Names]) -> dict[str, frozenset[str]]:
    """For each name, those that may share its object; builtins and imports tie nothing together."""
    ties_nothing = frozenset(dir(builtins)).union(*(names.imported for names in cells))
    return merged(tied(alias - ties_nothing) for names in cells for alias in names.aliases)


def tied(names: frozenset[str]) -> dict[str, frozenset[str]]:
    """Edges by which each of `names` leads to all of them, through one, so that they stay few."""
    one = min(names, default="")
    return {**dict.fromkeys(names, frozenset({one})), one: names} if names else {}


def merged(parts: Iterable[Mapping[str, frozenset[str]]]) -> dict[str, frozenset[str]]:
    """What several say that names lead to, in one."""
    whole: dict[str, set[str]] = {}
    for part in parts:
        for name, names in part.items():
            whole.setdefault(name, set()).update(names)
    return {name: frozenset(names) for name, names in whole.items()}


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


def _mutated(node: ast.AST, known: Known) -> Iterator[str]:
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
        case ast.Call():
            yield from _mutated_by_call(node, known)
        case ast.For(iter=drained) | ast.AsyncFor(iter=drained) | ast.comprehension(iter=drained):
            if not is_calm(drained, known):
                yield from _names_in(drained)
        case ast.withitem(context_expr=entered):
            yield from _names_in(entered)
        case _:
            for read in _drained(node):
                if isinstance(read, _CHAIN) and not is_calm(read, known):
                    yield from _names_in(read)


def _mutated_by_call(call: ast.Call, known: Known) -> Iterator[str]:
    if isinstance(call.func, ast.Name) and call.func.id in READ_ONLY:
        return
    harmless = is_harmless(call, known)
    if isinstance(call.func, ast.Attribute) and not harmless:
        yield from _names_in(call.func.value)
    for argument in (*call.args, *(named.value for named in call.keywords)):
        if not (harmless and is_calm(argument, known)):
            yield from _names_in(argument)


def _drained(node: ast.AST) -> Iterator[ast.AST]:
    """What a node may read to its end."""
    match node:
        case ast.Starred(value=value) | ast.YieldFrom(value=value) | ast.Await(value=value):
            yield value
        case ast.Compare(ops=operators, comparators=values):
            for operator, value in zip(operators, values, strict=True):
                if isinstance(operator, ast.In | ast.NotIn):
                    yield value
        case ast.Assign(targets=targets, value=value):
            if any(isinstance(target, ast.Tuple | ast.List) for target in targets):
                yield value
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
            if not (isinstance(callee, ast.Name) and callee.id in READ_ONLY):
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
    for each in value.elts if isinstance(value, ast.Tuple | ast.List) else [value]:
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Name):
            known.add(each.func.id)  # an object knows what its class does
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
        case ast.Call(func=ast.Name(id=name)) if name in READ_ONLY:
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
                if name not in READ_ONLY:
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


def _is_numbered(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and _NUMBERED.fullmatch(node.id) is not None

"""Which failed cells later cells need. Pure.

A cell that failed may have bound names, or changed objects, before it raised; a notebook without
it would show other values. What it may have touched is found in its text (`names`), in what the
kernel told of names, and in the line that raised: nothing below that has run. Where this meets
what a later cell uses, the cell is needed. Only a name that a later cell certainly binds anew
needs nothing from before.

A cell that was stopped never runs again: it might not end, or do more than it did. What had ended
of it before it was stopped can, and does when a later cell needs it.
"""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .harmless import Known, modules
from .names import (
    Names,
    changed_by,
    in_any_order,
    merged,
    names_of,
    names_of_words,
    reached,
    sharing,
)
from .plain import identifiers, parsed, plain_python

_UNTOLD = frozenset({"In", "Out", "exit", "get_ipython", "open", "quit"})
"""Names, besides those with an underscore, that no kernel tells of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the kernel told of a cell's names: the types of new and changed ones, and lost ones.

    A name that is not told of stands for the object that it stood for before. That says nothing of
    the object: a change in place is told where a short look shows it.
    """

    kinds: Mapping[str, str] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        """All that are not what they were."""
        return self.gone.union(self.kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of one kernel: it ended well, it `failed`, or it can't be run again (`stopped`).

    A failed one may be `broken`: it failed with a SyntaxError, so if it does not parse here
    either, nothing of it ran. `line` is the line of its source that raised, from 1, 0 where that
    is not known; `moved` says that it changed the working directory. `told` is None for a kernel
    that tells nothing, or that went with the cell.
    """

    source: str
    failed: bool = False
    stopped: bool = False
    broken: bool = False
    line: int = 0
    told: Told | None = None
    moved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a cell belongs into the running body, and which names of it later cells use.

    `ended` is the part of a stopped cell that runs again: whole statements that had ended, and
    that later cells need; then `names` are those that still are not what they were.
    """

    keep: bool
    names: tuple[str, ...] = ()
    ended: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """A cell and what it does: all that ran, and the part that had ended before it was stopped."""

    cell: Cell
    names: Names
    ended: str = ""
    before: Names | None = None
    after: Names | None = None
    lost: frozenset[str] | None = None


@dataclass(slots=True, kw_only=True)
class _Wanted:
    """What cells further down need from those above."""

    bodies: Mapping[str, frozenset[str]]
    aliases: Mapping[str, frozenset[str]]
    names: frozenset[str] = frozenset()
    objects: frozenset[str] = frozenset()
    anything: bool = False
    numbers: bool = False
    any_cell: bool = False

    def touched(self, names: Names) -> frozenset[str]:
        """What a cell may have bound, or changed in place."""
        return names.bound | changed_by(names, self.bodies, self.aliases)

    def lost(self, names: Names, told: frozenset[str] | None) -> frozenset[str]:
        """What a cell may have touched of it; it bound only what is `told`, if that is known."""
        bound = names.bound if told is None else told
        changed = changed_by(names, self.bodies, self.aliases)
        if names.everything:
            return self.objects
        if self.anything:
            return bound | changed
        return (bound & self.names) | (changed & self.objects)

    def run(self, names: Names, *, to_its_end: bool) -> None:
        """Take in a cell that runs."""
        certain = names.rebound if to_its_end else frozenset[str]()
        self.names = (self.names - certain) | reached(names.used, self.bodies)
        self.objects -= certain - names.imported
        self.objects |= reached(names.used_objects, self.bodies)
        self.anything |= names.anything
        self.numbers |= names.numbered
        self.any_cell = True


def needed(cells: Sequence[Cell]) -> list[Verdict]:
    """For each cell of one kernel, in order, whether the notebook runs it.

    One that ended well always runs, one that was stopped never does; a failed one does when a
    later cell that runs uses what it may have touched, or counts cells. Going backwards decides
    each cell with what comes after it.
    """
    read = _read(cells)
    wanted = _Wanted(
        bodies=merged(each.names.bodies for each in read),
        aliases=sharing([each.names for each in read]),
    )
    return [_judge(each, wanted) for each in reversed(read)][::-1]


def _judge(read: _Read, wanted: _Wanted) -> Verdict:
    cell = read.cell
    if not cell.failed and not cell.stopped:
        wanted.run(read.names, to_its_end=True)
        return Verdict(keep=True)
    lost = wanted.lost(read.names, read.lost)
    if cell.failed:
        keep = bool(lost) or wanted.numbers or (cell.moved and wanted.any_cell)
        if keep:
            wanted.run(read.names, to_its_end=False)
        return Verdict(keep=keep, names=tuple(sorted(lost)))
    if read.before is None or read.after is None or not lost:
        return Verdict(keep=False, names=tuple(sorted(lost)))
    told = read.lost
    # what only the part that runs again has touched will be as it was
    again = wanted.touched(read.before) - wanted.touched(read.after)
    rest = None if told is None else told - again
    missed = wanted.lost(read.after, rest)
    if not wanted.lost(read.before, None if told is None else told & read.before.bound):
        return Verdict(keep=False, names=tuple(sorted(missed)))
    wanted.run(read.before, to_its_end=True)
    return Verdict(keep=False, names=tuple(sorted(missed)), ended=read.ended)


def _read(cells: Sequence[Cell]) -> list[_Read]:
    """What each cell does, by its text and by what is known of names when it begins."""
    trees = [parsed(cell.source) for cell in cells]
    nodes = [node for tree in trees if tree is not None for node in ast.walk(tree)]
    classes = {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    imported = modules(nodes)
    telling = any(cell.told is not None and cell.told.names for cell in cells)
    kinds: dict[str, str] = {}
    read = []
    for cell, tree in zip(cells, trees, strict=True):
        mentioned = kinds.keys() & identifiers(cell.source)  # of all others it can do nothing
        known = Known(
            kinds={name: kinds[name] for name in mentioned if kinds[name] not in classes},
            modules=imported,
        )
        each = _read_cell(cell, tree, known, frozenset(kinds) if telling else None)
        read.append(each)
        told = cell.told or Told()
        kinds |= dict.fromkeys(told.gone | (each.names.bound - each.names.traceable), "")
        kinds |= {name: kinds.get(name, "") for name in each.names.bound} | dict(told.kinds)
    return read


def _read_cell(
    cell: Cell, tree: ast.Module | None, known: Known, there: frozenset[str] | None
) -> _Read:
    """`there` are names that may have been there before; None where the kernel tells nothing."""
    if tree is None:
        names = Names() if cell.broken else names_of_words(cell.source)
        return _Read(cell=cell, names=names, lost=_rebound(cell, names, there, known))
    body = tree.body
    if not (cell.failed or cell.stopped) or not cell.line or not _keeps_lines(cell.source):
        names = names_of(body, known)
        if cell.source.lstrip().startswith("%%"):
            names = in_any_order(names)
        return _Read(cell=cell, names=names, lost=_rebound(cell, names, there, known))
    ran = [statement for statement in body if _first_line(statement) <= cell.line]
    names = names_of(ran, known)
    lost = _rebound(cell, names, there, known)
    begun = _first_line(ran[-1]) if ran else 0
    before = [statement for statement in ran if (statement.end_lineno or 0) < begun]
    if not cell.stopped or not before:
        return _Read(cell=cell, names=names, lost=lost)
    ended = cell.source.split("\n")[: _first_line(ran[len(before)]) - 1]
    names_before = names_of(before, known)
    kinds = cell.told.kinds if cell.told is not None else {}
    now = Known(
        kinds={
            **known.without(names_before.bound).kinds,
            **{name: kind for name, kind in kinds.items() if name in names_before.bound},
        },
        modules=known.modules,
    )
    return _Read(
        cell=cell,
        names=names,
        lost=lost,
        ended="\n".join(ended).rstrip(),
        before=names_before,
        after=names_of(ran[len(before) :], now),
    )


def _rebound(
    cell: Cell, names: Names, there: frozenset[str] | None, known: Known
) -> frozenset[str] | None:
    """The names that may not stand for what they did before; None where only its text tells.

    That a name still stands for its object proves nothing of one that can be changed in place:
    a function may have changed it, and returned it.
    """
    if there is None or cell.told is None:
        return None
    untold = {name for name in names.bound if name.startswith("_") or name in _UNTOLD}
    found_again = {name for name in names.bound if name in names.imported}
    found_again |= {name for name in names.bound if known.is_immutable(name)}
    unsure = (names.bound & there) - (names.traceable & found_again)
    return cell.told.names | untold | unsure


def _first_line(statement: ast.stmt) -> int:
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return min([statement.lineno, *(each.lineno for each in statement.decorator_list)])
        case _:
            return statement.lineno


def _keeps_lines(source: str) -> bool:
    """Whether the tree has the lines of `source`; some magics take several."""
    return plain_python(source).count("\n") == source.count("\n")

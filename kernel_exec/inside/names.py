"""Which of the user's names a cell has added, changed or removed; loaded in the kernel's process.

Standard library only, Python 3.8 syntax. A name is changed when it stands for another object, or
when a look at its object before and after the cell shows a difference: in length, shape, columns,
or some of its values. The look is short, runs no code of the user's and keeps nothing alive but
short plain values. A difference proves a change; no difference proves nothing.

Looked at is what the cell's code mentions, itself or through functions that it mentions, and a few
of the names that were made last: what a cell costs must not grow with all that a session has made.
"""

import collections
import io
import itertools
import operator
import re
import time
import types

from . import variables
from .defence import attempt

_PLAIN = frozenset(map(id, (bool, int, float, complex, str, bytes, type(None), range)))
"""By their addresses: the hash of a class can be code of the user's."""

_CONTAINERS = (list, tuple, dict, set, frozenset, collections.deque)
_OPAQUE = (type, types.ModuleType, io.IOBase)
_DICTIONARIES = (types.GetSetDescriptorType, types.MemberDescriptorType)

_LOOK = 0.002
"""Seconds that may be spent on looking into objects before a cell, and after it."""

_OTHERS = 4
"""Names that are looked at though the code does not mention them, those made last."""

_REACHED = 200
"""Names that code mentions, with those that functions do which it mentions."""

_NODES = 200
"""Values that are looked at within one object."""

_DEPTH = 3
_EDGE = 32
"""Items at each end of a container that are looked at."""

_LONG = 10000
"""Characters, or bits, up to which a plain value is looked at whole, and kept."""

_ELEMENTS = 2048
_FIRST, _LAST = slice(_EDGE), slice(-_EDGE, None)
_COLUMNS = 25
_MOST = 2000
_WORD = re.compile(r"\w+")
_NEVER = (None, None, -1)


class Names:
    """What is known of a shell's names since the last cell.

    Nearly all names stand for what they stood for. No step of Python is taken for those, but a
    look where there is time for one: with 2,000 names a cell costs little more than with one.
    """

    def __init__(self, patience=_LOOK):
        """Nothing has a name yet; `patience` in seconds, for looking into objects."""
        self._patience = patience
        self._order = []  # all that was in the namespace, also what no user put there
        self._plain = {}  # short plain values, which can't change, by name
        self._ids = {}  # the addresses of all other values
        self._looks = {}  # what a look at one of them showed, and after which cell
        self._cell = 0

    def begin(self, shell, code):
        """A cell begins: what it mentions is looked at, where it was not after the last one."""
        end, natures = time.perf_counter() + self._patience, {}
        for name in self._mentioned(shell.user_ns, code):
            if time.perf_counter() > end:
                break
            value = shell.user_ns.get(name)
            is_known = self._ids[name] == id(value)
            if is_known and self._looks.get(name, _NEVER)[2] != self._cell:
                self._looks[name] = id(type(value)), _look_at(value, end, natures), self._cell

    def changes(self, shell, code=""):
        """The new, changed and removed names since the last call; `code` ran meanwhile.

        `names` has a description of each new or changed one; `unknown` says that there may be
        others.
        """
        otherwise = {"names": {}, "gone": [], "unknown": True}
        return attempt(self._changes, shell, code, otherwise=otherwise)

    def _changes(self, shell, code):
        self._cell += 1
        now = shell.user_ns.copy()
        fresh, gone = self._come_and_gone(now)
        changed = {name for name in fresh if _is_visible(name, shell)}
        changed.update(_others(self._plain, map(now.get, self._plain), operator.is_not))
        changed.update(_others(self._ids, map(id, map(now.get, self._ids)), operator.ne))
        for name in _in_order(changed, now):
            self._note(name, now[name])
        changed = _in_order(changed | self._look(now, code, changed), now)
        changes = {
            "names": {
                variables.bounded(name): variables.describe_briefly(now[name])
                for name in changed[:_MOST]
            },
            "gone": [variables.bounded(name) for name in gone[:_MOST]],
        }
        if max(len(changed), len(gone)) > _MOST:
            changes["unknown"] = True
        return changes

    def _come_and_gone(self, now):
        """The names that were not there, and those of the user's that are there no longer."""
        order, before = list(now), self._order
        self._order = order
        if order[: len(before)] == before:  # almost always: a new name comes behind all others
            return order[len(before) :], []
        fresh = set(order).difference(before)
        gone = [name for each in (self._plain, self._ids) for name in each if name not in now]
        for name in gone:
            self._forget(name)
        return fresh, gone

    def _look(self, now, code, changed):
        """The names whose objects visibly differ from what they were after the last cell.

        If time runs out, it does so for those that the code does not mention.
        """
        end, natures = time.perf_counter() + self._patience, {}
        others = itertools.islice(reversed(self._ids), _OTHERS)
        found = set()
        for name in itertools.chain(self._mentioned(now, code), others):
            if time.perf_counter() > end:
                break
            kind, look, cell = self._looks.get(name, _NEVER)
            if cell == self._cell:
                continue
            value = now[name]
            seen = self._looks[name] = id(type(value)), _look_at(value, end, natures), self._cell
            is_next = cell == self._cell - 1 and None not in (look, seen[1])
            if name not in changed and kind is not None:
                if kind != seen[0] or (is_next and look != seen[1]):
                    found.add(self._ids[name])
        return {name for name, address in self._ids.items() if address in found} if found else found

    def _mentioned(self, now, code):
        """What can change of all that the code mentions, or functions that it mentions."""
        found, left = {}, _WORD.findall(code[:_LONG]) if self._ids else []
        while left and len(found) < _REACHED:
            name = left.pop()
            if name in self._ids and name not in found:
                value = found[name] = now.get(name)
                if type(value) is types.FunctionType:
                    left += _mentioned_by(value.__code__)
        return found

    def _note(self, name, value):
        """A name stands for this from now on."""
        self._forget(name)
        if id(type(value)) in _PLAIN and _plain(value, type(value)) is value:
            self._plain[name] = value
        else:
            self._ids[name] = id(value)

    def _forget(self, name):
        for known in (self._plain, self._ids, self._looks):
            known.pop(name, None)


def _mentioned_by(code):
    """The names that a function's code refers to, and that of the functions in it."""
    within = [each for each in code.co_consts if type(each) is types.CodeType]
    return [*code.co_names, *(name for each in within for name in _mentioned_by(each))]


def _others(known, values, differ):
    """The names that stand for something else than what is known of them."""
    return itertools.compress(known, map(differ, values, known.values()))


def _in_order(names, now):
    return [name for name in now if name in names] if len(names) > 1 else list(names)


def visible(shell):
    """The variables of the user by name: none that is private, of IPython, or no text."""
    return {name: value for name, value in shell.user_ns.copy().items() if _is_visible(name, shell)}


def _is_visible(name, shell):
    return type(name) is str and name[:1] != "_" and name not in shell.user_ns_hidden


def _look_at(value, end, natures):
    """The result of a look at an object, or None without one.

    The address alone is not enough: the next object may well get that of the last one.
    """
    try:
        return hash(_Look(natures, end).at(value, 0))
    except BaseException:  # out of time, an object that changes, a library that refuses
        return None


def _plain(value, kind):
    """A plain value itself, or both its ends where it is long."""
    if kind is str or kind is bytes:
        if len(value) > _LONG:
            return len(value), value[:_EDGE], value[-_EDGE:]
    elif kind is int and value.bit_length() > _LONG:
        return value.bit_length(), value & 0xFFFFFFFF
    elif kind is float and value != value:
        return "NaN"  # the hash of each NaN is another one
    return value


class _Look:
    """A look at one object and what is in it, that gives up at `end`.

    `natures` are those of the classes seen so far.
    """

    def __init__(self, natures, end):
        self._left = _NODES
        self._natures = natures
        self._end = end

    def at(self, value, depth):
        """A value that can be hashed, and differs when the object has visibly changed."""
        kind = type(value)
        if id(kind) in _PLAIN:
            return id(kind), _plain(value, kind)  # 1 equals True
        self._left -= 1
        if self._left < 0 or depth > _DEPTH:
            return id(value)
        if time.perf_counter() > self._end:
            raise TimeoutError
        nature = self._natures.get(id(kind))
        if nature is None:
            nature = self._natures[id(kind)] = _nature(kind)
        look, by = nature
        return id(value), look(self, value, by, depth)

    def _nothing(self, value, by, depth):
        return None

    def _array(self, value, by, depth):
        return _look_at_array(value)

    def _bytes(self, value, by, depth):
        ends = slice(_ELEMENTS), slice(-_ELEMENTS, None)
        found = [bytes(bytearray.__getitem__(value, each)) for each in ends]
        return (bytearray.__len__(value), *found)

    def _items(self, value, base, depth):
        length = base.__len__(value)
        items = dict.items(value) if base is dict else base.__iter__(value)
        found = list(itertools.islice(items, 2 * _EDGE))
        if length > 2 * _EDGE and base not in (set, frozenset):
            found[_EDGE:] = _last(value, base)
        if base is dict:
            return length, tuple([(self.at(k, depth + 1), self.at(v, depth + 1)) for k, v in found])
        return length, tuple([self.at(item, depth + 1) for item in found])

    def _attributes(self, value, descriptor, depth):
        """The public attributes that an object has in its own dictionary."""
        held = [*dict.items(descriptor.__get__(value))]
        public = [(key, each) for key, each in held if type(key) is str and key[:1] != "_"]
        return tuple([(key, self.at(each, depth + 1)) for key, each in public[:_NODES]])


def _last(value, base):
    if base is list or base is tuple:
        return base.__getitem__(value, slice(-_EDGE, None))
    backwards = reversed(dict.items(value)) if base is dict else base.__reversed__(value)
    return itertools.islice(backwards, _EDGE)


def _nature(kind):
    """How to look at objects of a class, and by what."""
    if variables.is_array(kind):
        return _Look._array, None
    base = variables.base_of(kind, _CONTAINERS)
    if base is not None:
        return _Look._items, base
    if variables.base_of(kind, (bytearray,)) is not None:
        return _Look._bytes, None
    if variables.base_of(kind, _OPAQUE) is None:
        for each in variables.bases(kind):
            found = variables.namespace(each).get("__dict__")
            if isinstance(found, _DICTIONARIES):
                return _Look._attributes, found
    return _Look._nothing, None  # a module loads parts of itself when they are asked for


# Arrays and frames


def _look_at_array(value):
    kind = type(value).__name__
    library = variables.package_of(type(value))
    if kind == "ndarray":
        return value.shape, str(value.dtype), _elements(value)
    blocks = getattr(getattr(value, "_mgr", None), "blocks", None)
    if library == "pandas" and blocks is not None:  # of each type one, with all of its columns
        return tuple(map(_edges, value.axes)), tuple(_values(each) for each in blocks[:_COLUMNS])
    if library == "polars" and hasattr(value, "get_columns"):
        return value.shape, tuple(value.columns)  # it is rarely changed in place
    if library == "torch":
        return tuple(value.shape), value._version  # it counts changes in place
    shape = getattr(value, "shape", None)
    return None if shape is None else tuple(shape)


def _values(block):
    """Where a block of pandas stands, and some of its values, the ends of its columns with them."""
    places, values = block.mgr_locs.as_array[:_EDGE].tobytes(), block.values
    if not variables.is_array(type(values)):
        return places  # of a class of the user's
    parts = [values]
    if values.ndim == 2:
        parts += [values[:, :_EDGE], values[:, -_EDGE:]]
    return places, str(values.dtype), tuple(map(_elements, parts))


def _elements(array):
    """Some of an array's values: all of a small one, else the ends and some between them."""
    if not variables.is_array(type(array)):
        return None  # of a class of the user's
    array = getattr(array, "_ndarray", array)  # dates, categories and the like of pandas
    if type(array).__name__ != "ndarray":
        return _edges(array)
    if array.dtype.hasobject:
        flat = array.flat
        return array.size, tuple(map(_simple, (*flat[:_EDGE], *flat[-_EDGE:])))
    if array.size <= _ELEMENTS:
        return hash(array.tobytes())
    flat = array.reshape(-1) if array.flags.contiguous else array.flat
    step = array.size // _ELEMENTS + 1
    return hash(b"".join(flat[at].tobytes() for at in (_FIRST, _LAST, slice(None, None, step))))


def _edges(values):
    """The values at both ends, those that are plain."""
    count = len(values)
    chosen = [*values[:4], *values[-4:]] if count > 8 else list(values)
    return count, tuple([_simple(value) for value in chosen])


def _simple(value):
    kind = type(value)
    if id(kind) in _PLAIN:
        return id(kind), _plain(value, kind)
    if variables.package_of(kind) in ("numpy", "pandas", "decimal", "datetime"):
        return str(value)
    return None

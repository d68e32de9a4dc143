"""What was meant by a name that does not exist; loaded in the kernel's process.

Standard library only, Python 3.8 syntax. Python itself suggests names where it prints a traceback,
IPython does not. Errors know their name and object from Python 3.10 on. No code of the user's runs:
what an object has is read from its class and its own dictionary.

The measure of nearness is Python's own (`traceback.py` since 3.12): a letter added, dropped or
replaced costs two, a change of case one, up to a third of both lengths. Two swapped letters cost
two.
"""

import builtins
import pkgutil
import re
import sys
import time
import types
from importlib.machinery import PathFinder

from . import variables

_UNDEFINED = re.compile(r"name '(\w+)' is not defined")
_NOT_IN_MODULE = re.compile(r"cannot import name '(\w+)' from '([\w.]+)'")
_UNEXPECTED = re.compile(r"(?:.*\.)?(\w+)\(\) got an unexpected keyword argument '(\w+)'$")
_PROPERTY = re.compile(r".*(?:unexpected keyword argument|has no property) '(\w+)'$")
_ALIASES = {
    "np": "numpy",
    "pd": "pandas",
    "pl": "polars",
    "plt": "matplotlib.pyplot",
    "sns": "seaborn",
}
_DICTIONARIES = (types.GetSetDescriptorType, types.MemberDescriptorType)
_WRAPPERS = 10
_ONE_EDIT = 2
"""For builtins, modules and properties, which are many: any short word is near to one of them."""

_LONGEST_NAME = 40
_MOST_NAMES = 2000
_PATIENCE = 0.1
"""Seconds that a search may take."""


def meant(error, frames):
    """The advice for an error of one of Python's own types, "" if none is sure."""
    find = _FINDERS.get(type(error))
    return find(error, message(error), frames) if find is not None and frames else ""


def message(error):
    """What an error was raised with, "" unless that is a string."""
    arguments = BaseException.args.__get__(error)
    return arguments[0] if arguments and type(arguments[0]) is str else ""


def locals_of(frame):
    """The local variables, none for a mapping of the user's."""
    held = frame.f_locals
    is_plain = type(held) is dict or variables.type_name(held) == "FrameLocalsProxy"
    return dict(held) if is_plain else {}


def _of_name(error, said, frames):
    found = _UNDEFINED.match(said)
    if found is None:
        return ""
    name, frame = found[1], frames[-1]
    held = locals_of(frame)
    if name in getattr(sys, "stdlib_module_names", ()):
        return "did you forget `import %s`?" % name
    module = _ALIASES.get(name)
    if module is not None and PathFinder.find_spec(module.partition(".")[0]) is not None:
        return "did you forget `import %s as %s`?" % (module, name)
    if "self" in held and name in _attributes(held["self"]):
        return "did you mean `self.%s`?" % name
    found = near(name, public([*held, *frame.f_globals], name))
    return _did_you_mean(found or near(name, public(vars(builtins), name), _ONE_EDIT))


def _of_attribute(error, said, frames):
    name, owner = _field(error, "name"), _field(error, "obj")
    missing = _PROPERTY.match(said)
    if missing is not None:
        names = _properties(locals_of(frames[-1]).get("self"))
        return _did_you_mean(near(missing[1], names, _ONE_EDIT))
    if type(name) is not str:
        return ""
    if type(owner) is types.ModuleType:
        full = "%s.%s" % (owner.__name__, name)
        path = vars(owner).get("__path__")
        if path is not None and PathFinder.find_spec(full, list(path)) is not None:
            return "`%s` is a module of its own: `import %s`" % (name, full)
    if type(owner) is dict and any(each == name for each in owner if type(each) is str):
        return _did_you_mean("[%r]" % name)
    return _did_you_mean(near(name, public(_attributes(owner), name)))


def _properties(owner):
    """What an object, such as a line of a plot, has methods to set."""
    names = (name for name in _attributes(owner) if type(name) is str)
    return [name[4:] for name in names if name.startswith("set_")]


def _of_import(error, said, frames):
    found = _NOT_IN_MODULE.match(said)
    module = sys.modules.get(found[2]) if found else None
    if type(module) is not types.ModuleType:
        return ""
    names = [*vars(module), *_modules(vars(module).get("__path__") or ())]
    return _did_you_mean(near(found[1], public(names, found[1])))


def _of_module(error, said, frames):
    name = _field(error, "name")
    if type(name) is not str or said != "No module named %r" % name:
        return ""
    parent, _, last = name.rpartition(".")
    if not parent:
        known = [*sys.builtin_module_names, *getattr(sys, "stdlib_module_names", ())]
        found = near(name, public([*known, *_modules(None)], name), _ONE_EDIT)
        return _did_you_mean(found if len(name) > 3 else None)
    module = sys.modules.get(parent)
    if type(module) is not types.ModuleType or not vars(module).get("__file__"):
        return ""  # more of a namespace may come with another distribution
    found = near(last, _modules(vars(module).get("__path__") or ()))
    if found is not None:
        return _did_you_mean("%s.%s" % (parent, found))
    return "`%s` is installed, but has no module `%s`" % (parent.partition(".")[0], name)


def _of_keyword(error, said, frames):
    found = _UNEXPECTED.match(said)
    if found is None:
        return ""
    functions = {id(each): each for each in _called(found[1], frames[-1])}
    if len(functions) != 1:
        return ""
    (code,) = [each.__code__ for each in functions.values()]
    taken = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return _did_you_mean(near(found[2], taken[code.co_posonlyargcount :]))


def _called(name, frame):
    """The functions of that name which the code of a frame can have called."""
    code = frame.f_code
    held = dict(frame.f_globals, **locals_of(frame))
    words = (*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars)
    owners = [held[word] for word in words if word in held]
    for owner in owners:
        for found in map(_unwrapped, (owner, _static(owner, name))):
            if type(found) is types.FunctionType and found.__code__.co_name == name:
                yield found


def _static(owner, name):
    """An attribute of a module, a class or an object's class, without asking any of them."""
    if type(owner) is types.ModuleType:
        return vars(owner).get(name)
    for base in variables.bases(owner if isinstance(owner, type) else type(owner)):
        space = variables.namespace(base)
        if name in space:
            return space[name]
    return None


def _unwrapped(function):
    for _ in range(_WRAPPERS):
        if type(function) in (classmethod, staticmethod):
            function = function.__func__
        elif type(function) is types.MethodType:
            function = function.__func__
        elif type(function) is types.FunctionType and "__wrapped__" in vars(function):
            function = vars(function)["__wrapped__"]
        else:
            break
    return function


def _attributes(owner):
    """The names of what an object has, as far as its class and its own dictionary say."""
    if type(owner) is types.ModuleType:
        return list(vars(owner))
    kind, names = type(owner), []
    is_class = variables.base_of(kind, (type,)) is not None
    for base in variables.bases(owner if is_class else kind):
        names += variables.namespace(base)
    names += () if is_class else dict.keys(own(owner))
    if variables.is_array(kind) and variables.type_name(owner) == "DataFrame":
        names += list(owner.columns)
    return names


def own(owner):
    """The dictionary of an object itself, empty where it has none."""
    for base in variables.bases(type(owner)):
        held = variables.namespace(base).get("__dict__")
        if isinstance(held, _DICTIONARIES):
            found = held.__get__(owner)
            if isinstance(found, dict):
                return found
    return {}


def _field(error, name):
    """What a built-in error holds under a name, None before Python 3.10."""
    return getattr(error, name, None)


def _modules(path):
    return (each.name for each in pkgutil.iter_modules(path))


def _did_you_mean(name):
    return "did you mean `%s`?" % name if name else ""


_FINDERS = {
    NameError: _of_name,
    AttributeError: _of_attribute,
    ImportError: _of_import,
    ModuleNotFoundError: _of_module,
    TypeError: _of_keyword,
}
"""By exact type: the attributes and the message of others may be code of the user's."""


# Nearness


def near(wrong, names, most=None):
    """The name nearest to `wrong`, None if none is; `most` bounds what it may cost."""
    end, best, least = time.perf_counter() + _PATIENCE, None, None
    if len(wrong) > _LONGEST_NAME:
        return None
    for _, name in zip(range(_MOST_NAMES), names):
        if type(name) is not str or name == wrong or len(name) > _LONGEST_NAME:
            continue
        bound = (len(wrong) + len(name) + 3) // 3 if most is None else most
        if least is not None:
            bound = min(bound, least - 1)
        if 2 * abs(len(wrong) - len(name)) > bound:
            continue
        cost = _cost(wrong, name)
        if cost <= bound:
            best, least = name, cost
        if time.perf_counter() > end:
            break
    return best


def public(names, like):
    """The names that are public, or all if `like` is private itself."""
    return [name for name in names if type(name) is str and (like[:1] == "_" or name[:1] != "_")]


def _cost(one, other):
    before, row = [], [2 * at for at in range(len(other) + 1)]
    for at, letter in enumerate(one):
        older, before, row = before, row, [2 * at + 2]
        for place, another in enumerate(other):
            change = 0 if letter == another else 1 if letter.lower() == another.lower() else 2
            least = min(before[place] + change, before[place + 1] + 2, row[place] + 2)
            if at and place and one[at - 1] == another and letter == other[place - 1]:
                least = min(least, older[place - 1] + 2)
            row.append(least)
    return row[-1]

"""What was meant by a name that does not exist; loaded in the kernel's process.

Standard library only, Python 3.8 syntax. Python itself suggests names where it prints a traceback,
IPython does not. Errors know their name and object from Python 3.10 on. No code of the user's runs:
what an object has is read from its class and its own dictionary.
"""

import builtins
import pkgutil
import re
import sys
import types
from importlib.machinery import PathFinder

from . import variables
from .nearness import near, public

_UNDEFINED = re.compile(r"name '(\w+)' is not defined")
_NOT_IN_MODULE = re.compile(r"cannot import name '(\w+)' from '([\w.]+)'")
_UNEXPECTED = re.compile(r"(?:.*\.)?(\w+)\(\) got an unexpected keyword argument '(\w+)'$")
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
"""For builtins and modules, which are many: any short word is near to one of them."""


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
    if type(name) is not str:
        return ""
    if type(owner) is types.ModuleType:
        full = "%s.%s" % (owner.__name__, name)
        path = vars(owner).get("__path__")
        if path is not None and PathFinder.find_spec(full, list(path)) is not None:
            return "`%s` is a module of its own: `import %s`" % (name, full)
    return _did_you_mean(near(name, public(_attributes(owner), name)))


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
        space = variables.namespace(base)
        names += space
        held = space.get("__dict__")
        if not is_class and isinstance(held, _DICTIONARIES):
            own = held.__get__(owner)
            names += dict.keys(own) if isinstance(own, dict) else ()
    if variables.is_array(kind) and variables.type_name(owner) == "DataFrame":
        names += list(owner.columns)
    return names


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

"""Describes variables: type, shape or length, size; loaded in the kernel's process.

Standard library only, Python 3.8 syntax. No method of a class of the user's is called: its
`__len__`, `__getattr__` or `__class__` may lie, raise, or never return.
"""

import collections
import sys

_SIZED = (str, bytes, bytearray, list, tuple, dict, set, frozenset, range, collections.deque)
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_ARRAYS = (
    *("numpy", "pandas", "polars", "torch", "xarray", "scipy", "pyarrow", "jax", "jaxlib"),
    "tensorflow",
)
_ASKED = frozenset(
    {"shape", "memory_usage", "nbytes", "index", "columns", "__getattr__", "__getattribute__"}
)
"""Attributes that are read from an array, unless a class of the user's defines its own."""

_LONGEST = 100
_PREVIEW = 80
_BITS = 300
_OF_TYPE = type.__dict__
_FLAG_OF_PYTHON_CLASSES = 1 << 9


def describe_variable(name, value):
    """Name, type, shape or length, size in bytes, and the value of a plain one."""
    described = {"name": bounded(name), "type": type_name(value)}
    try:
        described.update(_facts(value))
    except BaseException:  # an interrupt that comes here is for code of the user's
        described["note"] = "its description failed"
    return described


def _facts(value):
    kind = type(value)
    if is_array(kind):
        shape = getattr(value, "shape", None)
        if shape is not None:
            yield "shape", [None if extent is None else int(extent) for extent in shape]
        size = _array_size(value)
    else:
        base = base_of(kind, _SIZED)
        if base is not None:
            yield "length", base.__len__(value)
        size = _size(value)
    if size is not None:
        yield "size", size
    preview = _preview(value)
    if preview:
        yield "preview", preview


def describe_briefly(value):
    """Type, shape or length, and an array's size: `DataFrame 1000x3 24.0 KB`, `list 5`, `int`."""
    described = describe_variable("", value)
    extent = [str(described["length"])] if "length" in described else []
    if described.get("shape"):
        extent = ["x".join("?" if each is None else str(each) for each in described["shape"])]
        extent += [_human(described["size"])] if "size" in described else []
    return " ".join([described["type"], *extent])


def bounded(name):
    """A name of any length and content in one short line."""
    shown = name[:_LONGEST]
    if not shown.isprintable():
        shown = shown.encode("unicode_escape", "backslashreplace").decode("ascii")
    return shown + "..." if len(name) > _LONGEST else shown


def type_name(value):
    """The name of a value's real type, whatever its class says."""
    return bounded(_OF_TYPE["__name__"].__get__(type(value)))


def known_as(kind):
    """The top-level package that a class is from, and its name there; "" for both if in none."""
    try:
        module = _OF_TYPE["__module__"].__get__(kind)
    except AttributeError:
        return "", ""
    if type(module) is not str or type(sys.modules.get(module)) is not type(sys):
        return "", ""
    name = _OF_TYPE["__name__"].__get__(kind)
    found = vars(sys.modules[module]).get(name)
    return (module.partition(".")[0], name) if found is kind else ("", "")


def package_of(kind):
    """The top-level package that a class is from; "" where that does not have it."""
    return known_as(kind)[0]


def bases(kind):
    """A class and those that it inherits from, whatever its metaclass says."""
    return _OF_TYPE["__mro__"].__get__(kind)


def namespace(kind):
    """What a class itself defines."""
    return _OF_TYPE["__dict__"].__get__(kind)


def definer(kind, name):
    """The class from which a class has an attribute, None where none has it."""
    return next((base for base in bases(kind) if name in namespace(base)), None)


def base_of(kind, known):
    """The first of a class and its bases that is in `known`, or None."""
    return next((base for base in bases(kind) if any(base is each for each in known)), None)


def is_array(kind):
    """Whether a class is a library's own, and asking its objects runs no code of the user's."""
    for base in bases(kind):
        if package_of(base) in _ARRAYS:
            return True
        if _ASKED.intersection(namespace(base)):
            return False
    return False


def _size(value):
    for base in bases(type(value)):
        if not _OF_TYPE["__flags__"].__get__(base) & _FLAG_OF_PYTHON_CLASSES:
            return base.__sizeof__(value)
    return None


def _preview(value):
    base = base_of(type(value), _PLAIN)
    if base is None or (base is int and int.bit_length(value) > _BITS):
        return ""
    if base in (str, bytes):
        text = base.__repr__(base.__getitem__(value, slice(_PREVIEW)))
    else:
        text = base.__repr__(value)
    return text if len(text) <= _PREVIEW else text[: _PREVIEW - 3] + "..."


def _array_size(value):
    """An array's size in bytes, None where it is unknown."""
    blocks = getattr(getattr(value, "_mgr", None), "blocks", ())
    if not all(is_array(type(block.values)) for block in blocks):
        return None  # a column of a frame of pandas is of a class of the user's
    for name in ("memory_usage", "estimated_size"):
        usage = getattr(value, name, None)
        if callable(usage):
            of_columns = name == "memory_usage" and hasattr(value, "index")
            total = usage(index=True) if of_columns else usage()
            return int(total.sum() if hasattr(total, "sum") else total)
    size = getattr(value, "nbytes", None)
    return int(size) if isinstance(size, int) else None


def _human(size):
    if size < 1000:
        return "%d B" % size
    power = min(len(str(size)) - 1, 12) // 3
    return "%.1f %s" % (size / 1000**power, ("KB", "MB", "GB", "TB")[power - 1])

"""Columns, labels, keys and files near missing ones; loaded in the kernel's process.

Standard library only, Python 3.8 syntax. Tables, dicts and the path are those of the error's own
frames; only tables whose classes are a library's own are asked, see `variables.is_array`.
"""

import dis
import os
import re
import time
from itertools import islice, takewhile

from . import variables
from .suggestions import locals_of, message, near, own

_NAMED = re.compile(r".*\['([^']+)'|(?:^|.* )'([^']+)' |Column not found: (.+)$")
_UNDEFINED = re.compile(r"name '([^']+)' is not defined")
_QUOTED = re.compile(r'"([^"\n]+)" not found$')
_POLARS_FILE = re.compile(r"^No such file or directory \(os error 2\): (.+)")
_MOST_COLUMNS = 2000
_MOST_KEYS = 1000
"""Of a dict that may hold names: in a longer one, of numbers and the like, some key is near."""

_SHORT = 8
_SLIP = 3
"""The cost of one edit and a change of case."""

_MOST_VALUES = 200
_MOST_INSTRUCTIONS = 20000
_LIBRARIES = ("site-packages", "dist-packages", os.path.dirname(os.__file__) + os.sep)
_MOST_FILES = 5000
_PATIENCE = 0.3
"""Seconds that folders are read for."""

_MOST_FOLDERS = 50
_OF_OURS = re.compile(r"'code_[0-9a-f]{8}\.py'")
_LINE = 160
"""Characters of a list of names."""


# Columns and labels


def column(error, frames):
    """The column or label that was meant by a missing one, or all; "" where that is not sure."""
    kind, said = type(error), message(error)
    if kind is KeyError:
        named = _NAMED.match(said)
        return _among(named[named.lastindex] if named else said, *_pandas_labels(frames))
    library, name = variables.package_of(kind), variables.type_name(error)
    if name == "UndefinedVariableError" and library == "pandas":
        named = _UNDEFINED.match(said)
        return _among(named[1], *_pandas_labels(frames)) if named else ""
    if name == "ColumnNotFoundError" and library == "polars":
        named = _QUOTED.match(said)
        return _among(named[1], "column", _polars_columns(frames)) if named else ""
    return ""


def _among(wrong, thing, names):
    if not wrong or wrong in names:
        return ""
    found = near(wrong, names, None if thing == "column" else _bound(wrong))
    if found is not None:
        return "did you mean the %s %r?" % (thing, found)
    return "%ss: %s" % (thing, _some(list(map(repr, names)))) if names else ""


def _bound(wrong):
    """What a change may cost for a key or a label, which are data: of short ones, many are near."""
    return _SLIP if len(wrong) < _SHORT else None


def _pandas_labels(frames):
    """In which columns, or else labels, pandas looked for a key; none where it did not."""
    searched = None
    for frame in reversed(frames):
        outside = frame.f_globals.get("__name__", "").partition(".")[0] != "pandas"
        if outside or frame.f_code.co_name == "get_group":  # whose keys are those of groups
            break
        held = locals_of(frame)
        for name in ("self", "obj"):
            value = held.get(name)
            kind = type(value)
            if variables.package_of(kind) != "pandas" or not variables.is_array(kind):
                continue
            if kind.__name__ == "DataFrameGroupBy":
                value = value.obj
            if _is_table(value):
                columns = value.columns
                if searched is None or searched is columns or _is_same(searched, columns):
                    return "column", _texts(columns, some=True)
                return "label", _texts(searched)
            if kind.__name__.endswith("Index") and searched is None:
                searched = value
    return "label", _texts(searched)


def _is_same(searched, columns):
    return len(searched) == len(columns) and searched.equals(columns)


def _texts(index, some=False):
    """The labels of an index; none where they have several levels, or not even `some` is a text."""
    if index is None or type(index).__name__ == "MultiIndex":
        return []
    labels = list(islice(index, _MOST_COLUMNS))
    return labels if some or any(type(each) is str for each in labels) else []


def _is_table(value):
    return variables.type_name(value) == "DataFrame" and variables.is_array(type(value))


def _polars_columns(frames):
    for frame in reversed(frames):
        held = locals_of(frame)
        for name in ("self", "df"):
            value = held.get(name)
            if variables.package_of(type(value)) == "polars" and _is_table(value):
                return list(islice(value.columns, _MOST_COLUMNS))
    return []


# Keys


def key(error, frames, line):
    """The key that was meant by one that no dict of this line of the user's has."""
    wrong = message(error)
    if type(error) is not KeyError or not wrong or not frames:
        return ""
    frame = frames[-1]
    if any(each in frame.f_code.co_filename for each in _LIBRARIES):
        return ""
    dicts = [names for names in _dicts(frame, line) if wrong not in names]
    keys = [each for names in dicts for each in names]
    if len(dicts) == 1:
        return _among(wrong, "key", keys)
    meant = near(wrong, keys, _bound(wrong))
    return "did you mean the key %r?" % meant if meant else ""


def _dicts(frame, line):
    """The names in the dicts that a line names, also as attributes, and in those within them."""
    held, words = dict(frame.f_globals, **locals_of(frame)), _words(frame.f_code, line)
    waiting = [held[word] for word in words if word in held]
    for attributes in map(own, waiting[:]):
        waiting += [dict.get(attributes, word) for word in words]
    found = []
    for value in waiting:  # which grows
        kind, inner = type(value), ()
        if variables.base_of(kind, (dict,)):
            inner = dict.values(value)
            keys = dict.keys(value) if len(inner) <= _MOST_KEYS else ()
            found.append([each for each in keys if type(each) is str])
        elif kind is list or kind is tuple:
            inner = value
        waiting += islice(inner, max(0, _MOST_VALUES - len(waiting)))
    return found


def _words(code, line):
    """The names in a line of code, each once, in their order."""
    lines, words, at = dict(dis.findlinestarts(code)), {}, None
    for each in islice(dis.get_instructions(code), _MOST_INSTRUCTIONS):
        at = lines.get(each.offset, at)
        if at == line and each.opcode not in dis.hasconst:
            named = each.argval if type(each.argval) is tuple else (each.argval,)
            words.update((word, None) for word in named if type(word) is str)
    return words


# Files


def file(error, frames):
    """Files near a missing one, and the working directory that it was looked for in."""
    if type(error) is not FileNotFoundError:
        return ""
    if frames and frames[-1].f_globals.get("__name__") == "subprocess":
        return ""  # a program
    path = error.filename
    if path is None:
        found = _POLARS_FILE.match(message(error))
        path = found[1] if found else None
    if type(path) is not str or not path or "://" in path:
        return ""
    return _about(path)


def _about(path):
    here, ending = os.getcwd(), os.path.splitext(path)[1]
    there, name = os.path.split(os.path.abspath(path))
    where = "" if os.path.isabs(path) else "working directory %s" % here
    end = time.perf_counter() + _PATIENCE
    names = _files(there, end)
    found = near(name, names)
    found = os.path.join(os.path.dirname(path), found) if found else _elsewhere(name, here, end)
    if found:
        return "did you mean %r%s?" % (found, " (%s)" % where if where else "")
    if not os.path.isdir(there):
        while not os.path.isdir(there) and there != os.path.dirname(there):
            missing, there = there, os.path.dirname(there)
        missing = "the folder %r does not exist" % (
            missing if not where else _within(missing, here)
        )
        return "%s%s" % (missing, " (%s)" % where if where else "")
    alike = [repr(each) for each in names if ending and each.endswith(ending)]
    alike = [each for each in alike if not _OF_OURS.match(each)]
    listed = "%s files there: %s" % (ending, _some(alike)) if alike else ""
    return "; ".join(filter(None, [where, listed]))


def _within(path, here):
    return path[len(here) + 1 :] if path.startswith(here + os.sep) else path


def _until(end, items):
    return takewhile(lambda _: time.perf_counter() < end, items)


def _files(folder, end):
    """The names in a folder, as many as can be read until `end`."""
    try:
        with os.scandir(folder) as found:
            return sorted(each.name for each in _until(end, islice(found, _MOST_FILES)))
    except OSError:
        return []


def _elsewhere(name, here, end):
    """A file of the same name in the working directory, or one folder deeper."""
    folders = [each for each in _files(here, end) if each[:1] not in "._"][:_MOST_FOLDERS]
    for folder in _until(end, ("", *folders)):
        if os.path.isfile(os.path.join(here, folder, name)):
            return os.path.join(folder, name)
    return None


def _some(shown):
    listed = ""
    for at, each in enumerate(shown):
        if len(listed) + len(each) > _LINE:
            return "%s and %d more" % (listed.rstrip(", "), len(shown) - at)
        listed += each + ", "
    return listed.rstrip(", ")

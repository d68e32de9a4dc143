"""Columns and files near missing ones; loaded in the kernel's process.

Standard library only, Python 3.8 syntax. The table and the path are those of the error's own
frames; only tables whose classes are a library's own are asked, see `variables.is_array`.
"""

import os
import re
from itertools import islice

from . import variables
from .nearness import near
from .suggestions import locals_of, message

_NAMED = re.compile(r"(?:^|.* )\[?(?:Index\(\[)?'([^']+)'.* |Column not found: (.+)$")
_UNDEFINED = re.compile(r"name '([^']+)' is not defined")
_QUOTED = re.compile(r'"([^"\n]+)" not found$')
_POLARS_FILE = re.compile(r"^No such file or directory \(os error 2\): (.+)")
_MOST_COLUMNS = 2000
_MOST_FILES = 5000
_MOST_FOLDERS = 50
_OF_OURS = re.compile(r"'code_[0-9a-f]{8}\.py'")
_LINE = 160
"""Characters of a list of names."""


# Columns


def column(error, frames):
    """The column that was meant by a missing one, or the columns; "" where that is not sure."""
    kind, said = type(error), message(error)
    if kind is KeyError:
        named = _NAMED.match(said)
        wrong = (named[1] or named[2]) if named else said
        return _among(wrong, _pandas_columns(frames))
    library, name = variables.package_of(kind), variables.type_name(error)
    if name == "UndefinedVariableError" and library == "pandas":
        named = _UNDEFINED.match(said)
        return _among(named[1], _pandas_columns(frames)) if named else ""
    if name == "ColumnNotFoundError" and library == "polars":
        named = _QUOTED.match(said)
        return _among(named[1], _polars_columns(frames)) if named else ""
    return ""


def _among(wrong, columns):
    if not wrong or columns is None or wrong in columns:
        return ""
    found = near(wrong, columns)
    if found is not None:
        return "did you mean the column %r?" % found
    return "columns: %s" % _some(list(map(repr, columns))) if columns else ""


def _pandas_columns(frames):
    """The columns in which pandas looked for a key; None for rows, or where it did not."""
    innermost = None
    for frame in reversed(frames):
        held = locals_of(frame)
        for name in ("self", "obj"):
            value = held.get(name)
            kind = type(value)
            if variables.package_of(kind) != "pandas" or not variables.is_array(kind):
                continue
            if kind.__name__ == "DataFrameGroupBy":
                value = value.obj
            if _is_table(value):
                return _columns_where(value, innermost)
            if kind.__name__.endswith("Index") and innermost is None:
                innermost = value
        if frame.f_globals.get("__name__", "").partition(".")[0] != "pandas":
            return None
    return None


def _is_table(value):
    return variables.type_name(value) == "DataFrame" and variables.is_array(type(value))


def _columns_where(table, searched):
    columns = table.columns
    if type(columns).__name__ == "MultiIndex":
        return None
    if searched is not None and searched is not columns:
        if len(searched) != len(columns) or not searched.equals(columns):
            return None  # a row is missing
    return list(islice(columns, _MOST_COLUMNS))


def _polars_columns(frames):
    for frame in reversed(frames):
        held = locals_of(frame)
        for name in ("self", "df"):
            value = held.get(name)
            if variables.package_of(type(value)) == "polars" and _is_table(value):
                return list(islice(value.columns, _MOST_COLUMNS))
    return None


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
    names = _files(there)
    found = near(name, names)
    found = os.path.join(os.path.dirname(path), found) if found else _elsewhere(name, here)
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


def _files(folder):
    try:
        with os.scandir(folder) as found:
            return sorted(each.name for each in islice(found, _MOST_FILES))
    except OSError:
        return []


def _elsewhere(name, here):
    """A file of the same name in the working directory, or one folder deeper."""
    folders = [each for each in _files(here) if each[:1] not in "._"][:_MOST_FOLDERS]
    for folder in ("", *folders):
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

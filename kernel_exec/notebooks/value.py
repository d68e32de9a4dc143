"""A notebook as a plain JSON value: reading its parts, and leaving parts out. Pure.

Works for any notebook in nbformat 4, whoever wrote it.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from kernel_exec.jsons import JSON, JSONObject, mapping, text

_LEVELS = 100
"""How deep values may be: all who read a notebook recurse, most of them in Python."""

_TIMES = frozenset({"started", "ended", "seconds", "when"})


def objects(value: JSON) -> list[JSONObject]:
    """The objects in a list; nothing for what is no list."""
    many = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    return [each for each in many if isinstance(each, Mapping)]


def cells(notebook: JSONObject) -> list[JSONObject]:
    """The cells, in order."""
    return objects(notebook.get("cells"))


def joined(value: JSON) -> str:
    """A text that nbformat may also keep as a list of its lines."""
    if isinstance(value, str):
        return value
    return "".join(map(str, value)) if isinstance(value, Sequence) else ""


def ours(part: JSONObject) -> JSONObject:
    """What kernel-exec says of a notebook, a cell or an output in its metadata."""
    return mapping(mapping(part, "metadata"), "kernel_exec")


def session_of(notebook: JSONObject) -> str:
    """The id of the session that a notebook is the export of, or ""."""
    return text(ours(notebook), "session")


def tags(cell: JSONObject) -> list[str]:
    """The tags of a cell."""
    told = mapping(cell, "metadata").get("tags")
    return [str(tag) for tag in told] if isinstance(told, list) else []


def without_outputs(notebook: JSONObject) -> JSONObject:
    """The notebook as if nothing had run."""

    def emptied(cell: JSONObject) -> JSONObject:
        if cell.get("cell_type") != "code":
            return cell
        return {**cell, "outputs": [], "execution_count": None}

    return _with_cells(notebook, emptied)


def without_times(notebook: JSONObject) -> JSONObject:
    """The notebook without a time or a duration, so that only what changed makes a difference."""

    def timeless(part: JSONObject) -> JSONObject:
        metadata = {
            key: _timeless(value) if key == "kernel_exec" else value
            for key, value in mapping(part, "metadata").items()
            if key != "execution"
        }
        return {**part, "metadata": metadata}

    return timeless(_with_cells(notebook, timeless))


def writable(value: JSON, levels: int = _LEVELS) -> JSON:
    """`value` as a file can hold it: lone surrogates escaped, NaN as null, nothing very deep."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping | Sequence) and not levels:
        return "[too deep for a notebook]"
    if isinstance(value, Mapping):
        return {str(writable(key)): writable(each, levels - 1) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [writable(each, levels - 1) for each in value]
    return value


def _with_cells(
    notebook: JSONObject, change: Callable[[JSONObject], JSONObject]
) -> dict[str, JSON]:
    return {**notebook, "cells": [change(cell) for cell in cells(notebook)]}


def _timeless(value: JSON) -> JSON:
    if isinstance(value, Mapping):
        return {
            key: each if key == "packages" else _timeless(each)
            for key, each in value.items()
            if key not in _TIMES
        }
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_timeless(each) for each in value]
    return value

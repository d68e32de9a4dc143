"""Arrays, tensors and indexes as text for a model; loaded in the kernel's process.

Standard library only at import, Python 3.8 syntax. One of two dimensions is a table without names,
any other a line of its values in their order. NumPy's options are obeyed: where the user has
chosen, NumPy writes them.
"""

import math
import sys

from . import cells, layout, tables, variables

_USUAL = {"precision": 8, "threshold": 1000, "suppress": False, "formatter": None}
_USUAL.update(edgeitems=3, floatmode="maxprec", sign="-")
_KINDS = "biufcUSmM"
"""Types whose values are NumPy's own."""

_LOOKED_AT = 100000
_LINE = 2000
_SHORT_LINE = 300
"""Characters of one that is shown whole; the second of one with more than two dimensions."""

_ENDS = (16, 4)
_WIDE = 12
_CORNERS = (3, 2)
"""Rows and columns of one that has more than `_WIDE` columns."""


@layout.or_none
def describe_array(array, name="array"):
    """An array of NumPy."""
    options = sys.modules["numpy"].get_printoptions()
    if type(array) is not sys.modules["numpy"].ndarray or not array.ndim:
        return None
    if any(options.get(name, usual) != usual for name, usual in _USUAL.items()):
        return None
    if array.dtype.kind not in _KINDS and not (array.dtype.kind == "O" and _is_text(array)):
        return None
    kind = layout.TEXT if array.dtype.kind in "OU" else str(array.dtype)
    name = "%s %s" % (name, "x".join(map(str, array.shape)))
    if array.ndim != 2:
        return _in_a_line(
            name,
            array.size,
            lambda table: ("", kind, table.column(list(array.flat[table.rows]), kind)),
            _LINE if array.ndim == 1 else _SHORT_LINE,
        )
    rows, width = array.shape
    if width <= _WIDE:
        ends = (rows, *layout.whole_or_ends(rows)), (width, width, 0)
    else:
        ends = (rows, *_CORNERS), (width, *_CORNERS)
    table = layout.Table(*ends, cells.LONGEST)
    texts = [table.column(list(array[table.rows, at]), kind) for at in table.columns]
    told = [each for column in texts for each in column]
    top = table.heading(name, kind, told)
    return table.text(top, [], table.across([], texts)[1])


@layout.or_none
def describe_tensor(tensor):
    """An array of another library, where NumPy can hold the same values."""
    shape = tuple(tensor.shape)
    if not 0 < math.prod(shape) <= _LOOKED_AT:
        return None
    facts, held = [], tensor
    if getattr(tensor, "requires_grad", False) is True:
        facts.append("requires grad")
        held = held.detach()
    if hasattr(held, "cpu"):
        facts += [] if "cpu" in str(held.device).lower() else [str(held.device)]
        held = held.cpu()
    array = sys.modules["numpy"].asarray(held)
    name = variables.type_name(tensor) + (" (%s)" % ", ".join(facts) if facts else "")
    return describe_array(array, name) if array.shape == shape else None


def _is_text(array):
    """Whether an array of objects holds nothing else than texts; a long one is not looked at."""
    return array.size <= _LOOKED_AT and all(type(each) is str for each in array.flat)


@layout.or_none
def describe_index(index):
    """An index of pandas; None for a range, which is short."""
    if isinstance(index, sys.modules["pandas"].RangeIndex):
        return None
    if index.nlevels > 1:
        rows = (len(index), *layout.whole_or_ends(len(index)))
        table = layout.Table(rows, (0, 0, 0), cells.LONGEST)
        levels, names = tables.levels_of(table, index)
        return table.text("%s %d" % (type(index).__name__, len(index)), names, levels)
    return _line_of_pandas(type(index).__name__, index)


@layout.or_none
def describe_extension(array):
    """An array of pandas, such as the unique values of a column."""
    if not variables.is_array(type(array)):
        return None
    return _line_of_pandas(type(array).__name__, sys.modules["pandas"].Index(array))


def _line_of_pandas(kind, index):
    def column(table):
        (texts,), (heading,) = tables.levels_of(table, index)
        return heading, "", texts

    return _in_a_line("%s %d" % (kind, len(index)), len(index), column)


def _in_a_line(name, length, column, longest=_LINE):
    """All values or those of both ends; `column` makes label, type and texts of a table's rows."""
    for ends in ((length, 0) if length <= longest else _ENDS, _ENDS):
        table = layout.Table((length, *ends), (1, 1, 0), cells.LONGEST)
        label, of, texts = column(table)
        if sum(map(len, texts)) + len(texts) <= longest:
            break
    heading = table.heading(label, of, texts)
    between = ": " if label else " " if heading else ""
    return table.line("%s%s%s" % (name, between, heading), texts)

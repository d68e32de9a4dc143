"""Tables of pandas and Polars as text for a model; loaded in the kernel's process.

Standard library only at import, Python 3.8 syntax; nothing that is described is changed. A frame is
shown as its shape, its columns and its rows, with commas between the values: that needs the fewest
characters. A column has its type where the values do not show it, and the number of its missing
values. The user's options for numbers, rows, columns and widths are obeyed: they are the user's to
choose, and whatever is too long for a result is in a file.
"""

import os
import re
import sys

from . import cells, layout

_INFERRED = 1000000
_DATED = 100000
"""Rows that are looked at to learn whether a column holds dates without a time."""


# pandas

_USUAL_ROWS = (60, 10)
_USUAL_COLUMNS = (0, 20)
_USUAL_WIDTH = 50
_USUAL_FORMAT = {"float_format": None, "precision": 6, "chop_threshold": None}


def _option(name):
    return sys.modules["pandas"].get_option("display." + name)


def _pandas_table(rows, width):
    most, few = _option("max_rows"), _option("min_rows")
    columns, longest = _option("max_columns"), _option("max_colwidth")
    usual = (most, few) == _USUAL_ROWS
    if usual:
        shown = layout.whole_or_ends(rows)
    else:
        most = rows if most is None else most or _USUAL_ROWS[0]
        shown = (rows, 0) if rows <= most else layout.ends(min(few or most, most))
    return layout.Table(
        (rows, *shown),
        layout.outer(
            width, width if columns is None else None if columns in _USUAL_COLUMNS else columns
        ),
        cells.LONGEST if longest == _USUAL_WIDTH else longest,
        layout.BUDGET if usual else sys.maxsize,
    )


def _own_format():
    """A note when the user has said how pandas writes floats: then pandas writes them."""
    for name, usual in _USUAL_FORMAT.items():
        chosen = _option(name)
        if chosen != usual:
            how = "" if callable(chosen) else " = %s" % chosen
            return "floats as display.%s%s shows them" % (name, how)
    return ""


@layout.or_none
def describe_frame(frame):
    """A DataFrame of pandas."""
    if _option("large_repr") != "truncate":
        return None
    rows, width = frame.shape
    table = _pandas_table(rows, width)
    names = [table.cells.label(name) for name in frame.columns.names if name is not None]
    notes = ["columns: %s" % ", ".join(names)] if names else []
    top = "%s %dx%d" % (type(frame).__name__, rows, width)
    chosen = _own_format()
    if chosen:
        shown = frame.iloc[:, table.columns].to_string(max_rows=max(1, len(table.rows)))
        return table.text_of_library(top, shown, *notes, chosen)
    described = [_pandas_column(table, frame.iloc[:, at]) for at in table.columns]
    told = {table.told(kind, texts) for kind, texts, _ in described}
    is_common = len(told) == 1 and rows and width > 1 and frame.dtypes.nunique() == 1
    common = told.pop() if is_common else ""
    index, header = levels_of(table, frame.index)
    for at, (kind, texts, nulls) in zip(table.columns, described):
        label = table.cells.label(frame.columns[at])
        header.append(table.heading(label, "" if common else kind, texts, nulls))
    columns = index + [texts for _, texts, _ in described]
    header, columns = table.across(header, columns, len(index))
    return table.text(" ".join(filter(None, (top, common))), header, columns, notes)


@layout.or_none
def describe_series(series):
    """A Series of pandas."""
    table = _pandas_table(len(series), 1)
    top = "%s %d" % (type(series).__name__, len(series))
    chosen = _own_format()
    if chosen:
        shown = series.to_string(max_rows=max(1, len(table.rows)))
        return table.text_of_library(top, shown, chosen)
    label = "" if series.name is None else table.cells.label(series.name)
    kind, texts, nulls = _pandas_column(table, series)
    heading = table.heading(label, kind, texts, nulls)
    index, header = levels_of(table, series.index)
    if any(header):
        return table.text(top, [*header, heading], [*index, texts])
    return table.text(_with(top, heading), [], [*index, texts])


def _with(top, heading):
    """The first line of a Series whose name has no line of its own."""
    return "%s: %s" % (top, heading) if heading else top


def levels_of(table, index):
    """The cells of each level of an index, and their headings."""
    shown = index.take(table.rows)
    short = index if len(index) <= _DATED else shown
    levels, names = [], []
    for at, name in enumerate(index.names):
        whole, values = short.get_level_values(at), shown.get_level_values(at)
        kind, texts = pandas_cells(table, whole, values, len(index))
        label = "" if name is None else table.cells.label(name)
        names.append(table.heading(label, kind, texts) if texts else label)
        levels.append(texts)
    return levels, names


def _pandas_column(table, column):
    """A column's type, its cells, and how many values are missing."""
    kind, texts = pandas_cells(table, column, column.iloc[table.rows], len(column))
    return kind, texts, int(column.isna().sum()) if table.counts else 0


def pandas_cells(table, whole, shown, rows):
    """The type and the cells of what is shown of a Series or an index.

    A long one is not looked at whole.
    """
    kind = str(shown.dtype)
    is_date = kind.startswith("datetime64[") and "," not in kind
    dates = kind.startswith("datetime64[") and rows <= _DATED and _has_no_times(whole)
    if kind.startswith("str") or (kind == "object" and _is_text(whole)):
        kind = layout.TEXT
    written = "object" if kind == "category" else kind
    return "datetime64" if is_date else kind, table.column(list(shown.array), written, dates)


def _is_text(values):
    """Whether all objects that are not missing are texts; many are not looked at."""
    infer = sys.modules["pandas"].api.types.infer_dtype
    return len(values) <= _INFERRED and infer(values, skipna=True) in ("string", "empty")


def _has_no_times(values):
    times = values.dt.normalize() if hasattr(values, "dt") else values.normalize()
    return bool(((times == values) | values.isna()).all())


# Polars

_USUAL = {
    "set_fmt_float": "mixed",
    "set_float_precision": None,
    "set_thousands_separator": "",
    "set_decimal_separator": ".",
    "set_trim_decimal_zeros": False,
}
_WHOLE_SECOND = re.compile(r"\.0+(?=$|[+-])")


def _polars_table(rows, width):
    usual = "POLARS_FMT_MAX_ROWS" not in os.environ
    most = _chosen("MAX_ROWS", 0)
    if usual:
        shown = layout.whole_or_ends(rows)
    else:
        shown = (rows, 0) if rows <= most else layout.ends(most)
    columns = _chosen("MAX_COLS", 0)
    return layout.Table(
        (rows, *shown),
        layout.outer(width, columns if "POLARS_FMT_MAX_COLS" in os.environ else None),
        _chosen("STR_LEN", cells.LONGEST),
        layout.BUDGET if usual else sys.maxsize,
    )


def _chosen(name, usual):
    """A limit that the user has set by polars.Config, or the usual one."""
    chosen = int(os.environ.get("POLARS_FMT_" + name, usual))
    return chosen if chosen >= 0 else sys.maxsize


def _polars_format():
    """A note when the user has said how Polars writes values: then Polars writes them."""
    state = sys.modules["polars"].Config.state()
    changed = [key for key, usual in _USUAL.items() if state.get(key, usual) not in (usual, None)]
    return "values as polars.Config shows them (%s)" % ", ".join(changed) if changed else ""


@layout.or_none
def describe_polars(frame):
    """A DataFrame of Polars."""
    rows, width = frame.shape
    table = _polars_table(rows, width)
    top = "polars %s %dx%d" % (type(frame).__name__, rows, width)
    chosen = _polars_format()
    if chosen:
        return table.text_of_library(top, str(frame), chosen)
    described = [_polars_column(table, frame.to_series(at)) for at in table.columns]
    headings, columns = [each for each, _ in described], [each for _, each in described]
    return table.text(top, *table.across(headings, columns))


@layout.or_none
def describe_polars_series(series):
    """A Series of Polars."""
    table = _polars_table(len(series), 1)
    top = "polars %s %d" % (type(series).__name__, len(series))
    chosen = _polars_format()
    if chosen:
        return table.text_of_library(top, str(series), chosen)
    heading, texts = _polars_column(table, series)
    return table.text(_with(top, heading), [], [texts])


def _polars_column(table, column):
    shown = column.gather(table.rows) if hasattr(column, "gather") else column.take(table.rows)
    kind = str(column.dtype)
    name = kind.partition("(")[0]
    if name in ("Datetime", "Time"):  # as Python objects they lose nanoseconds
        polars = sys.modules["polars"]
        shown = shown.cast(getattr(polars, "String", None) or polars.Utf8)
    elif name == "Duration":
        shown = shown.dt.to_string("polars")
    if kind in ("String", "Utf8"):
        kind = layout.TEXT
    elif name == "Datetime" and "time_zone=None" in kind:
        kind = "datetime64"
    texts = ["null" if v is None else table.cells.cell(v, name) for v in shown.to_list()]
    if name == "Datetime" and all(each == "null" or _WHOLE_SECOND.search(each) for each in texts):
        texts = [_WHOLE_SECOND.sub("", each) for each in texts]
    label = table.cells.label(column.name) if column.name else ""
    return table.heading(label, kind, texts, column.null_count()), texts

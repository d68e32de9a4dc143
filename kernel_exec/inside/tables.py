"""Tables of pandas and Polars as text for a model; loaded in the kernel's process.

Standard library only at import, Python 3.8 syntax; nothing that is described is changed. A frame is
shown as its shape, the types and missing values of its columns, and its rows, with commas between
the values: that needs the fewest characters. It has as many rows as the library itself would show,
and the user's options for numbers, columns and widths are obeyed: they are the user's to choose,
and whatever is too long for a result is in a file.
"""

import functools
import os
import sys

from . import cells
from .figures import describe_figure

_ROWS, _FEW_ROWS = 60, 10
"""Rows that are shown whole, and those that are shown of more; as in pandas."""

_TAIL = 2
_COLUMNS = 30
_LONGEST_TYPE = 80

_COUNTED = 20000000
"""Values that are looked at to count the missing ones."""

_DATED = 100000
"""Rows that are looked at to learn whether a column holds dates without a time."""

_MIDNIGHT = " 00:00:00"


def format_tables(shell):
    """Give a shell's DataFrames and Series a compact text form in addition to their usual ones."""
    from IPython.core.formatters import BaseFormatter
    from traitlets import ObjectName, Unicode

    class ModelFormatter(BaseFormatter):
        """Text made for a language model."""

        format_type = Unicode("text/llm+plain")
        print_method = ObjectName("_repr_llm_")

    formatter = ModelFormatter(parent=shell.display_formatter)
    shell.display_formatter.formatters["text/llm+plain"] = formatter
    for module, kind, describe in (
        ("pandas", "DataFrame", describe_frame),
        ("pandas.core.frame", "DataFrame", describe_frame),
        ("pandas", "Series", describe_series),
        ("pandas.core.series", "Series", describe_series),
        ("polars.dataframe.frame", "DataFrame", describe_polars),
        ("polars.series.series", "Series", describe_polars_series),
        # the inline backend takes away what formatters have for a `Figure`
        ("matplotlib.figure", "FigureBase", describe_figure),
    ):
        formatter.for_type_by_name(module, kind, describe)


def _or_none(describe):
    """`describe`, or None where it fails: the library's own text has to do."""

    @functools.wraps(describe)
    def described(value):
        try:
            return describe(value)
        except Exception:
            return None

    return described


class _Table:
    """How much of a table is shown, and its text."""

    def __init__(self, rows, width, few_rows, columns, longest):
        few_rows = min(few_rows, rows)
        tail = min(_TAIL, few_rows // 2)
        self._head = few_rows - tail
        self.rows = [*range(self._head), *range(rows - tail, rows)]
        self._left_out = rows - len(self.rows)
        self.columns = min(width, columns)
        self.cells = cells.Cells(longest)
        self._all = rows * self.columns

    @property
    def counts(self):
        """Whether missing values are counted."""
        return self._all <= _COUNTED

    def column(self, values, kind="", dates=False):
        """The cells of a column; `dates` says that no value of it has a time of day."""
        texts = [self.cells.cell(value, kind) for value in values]
        if dates:
            return [t[: -len(_MIDNIGHT)] if t.endswith(_MIDNIGHT) else t for t in texts]
        return texts

    def typed(self, label, kind, nulls):
        """A column in the list of columns."""
        return "%s %s" % (self.cells.label(label), _type(kind, nulls))

    def text(self, top, header, columns):
        """All of it; each of `columns` has a cell for each row that is shown."""
        rows = [",".join(row) for row in zip(*columns)]
        if self._left_out:
            rows.insert(self._head, "... %s not shown" % _number(self._left_out, "row"))
        names = [",".join(header)] if any(header) else []
        rounded = "floats are rounded to %d significant digits" % cells.DIGITS
        return self._with_notes([*top, *names, *rows], rounded if self.cells.rounded else "")

    def text_of_library(self, top, shown, note):
        """The same with the rows as their library shows them, and the note that says why."""
        return self._with_notes([*top, shown], note)

    def _with_notes(self, lines, note):
        notes = [note] if note else []
        if not self.counts:
            notes.append("missing values were not counted")
        return "\n".join([*lines, "[%s]" % "; ".join(notes)] if notes else lines)


def _number(count, thing):
    return "%s %s%s" % (format(count, ","), thing, "" if count == 1 else "s")


def _counted(name, count, label, kind):
    """The first line of a Series."""
    return "%s %s: %s" % (name, _number(count, "value"), " ".join(filter(None, (label, kind))))


def _type(kind, nulls):
    kind = str(kind)
    kind = kind if len(kind) <= _LONGEST_TYPE else kind[:_LONGEST_TYPE] + "…"
    return "%s (%s null)" % (kind, format(nulls, ",")) if nulls else kind


def _top(name, frame, described, names=""):
    """The first two lines of a frame: its shape, and its columns as they are `described`."""
    rows, width = frame.shape
    if width > len(described):
        described.append("... %d more" % (width - len(described)))
    shape = "%s %s x %s" % (name, _number(rows, "row"), _number(width, "column"))
    return [shape, "columns%s: %s" % (names, "; ".join(described))]


# pandas

_USUAL_COLUMNS = (0, 20)
_USUAL_WIDTH = 50
_USUAL_FORMAT = {"float_format": None, "precision": 6, "chop_threshold": None}


def _option(name):
    return sys.modules["pandas"].get_option("display." + name)


def _pandas_table(rows, width):
    most, few = _option("max_rows"), _option("min_rows")
    most = rows if most is None else most or _ROWS
    columns, longest = _option("max_columns"), _option("max_colwidth")
    return _Table(
        rows,
        width,
        rows if rows <= most else min(few or most, most),
        width if columns is None else _COLUMNS if columns in _USUAL_COLUMNS else columns,
        cells.LONGEST if longest == _USUAL_WIDTH else longest,
    )


def _own_format():
    """A note when the user has said how pandas writes floats: then pandas writes them."""
    for name, usual in _USUAL_FORMAT.items():
        chosen = _option(name)
        if chosen != usual:
            how = "" if callable(chosen) else " = %s" % chosen
            return "floats as display.%s%s shows them" % (name, how)
    return ""


@_or_none
def describe_frame(frame):
    """A DataFrame of pandas."""
    if _option("large_repr") != "truncate":
        return None
    rows, width = frame.shape
    table = _pandas_table(rows, width)
    columns = [frame.iloc[:, at] for at in range(table.columns)]
    described = [
        table.typed(label, column.dtype, int(column.isna().sum()) if table.counts else 0)
        for label, column in zip(frame.columns, columns)
    ]
    names = [table.cells.label(name) for name in frame.columns.names if name is not None]
    top = _top(type(frame).__name__, frame, described, " (%s)" % ", ".join(names) if names else "")
    chosen = _own_format()
    if chosen:
        shown = frame.iloc[:, : table.columns].to_string(max_rows=len(table.rows))
        return table.text_of_library(top, shown, chosen)
    index, header = _index(table, frame.index)
    header += [table.cells.label(label) for label in frame.columns[: table.columns]]
    return table.text(top, header, index + [_pandas_column(table, each) for each in columns])


@_or_none
def describe_series(series):
    """A Series of pandas."""
    table = _pandas_table(len(series), 1)
    nulls = int(series.isna().sum()) if table.counts else 0
    label = "" if series.name is None else table.cells.label(series.name)
    top = [_counted(type(series).__name__, len(series), label, _type(series.dtype, nulls))]
    chosen = _own_format()
    if chosen:
        shown = series.to_string(max_rows=len(table.rows))
        return table.text_of_library(top, shown, chosen)
    index, names = _index(table, series.index)
    header = [*names, label] if any(names) else []
    return table.text(top, header, [*index, _pandas_column(table, series)])


def _index(table, index):
    """The cells of each level of an index, and the levels' names."""
    names = ["" if name is None else table.cells.label(name) for name in index.names]
    shown = index.take(table.rows)
    short = index if len(index) <= _DATED else shown
    levels = [
        _pandas_cells(table, short.get_level_values(at), shown.get_level_values(at), len(index))
        for at in range(index.nlevels)
    ]
    return levels, names


def _pandas_column(table, column):
    return _pandas_cells(table, column, column.iloc[table.rows], len(column))


def _pandas_cells(table, whole, shown, rows):
    """The cells of a Series or an index that are shown; a long one is not looked at whole."""
    kind = str(shown.dtype)
    dates = kind.startswith("datetime64[") and rows <= _DATED and _has_no_times(whole)
    return table.column(list(shown.array), kind, dates)


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


def _polars_table(rows, width):
    few = _FEW_ROWS if rows > _ROWS else rows
    return _Table(
        rows,
        width,
        _chosen("MAX_ROWS", few),
        _chosen("MAX_COLS", _COLUMNS),
        _chosen("STR_LEN", cells.LONGEST),
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


@_or_none
def describe_polars(frame):
    """A DataFrame of Polars."""
    rows, width = frame.shape
    table = _polars_table(rows, width)
    columns = [frame.to_series(at) for at in range(table.columns)]
    described = [table.typed(each.name, each.dtype, each.null_count()) for each in columns]
    top = _top("polars " + type(frame).__name__, frame, described)
    chosen = _polars_format()
    if chosen:
        return table.text_of_library(top, str(frame), chosen)
    header = [table.cells.label(each.name) for each in columns]
    return table.text(top, header, [_polars_column(table, each) for each in columns])


@_or_none
def describe_polars_series(series):
    """A Series of Polars."""
    table = _polars_table(len(series), 1)
    label = table.cells.label(series.name) if series.name else ""
    kind = _type(series.dtype, series.null_count())
    top = [_counted("polars " + type(series).__name__, len(series), label, kind)]
    chosen = _polars_format()
    if chosen:
        return table.text_of_library(top, str(series), chosen)
    return table.text(top, [], [_polars_column(table, series)])


def _polars_column(table, column):
    shown = column.gather(table.rows) if hasattr(column, "gather") else column.take(table.rows)
    kind = str(column.dtype).partition("(")[0]
    if kind in ("Datetime", "Time"):  # as Python objects they lose nanoseconds
        polars = sys.modules["polars"]
        shown = shown.cast(getattr(polars, "String", None) or polars.Utf8)
    elif kind == "Duration":
        shown = shown.dt.to_string("polars")
    values = shown.to_list()
    return ["null" if value is None else table.cells.cell(value, kind) for value in values]

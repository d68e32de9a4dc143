"""Describes values for a model: DataFrames as text, variables; loaded in the kernel's process.

Standard library only at import, Python 3.8 syntax; nothing that is described is changed.
"""

import collections
import sys


def format_frames(shell):
    """Give a shell's DataFrames a compact text form beside their usual ones."""
    from IPython.core.formatters import BaseFormatter
    from traitlets import ObjectName, Unicode

    class ModelFormatter(BaseFormatter):
        """Text made for a language model."""

        format_type = Unicode("text/llm+plain")
        print_method = ObjectName("_repr_llm_")

    formatter = ModelFormatter(parent=shell.display_formatter)
    shell.display_formatter.formatters["text/llm+plain"] = formatter
    for module in ("pandas", "pandas.core.frame"):
        formatter.for_type_by_name(module, "DataFrame", describe_frame)
    formatter.for_type_by_name("polars.dataframe.frame", "DataFrame", describe_polars)


def name_nameless_errors(shell):
    """An exception that can't say what it is is told by its type, and by what stood in its way."""
    show = shell._showtraceback

    def show_any(etype, evalue, stb):
        try:
            str(evalue)
        except Exception as error:
            message = "[its __str__ raised %s: %s]" % (type(error).__name__, _said(error))
            evalue = _Told(message)
            stb = [*stb[:-1], "%s: %s" % (etype.__name__, message)]
        return show(etype, evalue, stb)

    shell._showtraceback = show_any
    # IPython 9 would format each traceback a second time, for a history that nobody reads here
    shell._format_exception_for_storage = _brief


def _brief(error, *args, **kwargs):
    return {"ename": type(error).__name__, "evalue": "", "traceback": []}


class _Told:
    """An exception's message in place of the exception."""

    def __init__(self, message):
        self._message = message

    def __str__(self):
        return self._message


def _said(error):
    try:
        return str(error)
    except Exception:
        return "it can't say what"


def describe_polars(frame, head=8, tail=2, columns=30):
    """The same of a frame of Polars."""
    rows, width = frame.shape
    shown = frame[:, :columns]
    nulls = shown.null_count().row(0) if width else ()
    described = [
        "%s %s%s" % (name, dtype, " (%d null)" % null if null else "")
        for name, dtype, null in zip(shown.columns, shown.dtypes, nulls)
    ]
    if width > columns:
        described.append("... %d more" % (width - columns))
    lines = [
        "polars DataFrame %s rows x %d columns" % (format(rows, ","), width),
        "columns: " + "; ".join(described),
    ]
    if rows <= head + tail:
        lines.append(_as_csv(shown))
    else:
        lines.append(_as_csv(shown.head(head)))
        lines.append("... %s rows not shown" % format(rows - head - tail, ","))
        lines.append(_as_csv(shown.tail(tail), header=False))
    return "\n".join(lines)


def _as_csv(frame, header=True):
    try:
        return frame.write_csv(include_header=header, float_precision=5).rstrip()
    except Exception:  # lists and structs have no form there
        rows = [] if not header else [",".join(frame.columns)]
        return "\n".join(rows + [",".join(map(str, row)) for row in frame.rows()])


def describe_frame(frame, head=8, tail=2, columns=30):
    """Shape, dtypes with nulls, first and last rows as CSV: the most per character."""
    rows, width = frame.shape
    counted = rows * width <= 20000000
    nulls = frame.isna().sum().tolist() if counted else [0] * width
    described = [
        "%s %s%s" % (name, dtype, " (%d null)" % null if null else "")
        for name, dtype, null in zip(frame.columns[:columns], frame.dtypes[:columns], nulls)
    ]
    if width > columns:
        described.append("... %d more" % (width - columns))
    lines = [
        "DataFrame %s rows x %d columns" % (format(rows, ","), width),
        "columns: " + "; ".join(described),
    ]
    shown = frame.iloc[:, :columns]
    if rows <= head + tail:
        lines.append(shown.to_csv(float_format="%.5g").rstrip())
    else:
        lines.append(shown.head(head).to_csv(float_format="%.5g").rstrip())
        lines.append("... %s rows not shown" % format(rows - head - tail, ","))
        lines.append(shown.tail(tail).to_csv(float_format="%.5g", header=False).rstrip())
    return "\n".join(lines)


_SIZED = (str, bytes, bytearray, list, tuple, dict, set, frozenset, range, collections.deque)
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_ARRAYS = ("numpy", "pandas", "polars", "torch", "xarray", "scipy", "pyarrow", "jax", "tensorflow")


def describe_variable(name, value):
    """Name, type, shape or length, size in bytes, and the value of a plain one."""
    kind = type(value)
    array = kind.__module__.partition(".")[0] in _ARRAYS
    described = {"name": name if len(name) <= 100 else name[:100] + "...", "type": kind.__name__}
    try:
        if array and getattr(value, "shape", None) is not None:
            described["shape"] = [int(extent) for extent in value.shape]
        elif isinstance(value, _SIZED):
            described["length"] = len(value)
        described["size"] = _size(value) if array else sys.getsizeof(value)
        if isinstance(value, _PLAIN):
            text = repr(value[:80] if isinstance(value, (str, bytes)) else value)
            described["preview"] = text if len(text) <= 80 else text[:77] + "..."
    except Exception:
        described["note"] = "its description failed"
    return described


def describe_briefly(value):
    """Type, shape or length, and an array's size: `DataFrame 1000x3 24.0 KB`, `list 5`, `int`."""
    told = describe_variable("", value)
    extent = [str(told["length"])] if "length" in told else []
    if told.get("shape"):
        extent = ["x".join(map(str, told["shape"])), _human(told.get("size", 0))]
    return " ".join([told["type"], *extent])


def _human(size):
    if size < 1000:
        return "%d B" % size
    power = min(len(str(size)) - 1, 12) // 3
    return "%.1f %s" % (size / 1000**power, ("KB", "MB", "GB", "TB")[power - 1])


def _size(value):
    usage = getattr(value, "memory_usage", None)
    if callable(usage):
        total = usage(index=True)
        return int(total.sum() if hasattr(total, "sum") else total)
    size = getattr(value, "nbytes", None)
    return int(size) if isinstance(size, int) else sys.getsizeof(value)

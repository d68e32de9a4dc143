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
    described = {"name": name, "type": kind.__name__}
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


def _size(value):
    usage = getattr(value, "memory_usage", None)
    if callable(usage):
        total = usage(index=True)
        return int(total.sum() if hasattr(total, "sum") else total)
    size = getattr(value, "nbytes", None)
    return int(size) if isinstance(size, int) else sys.getsizeof(value)

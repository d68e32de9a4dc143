"""Which values get a text for a model beside their usual forms; loaded in the kernel's process.

Standard library only at import, Python 3.8 syntax.
"""

from . import arrays, containers, tables
from .figures import describe_figure

_FORMS = (
    ("pandas", "DataFrame", tables.describe_frame),
    ("pandas.core.frame", "DataFrame", tables.describe_frame),
    ("pandas", "Series", tables.describe_series),
    ("pandas.core.series", "Series", tables.describe_series),
    ("pandas", "Index", arrays.describe_index),
    ("pandas.core.indexes.base", "Index", arrays.describe_index),
    ("pandas.core.arrays.base", "ExtensionArray", arrays.describe_extension),
    ("pandas.api.extensions", "ExtensionArray", arrays.describe_extension),
    ("polars.dataframe.frame", "DataFrame", tables.describe_polars),
    ("polars.series.series", "Series", tables.describe_polars_series),
    ("numpy", "ndarray", arrays.describe_array),
    ("numpy", "generic", containers.describe_scalar),
    # the inline backend takes away what formatters have for a `Figure`
    ("matplotlib.figure", "FigureBase", describe_figure),
    *((each.__module__, each.__name__, containers.describe_container) for each in containers.KINDS),
)


def format_values(shell):
    """Give a shell's values a compact text form in addition to their usual ones."""
    from IPython.core.formatters import BaseFormatter
    from traitlets import ObjectName, Unicode

    class ModelFormatter(BaseFormatter):
        """Text made for a language model."""

        format_type = Unicode("text/llm+plain")
        print_method = ObjectName("_repr_llm_")

    formatter = ModelFormatter(parent=shell.display_formatter)
    shell.display_formatter.formatters["text/llm+plain"] = formatter
    for module, kind, describe in _FORMS:
        formatter.for_type_by_name(module, kind, describe)

"""Which values get a text for a model beside their usual forms; loaded in the kernel's process.

Standard library only at import, Python 3.8 syntax. A class is known by its package and name, or by
what it offers: values of an array, a text of its own where IPython has only an address.
"""

import sys

from . import arrays, containers, layout, variables
from .figures import describe_figure

_LONGEST = 300
_SMALL = 100
"""Values of an array of xarray that are all shown."""


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
    formatter.for_type(object, describe)
    _plain_at_once(shell.display_formatter)


_PLAIN = frozenset(map(id, (bool, int, float, complex, str, bytes, type(None))))
"""By their addresses: the hash of a class can be code of the user's."""


def _plain_at_once(formatter):
    """A plain value has no form but its text, unless somebody made one for its class.

    Otherwise each of a dozen formatters would be asked in turn.
    """
    format_any, text = formatter.format, formatter.formatters["text/plain"]
    first = (formatter.ipython_display_formatter, formatter.mimebundle_formatter)

    def format_fast(obj, include=None, exclude=None):
        kind = type(obj)
        if id(kind) not in _PLAIN or include or exclude:
            return format_any(obj, include, exclude)
        for each in (*first, *formatter.formatters.values()):
            made = {} if each is text else each.type_printers
            if made and any(made[base] is not describe for base in kind.__mro__ if base in made):
                return format_any(obj, include, exclude)
        written = text(obj)
        return {} if written is None else {"text/plain": written}, {}

    formatter.format = format_fast


def describe(value):
    """A compact text for a value; None where its usual one has to do."""
    kind = type(value)
    if variables.base_of(kind, containers.KINDS):
        return containers.describe_container(value)
    for base in variables.bases(kind):
        if "_repr_llm_" in variables.namespace(base):
            return value._repr_llm_()
        form = _FORMS.get(variables.known_as(base))
        if form is not None:
            return form(value)
    if variables.is_array(kind) and hasattr(value, "__array__") and hasattr(value, "dtype"):
        return arrays.describe_tensor(value)
    return _in_its_words(value)


@layout.or_none
def _describe_data_array(array):
    """An array of xarray with many values: some of them in a line, and what it knows of them."""
    if array.size <= _SMALL:
        return None
    with sys.modules["xarray"].set_options(display_expand_data=False):
        return repr(array)


@layout.or_none
def _in_its_words(value):
    """What `print` writes of a library's object, where it has no `repr` of its own."""
    kind = type(value)
    package = sys.modules.get(variables.package_of(kind))
    if package is None or "-packages" not in (vars(package).get("__file__") or ""):
        return None
    if variables.definer(kind, "__repr__") is not object:
        return None
    if variables.definer(kind, "__str__") is object:
        return None
    said = str(value)
    return "<%s: %s>" % (variables.type_name(value), said) if len(said) <= _LONGEST else None


_FORMS = {
    **containers.KNOWN,
    ("numpy", "generic"): containers.describe_scalar,
    ("xarray", "DataArray"): _describe_data_array,
    # the inline backend takes away what formatters have for a `Figure`
    ("matplotlib", "FigureBase"): describe_figure,
}

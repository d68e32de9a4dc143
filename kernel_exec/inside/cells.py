"""Writes the values in a table as text that a reader can trust; loaded in the kernel's process.

Standard library only, Python 3.8 syntax. Whole numbers stay whole, other floats get ten significant
digits, and a table notes when that has rounded one of them. Text that could be mistaken for another
value, such as a missing one or a number, is quoted as in JSON; so is text with characters that
would break a line.
"""

import itertools
import json
import struct

from . import variables

DIGITS = 10
"""Significant digits of a float that is not whole."""

LONGEST = 60
"""Characters of one cell."""

_LABEL = 100
_WHOLE = 1e15
"""Whole floats below this are written to the last digit."""

_INFINITY = float("inf")
_SINGLE = {"float16": "e", "float32": "f", "Float16": "e", "Float32": "f", "float[pyarrow]": "f"}
_MISSING = frozenset({"", "nan", "none", "nat", "<na>", "null", "true", "false"})
_BREAKING = frozenset(',;"\\\n\r\t')
_ITEMS = 20
_DEPTH = 4
_HUGE = 10000
"""Bits above which nobody reads an integer's digits, and Python may refuse to write them."""


class Cells:
    """Writes the cells of one table, and remembers whether a float was rounded."""

    def __init__(self, longest=LONGEST):
        """`longest` characters of a cell are shown, all where it is None."""
        self._longest = longest
        self.rounded = False

    def cell(self, value, kind="", depth=0):
        """One value; `kind` is the type of its column."""
        try:
            if isinstance(value, str):
                return self._text(str.__str__(value), kind, depth)
            return self._cut(self._written(value, kind, depth))
        except Exception as error:
            return "<%s: %s>" % (variables.type_name(value), type(error).__name__)

    def label(self, value):
        """A column's name, or that of an index; facts in `<>` may follow it."""
        shown = self.cell(value, kind="object")
        if shown.endswith(">") and isinstance(value, str):
            shown = json.dumps(shown, ensure_ascii=False)
        return shown if len(shown) <= _LABEL else shown[:_LABEL] + "…"

    def number(self, value, kind=""):
        """A float; one of 16 or 32 bits gets the digits that no other of its kind has."""
        if value != value:
            return "NaN"
        if abs(value) == _INFINITY:
            return repr(value)
        if abs(value) < _WHOLE and value == int(value):
            return repr(value)
        exact = _shortest(value, _SINGLE[kind]) if kind in _SINGLE else value
        whole = len(str(int(abs(value)))) if abs(value) < _WHOLE else 0
        shown = float("%.*g" % (max(DIGITS, whole + 2), exact))
        if shown in (exact, _INFINITY, -_INFINITY):
            return repr(exact)
        self.rounded = True
        # zeros in place of digits would look like a whole number
        return repr(shown) if abs(value) < _WHOLE else "%.*e" % (DIGITS - 1, exact)

    def _cut(self, text):
        if self._longest is None or len(text) <= self._longest:
            return _escaped(text)
        shown = _escaped(text[: self._longest]) + "…"
        # the text of a container has been shortened before: its length says nothing
        return shown if text[0] in "([{" else "%s (%s characters)" % (shown, format(len(text), ","))

    def _written(self, value, kind, depth):
        if value is None or isinstance(value, bool):
            return str(value)
        if isinstance(value, int):
            bits = value.bit_length()
            return str(value) if bits <= _HUGE else "<int of %s bits>" % format(bits, ",")
        if isinstance(value, float):
            return self.number(float(value), kind)
        if isinstance(value, complex):
            real, imaginary = self.number(float(value.real)), self.number(float(value.imag))
            return "%s%s%sj" % (real, "" if imaginary[:1] == "-" else "+", imaginary)
        of_numpy = variables.package_of(type(value)) == "numpy"
        if of_numpy and type(value).__name__ in _SINGLE:
            return self.number(float(value), type(value).__name__)
        if of_numpy and type(value).__name__ == "complex64":
            return str(value)
        return self._nested(value, depth) or str(value)

    def _text(self, text, kind, depth):
        shown = text if self._longest is None else text[: self._longest]
        quoted = depth or not shown.isprintable() or _BREAKING & set(shown)
        quoted = quoted or text[:1].isspace() or text[-1:].isspace() or text.endswith("…")
        quoted = quoted or shown.lower() in _MISSING or (kind == "object" and _is_number(shown))
        if quoted:
            shown = '"%s"' % _escaped(shown.replace("\\", "\\\\").replace('"', '\\"'))
        return shown if self._longest is None or len(text) <= self._longest else shown + "…"

    def _nested(self, value, depth):
        """A container within a cell; "" for a value that is none."""
        kind = type(value)
        if variables.is_array(kind) and getattr(value, "shape", None):
            if kind.__name__ != "ndarray" or value.ndim != 1 or len(value) > _ITEMS:
                return "<%s>" % variables.describe_briefly(value)
            value, kind = list(value), list
        if kind not in (list, tuple, dict, set, frozenset):
            return ""
        if depth == _DEPTH:
            return "<%s>" % variables.describe_briefly(value)
        items = itertools.islice(value.items() if kind is dict else value, _ITEMS)
        shown = [self._item(item, kind, depth + 1) for item in items]
        if len(value) > _ITEMS:
            shown.append("… %s in all" % format(len(value), ","))
        left, right = "()" if kind is tuple else "[]" if kind is list else "{}"
        return left + ", ".join(shown) + right

    def _item(self, item, kind, depth):
        if kind is not dict:
            return self.cell(item, depth=depth)
        return "%s: %s" % (self.cell(item[0], depth=depth), self.cell(item[1], depth=depth))


def _is_number(text):
    try:
        float(text)
        return True
    except ValueError:
        return False


def _escaped(text):
    """The same in one line, with nothing that a reader would not see."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


def _shortest(value, code):
    """The float with the fewest digits that is `value` in 16 or 32 bits."""
    same = struct.pack(code, value)
    for digits in range(3, 10):
        shown = float("%.*g" % (digits, value))
        try:
            if struct.pack(code, shown) == same:
                return shown
        except OverflowError:
            continue  # rounded up beyond the largest
    return value

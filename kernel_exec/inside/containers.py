"""Lists, dicts and other containers as text for a model; loaded in the kernel's process.

Standard library only, Python 3.8 syntax. A container is whole where it is short; of a longer one
the first and the last items are shown with the number of those between. Records with the same keys
are a table. No code of the user's objects runs: where one is found, IPython's text has to do.
"""

import collections
import itertools

from . import arrays, cells, layout, tables, variables

_SHORT = 300
_LONG = 2000
"""Characters of a container that is shown whole: with all digits, and with ten."""

_LIMITS = ((30, 60), (10, 60), (5, 40), (3, 20))
"""Items of each container, and characters of each text, of one that is not; until it is short."""

_DEPTH = 6
_WIDTH = 70
"""Characters that IPython writes in one line as well."""

_LINE = 100
_SHORT_ITEM = 30
_SMALL = 20
"""Numbers of an array that is written within a container."""

_RECORDS = 3
_MOST_RECORDS = 100000
_SORTED = 10000
_TIMES = frozenset(
    {"date", "datetime", "time", "timedelta", "Timestamp", "Timedelta", "Period", "NaTType"}
)
_ZONES = ("datetime", "zoneinfo", "pytz", "dateutil")
_WRITTEN = ("decimal", "fractions", "ipaddress", "pathlib", "uuid")
"""Packages whose objects are written as Python writes them."""

_TABLED = ("numpy", "pandas", "polars")
_DICTS = (dict, collections.OrderedDict, collections.defaultdict, collections.Counter)
_SETS = (set, frozenset)
_VIEWS = (type({}.keys()), type({}.values()), type({}.items()))
KINDS = (list, tuple, collections.deque, *_DICTS, *_SETS, *_VIEWS)


class _TooLong(Exception):
    """Raised when what is written exceeds its room."""


class _Unknown(Exception):
    """Raised for a value that might run code of the user's."""


@layout.or_none
def describe_container(value):
    """A container of Python's own, or a dict that is written as one; None for any other class."""
    if not _is_one(value, KINDS):
        value = _plain(value)
    return (_records(value) or _written(value)) if _is_one(value, KINDS) else None


def _plain(value):
    """A dict of another class, such as a bunch of data, as a dict; None for what writes itself."""
    if variables.definer(type(value), "__repr__") is not dict:
        return None
    is_named = dict.__len__(value) <= _SORTED and all(type(key) is str for key in dict.keys(value))
    return dict(dict.items(value)) if is_named else None


@layout.or_none
def describe_scalar(value):
    """A number or a text of NumPy."""
    return _Writer(_SHORT, exact=True).write(value, 1)


def describe_known(value):
    """A table, an index or an array as it is shown alone; None for anything else."""
    for base in variables.bases(type(value)):
        describe = KNOWN.get(variables.known_as(base))
        if describe is not None:
            return describe(value)
    return None


KNOWN = {
    ("pandas", "DataFrame"): tables.describe_frame,
    ("pandas", "Series"): tables.describe_series,
    ("pandas", "Index"): arrays.describe_index,
    ("pandas", "ExtensionArray"): arrays.describe_extension,
    ("polars", "DataFrame"): tables.describe_polars,
    ("polars", "Series"): tables.describe_polars_series,
    ("numpy", "ndarray"): arrays.describe_array,
}
"""How tables and arrays are described, by package and class."""


def _is_one(value, kinds):
    """Whether a value is of just one of these types; a metaclass of the user's is not asked."""
    return any(type(value) is kind for kind in kinds)


def _is_table(kind):
    package = variables.package_of(kind)
    if package == "numpy":
        return kind.__name__ == "ndarray"
    return package in _TABLED and hasattr(kind, "__len__") and hasattr(kind, "shape")


def _written(value):
    limits = [(_SHORT, None, None), (_LONG, None, None), *((_LONG, *each) for each in _LIMITS)]
    for at, (room, items, longest) in enumerate(limits):
        writer = _Writer(room, items, longest, exact=at == 0)
        try:
            shown = writer.write(value, 0)
        except _TooLong:
            continue
        return None if writer.is_usual and len(shown) <= _WIDTH else shown + writer.note
    return None


class _Writer:
    """Writes a value in at most `room` characters; `items` and `longest` limit its parts."""

    def __init__(self, room, items=None, longest=None, exact=False):
        self._room, self._items, self._longest = room, items, longest
        self._exact = self.is_usual = exact
        self._has_tables = False
        self._cells = cells.Cells(None)

    @property
    def note(self):
        """What has to be said of floats."""
        return "\n[floats to %d digits]" % cells.DIGITS if self._cells.rounded else ""

    def write(self, value, depth):
        """The text of a value at this depth."""
        if _is_one(value, KINDS):
            return self._container(value, depth)
        shown = self._table(value, depth) if _is_table(type(value)) else self._scalar(value)
        self._spend(shown)
        return shown

    def _spend(self, shown):
        self._room -= len(shown) + 2
        if self._room < 0:
            raise _TooLong

    def _table(self, value, depth):
        """A table as it is shown alone; where it is deeper or one of many, what it is."""
        self.is_usual = False
        known = describe_known(value) if depth == 1 and self._items is None else None
        if known is None and type(value).__name__ == "ndarray" and value.ndim == 1:
            if len(value) <= _SMALL and value.dtype.kind in "biufU":
                return "array(%s)" % self._container(list(value), depth)
        self._has_tables |= known is not None
        return known or "<%s>" % variables.describe_briefly(value)

    def _container(self, value, depth):
        if depth == _DEPTH:
            return "<%s>" % variables.describe_briefly(value)
        kind = type(value)
        first, left_out, last = _parts(value, self._items, self._room)
        shown = [self._item(item, kind, depth) for item in first]
        if left_out:
            shown.append("… %s more%s" % (format(left_out, ","), " …" if last else ""))
        shown += [self._item(item, kind, depth) for item in last]
        self._spend("")
        longest = max(map(len, shown), default=0)
        in_lines = depth == 0 and sum(map(len, shown)) > _LINE and longest > _SHORT_ITEM
        if depth == 0 and self._has_tables:  # which have no brackets
            return "%s of %d:\n%s" % (kind.__name__, len(value), "\n".join(shown))
        return _enclosed(kind, (",\n" if in_lines else ", ").join(shown), len(shown))

    def _item(self, item, kind, depth):
        if kind not in _DICTS:
            return self.write(item, depth + 1)
        return "%s: %s" % (self.write(item[0], depth + 1), self.write(item[1], depth + 1))

    def _scalar(self, value):
        kind = type(value)
        if _is_one(value, (str, bytes)):
            return self._text(value)
        if kind is float:
            return repr(value) if self._exact or value != value else self._cells.number(value)
        if _is_one(value, (bool, int)):
            return self._cells.cell(value)
        if value is None or _is_one(value, (complex, range)):
            return repr(value)
        package = variables.package_of(kind)
        if package in _WRITTEN:
            return repr(value)
        self.is_usual = False
        if package == "matplotlib":  # what it has drawn: the picture shows it
            return "<%s>" % kind.__name__
        if package == "numpy":
            return self._of_numpy(value, kind.__name__)
        if package in ("datetime", "pandas") and kind.__name__ in _TIMES:
            zone = getattr(value, "tzinfo", None)
            if zone is None or variables.package_of(type(zone)) in _ZONES:
                return str(value)
        raise _Unknown

    def _text(self, value):
        if self._longest is None:
            if len(value) > self._room:
                raise _TooLong
            return repr(value)
        return repr(value[: self._longest]) + ("…" if len(value) > self._longest else "")

    def _of_numpy(self, value, name):
        if name.endswith("DType"):
            return repr(value)
        if name in ("float16", "float32"):
            return self._cells.number(float(value), name)
        if name.startswith(("datetime64", "timedelta64", "longdouble", "complex")):
            return str(value)
        plain = value.item()
        if type(plain) in (str, bytes, bool, int, float):
            return self._scalar(plain)
        raise _Unknown


def _parts(value, most, room):
    """The first items, how many are left out after them, and the last."""
    count, kind = len(value), type(value)
    if most is None and count > room:
        raise _TooLong
    if kind in _SETS:
        items = _sorted(value) if count <= _SORTED else value
        most = count if most is None else most
        return list(itertools.islice(items, most)), max(0, count - most), []
    items = value.items() if kind in _DICTS else value
    of_counts = kind is collections.Counter and count <= _MOST_RECORDS
    if of_counts and all(type(each) is int for each in value.values()):
        items = value.most_common()
    if most is None or count <= most:
        return list(items), 0, []
    last = most // 4 if hasattr(items, "__reversed__") else 0
    first = list(itertools.islice(items, most - last))
    return first, count - most, list(itertools.islice(reversed(items), last))[::-1] if last else []


def _sorted(items):
    """A set in order, where its values have one."""
    of_numbers = all(_is_one(each, (int, float)) for each in items)
    return sorted(items) if of_numbers or all(type(each) is str for each in items) else items


def _enclosed(kind, shown, items):
    if kind in (list, tuple):
        comma = "," if kind is tuple and items == 1 else ""
        return "[%s]" % shown if kind is list else "(%s%s)" % (shown, comma)
    if kind is dict or (kind is set and items):
        return "{%s}" % shown
    if not items:
        return "%s()" % kind.__name__
    of = "{%s}" if kind in _DICTS or kind in _SETS else "[%s]"
    return "%s(%s)" % (kind.__name__, of % shown)


def _records(value):
    """Dicts with the same keys as a table; None for others, and where a value would be cut."""
    if type(value) is not list or not _RECORDS <= len(value) <= _MOST_RECORDS:
        return None
    if any(type(each) is not dict or len(each) != len(value[0]) for each in value):
        return None
    keys = list(value[0])
    # strings first: keys of other types may have an `__eq__` of the user's
    if not keys or not all(type(key) is str for each in value for key in each):
        return None
    if any(list(each) != keys for each in value):
        return None
    rows = (len(value), *layout.whole_or_ends(len(value)))
    table = layout.Table(rows, layout.outer(len(keys), None), cells.LONGEST)
    headings, columns = [], []
    for key in (keys[at] for at in table.columns):
        shown = [value[at][key] for at in table.rows]
        is_text = all(type(each) is str for each in shown)
        kind = layout.TEXT if is_text else ""
        texts = [_cell(table, each, kind or "object") for each in shown]
        headings.append(table.heading(table.cells.label(key), kind, texts))
        columns.append(texts)
    if any(None in texts for texts in columns):
        return None
    return table.text("list of %d dicts" % len(value), *table.across(headings, columns))


def _cell(table, value, kind):
    """A value in a table of records; None for one that would have to be cut."""
    if type(value) is str:
        return table.cells.cell(value, kind)
    if type(value) is float:
        return table.cells.number(value)
    try:
        return _Writer(cells.LONGEST, exact=True).write(value, 2)
    except _TooLong:
        return None

"""The layout of a table as text: its heading, its columns and the rows that fit into a result.

Loaded in the kernel's process; standard library only, Python 3.8 syntax. The first line has the
shape, the second each name once, with what the cells below it do not show of a type in `<>`.
"""

import functools
import re

from . import cells

_ROWS = 30
"""Rows that are shown whole, if they fit."""

ENDS = (6, 2)
"""Rows from the start and the end of a table that has more."""

_COLUMNS = 30
_OUTER = 20
"""Columns that are shown of a table with more than `_COLUMNS`, a quarter of them from its end."""

BUDGET = 3800
"""Characters of a table: with its status line it fits into a result."""

_LONGEST_TYPE = 80

_COUNTED = 20000000
"""Values that are looked at to count the missing ones."""

_MIDNIGHT = " 00:00:00"
_EVIDENT = frozenset({"int64", "float64", "bool", "Int64", "Float64", "Boolean", "Date"})
"""Types that a cell shows by itself: `1`, `1.0`, `True`, `2024-01-01`."""

TEXT = "text"
_UNTOLD = frozenset({"NaN", "NaT", "None", "<NA>", "null"})
"""Cells that do not show their type."""

_LIKE_A_NUMBER = re.compile(r"[-+]?(\.?\d[-\d.,:/+ eT_]*Z?|inf(inity)?)$", re.IGNORECASE)
"""Text that could also be a number or a date."""


def or_none(describe):
    """`describe`, or None where it fails: the library's own text has to do."""

    @functools.wraps(describe)
    def described(*value):
        try:
            return describe(*value)
        except Exception:
            return None

    return described


class Table:
    """How much of a table is shown, and its text."""

    def __init__(self, rows, columns, longest, budget=BUDGET):
        """`rows` and `columns` are the numbers of all, of the first and of the last that count."""
        self._left_out, self._head, self.rows = _chosen_from(*rows)
        self._hidden, self._gap, self.columns = _chosen_from(*columns)
        self.cells = cells.Cells(longest)
        self._budget = budget
        self._all = rows[0] * len(self.columns)

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

    def told(self, kind, texts):
        """A type as a heading has it, "" where its cells show it."""
        is_shown = any(each not in _UNTOLD for each in texts)
        if is_shown and (kind in _EVIDENT or kind == "datetime64"):
            return ""
        if is_shown and kind == TEXT:
            return TEXT if any(map(_LIKE_A_NUMBER.match, texts)) else ""
        return kind if len(kind) <= _LONGEST_TYPE else kind[:_LONGEST_TYPE] + "…"

    def heading(self, label, kind, texts, nulls=0):
        """A column's name, and of its type and missing values what its cells do not show."""
        facts = [self.told(str(kind), texts), "%s null" % format(nulls, ",") if nulls else ""]
        facts = ", ".join(filter(None, facts))
        return " ".join(filter(None, (label, "<%s>" % facts if facts else "")))

    def across(self, headings, columns, before=0):
        """The same with one column for those that are not shown, after `before` more of an index.

        A row's own cell for them is an ellipsis.
        """
        if self._hidden:
            at = self._gap + before
            headings.insert(at, "… %s …" % _number(self._hidden, "column"))
            columns.insert(at, ["…"] * len(self.rows))
        return headings, columns

    def text(self, top, header, columns, notes=()):
        """All of it; each of `columns` has a cell for each row that is shown."""
        rows = [",".join(row) for row in zip(*columns)]
        if self.cells.rounded:
            notes = [*notes, "floats to %d digits" % cells.DIGITS]
        lines = [self._noted(top, notes)]
        lines += [",".join(header)] if any(header) else []
        return "\n".join([*lines, *self._fitting(rows, sum(map(len, lines)))])

    def line(self, top, texts):
        """The values of a single column after one another."""
        if self._left_out:
            texts.insert(self._head, "… %s more …" % format(self._left_out, ","))
        rounded = ["floats to %d digits" % cells.DIGITS] if self.cells.rounded else []
        return "%s: %s" % (self._noted(top, rounded), ",".join(texts))

    def text_of_library(self, top, shown, *notes):
        """The same with the rows as their library shows them, and the note that says why."""
        return "%s\n%s" % (self._noted(top, notes), shown)

    def _noted(self, top, notes):
        uncounted = [] if self.counts else ["nulls not counted"]
        return "; ".join([top, *notes, *uncounted])

    def _fitting(self, rows, used):
        """The rows that fit, of the first and the last, with a line for those between."""
        head, left_out = self._head, self._left_out
        room = self._budget - used
        size = sum(map(len, rows)) + len(rows)
        while size > room and len(rows) > 2:
            if not left_out:  # until here there was no middle
                head = len(rows) - ENDS[1]
            drop = head - 1 if head > len(rows) - head else head
            head -= drop < head
            size -= len(rows.pop(drop)) + 1
            left_out += 1
        if left_out:
            rows.insert(head, "… %s …" % _number(left_out, "row"))
        return rows


def _chosen_from(total, first, last):
    """How many are left out, how many come before them, and the places of all that are not."""
    if first + last >= total:
        return 0, total, list(range(total))
    return total - first - last, first, [*range(first), *range(total - last, total)]


def _number(count, thing):
    return "%s %s%s" % (format(count, ","), thing, "" if count == 1 else "s")


def whole_or_ends(rows, most=_ROWS):
    """The numbers of the first and the last rows that are shown."""
    return (rows, 0) if rows <= most else ENDS


def ends(most):
    """The numbers of the first and the last of `most` rows, or of columns."""
    last = min(most // 4, ENDS[1]) if most > 3 else most // 2
    return most - last, last


def outer(total, most):
    """The columns that are shown when there may be `most`; None for the usual number."""
    if most is None:
        most = total if total <= _COLUMNS else _OUTER
    return total, most - most // 4, most // 4

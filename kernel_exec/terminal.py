r"""What a terminal makes of text: lines written over, cursors moved, escape sequences. Pure.

Progress bars are drawn for a terminal: `\r` and `\b` go back, `ESC[A` goes up to the bars above.
`carry_out` leaves what is there in the end.

Source: ECMA-48, "Control functions for coded character sets"; xterm's "Control Sequences".
"""

import re
import unicodedata
from functools import lru_cache, reduce
from itertools import groupby

# matches at every ESC, so that none is left, and never swallows a line after an unended sequence
_ANSI = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]?"  # CSI
    r"|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # OSC, ended by BEL or ST
    r"|[PX^_](?:[^\x1b]*\x1b\\|[^\x1b\n]*)"  # DCS, SOS, PM, APC, ended by ST
    r"|[ -/]+[0-~]?|[0-~])?"  # character sets and two-character escapes
)
_PARTS = re.compile(rf"({_ANSI.pattern}|[\r\b\n])")
_COLOURS = re.compile(r"\x1b\[[0-9;:]{0,50}m")
_MOVE = re.compile(r"\x1b\[(\d{0,4})([ABCDEFGJ])")
_UP_OR_DOWN = re.compile(r"\x1b\[\d{0,4}[ABEF]")
_SIDEWAYS = re.compile(r"[\r\b]|\x1b\[\d{0,4}[CDG]")

_LONGEST_PEN = 200
"""Characters of colour sequences that are remembered; programs use far fewer."""

_HEIGHT = 100
"""Lines that a cursor can go up."""

_WIDTH = 300
"""Columns that a cursor can go to: a sequence of a few bytes must not become much text."""


def carry_out(written: str) -> str:
    r"""`written` as a terminal leaves it.

    `\r` returns to the line's start, `\b` steps back, `ESC[A` goes up, `ESC[K` and `ESC[2K` erase;
    what is written over is gone, and the rest keeps its colours. A line without such a move is not
    changed.
    """
    if "\x1b[" in written and _UP_OR_DOWN.search(written):
        return _Screen().show(written.replace("\r\n", "\n"))
    if not _SIDEWAYS.search(written):
        return written
    lines: list[str] = []
    pen = ""
    for line in written.replace("\r\n", "\n").split("\n"):
        if _SIDEWAYS.search(line):
            row = _Row(pen)
            for part in _PARTS.split(line):
                row.take(part)
            lines.append(row.text())
            pen = row.pen
        else:
            lines.append(line)
            pen = reduce(_mixed, _COLOURS.findall(line), pen)
    return "\n".join(lines)


def strip_ansi(written: str) -> str:
    """`written` without ANSI and OSC escape sequences; no ESC is left."""
    return _ANSI.sub("", written) if "\x1b" in written else written


class _Screen:
    """Lines between which the cursor moves; those far above it are out of its reach."""

    def __init__(self) -> None:
        self._above: list[str] = []
        self._rows = [_Row("")]
        self._at = 0

    def show(self, written: str) -> str:
        """All lines after `written`; each begins and ends without colour."""
        for part in _PARTS.split(written):
            move = _MOVE.fullmatch(part)
            if part == "\n":
                self._go(1, 0)
            elif move is None or move[2] in "CDG":
                self._rows[self._at].take(part)
            elif move[2] == "J":
                self._erase_below(move[1])
            else:
                self._go(self._lines(move), 0 if move[2] in "EF" else None)
        lines = [*self._above, *(row.alone() for row in self._rows)]
        last = lines.pop()
        while not last.strip(" ") and lines and not lines[-1].strip(" "):
            last = lines.pop()  # a bar that was wiped out leaves its line
        return "\n".join([*lines, last.strip(" ") and last])

    def _lines(self, move: re.Match[str]) -> int:
        """How far a move goes: down by one line beyond the last, as no screen scrolls for it."""
        lines = int(move[1] or 1)
        return min(lines, len(self._rows) - self._at) if move[2] in "BE" else -lines

    def _go(self, lines: int, column: int | None) -> None:
        before = self._rows[self._at]
        self._at = max(0, self._at + lines)
        while self._at >= len(self._rows):
            self._rows.append(_Row(""))
        row = self._rows[self._at]
        row.pen = before.pen
        row.at = before.at if column is None else column
        while len(self._rows) > _HEIGHT and self._at:
            self._above.append(self._rows.pop(0).alone())
            self._at -= 1

    def _erase_below(self, how: str) -> None:
        if how in {"", "0"}:
            self._rows[self._at].take("\x1b[K")
            del self._rows[self._at + 1 :]


class _Row:
    """One line of a terminal: what is in each column, and the pen it was written with.

    A wide character leaves the column after it empty. A pen is the colour sequences that lead to
    it from plain text; `pen` is the one in hand.
    """

    def __init__(self, pen: str) -> None:
        self.pen = self._first_pen = pen
        self._columns: list[str] = []
        self._pens: list[str] = []
        self._left = 0  # columns at the start that were erased, and are not in the lists
        self.at = 0

    def take(self, part: str) -> None:
        """Carry out one part of the line: a control, an escape sequence, or text."""
        if part == "\r":
            self.at = 0
        elif part == "\b":
            self.at = max(0, self.at - 1)
        elif part.startswith("\x1b"):
            self._obey(part)
        elif part:
            self._write(_columns(part))

    def text(self) -> str:
        """The line as it stands, with the pens made into sequences again."""
        shown = [" " * self._left] if self._columns else []
        pen = self._first_pen
        start = 0
        for after, run in groupby(self._pens):
            end = start + sum(1 for _ in run)
            shown += [_change(pen, after), *self._columns[start:end]]
            pen, start = after, end
        return "".join([*shown, _change(pen, self.pen)])

    def alone(self) -> str:
        """The line, with no colour before or after it."""
        self.pen = ""
        return self.text()

    def _obey(self, sequence: str) -> None:
        if sequence in {"\x1b[K", "\x1b[0K"}:
            self._split(self.at)
            kept = max(0, self.at - self._left)
            del self._columns[kept:], self._pens[kept:]
        elif sequence == "\x1b[2K":
            self._columns, self._pens, self._left = [], [], self.at
        elif _COLOURS.fullmatch(sequence):
            self.pen = _mixed(self.pen, sequence)
        elif move := _MOVE.fullmatch(sequence):
            self._move(int(move[1] or 1), move[2])

    def _move(self, columns: int, how: str) -> None:
        if how in "CDG":
            at = columns - 1 if how == "G" else self.at + (columns if how == "C" else -columns)
            self.at = max(0, min(at, _WIDTH))

    def _write(self, columns: list[str]) -> None:
        if self.at < self._left:
            erased = self._left - self.at if self._columns else 0
            self._columns[:0], self._pens[:0] = [" "] * erased, [""] * erased
            self._left = self.at
        missing = self.at - self._left - len(self._columns)
        if missing > 0:  # the cursor was moved beyond the end
            self._columns += [" "] * missing
            self._pens += [""] * missing
        self._split(self.at)
        self._split(self.at + len(columns))
        start, end = self.at - self._left, self.at - self._left + len(columns)
        self._columns[start:end] = columns
        self._pens[start:end] = [self.pen] * len(columns)
        self.at += len(columns)

    def _split(self, at: int) -> None:
        """Blank the wide character that has its halves on both sides of column `at`."""
        place = at - self._left
        if 0 < place < len(self._columns) and not self._columns[place]:
            self._columns[place - 1 : place + 1] = "  "


def _columns(written: str) -> list[str]:
    """What `written` puts into each column: marks go with their character, wide ones take two."""
    if written.isascii() or all(_width(char) == 1 for char in set(written)):
        return list(written)
    clusters: list[list[str]] = []
    for char in written:
        if clusters and not _width(char):
            clusters[-1].append(char)
        else:
            clusters.append([char])
    columns: list[str] = []
    for cluster in clusters:
        columns.append("".join(cluster))
        if _width(cluster[0]) == 2:
            columns.append("")
    return columns


@lru_cache(maxsize=4096)
def _width(char: str) -> int:
    """Columns that a terminal gives to `char`; 0 for marks and joiners."""
    if unicodedata.category(char) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def _mixed(pen: str, sequence: str) -> str:
    """The pen after a colour sequence; of equal ones only the last counts."""
    if not sequence.strip("\x1b[0m"):
        return ""
    mixed = pen.replace(sequence, "") + sequence
    return mixed if len(mixed) <= _LONGEST_PEN else sequence


def _change(before: str, after: str) -> str:
    """The sequences that lead from one pen to another."""
    if after.startswith(before):
        return after[len(before) :]
    return f"\x1b[0m{after}"

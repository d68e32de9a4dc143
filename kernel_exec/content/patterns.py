"""Regular expressions of a stranger, made safe to search with.

`re` backtracks, keeps the interpreter to itself while it does, and can't be stopped. So an
expression whose time doubles with each character is refused by its form: one that repeats what
repeats or chooses. All others take at most `length ** (repetitions + 1)` steps, which is tried out
on the beginning of a line, twice as much each time, before the whole line is searched.
"""

import re
import time
from dataclasses import dataclass

from kernel_exec.errors import InvalidArgumentError

_LONGEST = 200
_MOST_REPETITIONS = 8
_MOST_CHOICES = 12
"""Optional parts and alternatives, each of which doubles the work at worst."""

_FIRST_TRY = 16
"""Characters of a line that are tried first."""

_SHORT = 2000
"""Characters in which one repetition does no harm."""

_SLOW = 0.005
"""Seconds of a try, which all of the line may take 500 times."""

_BUDGET = 10.0
"""Seconds for all lines together."""

_TOKEN = re.compile(
    r"\\."  # an escape
    r"|\[\^?\]?(?:\\.|[^\]\\])*\]"  # a class
    r"|(?P<open>\((?:\?(?:P?<\w+>|P=\w+|<[=!]|[:=!>]|#[^)]*|[a-zA-Z-]+:?))?)"
    r"|(?P<close>\))"
    r"|(?P<choice>\|)"
    r"|(?P<quantifier>[*+?]|\{(?P<low>\d*)(?P<comma>,(?P<high>\d*))?\})[?+]?"
    r"|.",
    re.DOTALL,
)

_INVISIBLE = re.compile(r"\(\?(?:#|[a-zA-Z]*x)")
"""Opens a comment, or allows comments and spaces, which part a quantifier from what it repeats."""


class Search:
    """Tells which lines an expression is found in."""

    def __init__(self, written: str) -> None:
        """Raises `InvalidArgumentError`: no regular expression, or it could take for ever."""
        if len(written) > _LONGEST:
            raise InvalidArgumentError(f"search is longer than {_LONGEST} characters")
        self._written = written
        try:
            self._pattern = re.compile(written)
        except (re.error, OverflowError, RecursionError) as error:
            raise InvalidArgumentError(
                f"search {written!r} is not a regular expression: {error}"
            ) from error
        self._flat = _weigh(written).repetitions < 2
        self._spent = 0.0

    def finds(self, line: str) -> bool:
        """Whether it is found in `line`.

        Raises:
            InvalidArgumentError: It takes too long.
        """
        began = time.thread_time()
        if not self._flat or len(line) > _SHORT:
            self._try(line)
        found = self._pattern.search(line) is not None
        self._spent += time.thread_time() - began
        if self._spent > _BUDGET:
            raise self._too_slow()
        return found

    def _try(self, line: str) -> None:
        length = _FIRST_TRY
        while length < len(line):
            began = time.thread_time()
            self._pattern.search(line, 0, length)
            if time.thread_time() - began > _SLOW:
                raise self._too_slow()
            length *= 2

    def _too_slow(self) -> InvalidArgumentError:
        return InvalidArgumentError(
            f"search {self._written!r} takes too long: use fewer '*' and '+', or page with offset"
        )


@dataclass(slots=True)
class _Weight:
    """What a part of an expression repeats or chooses."""

    repetitions: int = 0
    choices: int = 0

    def add(self, other: "_Weight") -> None:
        self.repetitions += other.repetitions
        self.choices += other.choices


def _weigh(written: str) -> _Weight:
    """The weight of an expression that compiles.

    Raises:
        InvalidArgumentError: It is too heavy.
    """
    open_groups = [_Weight()]
    atom = _Weight()
    for token in _TOKEN.finditer(written):
        if token["quantifier"] and (token["low"] or token["high"] or token[0][0] != "{"):
            atom = _repeated(atom, token, written)
            continue
        open_groups[-1].add(atom)
        atom = _Weight()
        if token["open"]:
            if _INVISIBLE.match(token[0]):
                raise InvalidArgumentError(f"search {written!r}: comments are not allowed")
            open_groups.append(_Weight())
        elif token["choice"]:
            open_groups[-1].choices += len(open_groups) > 1
        elif token["close"] and len(open_groups) > 1:
            atom = open_groups.pop()
    open_groups[-1].add(atom)
    whole = _Weight()
    for group in open_groups:
        whole.add(group)
    if whole.repetitions > _MOST_REPETITIONS or whole.choices > _MOST_CHOICES:
        raise InvalidArgumentError(f"search {written!r} repeats or chooses too often: split it")
    return whole


def _repeated(atom: _Weight, token: re.Match[str], written: str) -> _Weight:
    if token["quantifier"] == "?":
        return _Weight(atom.repetitions, atom.choices + 1)
    most = token["high"] or "" if token["comma"] else token["low"] or ""
    times = int(most) if most else None
    if (atom.repetitions or atom.choices) and (times is None or times > _MOST_CHOICES):
        raise InvalidArgumentError(
            f"search {written!r} repeats what repeats or chooses, which can take for ever:"
            " write it flat"
        )
    if times is None or (token["comma"] and not atom.repetitions and not atom.choices):
        return _Weight(1, 0)
    return _Weight(atom.repetitions * times, atom.choices * times)

"""Regular expressions of a stranger, made safe to search with. Pure.

`re` backtracks, holds the interpreter while it does, and can't be stopped; so what could take for
ever is refused, and what could take long sees the less of a line the more it repeats. A search
costs about `length ** (repetitions + 1)` steps: a few hundred thousand at most with these limits.
"""

import re
from dataclasses import dataclass, field

from kernel_exec.errors import InvalidArgumentError

_LONGEST = 200
_CHOICES = 10
"""Optional or bounded parts, each of which doubles the work at worst."""

_LENGTHS = (2000, 500, 100, 40)
"""Characters of a line that are searched, by the number of unbounded repetitions."""

_TOKEN = re.compile(
    r"\\."  # an escape
    r"|\[\^?\]?(?:\\.|[^\]\\])*\]"  # a class
    r"|\((?:\?(?:P?<[^>)]*>|P=\w+|[:=!>]|<[=!]|#[^)]*|[a-zA-Z-]+:?))?"
    r"|\)|\||[*+?][?+]?|\{(?P<low>\d*)(?P<comma>,(?P<high>\d*))?\}[?+]?|.",
    re.DOTALL,
)


@dataclass(slots=True)
class _Group:
    """What an open group repeats: unbounded parts, bounded ones, and the same of its last atom."""

    unbounded: int = 0
    choices: int = 0
    atom: "_Group | None" = field(default=None)

    def close_atom(self) -> None:
        if self.atom is not None:
            self.unbounded += self.atom.unbounded
            self.choices += self.atom.choices
        self.atom = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """An expression that is safe within the first `length` characters of a line."""

    pattern: re.Pattern[str]
    length: int

    def finds(self, line: str) -> bool:
        """Whether it is found there."""
        return self.pattern.search(line, 0, self.length) is not None


def compile_search(written: str) -> Search:
    """The search that `written` stands for.

    Raises:
        InvalidArgumentError: It is no regular expression, or could take for ever.
    """
    if len(written) > _LONGEST:
        raise InvalidArgumentError(f"search is longer than {_LONGEST} characters")
    try:
        pattern = re.compile(written)
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidArgumentError(
            f"search {written!r} is not a regular expression: {error}"
        ) from error
    # at its ends this matches anything, also nothing
    core = written.removeprefix("^").removeprefix(".*").removesuffix("$").removesuffix(".*")
    unbounded = _count(core, written)
    return Search(pattern=pattern, length=_LENGTHS[unbounded])

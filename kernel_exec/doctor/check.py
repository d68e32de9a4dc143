"""What a check has found."""

from dataclasses import dataclass

from kernel_exec.content.plain import one_line
from kernel_exec.errors import parted

_LONGEST = 1000
"""Characters of a text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at: whether it works, what was found, and what helps.

    Where it works `fix` is how something that nobody needs could be had.
    """

    name: str
    ok: bool
    text: str
    fix: str = ""


def works(name: str, text: str, fix: str = "") -> Check:
    """The check of what works."""
    return Check(name=name, ok=True, text=text, fix=fix)


def broken(name: str, error: Exception | str, fix: str = "") -> Check:
    """The check of what does not work; our errors end with the way out, behind a semicolon."""
    said = one_line(" ".join(str(error).split()) or repr(error), _LONGEST)
    text, way_out = (said, fix) if fix else parted(said)
    return Check(name=name, ok=False, text=text, fix=way_out or "see the log")

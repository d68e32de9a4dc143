"""The next step after a mistake, which only the kernel knows; loaded in the kernel's process.

Standard library only, Python 3.8 syntax. Nothing here may cost a cell its result: each part goes
through `attempt`, looks at a bounded number of things, and runs no code of the user's.
"""

import types

from . import commands, missing, reloads, suggestions
from .defence import attempt

_FRAMES = 100
"""Frames of a traceback that are looked at, those next to the error."""

_MOST = 5
_LONGEST = 400
"""Characters of one line."""


class Hints:
    """Collects what to say of one cell after the other."""

    def __init__(self):
        """No cell has begun."""
        self.commands = commands.Commands()
        self._reloads = reloads.Reloads()

    def begin(self, code, transform):
        """A cell begins; `transform` makes Python of its magics."""
        attempt(self.commands.begin, code)
        attempt(self._reloads.begin, code, transform)

    def finish(self, shell):
        """The lines for the cell that has ended; "" for none."""
        result = shell.last_execution_result
        error = result.error_in_exec if result is not None else None
        lines = [
            *(attempt(of_error, error, otherwise=[]) if error is not None else []),
            *attempt(self.commands.finish, otherwise=[]),
            *attempt(self._reloads.finish, otherwise=[]),
        ]
        shown = [" ".join(line.split())[:_LONGEST] for line in lines if line]
        return "\n".join(shown[:_MOST])


def of_error(error):
    """The lines for an error."""
    frames, line = [], 0
    step = BaseException.__dict__["__traceback__"].__get__(error)
    while type(step) is types.TracebackType:
        frames.append(step.tb_frame)
        line = step.tb_lineno
        del frames[:-_FRAMES]
        step = step.tb_next
    meant = [find(error, frames) for find in (suggestions.meant, missing.column, missing.file)]
    return [*meant, missing.key(error, frames, line)]

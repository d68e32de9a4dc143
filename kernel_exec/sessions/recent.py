"""What an entry has put out, kept in memory while somebody is about to be shown it."""

from kernel_exec.kernels.outputs import (
    DisplayData,
    ErrorOutput,
    ExecuteResult,
    OutputEvent,
    Stream,
    Update,
)

_MOST = 4_000_000
"""Characters of output of one entry that are kept; a kernel sends 256 KB of text, but many
displays."""


class Recent:
    """The outputs of one entry in order, as long as they are few and nobody has dropped them."""

    def __init__(self) -> None:
        """None yet."""
        self._events: list[OutputEvent] | None = []
        self._size = 0

    @property
    def events(self) -> list[OutputEvent] | None:
        """All of them so far; None when only the store has them."""
        return None if self._events is None else [*self._events]

    def add(self, output: OutputEvent) -> None:
        """Take in one more, or drop all when they have become too many."""
        self._size += _size(output)
        if self._size > _MOST:
            self.drop()
        if self._events is not None:
            self._events.append(output)

    def drop(self) -> None:
        """Keep none of them, nor any that follows."""
        self._events = None


def _size(output: OutputEvent) -> int:
    """Characters of an output, more or less."""
    if isinstance(output, Stream):
        return len(output.text)
    if isinstance(output, ErrorOutput):
        return sum(map(len, output.traceback))
    data = output.data if isinstance(output, (DisplayData, ExecuteResult, Update)) else {}
    return sum(len(each if isinstance(each, str) else repr(each)) for each in data.values())

"""What an entry has put out, kept in memory while somebody is about to be shown it."""

from kernel_exec.kernels.outputs import OutputEvent, characters

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
        self._size += characters(output)
        if self._size > _MOST:
            self.drop()
        if self._events is not None:
            self._events.append(output)

    def drop(self) -> None:
        """Keep none of them, nor any that follows."""
        self._events = None

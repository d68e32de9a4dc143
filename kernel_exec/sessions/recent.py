"""Output that is kept in memory until somebody was shown it: an entry's own, and what came late."""

from kernel_exec.kernels.outputs import DisplayData, ErrorOutput, OutputEvent, Stream, characters

_MOST = 4_000_000
"""Characters of output of one entry that are kept; a kernel sends 256 KB of text, but many
displays."""

_MOST_BACKGROUND = 3
"""Executions whose late output one result reports."""

_END = 200
"""Characters kept of the end of it."""


class Recent:
    """The outputs of one entry in order, as long as they are few and nobody has dropped them."""

    def __init__(self) -> None:
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


class Background:
    """What executions have put out after their end and no result has reported."""

    def __init__(self) -> None:
        self._lines: dict[str, int] = {}
        self._ends: dict[str, str] = {}

    def note(self, entry_id: str, output: OutputEvent) -> None:
        """Take in something that came late."""
        if isinstance(output, Stream):
            end = self._ends.get(entry_id, "") + output.text
            self._lines[entry_id] = self._lines.get(entry_id, 0) + output.text.count("\n")
            self._ends[entry_id] = end[-_END:]
        elif isinstance(output, (DisplayData, ErrorOutput)):
            self._lines.setdefault(entry_id, 0)
            self._ends.setdefault(entry_id, "")

    def take(self, shown: str) -> list[str]:
        """A line on each execution but `shown`, whose own result has its output."""
        news: list[str] = []
        for entry_id, lines in self._lines.items():
            if entry_id != shown and len(news) < _MOST_BACKGROUND:
                end = self._ends[entry_id].rstrip("\n").rpartition("\n")[2].rpartition("\r")[2]
                last = f", the last: {end}" if end.strip() else ""
                count = max(lines, bool(end))
                words = f"{count:,} line{'' if count == 1 else 's'}{last}"
                news.append(f"[background output of {entry_id}: {words}]")
        if (more := len(self._lines) - (shown in self._lines) - len(news)) > 0:
            news.append(f"[background output of {more} more executions]")
        self._lines.clear()
        self._ends.clear()
        return news

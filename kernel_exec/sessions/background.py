"""Output that came after its execution had ended, until a result reports it."""

from kernel_exec.kernels.outputs import DisplayData, ErrorOutput, OutputEvent, Stream

_MOST_BACKGROUND = 3
"""Executions whose late output one result reports."""

_END = 200
"""Characters kept of the end of it."""


class Background:
    """What executions have put out after their end and no result has reported."""

    def __init__(self) -> None:
        """Nothing yet."""
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

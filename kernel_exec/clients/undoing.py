"""What was changed in a client's configuration, so that it can be as it was before. Pure."""

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from .catalog import Client
from .registering import others_in, unregistered

_SHOWN: Final = 1000
"""Characters of a line that are shown."""
_CONTEXT: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A change: `after` was written in the place of `before`.

    It remembers whether the file was ours, and the servers' table, and the first of the folders
    that were made for the file, or "".
    """

    before: str
    after: str
    made_file: bool = False
    made_servers: bool = False
    made_folder: str = ""


def recorded(before: str | None, after: str, client: Client) -> Record:
    """The change from one text to the other; `before` is None where there was no file."""
    old = before or ""
    start = _common(old, after)
    end = _common(old[start:][::-1], after[start:][::-1])
    return Record(
        before=old[start : len(old) - end],
        after=after[start : len(after) - end],
        made_file=before is None,
        made_servers=client.servers not in client.format.parse(old),
    )


def undone(text: str, client: Client, record: Record | None) -> str | None:
    """The text as it was before us, or None for no file.

    Where others have changed it since, only what is ours goes.
    """
    parse = client.format.parse
    if record is not None and text.count(record.after) == 1:
        before = text.replace(record.after, record.before)
        with suppress(ValueError):
            if others_in(parse(before), client) == others_in(parse(text), client):
                return None if record.made_file and not before.strip() else before
    text = unregistered(text, client)
    if record is not None and record.made_servers and parse(text).get(client.servers) == {}:
        text = client.format.drop(text, (client.servers,))
    return None if record is not None and record.made_file and not parse(text) else text


def difference(before: str, after: str) -> list[str]:
    """The lines that change, marked as removed or added, with one line on either side."""
    old, new = before.splitlines(), after.splitlines()
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    removed, added = old[start : len(old) - end], new[start : len(new) - end]
    if len(removed) == len(added) == 1:
        removed, added = [_around(removed[0], added[0])], [_around(added[0], removed[0])]
    return [
        f"@@ line {start + 1} @@",
        *(f"  {_shortened(line)}" for line in old[max(start - 1, 0) : start]),
        *(f"- {_shortened(line)}" for line in removed),
        *(f"+ {_shortened(line)}" for line in added),
        *(f"  {_shortened(line)}" for line in old[len(old) - end :][:1]),
    ]


def _around(line: str, other: str) -> str:
    """Where a line differs from the other, if it is too long to be shown: some are whole files."""
    if max(len(line), len(other)) <= _SHOWN:
        return line
    start = _common(line, other)
    end = len(line) - _common(line[start:][::-1], other[start:][::-1])
    before, behind = max(start - _CONTEXT, 0), end + _CONTEXT
    return f"{'…' * (before > 0)}{line[before:behind]}{'…' * (behind < len(line))}"


def _shortened(line: str) -> str:
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How much two texts, or lists of lines, have in common from their beginnings on."""
    lengths = range(1, min(len(one), len(other)) + 1)
    return bisect_left(lengths, True, key=lambda length: one[:length] != other[:length])

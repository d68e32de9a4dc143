"""A search as a process of its own: `re` can't be stopped, and keeps its interpreter to itself.

Runs with the standard library alone. Reads the request from stdin, prints the answer as JSON.
"""

import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from .lines import Lines, Source, Texts
from .paging import Asked, found, numbered

if sys.platform != "win32":
    import resource

_ENOUGH = 6
"""Seconds of work after which a search stops between two pieces of text."""

_MOST = 7
"""Seconds of work after which the system ends it, wherever it is."""

_MEMORY = 2 << 30
"""Bytes of address space, in which a search may remember where it could try again."""


def main() -> None:
    """Answer one request."""
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_CPU, (_MOST, _MOST))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    asked = json.load(sys.stdin.buffer)
    sources = [Source(**source) for source in asked["sources"]]
    print(json.dumps(_answer(asked["search"], sources, Asked(**asked["asked"]))))  # noqa: T201 - it is the answer


def _answer(search: str, sources: Sequence[Source], asked: Asked) -> dict[str, object]:
    try:
        pattern = re.compile(search)
    except (re.error, OverflowError, RecursionError) as error:
        return {"wrong": str(error)}

    def finds(line: str) -> int | None:
        match = pattern.search(line)
        return match.start() if match else None

    whole = True

    def in_time() -> Iterator[Lines]:
        nonlocal whole
        for part in numbered(Texts(), sources):
            if time.process_time() > _ENOUGH:
                whole = False
                return
            yield part

    try:
        page = found(in_time(), finds, asked)
    except MemoryError:
        return {"too_much": True}
    return {"page": asdict(page), "whole": whole}

"""Searches with a regular expression of a stranger, in a process that can be stopped."""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from anyio import CapacityLimiter, to_thread

from kernel_exec.errors import BusyError, InvalidArgumentError
from kernel_exec.processes import Finished, run

from .lines import Size, Source
from .paging import Asked, Page

_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]);"
    " from kernel_exec.content.finding import main; main()"
)
_ROOT = Path(__file__).parents[2]

_LIMIT = 60.0
"""Seconds that a search may take on a machine that is busy; it ends itself after less work."""


class Searches:
    """Carries out searches, two at a time."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        """The processes get `variables`."""
        self._variables = variables
        self._limiter = CapacityLimiter(2)

    async def search(self, search: str, sources: Sequence[Source], asked: Asked) -> Page:
        """The lines in which the expression `search` is found.

        Raises:
            InvalidArgumentError: It is no regular expression, or takes too long.
            BusyError: There is no room for one more process.
        """
        async with self._limiter:
            with tempfile.TemporaryFile() as request:  # without a name, so nobody changes it
                await to_thread.run_sync(_write, request, search, sources, asked)
                finished = await run(
                    [sys.executable, "-I", "-S", "-B", "-c", _PROGRAM, str(_ROOT)],
                    env=self._variables,
                    cwd=_ROOT,
                    limit=_LIMIT,
                    stdin=request,
                )
        return _page(search, finished)


def _write(request: IO[bytes], search: str, sources: Sequence[Source], asked: Asked) -> None:
    asks = {"search": search, "sources": list(map(asdict, sources)), "asked": asdict(asked)}
    # what is no character is shown as an escape, and found as that
    request.write(json.dumps(asks).encode())
    request.seek(0)


def _page(search: str, finished: Finished) -> Page:
    stopped = finished.timed_out or finished.returncode < 0
    if finished.returncode and not stopped:
        raise BusyError(f"the search could not run: {finished.stderr[-300:].strip()}")
    answer: dict[str, Any] = {"too_much": True} if stopped else json.loads(finished.stdout)
    if "too_much" in answer:
        raise InvalidArgumentError(
            f"search {search!r} took too long and was stopped: write it with fewer '*' and '+',"
            " search for plain text, or choose one stream"
        )
    if "wrong" in answer:
        raise InvalidArgumentError(
            f"search {search!r} is not a regular expression: {answer['wrong']}"
        )
    page = answer["page"]
    return Page(**page | {"total": Size(**page["total"]), "whole": answer["whole"]})

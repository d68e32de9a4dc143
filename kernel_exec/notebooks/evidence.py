"""What history tells of a cell that may be needed: how it ended, at which line, with which names.

Pure. The line is that of the traceback's frame in the cell itself; it counts only when the
traceback shows the same text there.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from kernel_exec.kernels.execution import Outcome
from kernel_exec.kernels.messages import mapping
from kernel_exec.kernels.outputs import ErrorOutput, Output
from kernel_exec.kernels.terminal import strip_ansi
from kernel_exec.sessions.history import Entry

from .failures import Cell, Told

_BROKEN = {"SyntaxError", "IndentationError", "TabError"}
_STOPPED = {"KeyboardInterrupt", "CancelledError"}
_ARROW = re.compile(r"^-+> *(\d+) ?(.*)$", re.MULTILINE)


def cell_of(entry: Entry, outputs: Sequence[Output]) -> Cell:
    """An entry whose code ran in a kernel, for `failures.needed`."""
    failed = entry.outcome is Outcome.EXCEPTION
    ended = failed or entry.outcome is Outcome.OK
    stopped = not ended or bool(entry.details.get("exit_requested"))
    errors = [each for each in outputs if isinstance(each, ErrorOutput) and not each.late]
    raised = {error.ename for error in errors}
    line = 0
    if errors and (failed or errors[-1].ename in _STOPPED):
        line = _line(errors[-1], entry)
    return Cell(
        source=entry.source,
        failed=failed,
        stopped=stopped,
        broken=failed and not raised.isdisjoint(_BROKEN),
        line=line,
        told=_told(entry),
        moved=bool(entry.details.get("working_directory")),
    )


def _told(entry: Entry) -> Told | None:
    """What the kernel's reply told; None where names may have changed that it does not tell of."""
    replied = entry.outcome in {
        Outcome.OK, Outcome.EXCEPTION, Outcome.TIMEOUT, Outcome.INTERRUPTED
    }  # fmt: skip
    if not replied or "death" in entry.details:
        return None
    names = mapping(entry.details, "names")
    if names.get("unknown") is True:
        return None
    described: Mapping[str, object] = {**mapping(names, "added"), **mapping(names, "changed")}
    gone = names.get("gone")
    return Told(
        kinds={name: str(what).partition(" ")[0] for name, what in described.items()},
        gone=frozenset(map(str, gone)) if isinstance(gone, (list, tuple)) else frozenset(),
    )


def _line(error: ErrorOutput, entry: Entry) -> int:
    """The last line of the cell's own frames, 0 where it can't be told."""
    if error.path is not None or not entry.file_path:
        return 0  # a part of the traceback is missing, or nothing has the cell's name
    own = re.compile(rf"^File .*{re.escape(PurePath(entry.file_path).name)}:(\d+)$", re.MULTILINE)
    found = 0
    for block in map(strip_ansi, error.traceback):
        frame = own.match(block)
        if frame is None:
            continue
        at = next((shown for shown in _ARROW.finditer(block) if shown[1] == frame[1]), None)
        line = 0 if at is None else _place(int(frame[1]), at[2], entry.source)
        if not line:
            return 0
        found = max(found, line)
    return found


def _place(line: int, shown: str, source: str) -> int:
    """The line of `source` that the kernel calls `line`: it may not count blank ones above."""
    lines = source.split("\n")
    blank = next((at for at, each in enumerate(lines) if each.strip()), 0)
    for place in (line + blank, line):
        if 0 < place <= len(lines) and lines[place - 1].strip() == shown.strip():
            return place
    return 0

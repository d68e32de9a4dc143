"""What history tells of a cell, for the rule of failures."""

from typing import Any

import pytest

from kernel_exec.kernels.execution import Outcome
from kernel_exec.kernels.outputs import ErrorOutput
from kernel_exec.notebooks.evidence import cell_of
from kernel_exec.notebooks.failures import Cell, Told
from kernel_exec.sessions.history import Entry, EntryKind

SOURCE = "x = 1\nfor n in range(3):\n    f(n)"


def entry(source: str = SOURCE, **more: Any) -> Entry:
    fields: dict[str, Any] = {
        "id": "1",
        "session_id": "s",
        "number": 1,
        "kind": EntryKind.CODE,
        "source": source,
        "outcome": Outcome.EXCEPTION,
        "queued": 1.0,
        "file_path": "/s/code_1.py",
        **more,
    }
    return Entry(**fields)


def error(*traceback: str, name: str = "ValueError", **more: Any) -> ErrorOutput:
    return ErrorOutput(ename=name, evalue="", traceback=traceback, **more)


OWN = "File /s/code_1.py:3\n      2 for n in range(3):\n----> 3     f(n)\n"
WITHIN = "File /s/code_1.py:2, in f(n)\n----> 2 for n in range(3):\n"
OTHER = "File /s/code_2.py:3\n----> 3     f(n)\n"

LINES: dict[str, tuple[ErrorOutput, int]] = {
    "its own frame": (error("----", OWN, WITHIN, OTHER), 3),
    "its own frame in another folder's words": (error(OWN.replace("/s/", "~/t/")), 3),
    "colours": (error(OWN.replace("File", "\x1b[36mFile").replace(":3", ":3\x1b[39m")), 3),
    "the last of several": (error(OWN.replace("3", "2").replace("f(n)", "no"), OWN), 0),
    "a function of its own only": (error(WITHIN), 0),
    "another cell only": (error(OTHER), 0),
    "another text at this line": (error(OWN.replace("f(n)", "g(n)")), 0),
    "no text": (error("File /s/code_1.py:3\n"), 0),
    "a traceback that was cut": (error(OWN, path="/f"), 0),
    "nothing": (error(), 0),
}


@pytest.mark.parametrize("name", LINES)
def test_the_line_that_raised_is_that_of_the_cells_own_frame(name: str) -> None:
    raised, line = LINES[name]
    assert cell_of(entry(), [raised]).line == line


def test_blank_lines_above_may_be_counted_or_not() -> None:
    above = entry("\n  \nx = 1\n1 / 0")
    for shown in (2, 4):
        frame = f"File /s/code_1.py:{shown}\n----> {shown} 1 / 0\n"
        assert cell_of(above, [error(frame)]).line == 4


@pytest.mark.parametrize(
    ("name", "line"), [("KeyboardInterrupt", 3), ("CancelledError", 3), ("ValueError", 0)]
)
def test_what_was_stopped_has_a_line_when_the_interrupt_itself_ended_it(
    name: str, line: int
) -> None:
    cell = cell_of(entry(outcome=Outcome.TIMEOUT), [error(OWN, name=name)])
    assert (cell.stopped, cell.line) == (True, line)


def test_an_error_that_came_late_is_none_of_its_own() -> None:
    assert cell_of(entry(outcome=Outcome.OK), [error(OWN, late=True)]) == Cell(
        source=SOURCE, told=Told()
    )


TOLD: dict[str, tuple[Outcome, dict[str, Any], Told | None]] = {
    "names": (
        Outcome.EXCEPTION,
        {"names": {"added": {"a": "list 3"}, "changed": {"b": "int"}, "gone": ["c"]}},
        Told(kinds={"a": "list", "b": "int"}, gone=frozenset("c")),
    ),
    "none": (Outcome.TIMEOUT, {}, Told()),
    "what is no list": (Outcome.OK, {"names": {"gone": 1}}, Told()),
    "names that it may not know of": (
        Outcome.OK,
        {"names": {"added": {}, "changed": {}, "gone": [], "unknown": True}},
        None,
    ),
    "a kernel that died": (Outcome.KERNEL_DIED, {}, None),
    "a kernel that was killed": (Outcome.INTERRUPTED, {"death": {"cause": "signal SIGKILL"}}, None),
    "one that runs": (Outcome.RUNNING, {}, None),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_the_kernel_told_of_names(name: str) -> None:
    outcome, details, told = TOLD[name]
    assert cell_of(entry(outcome=outcome, details=details), []).told == told


def test_how_it_ended() -> None:
    assert cell_of(entry(details={"exit_requested": True}, outcome=Outcome.OK), []).stopped
    assert cell_of(entry(details={"working_directory": "/t"}), []).moved
    assert cell_of(entry(file_path=None), [error(OWN)]).line == 0
    broken = cell_of(entry(), [error(name="IndentationError")])
    assert (broken.failed, broken.broken, broken.stopped) == (True, True, False)

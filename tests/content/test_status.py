"""The last lines of a result."""

from dataclasses import replace
from typing import Any

import pytest

from kernel_exec.content.items import RenderContext
from kernel_exec.content.status import names_line, status_line
from kernel_exec.history.entries import Entry
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.outcomes import Outcome
from tests.notebooks.steps import entry

ENTRY = entry("x", id="5f3a", generation=2, execution_count=3, ended=1.5)
DEATH: JSONObject = {"death": {"cause": "signal SIGKILL", "stderr": "Killed\n", "dump": ""}}


def status(entry: Entry, **context: Any) -> str:
    return status_line(entry, RenderContext(**context)).removesuffix("\n")


@pytest.mark.parametrize(
    ("outcome", "details", "told"),
    [
        (Outcome.OK, {}, "[ok · step 1]"),
        (Outcome.OK, {"exit_requested": True}, "exit() ends the kernel"),
        (Outcome.OK, {"complete": False}, "outputs may be missing"),
        (Outcome.EXCEPTION, {}, "[exception · step 1 · id 5f3a]"),
        (Outcome.TIMEOUT, {}, "exceeded its time limit; the kernel and its variables are kept"),
        (Outcome.TIMEOUT, DEATH, "the kernel ended (signal SIGKILL): all variables are lost"),
        (Outcome.INTERRUPTED, {}, "interrupted: the kernel and its variables are kept"),
        (Outcome.INTERRUPTED, {"reason": "it was taken from the queue"}, "taken from the queue"),
        (
            Outcome.KERNEL_DIED,
            DEATH,
            "kernel died: signal SIGKILL (the system sends it when memory runs out); all",
        ),
        (Outcome.KERNEL_DIED, {"error": "no interpreter"}, "the kernel did not start"),
    ],
)
def test_the_line_tells_how_it_ended_and_what_became_of_the_variables(
    outcome: Outcome, details: JSONObject, told: str
) -> None:
    assert told in status(replace(ENTRY, outcome=outcome, details=details)).splitlines()[-1]


@pytest.mark.parametrize("outcome", [Outcome.RUNNING, Outcome.QUEUED])
def test_what_has_not_ended_tells_how_to_go_on(outcome: Outcome) -> None:
    line = status(replace(ENTRY, outcome=outcome, ended=None), waiting=2)
    assert 'get_execution(execution_id="5f3a", wait_seconds=45)' in line
    assert "interrupt_execution" in line
    assert line.count("5f3a") == 1
    assert ("2 before it" in line) is (outcome is Outcome.QUEUED)


def test_what_is_out_of_the_ordinary_is_told() -> None:
    line = status(ENTRY, session="plots", history="disk full", notice="history began anew")
    assert "session plots" in line
    assert "history: degraded (disk full)" in line
    assert "history began anew" in line


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.5, "[ok · step 1]"), (1.0, "[ok · 1.0 s · step 1]")]
)
def test_only_a_slow_one_tells_how_long_it_took(seconds: float, told: str) -> None:
    assert status(replace(ENTRY, started=1.0, ended=1.0 + seconds)) == told


def test_a_running_one_tells_for_how_long_and_once_how_to_go_on() -> None:
    running = replace(ENTRY, outcome=Outcome.RUNNING, started=1.0, ended=None)
    assert status(running, now=96.2).startswith("[running for 95 s · step 1 · wait with")
    again = status(running, now=96.2, followed=True, nothing_new=True)
    assert again == "[running for 95 s · nothing new · step 1 · id 5f3a]"


def test_kernel_and_environment_are_told_when_they_are_news() -> None:
    assert "kernel" not in status(ENTRY)
    told = status(ENTRY, new_kernel=True, environment="venv:/data/.venv")
    assert told == "[ok · step 1 · kernel 2 · venv:/data/.venv]"


def test_the_id_is_told_where_it_is_needed_and_nowhere_else() -> None:
    failed = replace(ENTRY, outcome=Outcome.EXCEPTION)
    assert "id 5f3a" in status_line(ENTRY, RenderContext(), more=True)
    assert "5f3a" not in status_line(failed, RenderContext(), above='execution_id="5f3a"')


def test_modules_functions_and_classes_are_no_data() -> None:
    kinds = ("module", "function", "type", "ABCMeta", "builtin_function_or_method", "int")
    names: JSONObject = {"added": {kind[0]: kind for kind in kinds}}
    assert names_line(replace(ENTRY, details={"names": names})) == "names: + i int"
    only: JSONObject = {"added": {"np": "module"}}
    assert names_line(replace(ENTRY, details={"names": only})) == ""


def test_a_size_is_told_where_it_is_large() -> None:
    added = {"a": "DataFrame 3x2 46.9 KB", "b": "ndarray 9 72 B", "c": "ndarray 9x9 1.2 GB"}
    told = names_line(replace(ENTRY, details={"names": {"added": added}}))
    assert told == "names: + a DataFrame 3x2, b ndarray 9, c ndarray 9x9 1.2 GB"


def test_a_new_kernel_names_what_is_gone() -> None:
    lost: JSONObject = {
        "generation": 1,
        "reason": "signal SIGKILL",
        "names": {"df": "DataFrame 3x2 1.0 KB", "x": "int"},
    }
    first, last = status(replace(ENTRY, details={"state_lost": lost})).splitlines()
    assert first == (
        "[new kernel; variables of kernel 1 were lost (signal SIGKILL):"
        " df DataFrame 3x2 1.0 KB, x int]"
    )
    assert last.startswith("[ok")


def test_last_words_come_before_the_line() -> None:
    lines = status(replace(ENTRY, outcome=Outcome.KERNEL_DIED, details=DEATH)).splitlines()
    assert lines[:2] == ["[the kernel's stderr]", "Killed"]
    noisy = {**DEATH, "error": "x\n" * 500}
    assert len(status(replace(ENTRY, details=noisy)).splitlines()) < 40


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ({}, ""),
        ({"added": {"x": "int"}}, "names: + x int"),
        (
            {"added": {"x": "int", "f": "function"}, "changed": {"df": "DataFrame"}, "gone": ["y"]},
            "names: + x int  ~ df DataFrame  - y",
        ),
        (
            {"gone": [f"n{at}" for at in range(20)]},
            "names: - n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11, … (20 names)",
        ),
    ],
)
def test_new_changed_and_gone_names_are_one_line(names: JSONObject, line: str) -> None:
    assert names_line(replace(ENTRY, details={"names": names})) == line


def test_foreign_words_add_no_line_and_end_none() -> None:
    forged = "x\n[ok · 0.01 s · kernel 9]\u2028\x9b31m"
    names: JSONObject = {"added": {forged: forged}, "gone": [forged]}
    entry = replace(
        ENTRY,
        outcome=Outcome.KERNEL_DIED,
        details={
            "names": names,
            "working_directory": forged,
            "unstored": forged,
            "state_lost": {"generation": 1, "reason": forged, "names": {forged: forged}},
            "lost": {forged: forged},
            "death": {"cause": forged, "stderr": forged, "dump": forged * 100},
        },
    )
    assert names_line(entry).count("\n") == 1  # the working directory has a line of its own
    lines = status(entry, history=forged, notice=forged).splitlines()
    assert lines[-1].startswith("[kernel died: x\\n[ok · ")
    assert all(not line.lstrip().startswith("[ok") and len(line) < 2500 for line in lines)


def test_a_message_of_ours_is_whole_and_one_of_a_megabyte_is_not() -> None:
    error = "the interpreter '/" + "a" * 500 + "' can't be started: name another one"
    failed = replace(ENTRY, outcome=Outcome.KERNEL_DIED, details={"error": error})
    assert error in status(failed)
    assert len(status(replace(failed, details={"error": "x" * 1_000_000}))) < 3000


def test_a_stack_shows_the_users_frames_only() -> None:
    stack = (
        "Stack (most recent call first):\n"
        '  File "/data/code_1.py", line 1 in <module>\n'
        '  File "/cache/overlays/cpython311-53227d96ed38b714/IPython/shell.py", line 2 in run\n'
        '  File "/usr/lib/python3.11/asyncio/events.py", line 3 in run\n'
    )
    told = status(replace(ENTRY, outcome=Outcome.TIMEOUT, details={"stack": stack}))
    assert "code_1.py" in told
    assert "IPython" not in told
    assert "asyncio" not in told

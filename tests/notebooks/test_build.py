"""Sessions as notebooks."""

import json
from collections.abc import Sequence
from typing import Any

import nbformat
import pytest

from kernel_exec.kernels.execution import Outcome
from kernel_exec.kernels.outputs import (
    DisplayData,
    ErrorOutput,
    ExecuteResult,
    Output,
    Stream,
)
from kernel_exec.notebooks.build import Step, build
from kernel_exec.sessions.history import Entry, EntryKind, KernelRecord, SessionRecord

SESSION = SessionRecord(id="s" * 32, name="main", environment="venv:/e", created=0.0)
FAILURE = ErrorOutput(ename="ValueError", evalue="<no> & `no`", traceback=("ValueError: no",))


def kernel(generation: int = 1, end_reason: str = "") -> KernelRecord:
    return KernelRecord(
        session_id=SESSION.id,
        generation=generation,
        started=1.0,
        executable="/e/bin/python",
        python_version="3.12.1",
        support="own",
        end_reason=end_reason,
    )


def step(source: str, *outputs: Output, number: int = 1, **more: Any) -> Step:
    fields: dict[str, Any] = {
        "id": f"{number:016x}",
        "session_id": SESSION.id,
        "number": number,
        "kind": EntryKind.CODE,
        "source": source,
        "outcome": Outcome.OK,
        "generation": 1,
        "execution_count": number,
        "queued": 1.0,
        "started": 1.0,
        "ended": 2.0,
        **more,
    }
    return Step(entry=Entry(**fields), outputs=outputs)


def made(*steps: Step, kernels: Sequence[KernelRecord] = (kernel(),)) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(
        json.dumps(build(session=SESSION, kernels=kernels, steps=steps)).encode()
    )
    nbformat.validate(notebook)
    return notebook


def shape(notebook: dict[str, Any]) -> list[tuple[str, str]]:
    return [(cell["cell_type"], cell["source"]) for cell in notebook["cells"]]


def test_an_empty_session_is_an_empty_notebook() -> None:
    assert made(kernels=())["cells"] == []


def test_a_cell_is_its_source_count_times_and_provenance() -> None:
    timing = {"iopub.status.busy": "2026-01-01T00:00:00+00:00", "shell.execute_reply": ""}
    notebook = made(step("x = 1\n", timing=timing, title=""))
    (cell,) = notebook["cells"]
    assert (cell["source"], cell["execution_count"]) == ("x = 1\n", 1)
    assert cell["metadata"]["execution"] == {"iopub.status.busy": timing["iopub.status.busy"]}
    about = cell["metadata"]["kernel_exec"]
    assert (about["outcome"], about["seconds"], about["generation"]) == ("ok", 1.0, 1)
    assert notebook["metadata"]["language_info"]["version"] == "3.12.1"
    assert notebook["metadata"]["kernel_exec"]["session"] == SESSION.id


def test_cell_ids_are_the_same_every_time_and_differ_from_each_other() -> None:
    steps = [step("x", number=n, title="t") for n in (1, 2)]
    ids = [cell["id"] for cell in made(*steps)["cells"]]
    assert ids == [cell["id"] for cell in made(*steps)["cells"]]
    assert len(set(ids)) == len(ids) == 4


OUTPUTS: dict[str, tuple[Output, dict[str, Any]]] = {
    "stream": (
        Stream(name="stderr", text="x\n"),
        {"output_type": "stream", "name": "stderr", "text": "x\n"},
    ),
    "late stream": (
        Stream(name="stdout", text="x\n", late=True),
        {"output_type": "stream", "name": "stdout", "text": "[after the cell had ended]\nx\n"},
    ),
    "stream that goes on in a file": (
        Stream(name="stdout", text="x\n", path="/f"),
        {"output_type": "stream", "name": "stdout", "text": "x\n\n[all of it is in /f]\n"},
    ),
    "result": (
        ExecuteResult(
            data={"text/plain": "1", "text/llm+plain": "one"}, metadata={}, execution_count=1
        ),
        {
            "output_type": "execute_result",
            "data": {"text/plain": "1"},
            "metadata": {},
            "execution_count": 1,
        },
    ),
    "late display": (
        DisplayData(data={"text/plain": "1"}, metadata={}, late=True),
        {
            "output_type": "display_data",
            "data": {"text/plain": "1"},
            "metadata": {"kernel_exec": {"late": True}},
        },
    ),
    "picture": (
        DisplayData(data={"image/png": "AAAA"}, metadata={"image/png": {"width": 3}}),
        {
            "output_type": "display_data",
            "data": {"image/png": "AAAA"},
            "metadata": {"image/png": {"alt": "A plot", "width": 3}},
        },
    ),
    "JSON": (
        DisplayData(data={"application/json": {"a": [1]}, "text/plain": 5}, metadata={}),
        {
            "output_type": "display_data",
            "data": {"application/json": {"a": [1]}, "text/plain": "5"},
            "metadata": {},
        },
    ),
    "lone surrogate": (
        Stream(name="stdout", text="a\ud800"),
        {"output_type": "stream", "name": "stdout", "text": "a\\ud800"},
    ),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_is_shown(name: str) -> None:
    output, expected = OUTPUTS[name]
    (_, cell) = made(step("x", output, title="A plot"))["cells"]
    assert cell["outputs"] == [expected]


def test_private_displays_are_left_out() -> None:
    private = DisplayData(data={"application/vnd.kernel-exec.x+json": {}}, metadata={})
    (cell,) = made(step("x", private))["cells"]
    assert cell["outputs"] == []


def test_a_failure_that_is_needed_stays_and_may_raise() -> None:
    notebook = made(step("x = 1\n1 / 0", FAILURE, outcome=Outcome.EXCEPTION), step("x", number=2))
    assert shape(notebook) == [("code", "x = 1\n1 / 0"), ("code", "x")]
    assert notebook["cells"][0]["metadata"]["tags"] == ["raises-exception"]


def test_a_failure_that_is_not_needed_is_folded_and_can_not_break_out() -> None:
    source = "'''\n```\n</details>\n<script>'''\n1 / 0"
    ((kind, folded),) = shape(made(step(source, FAILURE, outcome=Outcome.EXCEPTION)))
    assert kind == "markdown"
    assert folded.startswith("<details>\n<summary>Step 1 failed: ValueError: &lt;no&gt; &amp;")
    assert f"````python\n{source}\n````" in folded


@pytest.mark.parametrize(
    "outcome", [Outcome.TIMEOUT, Outcome.INTERRUPTED, Outcome.KERNEL_DIED, Outcome.RUNNING]
)
def test_what_did_not_end_by_itself_never_runs_again(outcome: Outcome) -> None:
    notebook = made(step("x = 1\nwhile True: pass", outcome=outcome), step("x", number=2))
    assert [kind for kind, _ in shape(notebook)] == ["markdown", "code"]


def test_what_never_began_is_folded() -> None:
    details = {"error": "no interpreter"}
    never = step("x", outcome=Outcome.KERNEL_DIED, started=None, details=details)
    ((kind, folded),) = shape(made(never))
    assert kind == "markdown"
    assert "no interpreter" in folded


def test_exit_is_folded() -> None:
    ((kind, folded),) = shape(made(step("exit()", details={"exit_requested": True})))
    assert kind == "markdown"
    assert "exit() ends the kernel" in folded


def test_earlier_kernels_are_folded_under_a_heading_that_says_how_they_ended() -> None:
    notebook = made(
        step("x = 1"),
        step("x = 2", number=2, generation=2),
        kernels=[kernel(1, "signal SIGKILL"), kernel(2)],
    )
    kinds = [kind for kind, _ in shape(notebook)]
    assert kinds == ["markdown", "markdown", "code"]
    assert "Kernel 1 ended (signal SIGKILL)" in shape(notebook)[1][1]


def test_titles_notes_installs_and_switches_stand_where_they_happened() -> None:
    changes = {"before": {"six": "1.0", "idna": ""}, "after": {"six": "2.0", "idna": "3.1"}}
    notebook = made(
        step("six\nidna", kind=EntryKind.INSTALL, details=changes),
        step("x = 1", number=2, title="Begin"),
        step("# Why", number=3, kind=EntryKind.NOTE),
        step("venv:/f", number=4, kind=EntryKind.ENVIRONMENT),
        step("no", number=5, kind=EntryKind.INSTALL, outcome=Outcome.EXCEPTION),
    )
    install, title, code, note, switch, failed = (source for _, source in shape(notebook))
    assert install == "*Installed* `six`, `idna`\n\n- `six` 1.0 → 2.0\n- `idna` 3.1"
    assert (title, code, note) == ("### Begin", "x = 1", "# Why")
    assert "venv:/f" in switch
    assert "failed" in failed

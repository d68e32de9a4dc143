"""Sessions as notebooks."""

import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from kernel_exec.history.entries import EntryKind, KernelRecord
from kernel_exec.jsons import JSON, JSONObject
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import (
    DisplayData,
    ErrorOutput,
    ExecuteResult,
    Output,
    Stream,
)
from kernel_exec.notebooks.build import InterpreterFacts, OutputOptions, build
from kernel_exec.notebooks.cells import Step
from kernel_exec.notebooks.outputs import rest_of
from tests.notebooks.over_ipc import sockets_in
from tests.notebooks.steps import SESSION, step

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


def made(*steps: Step, kernels: Sequence[KernelRecord] = (kernel(),)) -> dict[str, Any]:
    """The notebook, without the cell that tells what it needs."""
    notebook: dict[str, Any] = whole(*steps, kernels=kernels)
    notebook["cells"] = [cell for cell in notebook["cells"] if cell["id"] != "requirements"]
    return notebook


def whole(*steps: Step, kernels: Sequence[KernelRecord] = (kernel(),), **more: Any) -> Any:
    notebook = json.loads(
        json.dumps(build(session=SESSION, kernels=kernels, steps=steps, **more)).encode()
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


def test_a_step_that_a_replay_did_not_reach_is_no_part_of_the_notebook() -> None:
    unreached = step(
        "y = 2",
        number=2,
        outcome=Outcome.INTERRUPTED,
        started=None,
        details={"replay_of": "1", "reason": "the replay stopped at execution 1"},
    )
    assert shape(made(step("x = 1"), unreached)) == [("code", "x = 1")]


OUTPUTS: dict[str, tuple[Output, dict[str, Any]]] = {
    "stream": (
        Stream(name="stderr", text="x\n"),
        {"output_type": "stream", "name": "stderr", "text": "x\n"},
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
    "picture": (
        DisplayData(data={"image/png": "AAAA"}, metadata={"image/png": {"width": 3}}),
        {
            "output_type": "display_data",
            "data": {"image/png": "AAAA"},
            "metadata": {"image/png": {"alt": "A plot", "width": 3}},
        },
    ),
    "picture of a figure that its kernel describes": (
        DisplayData(data={"image/png": "AAAA", "text/llm+plain": "Mass\n(x: age)"}, metadata={}),
        {
            "output_type": "display_data",
            "data": {"image/png": "AAAA"},
            "metadata": {"image/png": {"alt": "Mass (x: age)"}},
        },
    ),
    "picture of a chart that tells what it shows": (
        DisplayData(
            data={"image/png": "AAAA", "application/vnd.vegalite.v5+json": {"mark": "bar"}},
            metadata={},
        ),
        {
            "output_type": "display_data",
            "data": {"image/png": "AAAA", "application/vnd.vegalite.v5+json": {"mark": "bar"}},
            "metadata": {"image/png": {"alt": "Vega chart: bar"}},
        },
    ),
    "picture whose base64 is in lines": (
        DisplayData(data={"image/png": "AA\nAA\n", "image/svg+xml": "<svg> </svg>\n"}, metadata={}),
        {
            "output_type": "display_data",
            "data": {"image/png": "AAAA", "image/svg+xml": "<svg> </svg>\n"},
            "metadata": {"image/png": {"alt": "A plot"}, "image/svg+xml": {"alt": "A plot"}},
        },
    ),
    "result with a count that no notebook has": (
        ExecuteResult(data={"text/plain": "1"}, metadata={}, execution_count=-1),
        {
            "output_type": "execute_result",
            "data": {"text/plain": "1"},
            "metadata": {},
            "execution_count": None,
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
    "other types that are called JSON": (
        DisplayData(data={"model/gltf+json": {"a": 1}, "text/html": ["<b>", "x"]}, metadata={}),
        {
            "output_type": "display_data",
            "data": {"model/gltf+json": "{'a': 1}", "text/html": "<b>x"},
            "metadata": {},
        },
    ),
    "numbers that JSON does not have": (
        DisplayData(data={"application/json": [1.5, math.nan, -math.inf]}, metadata={}),
        {
            "output_type": "display_data",
            "data": {"application/json": [1.5, None, None]},
            "metadata": {},
        },
    ),
    "error": (
        FAILURE,
        {
            "output_type": "error",
            "ename": "ValueError",
            "evalue": "<no> & `no`",
            "traceback": ["ValueError: no"],
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


def test_late_outputs_are_kept_below_a_line_that_says_so() -> None:
    late: list[Output] = [
        Stream(name="stdout", text="x\n", late=True),
        ExecuteResult(data={"text/plain": "1"}, metadata={}, execution_count=1, late=True),
        ErrorOutput(ename="E", evalue="", traceback=(), late=True),
    ]
    (cell,) = made(step("x", Stream(name="stdout", text="in time\n"), *late))["cells"]
    kinds = [output["output_type"] for output in cell["outputs"]]
    assert kinds == ["stream", "display_data", "stream", "display_data", "error"]
    assert cell["outputs"][1]["data"]["text/plain"] == "[after the cell had ended]"
    assert cell["outputs"][3]["metadata"] == {"kernel_exec": {"late": True}}


@pytest.mark.parametrize("entry_id", ["a" * 99, "a/b", "", "\ud800", "A-Z_09"])
def test_any_entry_has_a_valid_cell_id(entry_id: str) -> None:
    cells = made(step("x", id=entry_id, title="t"), step("x", id=f"{entry_id}."))["cells"]
    assert len({cell["id"] for cell in cells}) == 3


def test_the_whole_notebook_can_be_written_whatever_its_names_are() -> None:
    record = replace(kernel(), executable="/\udcff/python", end_reason="\udcff")
    data = {"text/\udcff": "x"}
    notebook = made(
        step("x = '\ud800'", DisplayData(data=data, metadata={}), title="\udcff"),
        kernels=[record],
    )
    assert notebook["metadata"]["kernel_exec"]["executable"] == "/\\udcff/python"
    assert [source for _, source in shape(notebook)] == ["### Step 1: \\udcff", "x = '\\ud800'"]


@pytest.mark.parametrize("levels", [50, 800])
def test_a_display_may_be_as_deep_as_its_kernel_likes(levels: int) -> None:
    value: JSON = []
    for _ in range(levels):
        value = [value]
    (cell,) = made(step("x", DisplayData(data={"application/json": value}, metadata={})))["cells"]
    written = json.dumps(cell["outputs"])
    assert ("too deep" in written) is (levels == 800)


def test_a_count_that_no_notebook_has_is_left_out() -> None:
    (cell,) = made(step("x", execution_count=-1))["cells"]
    assert cell["execution_count"] is None


def test_private_displays_are_left_out() -> None:
    private = DisplayData(data={"application/vnd.kernel-exec.x+json": {}}, metadata={})
    (cell,) = made(step("x", private))["cells"]
    assert cell["outputs"] == []


BROKEN = ErrorOutput(ename="SyntaxError", evalue="invalid syntax", traceback=())
LATE = replace(BROKEN, late=True)
STOPPED = ErrorOutput(ename="KeyboardInterrupt", evalue="", traceback=())
LOOP = "x = 1\nwhile True: pass"

RUNS_AGAIN: dict[str, tuple[Step, bool]] = {
    "a success": (step("x = 1"), True),
    "a failure": (step("1 / 0", FAILURE, outcome=Outcome.EXCEPTION), True),
    "a failure without an error": (step("x", outcome=Outcome.EXCEPTION), True),
    "no Python": (step("x: = 1", BROKEN, outcome=Outcome.EXCEPTION), False),
    "no Python of this version": (step("x: = 1", FAILURE, outcome=Outcome.EXCEPTION), True),
    "code that it read": (step("x = 1\neval('(')", BROKEN, outcome=Outcome.EXCEPTION), True),
    "no Python in a thread": (step("x: = 1", FAILURE, LATE, outcome=Outcome.EXCEPTION), True),
    "a time limit": (step(LOOP, STOPPED, outcome=Outcome.TIMEOUT), False),
    "an interrupt": (step(LOOP, STOPPED, outcome=Outcome.INTERRUPTED), False),
    "an interrupt from elsewhere": (step(LOOP, STOPPED, outcome=Outcome.EXCEPTION), False),
    "a death": (step(LOOP, outcome=Outcome.KERNEL_DIED), False),
    "no end yet": (step(LOOP, outcome=Outcome.RUNNING, ended=None), False),
    "no begin yet": (step("x", outcome=Outcome.QUEUED, started=None, ended=None), False),
    "a refusal": (step("x", outcome=Outcome.INTERRUPTED, started=None), False),
    "exit()": (step("exit()", details={"exit_requested": True}), False),
}


@pytest.mark.parametrize("name", RUNS_AGAIN)
def test_what_ran_and_ended_by_itself_runs_again_and_all_else_is_prose(name: str) -> None:
    ran, again = RUNS_AGAIN[name]
    (cell,) = made(ran)["cells"]
    assert (cell["cell_type"] == "code", "<details>" in cell["source"]) == (again, not again)


def test_a_failure_may_raise_and_is_folded_as_jupyter_does() -> None:
    well, failed = made(step("x = 1"), replace_number(RUNS_AGAIN["a failure"][0], 2))["cells"]
    assert failed["metadata"]["tags"] == ["raises-exception"]
    assert failed["metadata"]["jupyter"] == {"source_hidden": True, "outputs_hidden": True}
    assert well["metadata"].keys().isdisjoint({"tags", "jupyter"})


def replace_number(ran: Step, number: int) -> Step:
    return replace(ran, entry=replace(ran.entry, number=number, id=f"{number:016x}"))


def test_what_ran_nothing_runs_where_the_number_of_a_cell_is_counted_on() -> None:
    broken = RUNS_AGAIN["no Python"][0]
    cells = whole(broken, step("print(Out[3])", number=2))["cells"]
    assert [cell["source"] for cell in cells][:2] == ["x: = 1", "print(Out[3])"]
    assert cells[2]["id"] == "requirements"


def test_what_ran_nothing_is_folded_and_can_not_break_out() -> None:
    source = "```\n</details>\n<script>\n1 / "
    error = replace(FAILURE, ename="SyntaxError")
    ((kind, folded),) = shape(made(step(source, error, outcome=Outcome.EXCEPTION)))
    assert kind == "markdown"
    assert folded.startswith("<details>\n<summary>Step 1 failed: SyntaxError: &lt;no&gt; &amp;")
    assert f"````python\n{source}\n````" in folded


@pytest.mark.parametrize(
    ("details", "told"),
    [
        ({}, "*What this step had done when it was stopped is not repeated by a rerun.*\n\n<det"),
        (
            {"names": {"added": {"x": "int 1"}, "changed": {"y": "int"}}},
            "setting* `x`, `y`*, is not",
        ),
        ({"death": {"cause": "SIGKILL"}}, ""),
    ],
)
def test_what_was_stopped_says_what_a_rerun_does_not_repeat(details: Any, told: str) -> None:
    ((_, source),) = shape(made(step(LOOP, outcome=Outcome.TIMEOUT, details=details)))
    assert told in source
    assert ("not repeated" in source) is bool(told)


def test_many_names_are_counted() -> None:
    names = {"added": {f"x{n:02}": "int" for n in range(12)}}
    stopped = step(LOOP, outcome=Outcome.INTERRUPTED, details={"names": names})
    assert "`x09` and 2 more*" in shape(made(stopped))[0][1]


def test_a_folded_cell_shows_the_end_of_what_it_said_without_escapes() -> None:
    said = Stream(name="stdout", text="a" * 3000 + "\x1b[31mred\x1b[0m")
    result = ExecuteResult(data={"text/plain": "42"}, metadata={}, execution_count=1)
    picture = DisplayData(data={"image/png": "AAAA"}, metadata={})
    failure = ErrorOutput(ename="E", evalue="\x1b[1mbold\x1b[0m\nx", traceback=())
    folded = shape(made(step("1/0", said, result, picture, failure, outcome=Outcome.TIMEOUT)))
    text = folded[0][1]
    assert "<summary>Step 1 was stopped at its time limit: E: bold x</summary>" in text
    assert "…aaa" in text
    assert "red42\nE: bold\nx\n```" in text


def test_what_never_began_says_why() -> None:
    details = {"error": "no interpreter"}
    never = step("x", outcome=Outcome.KERNEL_DIED, started=None, details=details)
    ((kind, folded),) = shape(made(never))
    assert kind == "markdown"
    assert "<summary>Step 1 never began: no interpreter</summary>" in folded


def test_an_earlier_kernel_is_one_closed_block_under_a_heading_that_says_how_it_ended() -> None:
    notebook = made(
        step("x = 1", title="<Begin>"),
        step("# Why", number=2, kind=EntryKind.NOTE),
        step("1 / 0", FAILURE, number=3, outcome=Outcome.EXCEPTION),
        step("x = 2", number=4, generation=2),
        kernels=[kernel(1, "signal SIGKILL"), kernel(2)],
    )
    first, block, note, last, code = (source for _, source in shape(notebook))
    assert [kind for kind, _ in shape(notebook)][-2:] == ["markdown", "code"]
    assert first.startswith("## Kernel 1\n\n*The kernel restarted after this (signal SIGKILL)")
    assert block.startswith("<details>\n<summary>2 steps</summary>\n\n<details>")
    assert "<summary>Step 1 ran · &lt;Begin&gt;</summary>" in block
    assert "<summary>Step 3 failed: ValueError" in block
    assert (note, code) == ("# Why", "x = 2")
    assert last.startswith("## Kernel 2\n")


def test_a_step_that_was_replayed_is_told_once() -> None:
    again = {"details": {"replay_of": f"{1:016x}"}}
    notebook = made(
        step("x = 1"),
        step("y = 1", number=2),
        step("x = 1", number=3, generation=2, **again),
        step("x = 1", number=4, generation=3, **again),
        kernels=[kernel(1, "replay"), kernel(2, "replay"), kernel(3)],
    )
    sources = [source for _, source in shape(notebook)]
    assert sum("x = 1" in source for source in sources) == 1
    assert sources[-1] == "x = 1"
    assert sum("y = 1" in source for source in sources) == 1
    told = "*1 step of it was run again in a later kernel and shown there.*"
    assert [source.split("\n")[0] for source in sources].count(told) == 2


def test_an_earlier_kernel_that_did_much_is_several_blocks() -> None:
    steps = [step(f"# {'x' * 8_000}", number=n) for n in range(1, 9)]
    notebook = made(*steps, step("x", number=9, generation=2))
    blocks = [cell for cell in notebook["cells"] if "<details>" in cell["source"]]
    summaries = [cell["source"].split("\n")[1] for cell in blocks]
    assert summaries == ["<summary>6 steps</summary>", "<summary>2 steps</summary>"]
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])


def test_a_script_of_an_earlier_kernel_tells_its_file() -> None:
    script = step("x", kind=EntryKind.SCRIPT, file_path="/s/a.py")
    assert "*Script* `/s/a.py`" in shape(made(script, step("x", number=2, generation=2)))[1][1]


def test_a_restart_whose_reason_is_not_known_is_told_as_well() -> None:
    notebook = made(step("x = 1"), step("x = 2", number=2, generation=2), kernels=[])
    assert "(the reason is not known)" in shape(notebook)[0][1]


def test_titles_notes_installs_and_switches_stand_where_they_happened() -> None:
    changes: JSONObject = {
        "before": {"six": "1.0", "idna": "", "old": "1"},
        "after": {"six": "2.0", "idna": "3.1", "old": ""},
        "stale": ["six"],
    }
    notebook = made(
        step("six\nidna", kind=EntryKind.INSTALL, details=changes),
        step("x = 1", number=2, title="Begin"),
        step("# Why", number=3, kind=EntryKind.NOTE),
        step("venv:/f", number=4, kind=EntryKind.ENVIRONMENT),
        step("no", number=5, kind=EntryKind.INSTALL, outcome=Outcome.EXCEPTION),
        step("later", number=6, kind=EntryKind.INSTALL, outcome=Outcome.RUNNING),
    )
    install, title, code, note, switch, failed, running = (source for _, source in shape(notebook))
    assert install == (
        "*Installed* `six`, `idna`\n\n- `six` 1.0 → 2.0\n- `idna` 3.1\n- `old` 1 → removed\n\n"
        "*The running kernel keeps what it had imported of* `six`"
    )
    assert (title, code, note) == ("### Step 2: Begin", "x = 1", "# Why")
    assert "venv:/f" in switch
    assert failed == "*Installing* `no` *failed:*"
    assert running == "*Installing* `later` *had not ended*"


@pytest.mark.parametrize(
    ("requirement", "shown"),
    [("a", "`a`"), ("a`b", "``a`b``"), ("`a", "`` `a ``"), ("a``b`c", "```a``b`c```")],
)
def test_inline_code_can_not_be_ended(requirement: str, shown: str) -> None:
    ((_, source),) = shape(made(step(requirement, kind=EntryKind.INSTALL)))
    assert source == f"*Installed* {shown}"


FAILURES = [
    "import sys\na = 1\nsys.exit(3)",
    "b = 2\nraise SystemExit",
    "c = 3\nraise GeneratorExit",
    "import asyncio\nd = 4\nraise asyncio.CancelledError",
    "e = 5\nawait asyncio.wait_for(asyncio.Event().wait(), 0.01)",
    "import getpass\nf = 6\ngetpass.getpass()",
    "g = 7\ninput()",
    "%%bash\nexit 3",
    "    h = 8\n    1 / 0",
    "%time i = 9\n%no_such_magic",
]


@pytest.mark.kernel
async def test_failures_that_would_end_a_process_or_wait_do_neither_when_they_run_again(
    tmp_path: Path,
) -> None:
    failed = (
        step(source, number=number, outcome=Outcome.EXCEPTION)
        for number, source in enumerate(FAILURES, 1)
    )
    last = step("print(a, b, c, d, e, f, g, h, i)", number=99)
    notebook = nbformat.from_dict(made(*failed, last))  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory() as short:
        place = {"metadata": {"path": str(tmp_path)}}
        await NotebookClient(notebook, resources=place, config=sockets_in(short)).async_execute()
    # a slow kernel sends what it prints in parts
    printed = "".join(output.text for output in notebook.cells[-1].outputs)
    assert printed == "1 2 3 4 5 6 7 8 9\n"


def test_the_first_cell_tells_what_the_code_that_runs_again_needs() -> None:
    facts = InterpreterFacts(inventory={"six": [("six", "1.17.0")], "idna": [("idna", "3.1")]})
    notebook = whole(
        step("import idna", outcome=Outcome.TIMEOUT),
        step("import six, near", number=2),
        facts=facts,
    )
    first = notebook["cells"][0]
    assert (first["cell_type"], first["id"]) == ("code", "requirements")
    assert first["metadata"]["kernel_exec"] == {"author": "kernel-exec", "role": "requirements"}
    assert first["source"] == (
        '# /// script\n# requires-python = "==3.12.*"\n# dependencies = [\n#     "six==1.17.0",\n'
        "# ]\n# ///\n# no distribution is known for: near"
    )


def test_a_session_of_which_nothing_runs_again_needs_nothing() -> None:
    note = step("# Why", kind=EntryKind.NOTE)
    assert [cell["source"] for cell in whole(note)["cells"]] == ["# Why"]


def test_cells_stay_the_same_when_more_come() -> None:
    """So that what changed is all that differs between two exports."""
    before = made(
        step("x = 1", title="One"), step("1 / 0", FAILURE, number=2, outcome=Outcome.EXCEPTION)
    )
    after = made(
        step("x = 1", title="One"),
        step("1 / 0", FAILURE, number=2, outcome=Outcome.EXCEPTION),
        step("y = 2", number=3),
    )
    assert json.dumps(after["cells"][: len(before["cells"])]) == json.dumps(before["cells"])


def test_a_notebook_tells_where_it_comes_from() -> None:
    notebook = whole(
        step("x = 1"),
        step("1 / 0", FAILURE, number=2, outcome=Outcome.EXCEPTION),
        step("x", number=3, generation=2, ended=9.0, author="human"),
        kernels=[kernel(1, "restarted"), kernel(2)],
        version="1.2",
        facts=InterpreterFacts(platform="linux-x86_64"),
    )
    about = notebook["metadata"]["kernel_exec"]
    assert about["interpreter"] == {
        "kind": "venv",
        "path": "/e",
        "executable": "/e/bin/python",
        "python": "3.12.1",
        "platform": "linux-x86_64",
    }
    assert about["version"] == "1.2"
    told = {key: number for key, number in about["counts"].items() if number}
    assert told == {
        "executions": 3, "ok": 2, "failed": 1, "exceptions": 1, "restarts": 1, "human": 1
    }  # fmt: skip
    assert [each["end_reason"] for each in about["kernels"]] == ["restarted", ""]
    assert (about["started"], about["ended"]) == (1.0, 9.0)


NAMES = {
    "venv:/data/analysis/.venv": "Python 3.12.1 (venv analysis)",
    "conda:base": "Python 3.12.1 (conda base)",
    "python:/usr/bin/python3": "Python 3.12.1 (/usr/bin/python3)",
    "venv-uv:/s/.kernel_exec/environment": "Python 3.12.1 (venv-uv s)",
    "venv:C:\\e\\venv": "Python 3.12.1 (venv e)",
    "": "Python 3.12.1 ()",
}


@pytest.mark.parametrize("environment", NAMES)
def test_the_kernel_is_the_usual_one_and_shows_its_environment(environment: str) -> None:
    session = replace(SESSION, environment=environment)
    notebook: Any = build(session=session, kernels=[kernel()], steps=[])
    assert notebook["metadata"]["kernelspec"] == {
        "name": "python3", "display_name": NAMES[environment], "language": "python"
    }  # fmt: skip


def test_outputs_and_times_can_be_left_out() -> None:
    said = Stream(name="stdout", text="secret")
    timing = {"iopub.status.busy": "2026-01-01T00:00:00+00:00"}
    notebook = whole(
        step("x = 1", said, timing=timing),
        step("1 / 0", said, FAILURE, number=2, outcome=Outcome.EXCEPTION),
        options=OutputOptions(outputs=False, times=False),
    )
    written = json.dumps(notebook)
    for word in ("secret", "ValueError", "2026", "seconds", "started", "/e/bin"):
        assert word not in written
    code = notebook["cells"][-1]
    assert (code["source"], code["outputs"], code["execution_count"]) == ("1 / 0", [], None)


def test_a_restart_after_which_nothing_ran_is_told() -> None:
    notebook = made(step("x = 1"), kernels=[kernel(1, "restarted"), kernel(2)])
    assert shape(notebook)[-1] == (
        "markdown",
        "## Kernel 2\n\n*The kernel was restarted after this; nothing has run in the new one.*",
    )


def test_files_with_the_whole_are_named_as_seen_from_the_notebook() -> None:
    files = {"text/plain": "/s/.k/a.txt", "image/png": "/s/.k/b.png", "text/llm+plain": "/s/.k/x"}
    outputs: list[Output] = [
        Stream(name="stdout", text="x\n", path="/s/.k/c.txt"),
        DisplayData(data={"text/plain": "begin"}, metadata={"kernel_exec": {"files": files}}),
        DisplayData(data={}, metadata={"kernel_exec": {"files": {"text/html": "/s/.k/d.html"}}}),
        ErrorOutput(ename="E", evalue="", traceback=("E",), path="/s/.k/e.txt"),
    ]
    notebook = whole(step("x", *outputs), folder="/s/notebooks")
    cell = notebook["cells"][1]
    shown, rests = cell["outputs"][::2], list(map(rest_of, cell["outputs"][1::2]))
    assert shown[0] == {"output_type": "stream", "name": "stdout", "text": "x\n"}
    assert [each.get("data") for each in shown[1:3]] == [{"text/plain": "begin"}, {}]
    assert shown[3]["traceback"] == ["E"]
    assert [each["files"] for each in rests] == [
        {"": "../.k/c.txt"},
        {"text/plain": "../.k/a.txt", "image/png": "../.k/b.png"},
        {"text/html": "../.k/d.html"},
        {"": "../.k/e.txt"},
    ]
    assert [each["data"]["text/plain"] for each in cell["outputs"][1::2]] == [
        "[all of it is in ../.k/c.txt]",
        "[all of the text/plain is in ../.k/a.txt]\n[all of the image/png is in ../.k/b.png]",
        "[all of the text/html is in ../.k/d.html]",
        "[all of it is in ../.k/e.txt]",
    ]
    assert cell["metadata"]["kernel_exec"]["truncated"] is True


TITLES = {
    "Plot a*b and _c_, but my_var": "Plot a\\*b and \\_c\\_, but my_var",
    "`x[0]` is `` a`b `` <b>": "`x[0]` is `` a`b `` &lt;b&gt;",
    "![x](http://a) $5 #": "!\\[x\\](http://a) \\$5 \\#",
    "a\\`<b>`": "a\\\\`<b>`",
    "\x1b[1mbold\x1b[0m": "bold",
    "x" * 400: f"{'x' * 300}…",
    "a\n\n# <b>": "a # &lt;b&gt;",
    "## Load **the** *data*, ***now***": (
        "Load <strong>the</strong> <em>data</em>, <strong><em>now</em></strong>"
    ),
    "数据**「清洗」**步骤": "数据<strong>「清洗」</strong>步骤",
    "**a `b**` <c>**": "<strong>a `b**` &lt;c&gt;</strong>",
    "2**x and 3**y, f(*args, **kwargs), *.csv": (
        "2\\*\\*x and 3\\*\\*y, f(\\*args, \\*\\*kwargs), \\*.csv"
    ),
    "**not closed, ** and * alone": "\\*\\*not closed, \\*\\* and \\* alone",
}


@pytest.mark.parametrize("title", TITLES)
def test_a_title_is_shown_as_it_is(title: str) -> None:
    (heading, _) = made(step("x", title=title))["cells"]
    assert heading["source"] == f"### Step 1: {TITLES[title]}"
    assert heading["metadata"]["kernel_exec"]["intent"] == title

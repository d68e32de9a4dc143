"""Any session's notebook runs again to the same variables: generated sessions, run in IPython."""

import atexit
import tempfile
import types
from collections.abc import Iterator, Sequence
from contextlib import chdir
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import ErrorOutput
from kernel_exec.notebooks.build import build
from tests.notebooks.steps import SESSION, step

STATEMENTS = [
    "a = 1", "b = 2", "a = b", "a += b", "del a", "rows = []", "rows.append(a)", "b = rows",
    "b = len(rows)", "def f():\n    rows.append(b)\n    return a", "a = f()", "%time b = 3",
    "with open('x', 'a') as file:\n    print(a, file=file)",
    "with open('x') as file:\n    b = file.read()",
    "import os\nos.remove('x')", "globals()['a'] = b", "b = sorted(dir())[:1]", "b = f",
    "import asyncio\nawait asyncio.sleep(0)", "1 / 0", "missing", "import sys\nsys.exit(1)",
    "raise SystemExit", "eval('(')", "input()",
]  # fmt: skip
WHOLE = ["{}", "{}", "{}", "%%capture\n{}", "%%time\n{}", "if True:\n    pass\n{}"]
NOTHING = ["a = = 1", "    a = 1\n  b = 2", "a = (", "raise KeyboardInterrupt"]
"""Cells of which nothing is left, as they were not run or are stopped before they do anything."""

CELLS = st.one_of(
    st.builds(
        lambda whole, lines: whole.replace("{}", "\n".join(lines)),
        st.sampled_from(WHOLE),
        st.lists(st.sampled_from(STATEMENTS), min_size=1, max_size=4),
    ),
    st.sampled_from(NOTHING),
)


@pytest.fixture(scope="module")
def shell() -> Iterator[Any]:
    config = Config()
    config.HistoryManager.enabled = False
    # in a module of its own, as this process has its own `__main__`
    make: Any = InteractiveShell
    shell = make(config=config, user_module=types.ModuleType("of_the_shell"))
    shell.showtraceback = shell.showsyntaxerror = lambda *_, **__: None
    yield shell
    shell.atexit_operations()
    atexit.unregister(shell.atexit_operations)


def run(shell: Any, cells: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Run them in an empty folder; the name of each one's error or "", and what is left."""
    shell.reset(new_session=True)
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        results = [shell.run_cell(source, store_history=True) for source in cells]
    errors = [each.error_before_exec or each.error_in_exec for each in results]
    values = {name: repr(shell.user_ns.get(name)).partition(" at 0x")[0] for name in ("a", "b")}
    return [type(each).__name__ if each else "" for each in errors], {
        **values, "rows": repr(shell.user_ns.get("rows"))
    }  # fmt: skip


def exported(cells: Sequence[str], errors: Sequence[str]) -> list[Any]:
    """The code cells of the notebook of a session."""
    steps = []
    for number, (source, error) in enumerate(zip(cells, errors, strict=True), start=1):
        failed = Outcome.INTERRUPTED if error == "KeyboardInterrupt" else Outcome.EXCEPTION
        outputs = [ErrorOutput(ename=error, evalue="", traceback=())] if error else []
        steps.append(step(source, *outputs, number=number, outcome=failed if error else Outcome.OK))
    notebook: Any = build(session=SESSION, kernels=[], steps=steps)
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


@given(st.lists(CELLS, min_size=2, max_size=8))
@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15
)
def test_the_notebook_of_any_session_leaves_the_same_variables(
    shell: Any, cells: list[str]
) -> None:
    errors, left = run(shell, cells)
    code = exported(cells, errors)
    again, left_again = run(shell, [cell["source"] for cell in code])
    may_raise = ["raises-exception" in cell["metadata"].get("tags", []) for cell in code]
    assert [bool(error) for error in again] == may_raise
    assert left_again == left

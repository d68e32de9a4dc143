import importlib
import os
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from kernel_exec import executions
from kernel_exec.app import open_app
from kernel_exec.connection import Connection
from kernel_exec.documents.export import session_notebook
from kernel_exec.errors import BusyError, InvalidArgumentError
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.outcomes import Death
from kernel_exec.notebooks.reading import cells, ours, parse
from kernel_exec.settings import read_settings
from kernel_exec.verification.compare import Verdict
from kernel_exec.verification.plan import make_plan
from kernel_exec.verification.results import CellReport, Verification, stamp
from kernel_exec.verification.verify import verify, verify_in
from tests.fakes import FakeKernel, FakeKernels
from tests.real import all_kernels, local_kernels, prepared
from tests.shared import CACHE

nbformat: Any = importlib.import_module("nbformat")  # it has no types

PATIENCE = 50
"""Seconds until a test that hangs fails."""


def code(source: str, *outputs: JSONObject, tags: Sequence[str] = ()) -> dict[str, Any]:
    """A code cell as somebody's notebook has it, its source as a list of lines."""
    return {
        "cell_type": "code",
        "metadata": {"tags": list(tags)} if tags else {},
        "execution_count": 1,
        "source": source.splitlines(keepends=True),
        "outputs": list(outputs),
    }


def notebook_of(*cells_: Mapping[str, Any], **metadata: Any) -> dict[str, Any]:
    """Somebody's notebook, of a version without cell ids."""
    return {"nbformat": 4, "nbformat_minor": 2, "metadata": metadata, "cells": list(cells_)}


def said(text: str, name: str = "stdout") -> JSONObject:
    return {"output_type": "stream", "name": name, "text": text.splitlines(keepends=True)}


def result(text: str) -> JSONObject:
    return {
        "output_type": "execute_result",
        "execution_count": 1,
        "metadata": {},
        "data": {"text/plain": text},
    }


def error(name: str, message: str) -> JSONObject:
    return {"output_type": "error", "ename": name, "evalue": message, "traceback": ["old"]}


def verdicts(verification: Verification) -> list[str]:
    return [cell.verdict.value for cell in verification.cells]


async def recorded(folder: Path, *sources: str, until: str = "") -> JSONObject:
    """The notebook of a session in which the sources ran, once its last cell has said `until`."""
    variables = {
        "CODE_STORAGE_DIR": str(folder),
        "KERNEL_EXEC_CACHE": str(CACHE),
        "ENV_TYPE": "python",
        "KERNEL_EXEC_PYTHON_PATH": sys.executable,
        "PATH": os.environ["PATH"],
    }
    settings = read_settings(options={}, variables=variables, working_directory=folder)
    async with open_app(settings.host) as app:
        connection = Connection(app=app, settings=settings.connection)
        for source in sources:
            begun = await executions.run(connection, source=source)
            await begun.session.wait(begun.entry.id, PATIENCE)
        session = await connection.session()
        with anyio.fail_after(PATIENCE):
            while until not in repr(await app.store.session_events(session.id)):
                await app.store.settle()
        record = await app.store.session(session.id)
        assert record is not None
        return await session_notebook(app.store, record)


SESSION = {
    "import random, time, warnings\nx = 6 * 7\nprint('x is', x)\nx": "same",
    "print(object()); object()": "same",
    "random.random()": "different",
    "begun = time.perf_counter()\n"
    "print(f'took {time.perf_counter() - begun:.9f} seconds')": "close",
    "import datetime as dt; dt.datetime.now()": "close",
    "print({f'element {n}' for n in range(30)})": "close",
    "half = 0.5; print('so far'); 1 / 0": "same",
    "half": "same",
    "warnings.warn('careful')": "same",
    "import asyncio; await asyncio.sleep(0.01); print('waited')": "same",
    "from IPython.display import display\n"
    "handle = display({'text/plain': 'begun'}, raw=True, display_id='d')": "same",
    "handle.update({'text/plain': 'done'}, raw=True)": "same",
    "import os, tempfile; os.getpid()": "close",
    "tempfile.mkdtemp()": "same",
    "import matplotlib.pyplot as plt\n%matplotlib inline\nplt.plot([1, 4]); plt.show()": "same",
    "import threading; threading.Timer(0.3, print, ['from a thread']).start()": "same",
}
"""What ran in a session, and what a person would say of it after it ran again."""


@pytest.mark.kernel
async def test_each_cell_of_a_session_gets_the_verdict_that_a_person_would_give(
    tmp_path: Path,
) -> None:
    notebook = await recorded(tmp_path, *SESSION, until="from a thread\\n")
    told: list[tuple[int, int, int]] = []

    def tell(report: CellReport, done: int, total: int) -> None:
        told.append((report.cell.number, done, total))

    verification = await verify(notebook, await local_kernels(tmp_path), on_cell=tell)

    found = dict(zip(SESSION, verdicts(verification), strict=True))
    assert found == SESSION, [cell.difference for cell in verification.cells]
    assert verification.verdict == "different"
    assert told == [(at, at, len(SESSION)) for at in range(1, len(SESSION) + 1)]
    assert verification.packages["matplotlib"][0].isdigit()
    assert verification.executable == sys.executable
    assert verification.counts["same"] == [*SESSION.values()].count("same")


@pytest.mark.kernel
async def test_somebody_elses_notebook_is_run_as_it_is(tmp_path: Path) -> None:
    made = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# Begin"),
            nbformat.v4.new_code_cell("x = 1\nprint('a'); print('b')"),
            nbformat.v4.new_code_cell("   "),
            nbformat.v4.new_code_cell("print?"),
            nbformat.v4.new_code_cell("x"),
        ]
    )
    made.cells[1].outputs = [nbformat.v4.new_output("stream", text="a\nb\n")]
    made.cells[4].outputs = [
        nbformat.v4.new_output("execute_result", {"text/plain": "1"}, execution_count=2)
    ]
    path = tmp_path / "theirs.ipynb"
    nbformat.write(made, path)

    verification = await verify(parse(path.read_bytes(), path), await local_kernels(tmp_path))

    assert verdicts(verification) == ["same"] * 4
    assert verification.verdict == "same"
    assert [cell.cell.title for cell in verification.cells] == ["Begin", "", "", ""]


@pytest.mark.kernel
async def test_what_fails_does_not_stop_what_follows(tmp_path: Path) -> None:
    notebook = notebook_of(
        code("1 / 0"),
        code("{}['a']", error("KeyError", "'a'"), tags=["raises-exception"]),
        code("int('x')", error("KeyError", "'x'"), tags=["raises-exception"]),
        code("[].index('b')", error("ValueError", "another message"), tags=["raises-exception"]),
        code("print('fine')", error("ValueError", "no"), tags=["raises-exception"]),
        code("raise RuntimeError", tags=["skip-execution"]),
        code("2", result("2")),
    )

    verification = await verify(notebook, await local_kernels(tmp_path))

    assert verdicts(verification) == [
        "new error", "same", "different", "close", "fixed", "not run", "same",
    ]  # fmt: skip
    assert verification.cells[0].difference == "ZeroDivisionError: division by zero"
    assert verification.cells[5].difference == "it is tagged `skip-execution`"
    assert (verification.verdict, verification.reason) == ("different", "")


@pytest.mark.kernel
async def test_a_cell_that_runs_for_ever_is_stopped_and_the_next_one_runs(tmp_path: Path) -> None:
    notebook = notebook_of(code("x = 1\nwhile True: pass"), code("x", result("1")))

    verification = await verify(notebook, await local_kernels(tmp_path), time_limit=2)

    assert verdicts(verification) == ["new error", "same"]
    assert verification.cells[0].difference == "it was stopped at the time limit of 2 seconds"
    assert verification.verdict == "different"


@pytest.mark.kernel
async def test_hostile_cells_are_survived_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = notebook_of(
        code("for _ in range(100): print('y' * 1_000_000)", said(f"{'y' * 1_000_000}\n" * 2)),
        code("input('name? ')"),
        code("import os; os.kill(os.getpid(), 9)"),
        code("1", result("1")),
    )
    kernels = all_kernels()
    spilled = tmp_path / "spilled"
    spilled.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spilled))
    left: list[Path] = []

    verification = await verify_in(
        kernels,
        await prepared(tmp_path),
        notebook,
        working_directory=tmp_path,
        on_cell=lambda *_: left.extend(spilled.glob("*/*")),
    )

    assert verdicts(verification) == ["close", "new error", "new error", "not run"]
    assert "signal SIGKILL" in verification.cells[2].difference
    assert verification.verdict == "failed"
    assert "step 3" in verification.reason
    assert left == list(spilled.iterdir()) == []
    assert verification.working_directory == str(tmp_path)
    assert verification.environment == f"python:{sys.executable}"


@pytest.mark.kernel
async def test_nothing_is_missed_after_a_last_cell_that_ends_the_kernel(tmp_path: Path) -> None:
    verification = await verify(notebook_of(code("exit()")), await local_kernels(tmp_path))

    assert verification.verdict == "same"


async def test_cells_after_the_kernel_died_are_not_run() -> None:
    notebook = notebook_of(code("import os; os._exit(3)"), code("1 + 1", result("2")))

    verification = await verify(notebook, FakeKernels())

    assert verdicts(verification) == ["new error", "not run"]
    assert verification.cells[0].difference == "the kernel died (exit code 3)"
    assert verification.summary.startswith("failed (the kernel died in step 1 (exit code 3)): ")


async def test_a_kernel_that_dies_between_two_cells_is_told() -> None:
    kernels = FakeKernels()

    def kill(*_: object) -> None:
        kernels.started[0].process.driver.finish(Death(signal="SIGTERM"))

    verification = await verify(
        notebook_of(code("1 + 1", result("2")), code("x")), kernels, on_cell=kill
    )

    assert verdicts(verification) == ["same", "not run"]
    assert verification.reason == "the kernel died (signal SIGTERM)"


async def test_versions_that_a_kernel_can_not_tell_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def versions(self: FakeKernel, modules: Collection[str]) -> Mapping[str, str]:
        await anyio.lowlevel.checkpoint()
        raise BusyError("it does not answer")

    monkeypatch.setattr(FakeKernel, "versions", versions)
    notebook = notebook_of(code("import time; time.sleep(60)"))

    verification = await verify(notebook, FakeKernels(), time_limit=0.01)

    assert verification.packages == {}
    assert verdicts(verification) == ["new error"]


async def test_what_a_thread_had_said_late_is_waited_for() -> None:
    source = "print('a'); import threading; threading.Timer(0.1, print, ['b']).start()"
    mark: JSONObject = {
        "output_type": "display_data",
        "data": {"text/plain": "[after the cell had ended]"},
        "metadata": {"kernel_exec": {"role": "late"}},
    }

    verification = await verify(
        notebook_of(code(source, said("a\n"), mark, said("b\n"))), FakeKernels()
    )

    assert verdicts(verification) == ["same"]


async def test_a_notebook_without_outputs_can_only_have_new_errors() -> None:
    notebook = notebook_of(*({**code(each), "execution_count": None} for each in ("1 + 1", "x")))

    assert verdicts(await verify(notebook, FakeKernels())) == ["same", "new error"]


@pytest.mark.parametrize(("about", "number"), [({}, 1), ({"number": 7}, 7)])
async def test_cells_that_were_made_for_the_notebook_run_but_get_no_verdict(
    about: dict[str, int], number: int
) -> None:
    made = {**code("x = 1"), "metadata": {"kernel_exec": {"author": "kernel-exec"}}}
    of_a_step = {**code("x", result("1")), "metadata": {"kernel_exec": about}}

    told: list[object] = []

    verification = await verify(
        notebook_of(made, of_a_step), FakeKernels(), on_cell=lambda *done: told.append(done)
    )

    (report,) = verification.cells
    assert (report.cell.number, report.verdict.value) == (number, "same")
    assert told == [(report, 1, 1)]


async def test_a_comment_that_was_made_for_the_notebook_moves_no_number_on() -> None:
    made = {
        **code("# /// script\n# dependencies = []\n# ///"),
        "metadata": {"kernel_exec": {"author": "kernel-exec"}},
    }
    kernels = FakeKernels()  # which would not know what to do with a comment

    verification = await verify(notebook_of(made, code("1 + 1", result("2"))), kernels)

    assert verdicts(verification) == ["same"]


async def test_a_notebook_without_code_is_the_same() -> None:
    verification = await verify(notebook_of(), FakeKernels())

    assert verification.verdict == "same"
    assert verification.summary == "same: no cell to run"


@pytest.mark.parametrize(
    ("notebook", "told"),
    [
        (notebook_of(language_info={"name": "R"}), "'R'"),
        (notebook_of(kernelspec={"language": "julia", "name": "j"}), "'julia'"),
        ({"nbformat": 3, "cells": []}, "no notebook"),
        ({"nbformat": 4}, "no notebook"),
        ({}, "no notebook"),
    ],
)
async def test_what_is_no_python_notebook_is_refused_before_a_kernel_starts(
    notebook: JSONObject, told: str
) -> None:
    kernels = FakeKernels()

    with pytest.raises(InvalidArgumentError, match=told):
        await verify(notebook, kernels)
    assert kernels.started == []


async def test_a_working_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="gone"):
        await verify_in(
            all_kernels(),
            await prepared(tmp_path),
            notebook_of(),
            working_directory=tmp_path / "gone",
        )


def verified(*found: Verdict) -> Verification:
    plan = make_plan(notebook_of({}, *(code("1") for _ in found)))
    reports = [
        CellReport(cell=cell, verdict=each, difference="a\nb")
        for cell, each in zip(plan, found, strict=True)
    ]
    return Verification(cells=reports, when="2026-11-25T12:00:00+00:00", seconds=1.5)


@pytest.mark.parametrize(
    ("found", "whole"),
    [
        ([Verdict.SAME, Verdict.CLOSE], "close"),
        ([Verdict.SAME, Verdict.NOT_RUN], "same"),
        ([Verdict.CLOSE, Verdict.DIFFERENT], "different"),
        ([Verdict.FIXED], "different"),
        ([Verdict.NEW_ERROR], "different"),
    ],
)
def test_the_worst_cell_decides_for_the_notebook(found: list[Verdict], whole: str) -> None:
    assert verified(*found).verdict == whole


def test_a_stamp_changes_nothing_but_our_metadata() -> None:
    first = {"cell_type": "markdown", "metadata": {"a": 1}, "source": "# x"}
    notebook = notebook_of(first, code("1", tags=["b"]), code("2"), authors=["me"])
    before = repr(notebook)

    stamped = stamp(notebook, verified(Verdict.SAME))
    again = stamp(stamped, verified())

    assert repr(notebook) == before
    assert ours(cells(stamped)[1]) == {"verdict": {"verdict": "same", "difference": "a\nb"}}
    assert ours(stamped)["verification"] == verified(Verdict.SAME).stamped()
    assert cells(stamped)[0] == first
    assert cells(stamped)[2] == notebook["cells"][2]
    assert "verdict" not in ours(cells(again)[1])
    unstamped = {**stamped, "metadata": {"authors": ["me"]}, "cells": notebook["cells"]}
    assert unstamped == notebook


def test_what_is_no_cell_gets_no_stamp() -> None:
    assert stamp({"cells": ["x", {}]}, verified())["cells"] == ["x", {}]
    assert stamp({}, verified())["cells"] == []


def test_a_stamped_notebook_is_valid() -> None:
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in "12"])

    nbformat.validate(nbformat.from_dict(stamp(made, verified(Verdict.SAME))))

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from kernel_exec.cli.main import main
from kernel_exec.history.entries import Entry, EntryKind, KernelRecord, SessionRecord
from kernel_exec.history.store import open_store
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import Stream
from tests.shared import CACHE

nbformat: Any = importlib.import_module("nbformat")  # it has no types

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Verify in this process, in an empty current folder, with the history below `store`."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("CODE_STORAGE_DIR", str(tmp_path / "store"))
    monkeypatch.setenv("KERNEL_EXEC_CACHE", str(CACHE))

    def verify(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["verify", *arguments])
        told = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, told.out, told.err

    return verify


def write(path: Path, *cells: tuple[str, str]) -> None:
    """A notebook of code cells and what they printed."""
    made = nbformat.v4.new_notebook(metadata={"authors": [{"name": "me"}]})
    for source, printed in cells:
        cell = nbformat.v4.new_code_cell(source, execution_count=1)
        cell.outputs = [nbformat.v4.new_output("stream", text=printed)] if printed else []
        made.cells.append(cell)
    nbformat.write(made, path)


async def fill(root: Path, directory: Path) -> None:
    """A history with a session that printed one thing."""
    async with open_store(root) as store:
        store.put_session(
            SessionRecord(id="s", name="lab", environment=f"python:{sys.executable}", created=1)
        )
        store.put_kernel(
            KernelRecord(
                session_id="s", generation=1, started=1, executable=sys.executable,
                python_version="3.11.7", support="own",
            )
        )  # fmt: skip
        source = "import os; print(os.getcwd())"
        store.put_entry(
            Entry(
                id="e", session_id="s", number=1, kind=EntryKind.CODE, source=source,
                outcome=Outcome.OK, title="Look around", generation=1, execution_count=1,
                queued=1, started=1, ended=2,
            )
        )  # fmt: skip
        store.add_event("e", Stream(name="stdout", text=f"{directory}\n"))


@pytest.mark.kernel
def test_a_notebook_that_differs_is_told_cell_by_cell(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "here" / "a.ipynb"
    write(path, ("print('a')\nprint('b')", "a\nB\n"), ("x = 1", ""), ("x / 0", ""))
    before = path.read_bytes()

    code, out, err = run("a.ipynb", "--python", sys.executable)

    lines = [line.rstrip() for line in out.splitlines()]
    assert (code, err) == (1, "")
    assert lines[0].startswith(f"a.ipynb: run with Python {sys.version.split()[0]} of python:")
    assert lines[0].endswith(f"in {tmp_path / 'here'}")
    assert lines[1].split()[:2] == ["1", "different"]
    assert [line.strip() for line in lines[2:6]] == [
        "stdout, line 2", "1 | a", "- 2 | B", "+ 2 | b",
    ]  # fmt: skip
    assert lines[6].split()[:2] == ["2", "same"]
    assert lines[7].split()[:3] == ["3", "new", "error"]
    assert lines[8].strip() == "ZeroDivisionError: division by zero"
    assert lines[9].startswith("different: 1 same, 1 different, 1 new error in ")
    assert path.read_bytes() == before


@pytest.mark.kernel
def test_a_stamp_goes_into_the_file_when_it_is_asked_for(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "here" / "a.ipynb"
    write(path, ("print('a')", "a\n"))
    link = tmp_path / "here" / "link.ipynb"
    link.symlink_to(path)

    code, out, err = run("link.ipynb", "--python", sys.executable, "--stamp", "--json")

    told: Any = json.loads(out)
    read = nbformat.read(path, as_version=4)
    stamped = read.metadata.kernel_exec.verification
    assert (code, err) == (0, f"stamped {path}\n")
    assert link.is_symlink()
    nbformat.validate(read)
    assert read.metadata.authors == [{"name": "me"}]
    assert stamped.verdict == told["verdict"] == "same"
    assert stamped.counts == told["counts"]
    assert told["stamped"] is True
    assert told["notebook"] == "link.ipynb"
    assert [cell["verdict"] for cell in told["cells"]] == ["same"]
    assert read.cells[0].metadata.kernel_exec.verdict.verdict == "same"
    assert [file.name for file in path.parent.iterdir() if file != link] == ["a.ipynb"]


@pytest.mark.kernel
def test_a_session_is_verified_where_it_worked_and_its_history_stays_as_it_is(
    run: Run, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    anyio.run(fill, store, store)

    code, out, err = run("lab")

    assert (code, err) == (0, "")
    assert out.startswith("session lab: run with ")
    assert "Look around" in out
    assert out.splitlines()[-1].startswith("same: 1 same in ")

    async def entries() -> int:
        async with open_store(store) as opened:
            return len(await opened.entries("s"))

    assert anyio.run(entries) == 1


@pytest.mark.kernel
def test_a_cell_is_stopped_at_the_limit_that_was_given(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "here" / "a.ipynb", ("while True: pass", ""))

    code, out, _ = run("a.ipynb", "--python", sys.executable, "--timeout", "0.5")

    assert code == 1
    assert "it was stopped at the time limit of 0.5 seconds" in out


def test_a_file_that_changed_meanwhile_is_not_stamped(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "here" / "a.ipynb"
    write(path, ("open('a.ipynb', 'a').write(' ')", ""))

    code, _, err = run("a.ipynb", "--python", sys.executable, "--stamp")

    assert code == 2
    assert "has changed meanwhile" in err
    assert path.read_text().endswith(" ")


def test_a_file_is_not_stamped_through_a_link_of_its_own_code(run: Run, tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "here" / "work" / "a.ipynb", tmp_path / "elsewhere"
    path.parent.mkdir()
    code = (
        "import os, shutil; os.chdir('..'); shutil.copytree('work', '../elsewhere');"
        "os.rename('work', 'moved'); os.symlink('../elsewhere', 'work')"
    )
    write(path, (code, ""))

    _, _, err = run("work/a.ipynb", "--python", sys.executable, "--stamp")

    assert "has changed meanwhile" in err
    assert (elsewhere / "a.ipynb").read_bytes() == (
        tmp_path / "here" / "moved" / "a.ipynb"
    ).read_bytes()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "not JSON"),
        ("[]", "no notebook"),
        ('{"nbformat": 4}', "no notebook"),
        ('{"nbformat": 9, "cells": []}', "no notebook"),
        ('{"nbformat": 3, "worksheets": 5}', "can't be converted"),
        ('{"nbformat": 4, "cells": [], "metadata": {"language_info": {"name": "R"}}}', "'R'"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_python_notebook_is_told(
    run: Run, tmp_path: Path, content: str, told: str
) -> None:
    (tmp_path / "here" / "a.ipynb").write_text(content)

    code, out, err = run("a.ipynb")

    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert told in err
    assert "Traceback" not in err


@pytest.mark.kernel
def test_a_notebook_in_an_old_format_is_converted(run: Run, tmp_path: Path) -> None:
    cell = {"cell_type": "code", "collapsed": False, "input": "print('a')", "language": "python",
            "metadata": {}, "outputs": [{"output_type": "stream", "stream": "stdout",
                                         "text": ["a\n"]}]}  # fmt: skip
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""},
           "worksheets": [{"cells": [cell], "metadata": {}}]}  # fmt: skip
    (tmp_path / "here" / "a.ipynb").write_text(json.dumps(old))

    code, out, _ = run("a.ipynb", "--python", sys.executable)

    assert (code, out.splitlines()[-1][:12]) == (0, "same: 1 same")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["missing.ipynb"], "there is no notebook"),
        (["folder.ipynb"], "no notebook's file"),
        (["a.ipynb/b.ipynb"], "can't be read"),
        (["."], "no history"),
        (["lab"], "no history"),
        (["a.ipynb", "--environment", "nope"], "'nope'"),
        (["a.ipynb", "--python", "nope"], "--environment and --python"),
        (["a.ipynb", "--environment", "x", "--python", "y"], "only one of"),
        (["a.ipynb", "--timeout", "-1"], "--timeout"),
    ],
)
def test_what_can_not_be_run_is_told_with_exit_code_2(
    run: Run, tmp_path: Path, arguments: list[str], told: str
) -> None:
    write(tmp_path / "here" / "a.ipynb", ("1", ""))
    (tmp_path / "here" / "folder.ipynb").mkdir()

    code, out, err = run(*arguments)

    assert (code, out) == (2, "")
    assert told in err
    assert not (tmp_path / "store").exists()


def test_a_notebook_whose_environment_is_gone_is_told_with_the_way_out(
    run: Run, tmp_path: Path
) -> None:
    ours = {"session": "s", "environment": "conda:kernel_exec_is_not_there"}
    notebook = {"nbformat": 4, "cells": [], "metadata": {"kernel_exec": ours}}
    (tmp_path / "here" / "a.ipynb").write_text(json.dumps(notebook))

    code, out, err = run("a.ipynb")

    assert (code, out) == (2, "")
    assert "kernel_exec_is_not_there" in err
    assert "--environment and --python" in err


def test_a_number_that_json_does_not_have_is_not_written(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "here" / "a.ipynb"
    path.write_text('{"nbformat": 4, "cells": [], "metadata": {"a": NaN}}')

    code, _, err = run("a.ipynb", "--python", sys.executable, "--stamp")

    assert code == 2
    assert "a number that JSON does not have" in err
    assert "NaN" in path.read_text()


def test_a_session_can_not_be_stamped(run: Run, tmp_path: Path) -> None:
    anyio.run(fill, tmp_path / "store", tmp_path)

    code, _, err = run("lab", "--stamp")

    assert code == 2
    assert "export the session first" in err


@pytest.mark.kernel
def test_a_configured_environment_is_used_by_its_name(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "here" / "a.ipynb", ("print(1)", "1\n"))
    file = tmp_path / "here" / "kernel_exec.toml"
    file.write_text(f'[environments.mine]\nkind = "python"\npath = "{sys.executable}"\n')
    monkeypatch.setenv("KERNEL_EXEC_CONFIG", str(file))

    code, out, _ = run("a.ipynb", "--environment", "mine", "--json")

    assert code == 0
    assert json.loads(out)["environment"] == f"python:{sys.executable}"


@pytest.mark.kernel
def test_one_of_our_notebooks_runs_in_its_own_environment(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "here" / "a.ipynb"
    write(path, ("print(1)", "1\n"))
    notebook: Any = json.loads(path.read_text())
    notebook["metadata"]["kernel_exec"] = {
        "session": "s", "environment": f"python:{sys.executable}",
        "working_directory": str(tmp_path),
    }  # fmt: skip
    path.write_text(json.dumps(notebook))

    code, out, _ = run("a.ipynb", "--json")

    told: Any = json.loads(out)
    assert code == 0
    assert told["environment"] == f"python:{sys.executable}"
    assert told["working_directory"] == str(tmp_path)


@pytest.mark.kernel
def test_what_a_foreign_notebook_printed_can_not_drive_the_terminal(
    run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "here" / "foreign.ipynb"
    odd = "\x1b]0;x\x07\x9b31m\u202e"
    write(file, (f"# {odd}\nprint('a{odd}b')", "c"))
    _, printed, errors = run(str(file), "--python", sys.executable)
    assert "different" in printed
    assert not [char for char in printed + errors if char in odd and char not in "]0;x31m"]

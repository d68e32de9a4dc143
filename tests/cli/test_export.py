import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from kernel_exec.cli import export
from kernel_exec.cli.main import main
from kernel_exec.history.entries import Entry, EntryKind, KernelRecord, SessionRecord
from kernel_exec.history.store import open_store
from kernel_exec.inherited import INHERITED
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import Stream

Run = Callable[..., tuple[int, str, str]]


async def fill(root: Path, *sessions: tuple[str, str, float, float | None]) -> None:
    """Put sessions of (id, name, created, time of its only entry) into the history."""
    async with open_store(root) as store:
        for id_, name, created, used in sessions:
            store.put_session(
                SessionRecord(id=id_, name=name, environment="venv:/v", created=created)
            )
            if used is not None:
                entry = Entry(
                    id=f"entry-{id_}",
                    session_id=id_,
                    number=1,
                    kind=EntryKind.CODE,
                    source=f"print('{id_}')",
                    outcome=Outcome.OK,
                    generation=1,
                    queued=used,
                    started=used,
                    ended=used,
                )
                store.put_entry(entry)
                store.add_event(f"entry-{id_}", Stream(name="stdout", text=f"{id_}\n"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Export in this process, in an empty current folder, from the history below `store`."""
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "store").mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("CODE_STORAGE_DIR", str(tmp_path / "store"))

    def export(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["export", *arguments])
        told = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, told.out, told.err

    return export


def sources(notebook: str) -> str:
    read: Any = json.loads(Path(notebook.strip()).read_text("utf-8"))
    return "\n".join("".join(cell["source"]) for cell in read["cells"])


@pytest.mark.parametrize(
    ("wanted", "told"),
    [((), "print('old')"), (("lab",), "print('old')"), (("main",), "print('two')"),
     (("one",), "print('one')"), (("ma",), "print('two')")],
    ids=["the latest", "by name", "the latest of a name", "by id", "by its beginning"],
)  # fmt: skip
def test_the_session_that_was_used_last_is_exported_unless_another_is_named(
    run: Run, tmp_path: Path, wanted: tuple[str, ...], told: str
) -> None:
    sessions = [("old", "lab", 1, 9), ("one", "main", 2, 2), ("two", "main", 3, 3),
                ("unused", "main", 99, None)]  # fmt: skip
    anyio.run(fill, tmp_path / "store", *sessions)

    code, out, err = run(*wanted)

    assert (code, err) == (0, "")
    assert Path(out.strip()).parent == tmp_path / "store" / "notebooks"
    assert told in sources(out)
    assert sources(out).count("print(") == 1


def test_the_exported_notebook_holds_the_outputs(run: Run, tmp_path: Path) -> None:
    anyio.run(fill, tmp_path / "store", ("a", "main", 1, 1))

    _, out, _ = run()

    read: Any = json.loads(Path(out.strip()).read_text("utf-8"))
    outputs = [output for cell in read["cells"] for output in cell.get("outputs", ())]
    assert ["".join(output["text"]) for output in outputs] == ["a\n"]


def test_a_title_is_shown_and_names_no_file(run: Run, tmp_path: Path) -> None:
    anyio.run(fill, tmp_path / "store", ("a", "main", 1, 1))

    _, out, _ = run("--title", "../<b>What</b>\nfor?\x1b[31m" + "x" * 1000)

    read: Any = json.loads(Path(out.strip()).read_text("utf-8"))
    assert read["metadata"]["title"].startswith("../<b>What</b> for?xx")
    assert len(read["metadata"]["title"]) == 120
    assert sources(out).startswith("# ../&lt;b&gt;What&lt;/b&gt; for?xx")
    assert Path(out.strip()).name == "main-a.ipynb"


def test_a_relative_output_is_taken_from_the_current_folder(run: Run, tmp_path: Path) -> None:
    anyio.run(fill, tmp_path / "store", ("a", "main", 1, 1))

    code, out, _ = run("--output", "mine.ipynb")

    assert code == 0
    assert Path(out.strip()) == tmp_path / "here" / "mine.ipynb"
    assert (tmp_path / "here" / "mine.ipynb").exists()


def test_a_foreign_file_is_replaced_only_when_asked(run: Run, tmp_path: Path) -> None:
    anyio.run(fill, tmp_path / "store", ("a", "main", 1, 1))
    mine = tmp_path / "here" / "mine.ipynb"
    mine.write_text("mine")

    code, out, err = run("--output", str(mine))
    assert (code, out, mine.read_text()) == (2, "", "mine")
    assert err.startswith("error: ")
    assert run("--output", str(mine), "--overwrite")[0] == 0
    assert "print('a')" in sources(str(mine))


def test_a_session_that_is_not_known_is_told_with_those_that_are(run: Run, tmp_path: Path) -> None:
    anyio.run(fill, tmp_path / "store", *[(str(n), f"s{n}", n, n) for n in range(15)])

    code, out, err = run("nope")

    assert (code, out) == (1, "")
    assert "'nope'" in err
    assert "'s14'" in err
    assert "and 5 more" in err


@pytest.mark.parametrize("root", ["store", "missing", "file"])
def test_a_folder_without_history_is_told_and_nothing_is_made_in_it(
    run: Run, tmp_path: Path, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("CODE_STORAGE_DIR", str(tmp_path / root))

    code, out, err = run()

    assert (code, out) == (1, "")
    assert str(tmp_path / root) in err
    assert "CODE_STORAGE_DIR" in err
    assert list((tmp_path / "store").iterdir()) == []
    assert not (tmp_path / "missing").exists()


def test_history_without_a_session_is_told(run: Run, tmp_path: Path) -> None:
    anyio.run(fill, tmp_path / "store")

    assert run() == (1, "", "error: history has no sessions yet\nhint: run code first\n")


def test_broken_history_is_told_without_a_traceback(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "store" / ".kernel_exec"
    folder.mkdir()
    (folder / "history.db").write_bytes(b"not a database" * 1000)

    code, out, err = run()

    assert (code, out) == (1, "")
    assert err.startswith("warning: ")
    assert "error: " in err
    assert "Traceback" not in err


def test_history_of_a_server_that_still_runs_is_exported(run: Run, tmp_path: Path) -> None:
    root = tmp_path / "store"
    script = (
        "import asyncio, sys; from pathlib import Path;"
        "from kernel_exec.history.entries import SessionRecord;"
        "from kernel_exec.history.store import open_store\n"
        "async def main():\n"
        "    async with open_store(Path(sys.argv[1])) as store:\n"
        "        record = SessionRecord(id='x', name='live', environment='e', created=1)\n"
        "        store.put_session(record)\n"
        "        await store.settle()\n"
        "        print('ready', flush=True)\n"
        "        sys.stdin.read()\n"
        "asyncio.run(main())"
    )
    with subprocess.Popen(
        [sys.executable, "-B", "-c", script, str(root)],
        cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"

        code, out, err = run("live")

        assert (code, err) == (0, "")
        assert Path(out.strip()).exists()
        assert server.poll() is None
        server.communicate()


@pytest.mark.parametrize("document", ["ipynb", "html", "py", "md"])
def test_a_format_is_chosen_by_its_name_or_by_the_path(
    run: Run, tmp_path: Path, document: str
) -> None:
    anyio.run(fill, tmp_path / "store", ("a", "main", 1, 1))

    code, out, err = run("--format", document)
    assert (code, err) == (0, "")
    assert Path(out.strip()).suffix == f".{document}"
    assert "print(" in Path(out.strip()).read_text()
    code, out, _ = run("--output", f"mine.{document}")
    assert (code, Path(out.strip()).name) == (0, f"mine.{document}")


@pytest.mark.parametrize(
    "arguments", [("--format", "html", "--output", "a.md"), ("--output", "a"), ("--format", "pdf")]
)
def test_a_format_that_is_none_is_refused(
    run: Run, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    anyio.run(fill, tmp_path / "store", ("a", "main", 1, 1))

    code, out, err = run(*arguments)

    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert list((tmp_path / "here").iterdir()) == []


def test_outputs_and_times_are_left_out_when_asked(run: Run, tmp_path: Path) -> None:
    anyio.run(fill, tmp_path / "store", ("a", "main", 1, 1_700_000_000))

    _, out, _ = run()
    whole = Path(out.strip()).read_text()
    _, out, _ = run("--no-outputs", "--no-timing")
    bare = Path(out.strip()).read_text()

    for word in ("1700000000", "seconds", "a\\n"):
        assert word in whole
        assert word not in bare
    assert sources(out).count("print(") == 1


def test_what_is_meant_for_version_control_names_no_path_of_this_machine(
    run: Run, tmp_path: Path
) -> None:
    user, place = "alice", "/home-of/alice/lab"
    anyio.run(fill_with_paths, tmp_path / "store", place)

    for options in (("--no-timing",), ("--no-outputs",), ("--no-outputs", "--no-timing")):
        for format_ in ("ipynb", "py", "md", "html"):
            _, out, err = run(*options, "--format", format_)
            document = Path(out.strip()).read_text()
            assert err == ""
            assert user not in document
            assert str(tmp_path) not in document
            assert sys.executable not in document
            assert "script_1.py" in document
    _, out, _ = run()
    assert place in Path(out.strip()).read_text()


async def fill_with_paths(root: Path, place: str) -> None:
    """A session whose records name paths wherever they can."""
    async with open_store(root) as store:
        store.put_session(
            SessionRecord(id="s", name="main", environment=f"venv:{place}/.venv", created=1)
        )
        store.put_kernel(
            KernelRecord(
                session_id="s", generation=1, started=1.0, executable=f"{place}/.venv/bin/python",
                python_version="3.11.1", support="own",
            )
        )  # fmt: skip
        details: dict[str, Any] = {"working_directory": place, "previous": f"venv:{place}",
                                   "executable": f"{place}/bin/python"}  # fmt: skip
        failed = {"error": f"FileNotFoundError: {place}/data.csv"}
        entries = [
            (EntryKind.ENVIRONMENT, f"venv:{place}/.venv", Outcome.OK, "", details),
            (EntryKind.CODE, "x = 1", Outcome.OK, f"{place}/code_1.py", details),
            (EntryKind.SCRIPT, "import sys\nsys.argv", Outcome.OK, f"{place}/script_1.py",
             {"arguments": ["a"], "mode": "kernel", "sha256": "0"}),
            (EntryKind.INSTALL, "six", Outcome.EXCEPTION, "", failed),
            (EntryKind.CODE, "y", Outcome.EXCEPTION, f"{place}/code_2.py", failed),
        ]  # fmt: skip
        for number, (kind, source, outcome, path, more) in enumerate(entries, 1):
            store.put_entry(
                Entry(
                    id=f"e{number}", session_id="s", number=number, kind=kind, source=source,
                    outcome=outcome, generation=1, queued=number, started=number, ended=number,
                    file_path=path or None, details=more,
                )
            )  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="modes are those of POSIX")
@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_an_export_has_the_mode_of_its_users_files_and_keeps_that_of_one_it_replaces(
    run: Run, tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    anyio.run(fill, tmp_path / "store", ("a", "main", 1, 1))
    monkeypatch.setattr(export, "INHERITED", replace(INHERITED, umask=umask))
    before = os.umask(umask)  # as a process has it that was started so
    try:
        for output in ("new/a.ipynb", "new/a.ipynb"):
            assert run("--output", output)[0] == 0
            assert stat.S_IMODE(Path(output).stat().st_mode) == 0o666 & ~umask
            assert stat.S_IMODE(Path("new").stat().st_mode) == 0o777 & ~umask
        Path("new/a.ipynb").chmod(0o750)
        assert run("--output", "new/a.ipynb")[0] == 0
        assert stat.S_IMODE(Path("new/a.ipynb").stat().st_mode) == 0o750
        _, kept, _ = run()
        assert stat.S_IMODE(Path(kept.strip()).stat().st_mode) == 0o600
        Path(kept.strip()).unlink()
        _, portable, _ = run("--no-outputs", "--no-timing")
        assert stat.S_IMODE(Path(portable.strip()).stat().st_mode) == 0o666 & ~umask
    finally:
        os.umask(before)


def test_no_link_leads_the_usual_place_out_of_the_storage_root(run: Run, tmp_path: Path) -> None:
    anyio.run(fill, tmp_path / "store", ("a", "main", 1, 1))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "store" / "notebooks").symlink_to(elsewhere)

    code, _, err = run("--format", "py")

    assert code == 2
    assert f"leads to '{elsewhere}'" in err
    assert "choose the file with --output" in err
    assert list(elsewhere.iterdir()) == []

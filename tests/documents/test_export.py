"""Writing notebooks: whole or not at all, and never over what is not ours."""

import json
import os
import resource
import signal
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from kernel_exec.documents.export import export_document, session_notebook
from kernel_exec.documents.paths import FORMATS, chosen_path, default_path, format_of
from kernel_exec.errors import InvalidArgumentError, StorageError
from kernel_exec.history.entries import Entry, EntryKind, KernelRecord, SessionRecord
from kernel_exec.history.store import open_store
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.notebooks.build import build


def session(session_id: str = "a" * 32, name: str = "main") -> SessionRecord:
    return SessionRecord(id=session_id, name=name, environment="e", created=0.0)


def notebook(session_id: str = "a" * 32) -> JSONObject:
    return build(session=session(session_id), kernels=[], steps=[])


async def export(path: Path, made: JSONObject | None = None, *, overwrite: bool = False) -> Path:
    await export_document(made or notebook(), path, overwrite=overwrite)
    return path


async def test_it_is_written_and_its_folder_made_and_replaces_its_earlier_export(
    tmp_path: Path,
) -> None:
    for _ in range(2):
        path = await export(tmp_path / "deep" / "n.ipynb")
        assert json.loads(path.read_text())["nbformat"] == 4
        assert list(path.parent.iterdir()) == [path]


THERE = {
    "another session's export": json.dumps(notebook("b" * 32)),
    "a person's notebook": '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
    "something else": "not JSON",
    "a list": "[]",
    "JSON that is too deep": "[" * 200_000,
}
ANONYMOUS: JSONObject = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}


@pytest.mark.parametrize("name", THERE)
async def test_what_is_not_ours_is_left_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / "n.ipynb"
    path.write_text(THERE[name])
    for made in (notebook(), ANONYMOUS):  # one of no session replaces nothing
        with pytest.raises(InvalidArgumentError, match="overwrite=true"):
            await export(path, made)
        assert path.read_text() == THERE[name]
    await export(path, overwrite=True)
    assert path.read_text() != THERE[name]


async def test_a_link_is_never_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep")
    link = tmp_path / "n.ipynb"
    link.symlink_to(precious)
    with pytest.raises(InvalidArgumentError):
        await export(link)
    await export(link, overwrite=True)
    assert precious.read_text() == "keep"


@pytest.mark.parametrize("name", ["n.txt", ".ipynb", "n", "n.ipynb.txt"])
async def test_another_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"ends in one of \.ipynb, \.html"):
        await export(tmp_path / name)


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("name", ["a\0b.ipynb", "\ud800.ipynb"])
async def test_a_name_that_no_file_can_have_is_refused(
    tmp_path: Path, name: str, overwrite: bool
) -> None:
    with pytest.raises(InvalidArgumentError, match="not allowed"):
        await export(tmp_path / name, overwrite=overwrite)


async def test_what_is_no_valid_notebook_is_refused_with_its_place(tmp_path: Path) -> None:
    cell: JSONObject = {"cell_type": "raw", "id": "a", "metadata": {}, "source": 1}
    with pytest.raises(InvalidArgumentError, match=r"no valid notebook .*cells\.0"):
        await export(tmp_path / "n.ipynb", {**notebook(), "cells": [cell]})
    assert list(tmp_path.iterdir()) == []


async def test_what_a_file_can_not_hold_is_written_in_other_words(tmp_path: Path) -> None:
    odd: JSONObject = {"title": "a\ud800", "number": float("nan")}
    path = await export(tmp_path / "n.ipynb", {**notebook(), "metadata": odd})
    there = json.loads(path.read_text("utf-8"))
    assert there["metadata"] == {"title": "a\\ud800", "number": None}


async def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "n.ipynb")
    with pytest.raises(InvalidArgumentError, match="overwrite=true"):
        await export(tmp_path / "n.ipynb")


@pytest.mark.parametrize("overwrite", [True, False])
async def test_a_folder_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "n.ipynb").mkdir()
    with pytest.raises((InvalidArgumentError, StorageError), match=r"n\.ipynb"):
        await export(tmp_path / "n.ipynb", overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["n.ipynb"]


async def test_what_is_there_stays_whole_when_writing_fails(tmp_path: Path) -> None:
    path = await export(tmp_path / "n.ipynb")
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(StorageError, match="can't be written"):
            await export(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


async def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="can't be written"):
        await export(tmp_path / "file" / "n.ipynb")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("main", "main"),
        ("a/../b", "a_.._b"),
        ("../x", "_x"),
        ("..", "session"),
        ("", "session"),
        ("a\0\n", "a__"),
        ("x" * 300, "x" * 80),
    ],
)
def test_the_default_path_is_safe_and_its_own(tmp_path: Path, name: str, file: str) -> None:
    path = default_path(tmp_path, session(name=name), ".ipynb")
    assert path == tmp_path / "notebooks" / f"{file}-aaaaaaaa.ipynb"


@pytest.mark.parametrize("ending", FORMATS)
async def test_a_document_of_any_format_replaces_its_own_earlier_one(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"n.{ending}"
    for _ in range(2):
        await export_document(notebook(), path, overwrite=False)
    with pytest.raises(InvalidArgumentError, match="overwrite=true"):
        await export_document(notebook("b" * 32), path, overwrite=False)
    written = path.read_text()
    path.write_text(f"# mine, about\n{written}" if ending == "ipynb" else "mine")
    with pytest.raises(InvalidArgumentError, match="overwrite=true"):
        await export_document(notebook(), path, overwrite=False)
    await export_document(notebook(), path, overwrite=True)
    assert path.read_text() == written


@pytest.mark.parametrize("ending", ["html", "py", "md"])
async def test_a_mark_that_is_only_quoted_is_none(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"n.{ending}"
    path.write_text(f"see `kernel-exec session: {'a' * 32}` for more\n")
    with pytest.raises(InvalidArgumentError, match="overwrite=true"):
        await export_document(notebook(), path, overwrite=False)


def large(text: str) -> JSONObject:
    cell: JSONObject = {
        "cell_type": "code",
        "id": "c",
        "metadata": {},
        "execution_count": 1,
        "source": "x",
        "outputs": [{"output_type": "stream", "name": "stdout", "text": text}],
    }
    return {**notebook(), "cells": [cell]}


async def test_what_is_too_large_is_in_a_folder_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "n.ipynb"
    for _ in range(2):
        await export_document(large("x" * 9000), path, overwrite=False, limit=5000)
    assert (tmp_path / "n_files" / "c-1.txt").read_text() == "x" * 9000
    assert "n_files/c-1.txt" in path.read_text()
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["c-1.txt", "n.ipynb", "n_files"]


async def test_nothing_is_written_through_a_link_to_a_folder(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "n_files").symlink_to(elsewhere)
    with pytest.raises(InvalidArgumentError, match="is a link"):
        await export_document(large("x" * 9000), tmp_path / "n.ipynb", overwrite=True, limit=5000)
    assert list(elsewhere.iterdir()) == []


async def test_a_link_that_takes_the_place_of_a_checked_folder_is_not_followed(
    tmp_path: Path,
) -> None:
    work, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    work.mkdir()
    elsewhere.mkdir()

    def check(folder: Path) -> None:
        if not work.is_symlink():  # what code does in the moment after the check
            work.rename(tmp_path / "moved")
            work.symlink_to(elsewhere)
        if not folder.is_relative_to(work):
            raise InvalidArgumentError

    with pytest.raises(StorageError, match="can't be written"):
        await export_document(notebook(), work / "new" / "n.ipynb", overwrite=True, check=check)
    assert list(elsewhere.iterdir()) == []


async def test_a_large_file_in_the_place_of_a_document_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "n.ipynb"
    path.touch()
    os.truncate(path, 300_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArgumentError, match="overwrite=true"):
            await export(path)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


async def test_a_large_export_is_known_again(tmp_path: Path) -> None:
    made = large("x" * 9_000_000)
    path = await export(tmp_path / "n.ipynb", made)
    await export(path, made)
    path.write_text(json.dumps(made, sort_keys=True))  # as Jupyter saves it
    await export(path, made)
    assert path.stat().st_size > 9_000_000


PATHS = {
    "": ("", "notebooks/main-aaaaaaaa.ipynb"),
    "a.md": ("", "a.md"),
    "deep/a.html": ("html", "deep/a.html"),
    "/elsewhere/../a.py": ("", "/elsewhere/../a.py"),
}


@pytest.mark.parametrize("path", PATHS)
def test_a_relative_path_is_below_the_storage_root(path: str) -> None:
    format_, expected = PATHS[path]
    assert chosen_path(Path("/s"), session(), path, format_) == Path("/s") / expected


def test_a_format_alone_decides_the_ending() -> None:
    assert chosen_path(Path("/s"), session(), "", "html").name == "main-aaaaaaaa.html"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("../a.ipynb", "below '/s'"),
        ("deep/../../a.ipynb", "below '/s'"),
        ("~/a.ipynb", "below '/s'"),
        ("~user/a.ipynb", "below '/s'"),
        (".kernel_exec/a.ipynb", "below '/s'"),
        ("a.txt", "ends in one of"),
        ("a", "ends in one of"),
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(path: str, why: str) -> None:
    with pytest.raises(InvalidArgumentError, match=why):
        chosen_path(Path("/s"), session(), path, "")


def test_a_format_and_an_ending_that_differ_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"ends in \.html"):
        format_of(Path("a.md"), "html")


async def read(folder: Path, executable: str) -> Any:
    """The first cell of the notebook of a session that imports something."""
    record = session()
    async with open_store(folder) as store:
        store.put_session(record)
        store.put_kernel(
            KernelRecord(
                session_id=record.id, generation=1, started=1.0, executable=executable,
                python_version="3.11.1", support="own",
            )
        )  # fmt: skip
        store.put_entry(
            Entry(
                id="e", session_id=record.id, number=1, kind=EntryKind.CODE, source="import pytest",
                outcome=Outcome.OK, generation=1, queued=1.0, started=1.0, ended=1.0,
            )
        )  # fmt: skip
        notebook: Any = await session_notebook(store, record)
    return notebook


async def test_what_is_imported_is_asked_from_the_interpreter_itself(tmp_path: Path) -> None:
    notebook = await read(tmp_path, sys.executable)
    assert f"pytest=={pytest.__version__}" in notebook["cells"][1]["source"]
    assert notebook["metadata"]["kernel_exec"]["interpreter"]["platform"]


@pytest.mark.parametrize("executable", ["", "/gone/bin/python", "/dev/null"])
async def test_an_interpreter_that_is_gone_leaves_the_versions_unknown(
    tmp_path: Path, executable: str
) -> None:
    notebook = await read(tmp_path, executable)
    assert "its interpreter is gone" in notebook["cells"][1]["source"]
    assert "imported: pytest" in notebook["cells"][1]["source"]

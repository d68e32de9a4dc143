"""Writing notebooks: whole or not at all, and never over what is not ours."""

import json
import os
import resource
import signal
from pathlib import Path

import pytest

from kernel_exec.errors import InvalidArgumentError, StorageError
from kernel_exec.kernels.messages import JSONObject
from kernel_exec.notebooks.build import build
from kernel_exec.notebooks.export import default_path, export_ipynb
from kernel_exec.sessions.history import SessionRecord


def session(session_id: str = "a" * 32, name: str = "main") -> SessionRecord:
    return SessionRecord(id=session_id, name=name, environment="e", created=0.0)


def notebook(session_id: str = "a" * 32) -> JSONObject:
    return build(session=session(session_id), kernels=[], steps=[])


async def test_it_is_written_and_its_folder_made(tmp_path: Path) -> None:
    path = await export_ipynb(notebook(), tmp_path / "deep" / "n.ipynb", overwrite=False)
    assert json.loads(path.read_text())["nbformat"] == 4
    assert list(path.parent.iterdir()) == [path]


async def test_an_earlier_export_of_the_session_is_replaced(tmp_path: Path) -> None:
    for _ in range(2):
        await export_ipynb(notebook(), tmp_path / "n.ipynb", overwrite=False)


THERE = {
    "another session's export": json.dumps(notebook("b" * 32)),
    "a person's notebook": '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
    "something else": "not JSON",
    "a list": "[]",
    "JSON that is too deep": "[" * 200_000,
}


@pytest.mark.parametrize("name", THERE)
async def test_what_is_not_ours_is_left_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / "n.ipynb"
    path.write_text(THERE[name])
    with pytest.raises(InvalidArgumentError, match="set overwrite"):
        await export_ipynb(notebook(), path, overwrite=False)
    assert path.read_text() == THERE[name]
    await export_ipynb(notebook(), path, overwrite=True)
    assert path.read_text() != THERE[name]


async def test_a_link_is_never_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep")
    link = tmp_path / "n.ipynb"
    link.symlink_to(precious)
    with pytest.raises(InvalidArgumentError):
        await export_ipynb(notebook(), link, overwrite=False)
    await export_ipynb(notebook(), link, overwrite=True)
    assert precious.read_text() == "keep"


@pytest.mark.parametrize("name", ["n.txt", ".ipynb", "n", "n.ipynb.txt"])
async def test_another_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"\.ipynb"):
        await export_ipynb(notebook(), tmp_path / name, overwrite=False)


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("name", ["a\0b.ipynb", "\ud800.ipynb"])
async def test_a_name_that_no_file_can_have_is_refused(
    tmp_path: Path, name: str, overwrite: bool
) -> None:
    with pytest.raises(InvalidArgumentError, match="not allowed"):
        await export_ipynb(notebook(), tmp_path / name, overwrite=overwrite)


async def test_a_notebook_of_no_session_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "n.ipynb"
    path.write_text(THERE["a person's notebook"])
    anonymous: JSONObject = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}
    with pytest.raises(InvalidArgumentError, match="set overwrite"):
        await export_ipynb(anonymous, path, overwrite=False)
    assert path.read_text() == THERE["a person's notebook"]


async def test_what_is_no_valid_notebook_is_refused_with_its_place(tmp_path: Path) -> None:
    cell: JSONObject = {"cell_type": "raw", "id": "a", "metadata": {}, "source": 1}
    with pytest.raises(InvalidArgumentError, match=r"no valid notebook .*cells\.0"):
        await export_ipynb({**notebook(), "cells": [cell]}, tmp_path / "n.ipynb", overwrite=False)
    assert list(tmp_path.iterdir()) == []


async def test_what_a_file_can_not_hold_is_written_in_other_words(tmp_path: Path) -> None:
    metadata: JSONObject = {"title": "a\ud800", "number": float("nan")}
    odd: JSONObject = {**notebook(), "metadata": metadata}
    path = await export_ipynb(odd, tmp_path / "n.ipynb", overwrite=False)
    there = json.loads(path.read_text("utf-8"))
    assert there["metadata"] == {"title": "a\\ud800", "number": None}


async def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "n.ipynb")
    with pytest.raises(InvalidArgumentError, match="set overwrite"):
        await export_ipynb(notebook(), tmp_path / "n.ipynb", overwrite=False)


@pytest.mark.parametrize("overwrite", [True, False])
async def test_a_folder_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "n.ipynb").mkdir()
    with pytest.raises((InvalidArgumentError, StorageError), match=r"n\.ipynb"):
        await export_ipynb(notebook(), tmp_path / "n.ipynb", overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["n.ipynb"]


async def test_what_is_there_stays_whole_when_writing_fails(tmp_path: Path) -> None:
    path = await export_ipynb(notebook(), tmp_path / "n.ipynb", overwrite=False)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(StorageError, match="can't be written"):
            await export_ipynb(notebook(), path, overwrite=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


async def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="can't be written"):
        await export_ipynb(notebook(), tmp_path / "file" / "n.ipynb", overwrite=False)


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

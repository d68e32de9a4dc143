"""Writing notebooks: whole or not at all, and never over what is not ours."""

import json
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


async def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"\.ipynb"):
        await export_ipynb(notebook(), tmp_path / "n.txt", overwrite=False)


async def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="can't be written"):
        await export_ipynb(notebook(), tmp_path / "file" / "n.ipynb", overwrite=False)


def test_the_default_path_is_safe_and_its_own(tmp_path: Path) -> None:
    path = default_path(tmp_path, session(name="a/../b"), ".ipynb")
    assert path == tmp_path / "notebooks" / "a_.._b-aaaaaaaa.ipynb"

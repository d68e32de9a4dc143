"""The files that a verdict rests on."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kernel_exec.verification import basis
from kernel_exec.verification.basis import files_below


def written(place: str, content: str = "1") -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_text(content)

    return write


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (written("new.csv"), True),
        (written("data/there.csv", "longer"), True),
        (lambda folder: os.utime(folder / "data" / "there.csv", ns=(1, 1)), True),
        (lambda folder: (folder / "data" / "there.csv").unlink(), True),
        (lambda folder: (folder / "link").symlink_to("nowhere"), False),
        (written(".git/index"), False),
        (written("__pycache__/there.pyc"), False),
        (written("notebooks/main.ipynb"), False),
    ],
)
def test_a_file_counts_unless_it_is_hidden_compiled_or_a_document_of_ours(
    tmp_path: Path, change: Callable[[Path], object], counts: bool
) -> None:
    written("data/there.csv")(tmp_path)
    before = files_below(tmp_path, tmp_path / "notebooks")

    change(tmp_path)

    assert (files_below(tmp_path, tmp_path / "notebooks") != before) is counts


def test_where_there_are_too_many_files_nobody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(basis, "_MOST_FILES", 2)
    for number in range(3):
        written(f"{number}.csv")(tmp_path)

    assert files_below(tmp_path, tmp_path) is None

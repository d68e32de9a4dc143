"""A kernel's folder is there with its lease only, and read as it was written, whatever it holds."""

import importlib
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kernel_exec.kernels.outputs import Clear, Stream
from kernel_exec.kernels.run_dirs import RunDir, made_run_dir, sweep_run_dirs

STEPS = {"os.mkdir", "os.remove", "os.rmdir"}


@contextmanager
def watched(folder: Path) -> Iterator[list[list[str]]]:
    """The names in `folder` before each step that changes it."""
    states: list[list[str]] = []
    is_on = True

    def note(event: str, _arguments: object) -> None:
        if is_on and event in STEPS:
            states.append(sorted(path.name for path in folder.iterdir()))

    sys.addaudithook(note)
    yield states
    is_on = False


def test_a_folder_is_there_only_with_its_lease_so_that_a_sweep_finds_it(tmp_path: Path) -> None:
    with watched(tmp_path) as states, made_run_dir(tmp_path) as made:
        (made.path / "sockets").mkdir()
    assert len(states) == 5
    name = made.path.name
    for names in states:
        assert names in ([f"{name}.lease"], [name, f"{name}.lease"])
    assert list(tmp_path.iterdir()) == []


def test_what_a_living_server_holds_is_not_swept(tmp_path: Path) -> None:
    with made_run_dir(tmp_path) as made:
        sweep_run_dirs(tmp_path)
        assert made.path.is_dir()


WRITTEN = [(1, "stdout", "a\n"), (2, "stderr", "é\udc80"), (3, "clear", ""), (4, "stdout", "")]
READ = [
    (1, Stream(name="stdout", text="a\n")),
    (2, Stream(name="stderr", text="é\\udc80")),
    (3, Clear(wait=False)),
    (4, Stream(name="stdout", text="")),
]


def write(folder: Path) -> Any:
    inside: Any = importlib.import_module(
        "kernel_exec.inside.shared"
    )  # which is written for every Python, without types
    journal = inside.Journal(str(folder / "output.journal"))
    journal.begin("e" * 32)
    for entry in WRITTEN:
        assert journal.add("e" * 32, *entry)
    return journal


def test_a_journal_is_read_as_it_was_written(tmp_path: Path) -> None:
    journal = write(tmp_path)
    assert journal.add("another", 5, "stdout", "not ours")
    assert RunDir(tmp_path).journal() == ("e" * 32, READ)

    journal.begin("e" * 32)
    assert RunDir(tmp_path).journal() == ("e" * 32, READ)
    journal.begin("f" * 32)
    assert RunDir(tmp_path).journal() == ("f" * 32, [])


def test_a_journal_says_when_it_is_full(tmp_path: Path) -> None:
    journal = write(tmp_path)
    assert not journal.add("e" * 32, 5, "stdout", "x" * 2_000_000)
    assert RunDir(tmp_path).journal() == ("e" * 32, READ)


@pytest.mark.parametrize("seed", range(20))
def test_a_journal_that_user_code_spoiled_is_read_as_far_as_it_goes(
    tmp_path: Path, seed: int
) -> None:
    write(tmp_path)
    path = tmp_path / "output.journal"
    chance = random.Random(seed)
    spoiled = bytearray(path.read_bytes()[: chance.choice([0, 20, 44, 60, 1000])])
    for _ in range(min(len(spoiled), 20)):
        spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
    path.write_bytes(spoiled)

    execution_id, written = RunDir(tmp_path).journal()
    assert len(execution_id) <= 32
    assert len(written) <= len(spoiled)


def test_without_a_journal_nothing_is_recovered(tmp_path: Path) -> None:
    assert RunDir(tmp_path).journal() == ("", [])

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kernel_exec.kernels.run_dirs import make_run_dir, remove_run_dir, sweep_run_dirs

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
    with watched(tmp_path) as states:
        run_dir, lease = make_run_dir(tmp_path)
        (run_dir / "sockets").mkdir()
        remove_run_dir(run_dir, lease)
    assert len(states) == 5
    for names in states:
        assert names in ([f"{run_dir.name}.lease"], [run_dir.name, f"{run_dir.name}.lease"])
    assert list(tmp_path.iterdir()) == []


def test_what_a_living_server_holds_is_not_swept(tmp_path: Path) -> None:
    run_dir, lease = make_run_dir(tmp_path)
    sweep_run_dirs(tmp_path)
    assert run_dir.is_dir()
    remove_run_dir(run_dir, lease)

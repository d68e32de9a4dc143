"""A lease lives as long as its holder, in whatever container that runs, and no longer."""

import errno
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import psutil
import pytest

from kernel_exec.errors import StorageError
from kernel_exec.leases import is_held, locked, take
from tests.waits import patient, wait_gone
from tests.wire import unshared

ROOT = Path(__file__).parents[1]

HOLDER = """
import subprocess, sys
from pathlib import Path
from kernel_exec.leases import take
lease = take(Path(sys.argv[1]))
child = subprocess.Popen(["sleep", "60"], close_fds=False)
print("held", child.pid, flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(path: Path, *prefix: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lease at `path`, and has a child; killed on leaving."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", HOLDER, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("held")
        try:
            yield process
        finally:
            process.kill()


def test_a_lease_has_one_holder_until_it_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    assert not is_held(path)
    lease = take(path)
    assert lease is not None
    assert is_held(path)
    assert take(path) is None
    assert path.stat().st_mode & 0o777 == 0o600
    lease.drop()
    assert not path.exists()
    again = take(path)
    assert again is not None
    again.drop()


def test_a_lease_ends_with_its_process_though_its_children_live(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    with holder(path) as process:
        assert is_held(path)
        assert take(path) is None
        process.kill()
        process.wait()
        assert path.exists()
        assert not is_held(path)
        lease = take(path)
        assert lease is not None
        lease.drop()


def test_a_lease_is_known_in_other_pid_namespaces(tmp_path: Path) -> None:
    if not (prefix := unshared()):
        pytest.skip("no PID namespace can be made here")
    with holder(tmp_path / "lease", *prefix) as process:
        assert is_held(tmp_path / "lease")
        inside = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        assert wait_gone(inside, within=10) == []
    ended = take(tmp_path / "lease")
    assert ended is not None
    ended.drop()


def test_a_lease_whose_file_was_removed_is_not_valid_and_can_be_taken_anew(tmp_path: Path) -> None:
    old = take(tmp_path / "lease")
    assert old is not None
    (tmp_path / "lease").unlink()
    assert not old.is_valid
    new = take(tmp_path / "lease")
    assert new is not None
    old.drop()
    assert new.is_valid
    new.drop()


def test_a_link_is_no_lease(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    (tmp_path / "lease").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="lease"):
        take(tmp_path / "lease")


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def fail(descriptor: int, operation: int) -> None:
        raise OSError(code, "not here")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(StorageError, match=r"has no file locks \(flock\)"):
        take(tmp_path / "lease")


async def test_a_lock_is_held_by_one_at_a_time_and_one_who_gives_up_leaves_the_way_free(
    tmp_path: Path,
) -> None:
    path = tmp_path / "made" / "lock"
    steps: list[str] = []

    async def work(name: str) -> None:
        async with locked(path):
            steps.append(name)
            await anyio.lowlevel.checkpoint()
            steps.append(name)

    with anyio.fail_after(patient(10)):
        async with locked(path), anyio.create_task_group() as tasks:
            tasks.start_soon(work, "gives up")
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work, "one")
            tasks.start_soon(work, "other")
    assert steps in (["one", "one", "other", "other"], ["other", "other", "one", "one"])
    assert not is_held(path)

"""What is kept of executions, whatever happens to the server, its disk and its clock."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from kernel_exec.history.opening import migrate
from tests.sandbox.holding import require_walls
from tests.waits import FOR_EVER, Gate, as_fast_as, wait_gone, wait_until
from tests.wire import Result, Server, serving, unshared

needs_unix = pytest.mark.skipif(sys.platform == "win32", reason="modes are a Unix thing")


def folder(root: Path) -> Path:
    return root / "storage" / ".kernel_exec"


def database(root: Path) -> Path:
    return folder(root) / "history.db"


def query(root: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database(root), isolation_level=None, timeout=10)) as connection:
        return connection.execute(statement).fetchall()


def kept(server: Server, *executions: Result) -> None:
    """What was told of them is what the server tells of them now."""
    for execution in executions:
        again = server.call("get_execution", execution_id=execution.id, within=10)
        assert again.outcome == execution.outcome
        assert again.text.partition("\n[")[0] == execution.text.partition("\n[")[0]


def notebook(server: Server, session: str) -> str:
    exported = server.call("export_notebook", session=session, within=10)
    return Path(exported.structured["path"]).read_text("utf-8")


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user can't mount a tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> None:
    with (disk / "ballast").open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def free(disk: Path) -> None:
    (disk / "ballast").unlink()


def read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


def read_write(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)


# Kills


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_no_acknowledged_execution_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    rounds, size = 2, 25
    acknowledged: dict[str, Result] = {}
    for lap in range(rounds):
        with serving(tmp_path) as server:
            codes = [
                f"print('mark-{lap}-{number}' + ' x' * {40_000 if number % 5 == 0 else 1})"
                for number in range(size)
            ]
            calls = [server.begin_call("execute_code", code=code, session="s") for code in codes]
            for number in range(random.randint(1, size)):
                result = server.result(calls[number], within=20)
                acknowledged[f"mark-{lap}-{number}"] = result
            server.process.kill()

    with serving(tmp_path) as server:
        for mark, result in acknowledged.items():
            assert mark in result.text
            kept(server, result)
        written = notebook(server, "s")
        assert [mark for mark in acknowledged if mark not in written] == []


def running_in(server: Server) -> Result:
    """What runs in the session `s`, has begun and never ends."""
    code = f"print('begun', flush=True)\n{FOR_EVER}"
    begun = server.run(code, session="s", wait_seconds=0)
    wait_until(
        lambda: server.call("get_execution", execution_id=begun.id, offset=0).text.startswith(
            "begun\n"
        )
    )
    return begun


def test_what_ran_when_the_server_was_killed_is_interrupted_for_the_next(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        running = running_in(server)
        waiting = server.run("print('never')", session="s", wait_seconds=0, within=10)
        assert waiting.outcome == "queued"
        server.process.kill()

    with serving(tmp_path) as server:
        found = server.call("get_execution", execution_id=running.id, within=5)
        assert found.outcome == "interrupted"
        assert "begun" in found.text
        assert "server_died" in found.text
        never = server.call("get_execution", execution_id=waiting.id, within=5)
        assert never.outcome == "interrupted"


def test_what_a_server_in_another_container_runs_is_left_alone_until_that_dies(
    tmp_path: Path,
) -> None:
    if not (prefix := unshared()):
        pytest.skip("no PID namespace can be made here")
    with serving(tmp_path) as one:
        first = running_in(one)
        with serving(tmp_path, prefix=prefix) as other:
            second = running_in(other)
            for asked in (one, other):
                for running in (first, second):
                    assert asked.call("get_execution", execution_id=running.id).outcome == "running"
            inside = other.below()
        assert wait_gone(inside, within=10) == []
        assert one.call("get_execution", execution_id=second.id).outcome == "interrupted"
        assert one.call("get_execution", execution_id=first.id).outcome == "running"


# Disks


@pytest.mark.parametrize("within", ["one call", "no call"])
def test_a_full_disk_degrades_history_until_there_is_room(tmp_path: Path, within: str) -> None:
    with small_disk(tmp_path / "storage", "8m") as disk:
        with serving(tmp_path) as server:
            before = server.run("x = 1; print('before')", session="s")
            fill(disk)
            meanwhile = server.run("x += 1; print('meanwhile', x)", session="s", within=10)
            large = server.run("print('large ' * 100_000)", session="s", within=10)

            for told in (meanwhile, large):
                assert told.outcome == "ok"
                assert "history: degraded (" in told.text
                assert "the script can't be stored" in told.text
                assert told.meta["file_path"] is None
            assert "meanwhile 2" in meanwhile.text
            kept(server, before, meanwhile, large)

            free(disk)
            if within == "one call":
                after = server.run("print('after', x)", session="s", within=10)
                assert "after 2" in after.text
                assert after.meta["history"] == "ok"
            wait_until(lambda: query(tmp_path, f"SELECT 1 FROM event WHERE entry = '{large.id}'"),
                       within=10)  # fmt: skip
            server.process.kill()
        with serving(tmp_path) as server:
            kept(server, before, meanwhile, large)
            assert "meanwhile" in notebook(server, "s")


def full(disk: Path) -> Callable[[Path], None]:
    fill(disk)
    return free


def unwritable(disk: Path) -> Callable[[Path], None]:
    read_only(disk)
    return read_write


@pytest.mark.parametrize("spoil", [full, unwritable])
@pytest.mark.parametrize("earlier", [False, True], ids=["new", "used before"])
def test_a_server_that_begins_on_a_disk_it_cannot_write_runs_code_and_recovers(
    tmp_path: Path, spoil: Callable[[Path], Callable[[Path], None]], earlier: bool
) -> None:
    with small_disk(tmp_path / "storage", "8m") as disk:
        before = []
        if earlier:
            with serving(tmp_path) as server:
                before = [server.run("print('before')", session="s")]
                server.leave()
        mend = spoil(disk)
        with serving(tmp_path) as server:
            kept(server, *before)
            meanwhile = server.run("x = 1; print('meanwhile')", session="s")
            assert meanwhile.outcome == "ok"
            assert "history: degraded (" in meanwhile.text

            mend(disk)
            after = server.run("print('after', x)", session="s", within=10)
            assert "after 1" in after.text
            assert after.meta["history"] == "ok"
            server.process.kill()
        with serving(tmp_path) as server:
            kept(server, *before, meanwhile, after)


@pytest.mark.parametrize("word", ["off", "workspace"])
def test_a_full_runtime_folder_is_told_and_costs_no_kernel_that_runs(
    tmp_path: Path, word: str
) -> None:
    if word != "off":
        require_walls()
    options = ("--python-path", sys.executable, "--sandbox", word)
    with (
        tempfile.TemporaryDirectory() as short,  # sockets need a short path
        small_disk(Path(short, "run"), "8m") as disk,
        serving(tmp_path, *options, XDG_RUNTIME_DIR=str(disk)) as server,
    ):
        fill(disk)
        refused = server.run("1")
        assert refused.is_error
        assert "No space left on device" in refused.text
        assert str(disk) in refused.text
        free(disk)
        assert server.run("x = 1").outcome == "ok"
        assert len(list(disk.glob("kx-*/"))) == 1

        fill(disk)
        assert server.run("print('a' * 200_000); x", within=10).outcome == "ok"
        assert "2" in server.run("x + 1", within=10).text


# Files


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The history of a server that was killed: some of it is in the write-ahead log."""
    root = tmp_path_factory.mktemp("history")
    with serving(root) as server:
        first = server.run("print('first')", session="s")
        query(root, "PRAGMA wal_checkpoint(TRUNCATE)")
        for number in range(20):
            server.run(f"print({number})", session="s")
        server.process.kill()
    return root, first


def garbage_header(path: Path) -> None:
    path.write_bytes(os.urandom(100) + path.read_bytes()[100:])


def garbage_in_the_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 * 2 :] = os.urandom(len(content) - 4096 * 2)
    path.write_bytes(content)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def torn_log(path: Path) -> None:
    os.truncate(f"{path}-wal", Path(f"{path}-wal").stat().st_size - 100)


@pytest.mark.parametrize(
    ("spoil", "told", "survives"),
    [
        (garbage_header, True, False),
        (garbage_in_the_middle, True, False),
        (truncated, True, False),
        (emptied, False, False),
        (torn_log, False, True),
    ],
)
def test_a_corrupt_database_costs_no_execution_and_is_told_of_once(
    tmp_path: Path,
    history: tuple[Path, Result],
    spoil: Callable[[Path], None],
    told: bool,
    survives: bool,
) -> None:
    root, first = history
    shutil.copytree(root / "storage", tmp_path / "storage")
    if not survives:
        for suffix in ("-wal", "-shm"):  # which would make the pages whole again
            Path(f"{database(tmp_path)}{suffix}").unlink(missing_ok=True)
    spoil(database(tmp_path))

    with serving(tmp_path) as server:
        ran = server.run("print('goes on')", session="s")
        assert ran.outcome == "ok"
        assert ran.meta["history"] == "ok"
        assert ("set aside as" in ran.text) is told
        kept(server, ran)
        assert "set aside" not in server.run("1", session="s").text
        if survives:
            kept(server, first)

    aside = [path.name for path in folder(tmp_path).glob("history.db.corrupt-?")]
    assert aside == (["history.db.corrupt-1"] if told else [])


@pytest.mark.parametrize("which", ["storage", "storage/.kernel_exec"])
def test_a_folder_that_is_removed_meanwhile_is_made_anew_with_the_sessions_that_are_open(
    tmp_path: Path, which: str
) -> None:
    with serving(tmp_path) as server:
        before = server.run("x = 1; print('before')", session="s")
        shutil.rmtree(tmp_path / which)
        after = server.run("import os; print('after', x)", session="s", within=10)
        spilled = server.run("print('spilled\\n' * 100_000)", session="s", within=10)

        assert (after.outcome, after.meta["history"]) == ("ok", "ok")
        assert "after 1" in after.text
        assert "history.db was removed while in use" in after.text
        assert spilled.outcome == "ok"
        assert "removed" not in spilled.text
        server.process.kill()
    with serving(tmp_path) as server:
        kept(server, before, after)
        assert "before" in notebook(server, "s")


def test_the_first_server_on_a_storage_root_that_is_not_there_makes_it(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert server.call("kernel_status").structured["history"] == "ok"
        assert database(tmp_path).exists()


@needs_unix
@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_only_the_owner_can_read_what_is_kept_whatever_the_umask(
    tmp_path: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        with serving(tmp_path) as server:
            server.run("print('spilled\\n' * 100_000)", session="s")
            server.run("from IPython.display import HTML\nHTML('a' * 100_000)", session="s")
            notebook(server, "s")
            below = [tmp_path / "storage", *(tmp_path / "storage").rglob("*")]
            modes = {path: path.stat().st_mode & 0o777 for path in below}
    finally:
        os.umask(before)

    names = {path.parent.name for path in modes}
    assert {"notebooks", "sessions", "spill", "blobs"} <= names | {path.name for path in modes}
    assert {
        path: oct(mode)
        for path, mode in modes.items()
        if mode != (0o700 if path.is_dir() else 0o600)
    } == {}


# Several servers, many sessions, clocks


@pytest.mark.timeout(120)
def test_two_servers_on_one_storage_root_lose_nothing_and_share_no_session(tmp_path: Path) -> None:
    with serving(tmp_path) as one, serving(tmp_path) as two:
        calls = [
            (server, server.begin_call("execute_code", code=f"print('{name}-{n}')", session="s"))
            for n in range(20)
            for name, server in (("one", one), ("two", two))
        ]
        results = [server.result(number, within=30) for server, number in calls]
        assert [result.outcome for result in results] == ["ok"] * 40
        assert {result.meta["history"] for result in results} == {"ok"}
        for server, other in ((one, two), (two, one)):
            kept(server, *results)
            name, foreign = ("one", "two") if server is one else ("two", "one")
            written = notebook(server, "s")
            assert f"{name}-19" in written
            assert f"{foreign}-" not in written
            assert notebook(other, "s") != written
        one.process.kill()
        one.process.wait()
        two.leave()

    with serving(tmp_path) as server:
        kept(server, *results)


def test_the_session_of_a_killed_server_is_free_for_the_next_at_once(tmp_path: Path) -> None:
    with serving(tmp_path) as owner, serving(tmp_path) as heir:
        owner.run("print('first')", session="s")
        owner.process.kill()
        owner.process.wait()

        assert "first" in notebook(heir, "s")
        assert "variables of kernel 1 were lost" in heir.run("1", session="s", within=10).text


SETS_THE_CLOCK = """
import os, time
_true = time.time
def _told():
    try:
        with open(os.environ["KERNEL_EXEC_TEST_CLOCK"]) as file:
            return _true() + float(file.read() or 0)
    except (KeyError, OSError, ValueError):
        return _true()
time.time = _told
"""


@pytest.mark.parametrize("jump", [3600, -3600])
def test_a_clock_that_is_set_meanwhile_changes_no_duration_and_no_id(
    tmp_path: Path, jump: int
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SETS_THE_CLOCK)
    clock, gate = tmp_path / "clock", Gate(tmp_path / "gate")
    variables = {"PYTHONPATH": str(tmp_path), "KERNEL_EXEC_TEST_CLOCK": str(clock)}
    with serving(tmp_path, **variables) as server:
        server.run("'warm'", session="s")
        handle = server.run(gate.passing, session="s", wait_seconds=0)

        def now() -> Result:
            return server.call("get_execution", execution_id=handle.id, wait_seconds=0)

        wait_until(lambda: now().outcome == "running")
        began = now()
        clock.write_text(str(jump))
        gate.open()
        ended = server.call("get_execution", execution_id=began.id, wait_seconds=60)
        later = server.run("print('later')", session="s")

        assert 0 < ended.meta["timing"]["seconds"] < 600
        moved = later.meta["timing"]["started_at"] - began.meta["timing"]["started_at"]
        assert abs(moved - jump) < 60
        assert len({began.id, later.id}) == 2
        assert began.id[:6] != later.id[:6]
        assert notebook(server, "s").index("/gate") < notebook(server, "s").index("later")


def test_ten_thousand_sessions_delay_neither_the_start_nor_an_execution(tmp_path: Path) -> None:
    folder(tmp_path).mkdir(parents=True)
    count = 10_000
    with closing(sqlite3.connect(database(tmp_path))) as connection:
        migrate(connection)
        connection.executemany(
            "INSERT INTO session (id, name, environment, created) VALUES (?, ?, ?, ?)",
            ((f"{n:032x}", f"s{n}", f"python:{sys.executable}", time.time()) for n in range(count)),
        )
        connection.executemany(
            "INSERT INTO entry VALUES"
            " (?, ?, ?, 'code', '1', 'ok', '', 'agent', 1, 1, ?, ?, ?, '{}', NULL, '{}', '')",
            ((f"{n:016x}{i}", f"{n:032x}", i, *[time.time()] * 3)
             for n in range(count) for i in range(3)),
        )  # fmt: skip
        connection.commit()

    began = time.monotonic()
    with serving(tmp_path) as server:
        assert server.call("kernel_status", session="s77", within=5).structured["history"] == "ok"
        assert time.monotonic() - began < as_fast_as(10)
        ran = server.run("print('quick')", session="s77", within=10)
        assert ran.outcome == "ok"
        quick = [server.run("1", session="s77", within=5).seconds for _ in range(10)]
        assert sorted(quick)[5] < as_fast_as(0.5)
        assert json.loads(notebook(server, "s77"))["cells"]
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "kernel_exec", "--storage-dir", tmp_path / "storage", "export"],
        check=True,
        capture_output=True,
    )
    assert time.monotonic() - began < as_fast_as(10)

"""History is kept within its limits, and no session loses what it still needs."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.waits import wait_until
from tests.wire import Result, Server, serving

DAY = 24 * 3600


def folder(root: Path) -> Path:
    return root / "storage" / ".kernel_exec"


def age(root: Path, session: str, days: float) -> None:
    """Let everything of a session have been so many days ago."""
    seconds = days * DAY
    with closing(sqlite3.connect(folder(root) / "history.db", timeout=10)) as connection:
        connection.execute(
            "UPDATE entry SET queued = queued - ?, started = started - ?, ended = ended - ?"
            " WHERE session IN (SELECT id FROM session WHERE name = ?)",
            (seconds, seconds, seconds, session),
        )
        connection.execute(
            "UPDATE session SET created = created - ? WHERE name = ?", (seconds, session)
        )
        connection.commit()


def announce(root: Path, days: float, session: str) -> None:
    """Start a server that announces the removal of a session; let that have been two days ago."""
    with serving(root, KERNEL_EXEC_HISTORY_DAYS=str(days)) as server:
        wait_until(
            lambda: "will be deleted" in server.call("kernel_status").structured.get("notice", "")
        )
        assert session in sessions(root)
        server.leave()
    with closing(sqlite3.connect(folder(root) / "history.db", timeout=10)) as connection:
        connection.execute("UPDATE session SET announced = announced - ?", (2 * DAY,))
        connection.commit()


def sessions(root: Path) -> set[str]:
    with closing(sqlite3.connect(folder(root) / "history.db", timeout=10)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM session")}


def wait_for(root: Path, expected: set[str], *, within: float = 10) -> None:
    wait_until(lambda: sessions(root) == expected, within=within)


def produce(server: Server, session: str) -> list[Result]:
    """Executions with a large output in a file of its own, and a stream that goes on in one."""
    large = f"from IPython.display import HTML\nHTML('{session}' * 50_000)"
    return [
        server.run(large, session=session),
        server.run(f"print('{session}\\n' * 200_000)", session=session),
    ]


def kept(server: Server, executions: list[Result]) -> None:
    for execution in executions:
        again = server.call("get_execution", execution_id=execution.id, within=10)
        assert again.text == execution.text


def files(root: Path, below: str) -> set[str]:
    return {path.name for path in (folder(root) / below).rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_sessions_used_long_ago_go_with_their_files_and_nothing_else_does(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        young = produce(server, "young")
        server.call("export_notebook", session="young")
        files_of_young = files(tmp_path, "blobs"), files(tmp_path, "spill")
        old = produce(server, "old")
        server.call("export_notebook", session="old")
        server.leave()
    root = tmp_path / "storage"
    ours = {path for path in root.rglob("*") if ".kernel_exec" not in path.parts}
    age(tmp_path, "old", 40)
    age(tmp_path, "young", 20)
    announce(tmp_path, 30, "old")

    with serving(tmp_path) as holder:
        held = produce(holder, "held")
        age(tmp_path, "held", 40)
        with serving(tmp_path, KERNEL_EXEC_HISTORY_DAYS="30") as server:
            wait_for(tmp_path, {"young", "held"})
            kept(server, [*young, *held])
            gone = server.call("get_execution", execution_id=old[0].id)
            assert "no execution has the id" in gone.text
        assert holder.run("1", session="held").outcome == "ok"
        exported = holder.call("export_notebook", session="held").structured
        assert "held" in Path(exported["path"]).read_text("utf-8")
        assert files_of_young[0] < files(tmp_path, "blobs")
        assert files_of_young[1] < files(tmp_path, "spill")
        kept_files = {execution.id for execution in (*young, *held)}
        assert {name.partition(".")[0] for name in files(tmp_path, "spill")} <= kept_files
        assert len(list((folder(tmp_path) / "spill").iterdir())) == 2
    assert {path for path in ours if not path.exists()} == set()


def test_beyond_its_size_history_loses_the_sessions_used_longest_ago(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        results = {name: produce(server, name) for name in ("today", "third", "second", "first")}
        server.leave()
    for days, name in enumerate(("second", "third", "first"), start=2):
        age(tmp_path, name, days if name != "first" else 9)
    size = sum(path.stat().st_size for path in folder(tmp_path).rglob("*") if path.is_file())

    with serving(tmp_path, KERNEL_EXEC_HISTORY_SIZE=str(size * 0.6 / 1e6)) as server:
        wait_for(tmp_path, {"today", "second"})
        kept(server, results["today"] + results["second"])
        server.leave()
    with serving(tmp_path, KERNEL_EXEC_HISTORY_SIZE="0.001") as server:
        wait_for(tmp_path, {"today"})
        kept(server, results["today"])


def test_without_a_limit_nothing_goes(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        results = [server.run("print('old')", session="old")]
        server.leave()
    age(tmp_path, "old", 4000)
    leftover = tmp_path / "storage" / ".unfinished-abcdefgh"
    leftover.touch()
    os.utime(leftover, (0, 0))

    limits = {"KERNEL_EXEC_HISTORY_DAYS": "0", "KERNEL_EXEC_HISTORY_SIZE": "0"}
    with serving(tmp_path, **limits) as server:
        wait_until(lambda: not leftover.exists(), why="no sweep has begun")
        kept(server, results)
        assert sessions(tmp_path) == {"old"}


def test_what_killed_writes_left_goes_and_files_of_the_user_do_not(tmp_path: Path) -> None:
    root = tmp_path / "storage"
    (root / "data" / "deep").mkdir(parents=True)
    (folder(tmp_path) / "blobs" / "ab").mkdir(parents=True)
    leftovers = [
        root / ".unfinished-abcdefgh",
        root / "data" / "deep" / ".unfinished-0123456789abcdef",
        folder(tmp_path) / "blobs" / "ab" / ".unfinished-abcdefgh",
    ]
    others = [root / ".unfinished-thoughts.md", root / "data" / "unfinished-abcdefgh"]
    for path in (*leftovers, *others):
        path.write_text("")
        os.utime(path, (time.time() - 7200,) * 2)
    young = root / ".unfinished-01234567"
    young.write_text("")

    with serving(tmp_path):
        wait_until(lambda: not any(path.exists() for path in leftovers))
    assert young.exists()
    assert all(path.exists() for path in others)

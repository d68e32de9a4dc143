import os
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from kernel_exec.errors import StorageError
from kernel_exec.history.database import Database
from kernel_exec.history.entries import Entry, EntryKind, KernelRecord, SessionRecord
from kernel_exec.history.retention import Limits, keep_within, leased, sweep
from kernel_exec.history.schema import ENTRY, EVENT, KERNEL, SESSION, Write, kept
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import Stream

DAY = 24 * 3600.0
NOW = 1000 * DAY
MONTH = Limits(age=30 * DAY)
LARGE = 100_000
"""Characters of an output that gets a file of its own."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / ".kernel_exec"


@pytest.fixture
def database(folder: Path) -> Iterator[Database]:
    opened = Database(folder)
    yield opened
    opened.close()


def put(
    folder: Path, session: str, *, used: float, entries: int = 3, outputs: tuple[str, ...] = ("x",)
) -> None:
    """A session as a server left it that has ended."""
    database = Database(folder)
    server = database.file.server
    at = NOW - used * DAY
    record = SessionRecord(id=session, name=session, environment="e", created=at)
    database.waiting.add(Write(table=SESSION, row=SESSION.row(record, server)))
    kernel = KernelRecord(session_id=session, generation=1, started=at, executable="python",
                          python_version="3.12", support="own", ended=at,
                          end_reason="done")  # fmt: skip
    database.waiting.add(Write(table=KERNEL, row=KERNEL.row(kernel, server)))
    for number in range(entries):
        entry = Entry(id=f"{session}-{number}", session_id=session, number=number,
                      kind=EntryKind.CODE, source="1", outcome=Outcome.OK,
                      queued=at)  # fmt: skip
        database.waiting.add(Write(table=ENTRY, row=ENTRY.row(entry, server)))
        for n, text in enumerate(outputs):
            database.waiting.add(output(entry.id, n, text))
    database.flush()
    assert database.degraded == ""
    database.close()
    spill = folder / "spill" / session
    spill.mkdir(parents=True)
    (spill / f"{session}-0.stdout.txt").write_text("spilled")


def output(entry: str, number: int, text: str) -> Write:
    event = kept(entry, number, Stream(name="stdout", text=text))
    return Write(table=EVENT, row=EVENT.row(event, ""), live=False)


def query(folder: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "history.db", isolation_level=None)) as connection:
        return connection.execute(statement).fetchall()


def names(folder: Path, table: str = "session", column: str = "id") -> list[object]:
    return [row[0] for row in query(folder, f"SELECT {column} FROM {table} ORDER BY {column}")]


def blobs(folder: Path) -> list[str]:
    return [path.name for path in (folder / "blobs").glob("??/*")]


def run(database: Database, limits: Limits, now: float = NOW) -> int:
    """Sweep at `now`, which announces, and by a server that starts a day later; the steps."""
    return announce(database, limits, now) + sum(1 for _ in later(database, limits, now))


def announce(database: Database, limits: Limits, now: float = NOW) -> int:
    """Sweep by a server that starts now; the steps."""
    database.flush()
    return sum(1 for _ in sweep(database, limits, now=now, born=now))


def later(database: Database, limits: Limits, now: float = NOW) -> Generator[None]:
    """A sweep by a server that starts a day later."""
    return sweep(database, limits, now=now + DAY, born=now + DAY)


def test_a_session_goes_whole(folder: Path, database: Database) -> None:
    put(folder, "old", used=31, outputs=("x", "y" * LARGE))
    put(folder, "young", used=29, outputs=("x", "z" * LARGE))
    with leased(folder / "sessions", "old"):
        pass

    run(database, MONTH)

    assert names(folder) == ["young"]
    assert set(names(folder, "kernel", "session")) == {"young"}
    assert set(names(folder, "entry", "session")) == {"young"}
    assert len(names(folder, "event", "entry")) == 6
    assert len(blobs(folder)) == 1
    assert [path.name for path in (folder / "spill").iterdir()] == ["young"]
    assert not (folder / "sessions" / "old.lock").exists()


def test_a_session_used_after_it_was_found_old_stays(folder: Path, database: Database) -> None:
    put(folder, "old", used=31)
    put(folder, "older", used=32, entries=400)
    announce(database, MONTH)
    steps = later(database, MONTH)
    while len(names(folder, "entry")) == 403:
        next(steps)
    query(folder, f"UPDATE entry SET ended = {NOW} WHERE session = 'old'")

    for _ in steps:
        pass

    assert names(folder) == ["old"]


def test_streams_that_went_on_in_files_count(folder: Path, database: Database) -> None:
    for number, used in enumerate((9, 3)):
        put(folder, f"s{number}", used=used)
        (folder / "spill" / f"s{number}" / "x.stdout.txt").write_text("x" * 1_000_000)

    run(database, Limits(size=1_500_000))

    assert names(folder) == ["s1"]


def test_an_output_that_another_session_has_as_well_stays(folder: Path, database: Database) -> None:
    put(folder, "old", used=31, outputs=("x" * LARGE,))
    put(folder, "young", used=1, outputs=("x" * LARGE,))

    run(database, MONTH)

    assert names(folder) == ["young"]
    assert len(blobs(folder)) == 1


def test_a_sweep_that_is_killed_anywhere_leaves_whole_entries_and_is_finished_by_the_next(
    folder: Path,
) -> None:
    put(folder, "young", used=1, outputs=("x" * LARGE,))
    steps = over = 0
    while not over:
        steps += 1
        put(folder, f"old{steps}", used=31, entries=120, outputs=("x", "y" * LARGE))
        killed = Database(folder)
        announce(killed, MONTH)
        under_way = later(killed, MONTH)
        for _ in range(steps):
            over = next(under_way, 1) or 0
        torn = query(
            folder,
            "SELECT id FROM entry WHERE (SELECT count(*) FROM event WHERE entry = entry.id) <>"
            " (CASE session WHEN 'young' THEN 1 ELSE 2 END)",
        )
        assert torn == []
        under_way.close()  # as when its process ends: the locks are free

        database = Database(folder)
        run(database, Limits())  # what was begun is finished, whatever the limits
        assert set(names(folder)) <= {"young", f"old{steps}"}
        assert len(names(folder, "entry")) in {3, 123}
        run(database, MONTH)
        assert names(folder) == ["young"]
        assert len(blobs(folder)) == 1
        assert [path.name for path in (folder / "spill").iterdir()] == ["young"]
        database.close()
    assert steps > 5


def test_of_two_servers_one_sweeps_at_a_time(folder: Path, database: Database) -> None:
    put(folder, "old", used=31)
    announce(database, MONTH)
    other = Database(folder)
    under_way = later(database, MONTH)
    next(under_way)

    assert run(other, MONTH) == 0
    assert names(folder) == ["old"]

    for _ in under_way:
        pass
    assert names(folder) == []
    other.close()


def test_where_another_writes_a_sweep_gives_way(folder: Path, database: Database) -> None:
    put(folder, "old", used=31)
    database.flush()
    with closing(sqlite3.connect(folder / "history.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            for _ in later(database, MONTH):
                pass
    run(database, MONTH)
    assert names(folder) == []


def test_files_that_no_row_refers_to_go_after_a_week(folder: Path, database: Database) -> None:
    put(folder, "young", used=1, outputs=("x" * LARGE,))
    database.blobs.put(b"lately")
    forgotten = database.blobs.put(b"forgotten")
    os.utime(folder / "blobs" / forgotten[:2] / forgotten, (0, 0))
    for name in ("gone", "lately"):
        (folder / "spill" / name).mkdir()
        (folder / "spill" / name / "x.stdout.txt").write_text("x")
    os.utime(folder / "spill" / "gone", (0, 0))
    for kernel, session in (("a kernel of it", "young"), ("one of a removed session", "removed")):
        (folder / "spill" / kernel).symlink_to(folder / "spill" / session)
    week_from_files = (folder / "spill" / "lately").stat().st_mtime + DAY
    killed, being_written = (folder / "blobs" / "ab" / f".unfinished-{n}" for n in (1, 2))
    killed.parent.mkdir(exist_ok=True)
    killed.touch()
    being_written.touch()
    os.utime(being_written, (week_from_files, week_from_files))

    announce(database, Limits(), now=week_from_files)

    assert not killed.exists()
    assert being_written.exists()
    assert len(blobs(folder)) == 3
    left = sorted(path.name for path in (folder / "spill").iterdir())
    assert left == ["a kernel of it", "lately", "young"]


def test_what_a_link_leads_to_is_not_touched(
    folder: Path, database: Database, tmp_path: Path
) -> None:
    put(folder, "old", used=31)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    spill = folder / "spill" / "old"
    (spill / "old-0.stdout.txt").unlink()
    spill.rmdir()
    spill.symlink_to(tmp_path / "mine")

    run(database, MONTH)

    assert names(folder) == []
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_a_name_that_leads_elsewhere_is_left_alone(
    folder: Path, database: Database, tmp_path: Path
) -> None:
    put(folder, "old", used=31)
    (tmp_path / "mine.txt").write_text("x")
    query(folder, "PRAGMA foreign_keys = OFF")
    query(folder, "UPDATE session SET id = '../..'")

    run(database, MONTH)

    assert names(folder) == ["../.."]
    assert (tmp_path / "mine.txt").exists()


def test_room_that_is_free_is_given_back(folder: Path, database: Database) -> None:
    put(folder, "old", used=31, entries=300, outputs=("x" * 30_000,))
    put(folder, "young", used=1)
    before = (folder / "history.db").stat().st_size

    run(database, MONTH)
    query(folder, "PRAGMA wal_checkpoint(TRUNCATE)")

    assert (folder / "history.db").stat().st_size < before - 2_000_000
    assert query(folder, "PRAGMA integrity_check") == [("ok",)]


def test_a_sweep_waits_for_the_database(folder: Path, database: Database) -> None:
    with pytest.raises(StorageError, match="not open"):
        next(later(database, MONTH))
    assert not folder.exists()

    assert next(keep_within(database, MONTH)) > 1


def test_entries_of_the_future_are_not_old(folder: Path, database: Database) -> None:
    put(folder, "s", used=-5000)

    run(database, replace(MONTH, size=1))

    assert names(folder) == ["s"]


def test_a_session_that_is_too_old_is_announced_and_goes_a_day_and_a_start_later(
    folder: Path, database: Database
) -> None:
    put(folder, "old", used=31)
    announce(database, MONTH)
    assert "1 session not used for 30 days will be deleted" in database.file.notice
    assert "1972-09-28 00:00 UTC" in database.file.notice

    told = database.file.notice
    for born, now in ((0.5, 0.5), (0, 30)):  # half a day later; the same server a month later
        for _ in sweep(database, MONTH, now=NOW + now * DAY, born=NOW + born * DAY):
            pass
        assert names(folder) == ["old"]
    assert database.file.notice == told

    for _ in later(database, MONTH):
        pass
    assert names(folder) == []


def test_a_clock_that_is_wrong_at_one_start_removes_nothing(
    folder: Path, database: Database
) -> None:
    for number in range(3):
        put(folder, f"s{number}", used=number)
    database.flush()
    for hours in (0, 6, 48):  # a server that starts 400 days ahead, and runs for two days
        for _ in sweep(database, MONTH, now=NOW + 400 * DAY + hours * 3600, born=NOW + 400 * DAY):
            pass
        assert names(folder) == ["s0", "s1", "s2"]

    for at in (NOW + DAY, NOW + 3 * DAY):  # servers that start with the clock put right
        for _ in sweep(database, MONTH, now=at, born=at):
            pass
        assert names(folder) == ["s0", "s1", "s2"]
    assert query(folder, "SELECT count(*) FROM session WHERE announced IS NOT NULL") == [(0,)]


def test_the_limit_on_size_spares_the_last_day_of_use_whatever_the_clock_says(
    folder: Path, database: Database
) -> None:
    put(folder, "last", used=0)
    put(folder, "older", used=2)
    database.flush()
    for _ in sweep(database, Limits(size=1), now=NOW + 400 * DAY, born=NOW + 400 * DAY):
        pass
    assert names(folder) == ["last"]


def test_a_session_used_after_its_announcement_stays(folder: Path, database: Database) -> None:
    put(folder, "old", used=31)
    announce(database, MONTH)
    query(folder, f"UPDATE entry SET ended = {NOW} WHERE session = 'old'")
    for _ in later(database, MONTH):
        pass
    assert names(folder) == ["old"]

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import anyio
import pytest

from kernel_exec.errors import StorageError
from kernel_exec.history import opening
from kernel_exec.history.entries import Entry, EntryKind, KernelRecord, SessionRecord
from kernel_exec.history.store import Store, open_store
from kernel_exec.jsons import JSON, JSONObject
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import DisplayData, ExecuteResult, OutputEvent, Stream
from tests.waits import patient

SESSION = SessionRecord(id="s1", name="main", environment="venv:/v", created=1.0)
KERNEL = KernelRecord(
    session_id="s1",
    generation=1,
    started=1.0,
    executable="/v/bin/python",
    python_version="3.12.1",
    support="own",
)
ENTRY = Entry(
    id="e1",
    session_id="s1",
    number=1,
    kind=EntryKind.CODE,
    source="print(1)",
    outcome=Outcome.OK,
    queued=2.0,
)

PRELUDE = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import Stream
from kernel_exec.history.entries import Entry, EntryKind, SessionRecord
from kernel_exec.history.store import open_store

SESSION = SessionRecord(id=sys.argv[2], name="main", environment="venv:/v", created=1.0)
ENTRY = Entry(id=sys.argv[2] + "-0", session_id=sys.argv[2], number=0, kind=EntryKind.CODE,
              source="", outcome=Outcome.OK, queued=2.0)

async def main():
    async with open_store(Path(sys.argv[1])) as store:
        store.put_session(SESSION)
        await body(store)
"""

WRITES_FOR_EVER = """
async def body(store):
    number = 0
    while True:
        number += 1
        entry = replace(ENTRY, id=str(number), number=number, outcome=Outcome.RUNNING)
        store.put_entry(entry)
        for part in range(3):
            store.add_event(entry.id, Stream(name="stdout", text=str(part) * 900))
        if number % 7 == 0:
            store.add_event(entry.id, Stream(name="stdout", text=f"{number} " * 30_000))
        store.put_entry(replace(entry, outcome=Outcome.OK))
        await store.settle()
        print(number, flush=True)
"""

RUNS_UNTIL_TOLD = """
async def body(store):
    store.put_entry(replace(ENTRY, outcome=Outcome.RUNNING))
    await store.settle()
    print("running", flush=True)
    sys.stdin.read()
"""


@contextmanager
def server(body: str, root: Path, session_id: str = "s1") -> Iterator[subprocess.Popen[str]]:
    """Another process that runs `body(store)` on the same storage root; killed on leaving."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"{PRELUDE}{body}\nasyncio.run(main())", str(root), session_id],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def kill_and_leave(process: subprocess.Popen[str]) -> None:
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def text(value: str) -> Stream:
    return Stream(name="stdout", text=value)


def nested() -> JSON:
    value: JSON = []
    for _ in range(100_000):
        value = [value]
    return value


def folder(root: Path) -> Path:
    return root / ".kernel_exec"


def database(root: Path) -> Path:
    return folder(root) / "history.db"


def set_aside(root: Path) -> list[str]:
    return sorted(path.name for path in folder(root).glob("history.db.corrupt-*"))


def query(root: Path, statement: str) -> list[tuple[JSON, ...]]:
    with closing(sqlite3.connect(database(root), isolation_level=None)) as connection:
        return connection.execute(statement).fetchall()


async def events(store: Store, entry_id: str) -> list[OutputEvent]:
    return [event for _, event in await store.events(entry_id)]


async def fill(store: Store, *, entries: int = 1) -> list[Entry]:
    """A session with entries that each have one output, on the disk."""
    store.put_session(SESSION)
    made = [replace(ENTRY, id=f"e{number}", number=number) for number in range(1, entries + 1)]
    for entry in made:
        store.put_entry(entry)
        store.add_event(entry.id, text(entry.id))
    await store.settle()
    return made


async def test_what_was_put_is_there_after_a_restart(tmp_path: Path) -> None:
    entry = replace(
        ENTRY,
        title="a title",
        author="user",
        generation=3,
        execution_count=7,
        started=2.5,
        ended=4.0,
        timing={"iopub.status.busy": "2026-01-01T00:00:00Z"},
        file_path="/data/a.py",
        details={"versions": {"numpy": None}, "list": [1, 2.5, True]},
    )
    kernel = replace(KERNEL, ended=9.0, end_reason="restarted")
    async with open_store(tmp_path) as store:
        store.put_session(SESSION)
        store.put_kernel(kernel)
        store.put_entry(entry)
        store.add_event(entry.id, text("one"))

    async with open_store(tmp_path) as store:
        assert (store.degraded, store.notice) == ("", "")
        assert await store.sessions() == [SESSION]
        assert await store.session("s1") == SESSION
        assert await store.kernels("s1") == [kernel]
        assert await store.entries("s1") == [entry]
        assert await store.entry("e1") == entry
        assert await events(store, "e1") == [text("one")]
        assert await store.session_events("s1") == {"e1": [text("one")]}


async def test_what_is_not_known_is_none_or_empty(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        assert await store.session("x") is None
        assert await store.find_session("x", "y") is None
        assert await store.entry("x") is None
        assert await store.sessions() == []
        assert await store.kernels("x") == []
        assert await store.entries("x") == []
        assert await events(store, "x") == []
        assert await store.session_events("x") == {}


async def test_reads_see_writes_nobody_waited_for(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        store.put_session(SESSION)
        store.put_entry(replace(ENTRY, outcome=Outcome.QUEUED))
        store.put_entry(ENTRY)
        for number in range(3):
            store.add_event("e1", text(str(number)))

        assert await store.entry("e1") == ENTRY
        assert await events(store, "e1") == [text("0"), text("1"), text("2")]


async def test_outputs_reach_other_processes_though_nobody_waits(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await fill(store)
        store.add_event("e1", text("more"))
        with anyio.fail_after(patient(10)):
            while query(tmp_path, "SELECT count(*) FROM event") != [(2,)]:
                await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("last", "numbers"), [(None, [1, 2, 3, 4]), (2, [3, 4]), (9, [1, 2, 3, 4]), (0, [])]
)
async def test_entries_come_by_number_at_most_the_last(
    tmp_path: Path, last: int | None, numbers: list[int]
) -> None:
    async with open_store(tmp_path) as store:
        store.put_session(SESSION)
        for number in (3, 1, 4, 2):
            store.put_entry(replace(ENTRY, id=f"e{number}", number=number))

        assert [entry.number for entry in await store.entries("s1", last=last)] == numbers


async def test_events_are_numbered_and_read_from_behind_a_number(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await fill(store, entries=2)
        for number in range(3):
            store.add_event("e1", text(str(number)))
        found = await store.events("e1")
        assert [event for _, event in found] == [text(each) for each in ("e1", "0", "1", "2")]
        numbers = [number for number, _ in found]
        assert numbers == sorted(set(numbers))
        for at, number in enumerate(numbers, start=1):
            assert await store.events("e1", after=number) == found[at:]
        with file_size_limit(1):
            store.add_event("e1", text("waits"))
            ((number, waits),) = await store.events("e1", after=numbers[-1])
            assert waits == text("waits")
        assert await store.events("e1") == [*found, (number, waits)]
        assert await store.events("e1", after=number) == []


async def test_entries_of_kinds_are_counted_whether_they_are_written_or_wait(
    tmp_path: Path,
) -> None:
    runs = {EntryKind.CODE, EntryKind.SCRIPT}
    async with open_store(tmp_path) as store:
        made = await fill(store, entries=2)
        store.put_entry(replace(ENTRY, id="note", number=3, kind=EntryKind.NOTE))
        assert await store.count("s1", runs) == 2
        with file_size_limit(1):
            store.put_entry(replace(made[0], title="changed"))
            store.put_entry(replace(ENTRY, id="e4", number=4))
            assert await store.count("s1", runs) == 3
        assert await store.count("nobody", runs) == 0


async def test_the_latest_entry_of_kinds_is_found_whatever_came_after_it(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        store.put_session(SESSION)
        store.put_session(replace(SESSION, id="s2"))
        for number, kind in enumerate((EntryKind.CODE, EntryKind.SCRIPT, EntryKind.NOTE)):
            store.put_entry(replace(ENTRY, id=f"e{number}", number=number, kind=kind))
        store.put_entry(replace(ENTRY, id="other", session_id="s2", number=9))
        runs = {EntryKind.CODE, EntryKind.SCRIPT}

        found = await store.latest("s1", runs)
        assert found is not None
        assert found.id == "e1"
        assert await store.latest("s1", {EntryKind.INSTALL}) is None
        assert await store.latest("s1", ()) is None
        assert await store.latest("nobody", runs) is None


class Broken(frozenset[EntryKind]):
    def __iter__(self) -> Iterator[EntryKind]:
        raise ZeroDivisionError("it is broken")


async def test_a_defect_in_the_thread_of_history_costs_one_answer(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        made = await fill(store)
        with pytest.raises(StorageError, match="it is broken"):
            await store.latest("s1", Broken())

        assert await store.entries("s1") == made
        assert store.degraded == ""


async def test_what_waits_to_be_written_is_counted_until_it_is(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await fill(store)
        assert store.unwritten() == 0
        for _ in range(3):
            store.add_event("e1", text("x" * 1_000_000))
        assert 3_000_000 < store.unwritten() < 3_010_000
        await store.settle()
        assert store.unwritten() == 0


async def test_the_latest_session_of_a_name_and_environment_is_found(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        newest = replace(SESSION, id="s3", created=3.0)
        for session in (
            newest,
            replace(SESSION, id="s2", created=2.0),
            replace(SESSION, id="s4", name="other", created=4.0),
            replace(SESSION, id="s5", environment="venv:/w", created=5.0),
        ):
            store.put_session(session)

        assert await store.find_session("main", "venv:/v") == newest
        assert [session.id for session in await store.sessions()] == ["s2", "s3", "s4", "s5"]


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(text("\ud800 alone \udfff"), id="lone surrogates"),
        pytest.param(text("a\0b"), id="NUL"),
        pytest.param(text("é😀\u2028"), id="beyond ASCII"),
        pytest.param(text("x" * 5_000_000), id="huge text"),
        pytest.param(text("\ud800" * 100_000), id="huge text of surrogates"),
        pytest.param(
            DisplayData(data={"image/png": "A" * 200_000, "\ud800": {"n": [None]}}, metadata={}),
            id="image",
        ),
        pytest.param(ExecuteResult(data={}, metadata={}, execution_count=10**30), id="huge number"),
    ],
)
async def test_any_output_survives(tmp_path: Path, event: OutputEvent) -> None:
    async with open_store(tmp_path) as store:
        await fill(store)
        store.add_event("e1", event)

    async with open_store(tmp_path) as store:
        assert await events(store, "e1") == [text("e1"), event]
        assert store.notice == ""


@pytest.mark.parametrize("strange", ["\ud800", "a\0b", "", "😀", "x" * 2_000_000])
async def test_any_text_survives_in_every_field(tmp_path: Path, strange: str) -> None:
    session = SessionRecord(id=f"s{strange}", name=strange, environment=strange, created=1.0)
    entry = replace(
        ENTRY,
        id=f"e{strange}",
        session_id=session.id,
        source=strange,
        title=strange,
        file_path=strange,
        timing={strange: strange},
        details={strange: [strange]},
    )
    async with open_store(tmp_path) as store:
        store.put_session(session)
        store.put_entry(entry)
        store.add_event(entry.id, text("x"))

    async with open_store(tmp_path) as store:
        assert await store.find_session(strange, strange) == session
        assert await store.entries(session.id) == [entry]
        assert await store.session_events(session.id) == {entry.id: [text("x")]}


async def test_details_may_be_any_mapping_or_sequence(tmp_path: Path) -> None:
    details: JSONObject = MappingProxyType(
        {"tuple": (1, 2), "inner": MappingProxyType({"range": range(2)})}
    )
    async with open_store(tmp_path) as store:
        store.put_session(SESSION)
        store.put_entry(replace(ENTRY, details=details))

        entry = await store.entry("e1")

    assert entry is not None
    assert entry.details == {"tuple": [1, 2], "inner": {"range": [0, 1]}}


async def test_details_nested_beyond_reason_do_not_cost_the_entry(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        store.put_session(SESSION)
        store.put_entry(replace(ENTRY, details={"deep": nested()}))

        entry = await store.entry("e1")

    assert entry is not None
    assert entry.source == ENTRY.source
    assert "unkept" in entry.details


async def test_a_count_that_no_database_holds_does_not_cost_the_entry(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        store.put_session(SESSION)
        store.put_entry(replace(ENTRY, execution_count=10**30))

        assert await store.entry("e1") == ENTRY


async def test_an_output_nested_beyond_reason_becomes_a_line_that_says_so(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await fill(store)
        store.add_event("e1", DisplayData(data={"application/json": nested()}, metadata={}))

        _, event = await events(store, "e1")

        assert isinstance(event, Stream)
        assert "could not be kept" in event.text


async def test_equal_large_outputs_share_one_file(tmp_path: Path) -> None:
    large = text("x" * 100_000)
    async with open_store(tmp_path) as store:
        await fill(store, entries=2)
        for entry_id in ("e1", "e2", "e2"):
            store.add_event(entry_id, large)

        assert await events(store, "e2") == [text("e2"), large, large]

    kept = [path for path in (folder(tmp_path) / "blobs").rglob("*") if path.is_file()]
    assert len(kept) == 1
    assert kept[0].stat().st_size > 100_000
    assert database(tmp_path).stat().st_size < 100_000


async def test_an_output_whose_file_is_lost_becomes_a_line_that_says_so(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await fill(store)
        store.add_event("e1", text("x" * 100_000))
        await store.settle()
        for path in (folder(tmp_path) / "blobs").glob("??/*"):
            path.unlink()

        kept, missing = await events(store, "e1")

        assert kept == text("e1")
        assert isinstance(missing, Stream)
        assert "can't be read" in missing.text


async def test_a_record_that_can_never_be_kept_does_not_hold_up_the_others(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        store.put_entry(replace(ENTRY, id="orphan", session_id="no such session"))
        store.add_event("no such entry", text("x"))
        made = await fill(store)

        assert store.degraded == ""
        assert "could not keep a record of entry: FOREIGN KEY" in store.notice
        assert await store.entries("s1") == made


async def test_the_database_is_durable_and_marked_as_ours(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await fill(store)

    assert query(tmp_path, "PRAGMA journal_mode") == [("wal",)]
    assert query(tmp_path, "PRAGMA user_version") == [(5,)]
    assert query(tmp_path, "PRAGMA application_id") == [(0x6B786878,)]
    assert query(tmp_path, "PRAGMA integrity_check") == [("ok",)]
    assert list((folder(tmp_path) / "servers").iterdir()) == []


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("PRAGMA user_version = 99", "written by a newer kernel-exec"),
        ("PRAGMA application_id = 7", "belongs to another program"),
    ],
)
async def test_a_database_that_is_not_for_us_is_left_alone(
    tmp_path: Path, statement: str, why: str
) -> None:
    async with open_store(tmp_path) as store:
        await fill(store)
    query(tmp_path, statement)

    async with open_store(tmp_path) as store:
        store.put_session(replace(SESSION, id="s2"))

        assert why in store.degraded
        assert [session.id for session in await store.sessions()] == ["s2"]

    assert query(tmp_path, "SELECT id FROM session") == [("s1",)]
    assert set_aside(tmp_path) == []


@pytest.mark.parametrize("version", [1, 2])
async def test_a_database_of_an_earlier_version_opens_with_all_that_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    folder(tmp_path).mkdir()
    with monkeypatch.context() as earlier, closing(sqlite3.connect(database(tmp_path))) as old:
        earlier.setattr(opening, "_MIGRATIONS", opening._MIGRATIONS[:version])
        opening.migrate(old)
        old.execute("INSERT INTO session VALUES ('s1', 'main', 'venv:/v', 1.0)")
        old.execute(
            "INSERT INTO kernel VALUES"
            " ('s1', 1, 1.0, '/v/bin/python', '3.12.1', 'own', 2.0, 'done', 'x')"
        )
        old.execute(
            "INSERT INTO entry VALUES ('e1', 's1', 1, 'code', 'print(1)', 'ok', '', 'agent', 0,"
            " NULL, 2.0, NULL, NULL, '{}', NULL, '{}', 'x')"
        )
        old.execute("""INSERT INTO event VALUES ('e1', 0, '{"type":"stream","text":"x"}', NULL)""")
        old.commit()

    async with open_store(tmp_path) as store:
        assert (store.degraded, store.notice) == ("", "")
        assert await store.sessions() == [SESSION]
        assert await store.kernels("s1") == [replace(KERNEL, ended=2.0, end_reason="done")]
        assert await store.entries("s1") == [ENTRY]
        assert await events(store, "e1") == [Stream(name="", text="x")]


async def test_no_acknowledged_entry_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    for round_ in range(6):
        root = tmp_path / str(round_)
        root.mkdir()
        with server(WRITES_FOR_EVER, root) as writer:
            assert writer.stdout is not None
            acknowledged = 0
            for _ in range(random.randint(1, 60)):
                acknowledged = int(writer.stdout.readline())
            writer.kill()
            acknowledged = max([acknowledged, *map(int, writer.stdout.read().split())])

        async with open_store(root) as store:
            assert (store.degraded, store.notice) == ("", "")
            entries = await store.entries("s1")
            events = await store.session_events("s1")
        assert [entry.number for entry in entries[:acknowledged]] == [*range(1, acknowledged + 1)]
        for entry in entries[:acknowledged]:
            assert entry.outcome is Outcome.OK
            assert len(events[entry.id]) == (4 if entry.number % 7 == 0 else 3)
        assert all(entry.outcome.ended for entry in entries)


async def test_details_that_someone_spoiled_do_not_keep_history_shut(tmp_path: Path) -> None:
    with server(RUNS_UNTIL_TOLD, tmp_path) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "running\n"
    query(tmp_path, "UPDATE entry SET details = 'no json'")

    async with open_store(tmp_path) as store:
        (entry,) = await store.entries("s1")

    assert entry.details == {"reason": "server_died"}


async def test_what_a_server_that_died_meanwhile_left_running_is_ended_when_asked(
    tmp_path: Path,
) -> None:
    with server(RUNS_UNTIL_TOLD, tmp_path) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "running\n"
        async with open_store(tmp_path) as store:
            await store.bury()
            (alive,) = await store.entries("s1")
            kill_and_leave(writer)
            await store.bury()
            (dead,) = await store.entries("s1")

    assert alive.outcome is Outcome.RUNNING
    assert dead.outcome is Outcome.INTERRUPTED
    assert dead.details == {"reason": "server_died"}
    assert list((folder(tmp_path) / "servers").iterdir()) == []


def a_few_bytes(path: Path) -> None:
    path.write_bytes(b"hi")


def a_text(path: Path) -> None:
    path.write_text("Dear diary,\n" * 1000)


@pytest.mark.parametrize("spoil", [a_few_bytes, a_text])
async def test_a_corrupt_database_is_set_aside_and_told_of_once(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    async with open_store(tmp_path) as store:
        await fill(store, entries=50)
    spoil(database(tmp_path))
    spoiled = database(tmp_path).read_bytes()

    async with open_store(tmp_path) as store:
        assert store.degraded == ""
        assert "set aside as" in store.notice
        assert "history.db.corrupt-1" in store.notice
        assert await store.sessions() == []
        made = await fill(store)
    async with open_store(tmp_path) as store:
        assert store.notice == ""
        assert await store.entries("s1") == made

    assert set_aside(tmp_path) == ["history.db.corrupt-1"]
    assert (folder(tmp_path) / "history.db.corrupt-1").read_bytes() == spoiled


async def test_corruption_that_the_check_at_opening_misses_is_found_too(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await fill(store)
    query(tmp_path, "UPDATE entry SET outcome = 'running'")
    with closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as connection:
        find = "FROM sqlite_master WHERE name = 'entry_open'"
        row = connection.execute(f"SELECT * {find}").fetchone()
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(f"DELETE {find}")
    query(tmp_path, "DELETE FROM event")
    query(tmp_path, "DELETE FROM entry")  # the index, unseen, still leads to it
    with closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", row)
    assert query(tmp_path, "PRAGMA quick_check") == [("ok",)]

    async with open_store(tmp_path) as store:
        assert store.degraded == ""
        assert "malformed" in store.notice
        assert await store.entries("s1") == []

    assert set_aside(tmp_path) == ["history.db.corrupt-1"]


async def test_earlier_corrupt_files_are_not_overwritten(tmp_path: Path) -> None:
    folder(tmp_path).mkdir()
    for _ in range(3):
        a_text(database(tmp_path))
        async with open_store(tmp_path) as store:
            await fill(store)

    assert set_aside(tmp_path) == [f"history.db.corrupt-{number}" for number in (1, 2, 3)]


async def test_an_empty_file_is_a_new_database(tmp_path: Path) -> None:
    folder(tmp_path).mkdir()
    database(tmp_path).touch()

    async with open_store(tmp_path) as store:
        await fill(store)

        assert (store.degraded, store.notice) == ("", "")

    assert set_aside(tmp_path) == []


async def test_a_database_spoiled_while_open_is_replaced_and_work_goes_on(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await fill(store, entries=200)
        query(tmp_path, "PRAGMA wal_checkpoint(TRUNCATE)")
        with database(tmp_path).open("r+b") as file:  # in place: the same file, spoiled
            file.seek(4096)
            file.write(os.urandom(database(tmp_path).stat().st_size - 4096))
        query(tmp_path, "PRAGMA user_version = 1")  # a write that makes others read anew

        store.put_entry(replace(ENTRY, id="after", number=500))
        store.add_event("after", text("after"))
        await store.settle()

        assert store.degraded == ""
        assert "set aside" in store.notice
        assert await store.sessions() == [SESSION]
        assert await events(store, "after") == [text("after")]


def under_a_file(tmp_path: Path) -> tuple[Path, Callable[[], None]]:
    (tmp_path / "file").write_text("")

    def remove() -> None:
        (tmp_path / "file").unlink()
        (tmp_path / "file" / "root").mkdir(parents=True)

    return tmp_path / "file" / "root", remove


def folder_is_a_file(tmp_path: Path) -> tuple[Path, Callable[[], None]]:
    folder(tmp_path).write_text("")
    return tmp_path, folder(tmp_path).unlink


def database_is_a_folder(tmp_path: Path) -> tuple[Path, Callable[[], None]]:
    database(tmp_path).mkdir(parents=True)
    return tmp_path, database(tmp_path).rmdir


@pytest.mark.parametrize("obstruct", [under_a_file, folder_is_a_file, database_is_a_folder])
async def test_without_a_folder_history_is_in_memory_until_there_is_one(
    tmp_path: Path, obstruct: Callable[[Path], tuple[Path, Callable[[], None]]]
) -> None:
    root, remove = obstruct(tmp_path)
    async with open_store(root) as store:
        store.put_kernel(replace(KERNEL, session_id="later"))  # refused, once there are tables
        made = await fill(store, entries=3)
        store.put_kernel(KERNEL)

        assert store.degraded != ""
        assert await store.sessions() == [SESSION]
        assert await store.find_session("main", "venv:/v") == SESSION
        assert await store.kernels("s1") == [KERNEL]
        assert await store.entries("s1") == made
        assert await store.entries("s1", last=1) == made[-1:]
        assert await store.entry("e2") == made[1]
        assert (await store.session_events("s1"))["e3"] == [text("e3")]

        remove()
        await store.settle()

        assert store.degraded == ""
        assert await store.entries("s1") == made

    async with open_store(root) as store:
        assert await store.entries("s1") == made
        assert await events(store, "e1") == [text("e1")]


async def test_a_folder_removed_while_open_is_made_anew_with_its_sessions(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await fill(store)
        store.put_kernel(KERNEL)
        store.put_entry(replace(ENTRY, id="e2", number=2, outcome=Outcome.RUNNING))
        await store.settle()
        shutil.rmtree(folder(tmp_path))

        store.add_event("e2", text("more"))
        await store.settle()

        assert store.degraded == ""
        assert "history.db was removed while in use" in store.notice

    async with open_store(tmp_path) as store:
        assert store.notice == ""
        assert await store.kernels("s1") == [replace(KERNEL, end_reason="server_died")]
        assert [entry.id for entry in await store.entries("s1")] == ["e1", "e2"]
        assert await events(store, "e1") == [text("e1")]
        assert await events(store, "e2") == [text("more")]


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_while_files_cannot_grow_reads_add_what_is_pending(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        made = await fill(store, entries=2)
        large = text("x" * 100_000)
        with file_size_limit(1):
            store.put_entry(replace(made[1], title="changed"))
            assert await store.latest("s1", {ENTRY.kind}) == replace(made[1], title="changed")
            store.put_entry(replace(ENTRY, id="e3", number=3))
            store.add_event("e2", text("small"))
            store.add_event("e2", large)
            await store.settle()

            assert store.degraded != ""
            assert store.unwritten() == 0  # nobody waits for a disk that takes nothing
            assert [e.title for e in await store.entries("s1")] == ["", "changed", ""]
            assert [e.id for e in await store.entries("s1", last=2)] == ["e2", "e3"]
            assert await store.latest("s1", {ENTRY.kind}) == replace(ENTRY, id="e3", number=3)
            assert await events(store, "e2") == [text("e2"), text("small"), large]
        await store.settle()

        assert store.degraded == ""
        assert await events(store, "e2") == [text("e2"), text("small"), large]
    assert query(tmp_path, "SELECT count(*) FROM event WHERE entry = 'e2'") == [(3,)]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "tiny"
    root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(root)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user can't mount a tmpfs")
    yield root
    subprocess.run(["umount", str(root)], check=True)


@pytest.mark.parametrize("size", [1_000, 100_000], ids=["rows", "files"])
async def test_a_full_disk_degrades_history_until_it_is_freed(tiny_disk: Path, size: int) -> None:
    ballast = tiny_disk / "ballast"
    async with open_store(tiny_disk) as store:
        await fill(store)
        with suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(bytes(4096))
        expected = [text("e1")]
        for number in range(300_000 // size):
            event = text(f"{number} ".ljust(size, "x"))
            expected.append(event)
            store.add_event("e1", event)
        await store.settle()

        assert "full" in store.degraded or "space" in store.degraded
        assert await events(store, "e1") == expected

        ballast.unlink()
        await store.settle()

        assert (store.degraded, store.notice) == ("", "")
        assert await events(store, "e1") == expected
    assert query(tiny_disk, "SELECT count(*) FROM event") == [(len(expected),)]
    assert query(tiny_disk, "PRAGMA integrity_check") == [("ok",)]


async def test_outputs_beyond_what_memory_holds_are_dropped_oldest_first_and_counted(
    tmp_path: Path,
) -> None:
    folder(tmp_path).write_text("")
    async with open_store(tmp_path) as store:
        store.put_session(SESSION)
        store.put_entry(ENTRY)
        for number in range(10):
            store.add_event("e1", text(str(number) * 10_000_000))
        await store.settle()

        kept = await events(store, "e1")
        dropped = 10 - len(kept)
        assert 0 < dropped < 10
        assert kept == [text(str(number) * 10_000_000) for number in range(dropped, 10)]
        assert f"{dropped} outputs dropped" in store.degraded

        folder(tmp_path).unlink()
        await store.settle()

        assert store.degraded == ""
        assert f"lost {dropped} outputs" in store.notice
        assert await store.entry("e1") == ENTRY


async def test_another_process_that_holds_the_lock_delays_nothing_for_long(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await fill(store)
        with closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            store.add_event("e1", text("meanwhile"))
            await store.settle()

            assert "locked" in store.degraded
            assert await events(store, "e1") == [text("e1"), text("meanwhile")]
        await store.settle()

        assert store.degraded == ""
        assert await events(store, "e1") == [text("e1"), text("meanwhile")]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entry SET outcome = 'undecided'",
        "UPDATE entry SET details = 'no json'",
        "UPDATE entry SET details = '[]'",
        f"UPDATE entry SET details = '{'[' * 100_000}'",
        "UPDATE entry SET queued = 'yesterday'",
        "UPDATE entry SET number = 1.5",
        "UPDATE entry SET source = x'ff'",
        "ALTER TABLE entry RENAME COLUMN title TO heading",
    ],
)
async def test_a_row_that_someone_changed_is_a_storage_error(tmp_path: Path, change: str) -> None:
    async with open_store(tmp_path) as store:
        await fill(store)
        query(tmp_path, change)

        with pytest.raises(StorageError, match="history can't be read"):
            await store.entry("e1")


async def test_an_event_that_someone_changed_becomes_a_line_that_says_so(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await fill(store)
        for body in ("no json", "[]", json.dumps({"type": "?"}), "[" * 100_000):
            query(tmp_path, f"UPDATE event SET body = '{body}'")

            (event,) = await events(store, "e1")

            assert isinstance(event, Stream)
            assert "can't be read" in event.text


async def test_a_waiter_that_is_cancelled_harms_nobody(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        made = await fill(store)
        for _ in range(20):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await store.settle()

        assert await store.entries("s1") == made


async def test_what_a_waiter_waited_for_is_written_though_it_left(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        store.put_session(SESSION)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await store.settle()
        with closing(sqlite3.connect(database(tmp_path))) as other:
            with anyio.fail_after(patient(10)):
                while not other.execute("SELECT * FROM session").fetchall():
                    await anyio.lowlevel.checkpoint()


async def test_a_closed_store_ignores_writes_and_refuses_reads(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        made = await fill(store)
    store.put_entry(replace(ENTRY, id="late", number=9))
    store.add_event("e1", text("late"))
    await store.settle()
    await store.aclose()

    assert store.degraded == "history is closed"
    with pytest.raises(StorageError, match="history is closed"):
        await store.entries("s1")
    async with open_store(tmp_path) as store:
        assert await store.entries("s1") == made


async def test_leaving_writes_what_is_pending_even_when_cancelled(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with open_store(tmp_path) as store:
            store.put_session(SESSION)
            store.put_entry(ENTRY)
            scope.cancel()
            await anyio.lowlevel.checkpoint()

    async with open_store(tmp_path) as store:
        assert await store.entries("s1") == [ENTRY]

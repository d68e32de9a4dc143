"""Two connections over one `App`: what is one's own stays apart, what is named is shared."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from kernel_exec.app import App, open_app
from kernel_exec.connection import Connection, Looks
from kernel_exec.content.news import Mark
from kernel_exec.history.entries import Entry, EntryKind
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.server.create import create_server
from kernel_exec.sessions.session import Session
from kernel_exec.settings import read_settings
from tests.notebooks.steps import entry
from tests.server.peer import Peer, call, served
from tests.shared import CACHE
from tests.waits import patient, wait_until

pytestmark = pytest.mark.kernel

BLOCKED = "import threading; open('begun', 'w').close(); threading.Event().wait()"
SEEN = "import os; (os.path.basename(os.getcwd()), *sorted(n for n in os.environ if 'SECRET' in n))"


@asynccontextmanager
async def two(folder: Path) -> AsyncIterator[tuple[App, Peer, Peer]]:
    """Two clients that have been greeted; each has a working directory and a variable passed."""
    settings = read_settings(
        options={"storage_dir": str(folder / "storage"), "python_path": sys.executable},
        variables={**os.environ, "KERNEL_EXEC_CACHE": str(CACHE), "SECRET_A": "a", "SECRET_B": "b"},
    )
    places = [folder / name for name in "ab"]
    for place in places:
        place.mkdir()
    begin = [
        replace(
            settings.connection,
            working_directory=place,
            pass_env=frozenset({f"SECRET_{place.name.upper()}"}),
            wait_seconds=wait,
        )
        for place, wait in zip(places, (45, 0), strict=True)
    ]
    async with open_app(settings.host) as app:
        servers = [create_server(Connection(app=app, settings=each)) for each in begin]
        async with served(servers[0]) as one, served(servers[1]) as other:
            await one.begin()
            await other.begin()
            yield app, one, other


def cancelled(request_id: object) -> dict[str, Any]:
    params = {"requestId": request_id, "reason": "cancelled by the user"}
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}


async def begun(app: App, peer: Peer, folder: Path) -> tuple[Session, Entry]:
    """Where `BLOCKED` runs, which the peer sends first of all; its answer is still to come."""
    await peer.say({**call("execute_code", code=BLOCKED, wait_seconds=60), "id": "same"})
    await to_thread.run_sync(wait_until, (folder / "begun").exists)
    session = list(app.sessions.all)[-1]
    entry = session.entry(session.status().current or "")
    assert entry is not None
    return session, entry


async def test_variables_folders_passed_variables_and_waits_are_each_ones_own(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as (app, one, other):
        told = await one.call("execute_code", code=f"secret = 1; {SEEN}")
        assert told.startswith("('a', 'SECRET_A')")
        assert "wait with get_execution" in await other.call("execute_code", code=SEEN)
        assert (await other.call("get_execution", wait_seconds=30)).startswith("('b', 'SECRET_B')")
        for name in ("", "main"):
            wrong = await other.call("execute_code", code="secret", session=name, wait_seconds=30)
            assert "NameError" in wrong
        assert [session.name for session in app.sessions.all] == ["main", "main"]
        theirs = next(iter(app.sessions.all)).id
        refused = await other.call("execute_code", code="secret", session=theirs)
        assert "default session of another client" in refused
        assert (await one.call("execute_code", code="secret", session=theirs)).startswith("1\n")


async def test_a_named_session_is_shared(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, one, other):
        await one.call("execute_code", code="shared = 3", session="both")
        seen = await other.call("execute_code", code="shared", session="both", wait_seconds=30)
        assert seen.startswith("3\n")


def test_a_kernel_and_an_environment_are_news_when_they_are_others_than_before() -> None:
    looks, first = Looks(), entry("x", generation=1)
    told = [looks.is_new_kernel(replace(first, generation=each)) for each in (1, 1, 2, 2, 1, 2)]
    assert told == [False, False, True, False, True, False]
    assert [looks.environment(each) for each in ("a", "a", "b", "a")] == ["", "", "b", "a"]


def test_what_was_shown_of_many_executions_is_forgotten_in_turn() -> None:
    looks = Looks()
    running = [replace(entry("x", id=name), outcome=Outcome.RUNNING, ended=None) for name in "abc"]
    mark = Mark(whole=1)
    for each in running:
        looks.note(each, [mark] * 100_000)
    assert [bool(looks.seen(each)) for each in running] == [False, False, True]
    looks.note(replace(running[2], ended=1.0, outcome=Outcome.OK), ())
    assert not looks.have_followed(running[2])


async def test_what_one_has_seen_of_an_execution_is_new_to_the_other(tmp_path: Path) -> None:
    async with two(tmp_path) as (app, one, other):
        code = f"print('said', flush=True)\n{BLOCKED}"
        seen = await other.call("execute_code", code=code, session="both", wait_seconds=0)
        await to_thread.run_sync(wait_until, (tmp_path / "b" / "begun").exists)
        for peer in (other, one):
            while "said\n" not in seen:
                seen = await peer.call("get_execution", session="both", wait_seconds=0.1)
            silent = seen = await peer.call("get_execution", session="both", wait_seconds=0)
            assert silent.startswith("[running for ")
        next(iter(app.sessions.all)).interrupt()


async def test_the_same_request_id_of_another_connection_is_another_request(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as (app, one, other):
        session, entry = await begun(app, one, tmp_path / "a")
        theirs, their_entry = await begun(app, other, tmp_path / "b")
        assert session is not theirs
        await other.say(cancelled("same"))

        stopped = await theirs.wait(their_entry.id, patient(20))

        assert stopped.outcome is Outcome.INTERRUPTED
        assert (await session.wait(entry.id, 0)).outcome is Outcome.RUNNING
        session.interrupt(entry.id)
        assert (await session.wait(entry.id, patient(20))).outcome is Outcome.INTERRUPTED


@pytest.mark.parametrize(
    "request_id", ["answered", "reading", "unheard of", 7, None, ["list"], {"a": 1}]
)
async def test_only_a_request_that_began_work_and_waits_for_it_can_be_cancelled(
    tmp_path: Path, request_id: object
) -> None:
    async with two(tmp_path) as (app, one, _):
        os.mkfifo(tmp_path / "a" / "gate")
        code = "open('gate').read()"
        await one.say({**call("execute_code", code=code, wait_seconds=0), "id": "answered"})
        assert (await one.hear())["id"] == "answered"
        await one.say({**call("get_execution", wait_seconds=60), "id": "reading"})
        await one.say(cancelled(request_id))
        await one.call("kernel_status")
        (session,) = app.sessions.all
        await to_thread.run_sync((tmp_path / "a" / "gate").write_text, "")
        ended = await app.store.latest(session.id, {EntryKind.CODE})
        assert ended is not None
        assert (await session.wait(ended.id, patient(20))).outcome is Outcome.OK

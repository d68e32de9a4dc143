"""What becomes of a cancelled request's work; raw messages, because clients differ in them."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from kernel_exec.app import open_app
from kernel_exec.connection import Connection
from kernel_exec.history.entries import Entry
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.server.create import create_server
from kernel_exec.sessions.session import Session
from kernel_exec.settings import read_settings
from tests.server.peer import Peer, call, request, served
from tests.shared import CACHE
from tests.waits import patient

pytestmark = pytest.mark.kernel

TICK = "import time\nwhile True:\n    print('tick', flush=True)\n    time.sleep(0.02)"
RUN = call("execute_code", code=TICK, wait_seconds=60)


@asynccontextmanager
async def running(folder: Path, run: dict[str, Any]) -> AsyncIterator[tuple[Peer, Session, Entry]]:
    """A server on which `run` is under way, by its own first request."""
    settings = read_settings(
        options={"storage_dir": str(folder / "storage"), "python_path": sys.executable},
        variables={**os.environ, "KERNEL_EXEC_CACHE": str(CACHE)},
    )
    async with (
        open_app(settings.host) as app,
        served(create_server(Connection(app=app, settings=settings.connection))) as peer,
    ):
        await peer.begin()
        await peer.call("execute_code", code="")
        await peer.say(run)
        (session,) = app.sessions.all
        entry = None
        while entry is None or entry.execution_count is None:
            await anyio.lowlevel.checkpoint()
            entry = session.entry(session.status().current or "")
        yield peer, session, entry
        session.interrupt(entry.id, force=True)
        await session.wait(entry.id, patient(20))


async def goes_on(peer: Peer, session: Session, entry: Entry) -> bool:
    """Whether it outlives what was said so far by many ticks; an interrupt takes less than one."""
    await peer.call("kernel_status")
    seen = await session.wait_change(entry.id, 0)
    for _ in range(25):
        seen = await session.wait_change(entry.id, seen)
    return (await session.wait(entry.id, 0)).outcome is Outcome.RUNNING


def cancelled(request_id: object, reason: str | None) -> dict[str, Any]:
    told = {"requestId": request_id} | ({} if reason is None else {"reason": reason})
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": told}


@pytest.mark.parametrize("reason", [None, "MCP request cancelled by caller", "user pressed Esc"])
async def test_a_cancelled_request_interrupts_what_it_had_begun(
    tmp_path: Path, reason: str | None
) -> None:
    async with running(tmp_path, RUN) as (peer, session, entry):
        await peer.say(cancelled(RUN["id"], reason))
        assert (await session.wait(entry.id, patient(20))).outcome is Outcome.INTERRUPTED
        assert (await peer.ask(request("ping")))["result"] == {}


@pytest.mark.parametrize(
    "reason",
    [
        "SdkError: Request timed out",
        "McpError: MCP error -32001: Request timed out",
        "request timeout",
        "timed out after 60s",
    ],
)
async def test_a_client_that_gave_up_waiting_does_not_stop_the_work(
    tmp_path: Path, reason: str
) -> None:
    async with running(tmp_path, RUN) as (peer, session, entry):
        await peer.say(cancelled(RUN["id"], reason))
        assert await goes_on(peer, session, entry)


@pytest.mark.parametrize("request_id", ["answered", "unheard of", 7, None, ["list"], {"a": 1}])
async def test_only_a_request_under_way_can_be_cancelled(
    tmp_path: Path, request_id: object
) -> None:
    answered = {**call("execute_code", code=TICK, wait_seconds=0), "id": "answered"}
    async with running(tmp_path, answered) as (peer, session, entry):
        assert (await peer.hear())["id"] == "answered"
        await peer.say(cancelled(request_id, "cancelled by the user"))
        assert await goes_on(peer, session, entry)


async def test_reading_an_execution_does_not_stop_it_when_cancelled(tmp_path: Path) -> None:
    async with running(tmp_path, RUN) as (peer, session, entry):
        following = {**call("get_execution", execution_id=entry.id, wait_seconds=60), "id": "f"}
        await peer.say(following)
        await peer.say(cancelled("f", "cancelled by the user"))
        assert await goes_on(peer, session, entry)

"""What a client gets that comes back for the rest of a stream."""

import anyio
import anyio.lowlevel
import pytest
from mcp.server.streamable_http import EventMessage
from mcp_types import JSONRPCMessage, JSONRPCNotification, JSONRPCResponse

from kernel_exec.http.events import Events
from tests.waits import patient


def note(text: str) -> JSONRPCNotification:
    return JSONRPCNotification(jsonrpc="2.0", method="note", params={"text": text})


def answer(text: str) -> JSONRPCResponse:
    return JSONRPCResponse(jsonrpc="2.0", id=1, result={"text": text})


class Replay:
    """What was sent again, and under which ids."""

    def __init__(self) -> None:
        self.messages: list[JSONRPCMessage] = []
        self.ids: list[str] = []

    async def take(self, event: EventMessage) -> None:
        await anyio.lowlevel.checkpoint()
        self.messages.append(event.message)
        assert event.event_id is not None
        self.ids.append(event.event_id)


async def replayed(events: Events, after: str) -> Replay:
    replay = Replay()
    with anyio.fail_after(patient(5)):
        await events.replay_events_after(after, replay.take)
    return replay


async def test_the_rest_of_a_stream_is_sent_again_and_nothing_of_another() -> None:
    events = Events()
    ids = [
        await events.store_event(stream, message)
        for stream, message in [
            ("1", None), ("2", None), ("1", note("a")), ("2", note("b")), ("1", answer("A")),
            ("2", answer("B")), ("1", None), ("1", answer("a later request of that id")),
        ]
    ]  # fmt: skip
    assert len(set(ids)) == 8
    assert (await replayed(events, ids[0])).messages == [note("a"), answer("A")]
    assert (await replayed(events, ids[2])).messages == [answer("A")]
    assert (await replayed(events, ids[3])).ids == [ids[5]]
    assert (await replayed(events, "unknown")).messages == []


async def test_what_comes_while_a_client_catches_up_reaches_it_as_well() -> None:
    events, replay = Events(), Replay()
    begin = await events.store_event("1", None)
    with anyio.fail_after(patient(5)):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(events.replay_events_after, begin, replay.take)
            for at in range(20):
                await events.store_event("1", note(str(at)))
                await anyio.lowlevel.checkpoint()
            await events.store_event("1", answer("done"))
    assert replay.messages == [*(note(str(at)) for at in range(20)), answer("done")]


async def test_nobody_waits_for_a_session_that_is_over() -> None:
    events, replay = Events(), Replay()
    begin = await events.store_event("1", None)
    with anyio.fail_after(patient(5)):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(events.replay_events_after, begin, replay.take)
            await anyio.lowlevel.checkpoint()
            events.close()
    assert replay.messages == []


@pytest.mark.parametrize(("many", "size"), [(5000, 10), (50, 900_000)])
async def test_only_the_latest_are_kept_and_the_last_one_always(many: int, size: int) -> None:
    events = Events()
    begin = await events.store_event("1", None)
    ids = [await events.store_event(str(at), answer("x" * size)) for at in range(many)]
    assert (await replayed(events, begin)).messages == []
    last = await events.store_event("last", answer("y" * 3_000_000))
    assert [each.number for each in events._kept] == [int(last)]
    assert ids

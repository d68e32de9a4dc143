"""Clients over HTTP: whose session is whose, and what becomes of those who vanish."""

import random
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import anyio
import httpx2
import pytest
from anyio import to_thread
from mcp_types import TextContent

from kernel_exec.http import clients
from tests.http.web import NEWEST, Caller, Wire, door_to, envelope, message_in, opened
from tests.server.house import house
from tests.server.peer import call, request
from tests.waits import Gate, patient, wait_until

pytestmark = pytest.mark.kernel

HANDSHAKES = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]
ERAS = ["2025-11-25", NEWEST]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_client_of_the_sdk_runs_code(tmp_path: Path, mode: str) -> None:
    async with opened(tmp_path) as web:
        async with web.sdk(mode) as client:
            assert len((await client.list_tools()).tools) == 15
            await client.call_tool("execute_code", {"code": "x = 20"})
            result = await client.call_tool("execute_code", {"code": "x + 1"})
            assert isinstance(result.content[0], TextContent)
            assert result.content[0].text.startswith("21\n")
        (session,) = web.here.sessions
        assert session.record.client.startswith("mcp over HTTP (")


@pytest.mark.parametrize("version", HANDSHAKES)
async def test_every_revision_is_spoken(tmp_path: Path, version: str) -> None:
    async with opened(tmp_path) as web, web.caller(version=version) as caller:
        assert caller.begun["protocolVersion"] == version
        assert "python" in await caller.call("get_environment_config")


async def test_a_version_that_nobody_knows_is_answered_with_those_that_we_do(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as web, web.caller("a", "2099-01-01") as caller:
        assert caller.begun["protocolVersion"] == HANDSHAKES[-1]
        asked = caller.request("get_environment_config")
        said = envelope("a") | {"io.modelcontextprotocol/protocolVersion": "2099-01-01"}
        asked["json"]["params"]["_meta"] = said
        asked["headers"] = {"MCP-Protocol-Version": "2099-01-01", "Mcp-Method": "tools/call",
                            "Mcp-Name": "get_environment_config"}  # fmt: skip
        response = await caller.http.post(web.url, **asked)
        assert response.status_code == 400
        assert NEWEST in response.text


async def test_clients_that_begin_with_a_handshake_have_a_session_each(tmp_path: Path) -> None:
    version = HANDSHAKES[-1]
    async with opened(tmp_path) as web, web.caller("a", version) as one:
        async with web.caller("a", version) as other:
            await one.run("x = 1")
            assert "NameError" in await other.run("x")
            assert (await one.run("x")).startswith("1\n")
            assert (await other.http.delete(web.url)).status_code == 200
            assert (await other.http.post(web.url, json=request("ping"))).status_code == 404
        assert (await one.run("x")).startswith("1\n")


async def test_what_stands_alone_belongs_to_the_name_of_its_client(tmp_path: Path) -> None:
    async with opened(tmp_path) as web, web.caller("a") as one, web.caller("a") as again:
        await one.run("x = 1")
        assert (await again.run("x")).startswith("1\n")
        assert "pass a session of your own" in str(await discovered(again))
        async with web.caller("b") as other:
            assert "NameError" in await other.run("x")
            assert (await other.run("y = 2; y", session="mine")).startswith("2\n")
        assert (await one.run("y", session="mine")).startswith("2\n")


async def discovered(caller: Caller) -> object:
    asked = caller.request("")
    asked["json"] |= {
        "method": "server/discover",
        "params": {"_meta": asked["json"]["params"]["_meta"]},
    }
    asked["headers"] |= {"Mcp-Method": "server/discover"}
    del asked["headers"]["Mcp-Name"]
    return message_in(await caller.http.post(caller.web.url, **asked))["result"]


async def test_another_token_is_another_client(tmp_path: Path) -> None:
    """Also once the first one has left, when one of its own name would find its session."""
    async with opened(tmp_path, token="a" * 32) as first:
        async with first.caller() as caller:
            await caller.run("x = 1")
        async with door_to(first.here, token="b" * 32) as second, second.caller() as stranger:
            assert "NameError" in await stranger.run("x")
            async with door_to(first.here, token="b" * 32) as third, third.caller() as other:
                assert "NameError" in await other.run("x")  # the stranger is still there
        async with door_to(first.here, token="b" * 32) as fourth, fourth.caller() as back:
            assert "is not defined" in (said := await back.run("x"))
            assert "continues" in said


# Who vanishes


@pytest.mark.parametrize("version", ERAS)
async def test_a_client_that_vanishes_in_the_middle_finds_its_result_again(
    tmp_path: Path, version: str
) -> None:
    gate = Gate(tmp_path / "gate")
    began = tmp_path / "began"
    code = f"open({str(began)!r}, 'w').close()\n{gate.passing}x = 6 * 7\nprint('found', x)"
    async with opened(tmp_path) as web:
        async with web.caller(version=version) as caller:
            await caller.vanish_during(code, began)
        gate.open()
        async with web.caller(version=version) as back:
            assert "found 42\n" in await back.call("get_execution", wait_seconds=20)
            assert (await back.run("x")).startswith("42\n")
        assert len(web.here.sessions) == 1


async def test_a_client_whose_session_is_there_goes_on_with_it(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    began = tmp_path / "began"
    code = f"open({str(began)!r}, 'w').close()\n{gate.passing}print('found')"
    async with opened(tmp_path) as web, web.caller(version=ERAS[0]) as caller:
        await caller.vanish_during(code, began)
        gate.open()
        assert "found\n" in await caller.call("get_execution", wait_seconds=20)


async def test_a_stream_that_breaks_is_taken_up_again_by_the_client_of_the_sdk(
    tmp_path: Path,
) -> None:
    """Through a wire that breaks once, when the code runs."""
    gate = Gate(tmp_path / "gate")
    began = tmp_path / "began"
    code = f"open({str(began)!r}, 'w').close()\n{gate.passing}print('found')"
    async with (
        opened(tmp_path) as web,
        Wire(web) as wire,
        web.sdk("legacy", wire.url) as client,
    ):
        results = []

        async def run() -> None:
            results.append(await client.call_tool("execute_code", {"code": code}))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await to_thread.run_sync(wait_until, began.exists)
            wire.break_all()
            gate.open()
        assert isinstance(results[0].content[0], TextContent)
        assert results[0].content[0].text == "found\n"


@pytest.mark.filterwarnings("ignore:.*MemoryObject.*Stream")  # the SDK's, of an answer that is cut
@pytest.mark.parametrize("version", ERAS)
async def test_a_request_or_its_answer_may_be_cut_at_any_byte(tmp_path: Path, version: str) -> None:
    chance = random.Random(7)
    async with opened(tmp_path) as web, web.caller(version=version) as caller:
        await caller.run("total = 0")

        def sent() -> bytes:
            asked = caller.http.build_request(
                "POST", web.url, **caller.request("execute_code", code="total += 1")
            )
            more = {name: each for name, each in asked.headers.items() if name.startswith("mcp-")}
            return web.head(len(asked.content), **more) + asked.content

        whole = len(sent()) - 3  # ids grow
        for cut in [0, 1, whole - 1, *(chance.randrange(whole) for _ in range(15))]:
            async with await anyio.connect_tcp(*web.address) as stream:
                await stream.send(sent()[:cut])
        assert "<0>" in await caller.run("print(f'<{total}>')")
        for cut in [1, 100, *(chance.randrange(1, 700) for _ in range(6))]:
            async with await anyio.connect_tcp(*web.address) as stream:
                await stream.send(sent())
                got = 0
                while got < cut and (chunk := await stream.receive(cut - got)):
                    got += len(chunk)
        (total,) = re.findall("<([0-9]+)>", await caller.run("print(f'<{total}>')"))
        assert 0 < int(total) <= 8


# What is bounded


async def test_who_sends_too_much_is_told_how_much_is_allowed(tmp_path: Path) -> None:
    async with opened(tmp_path) as web, web.caller() as caller:
        asked = caller.request("execute_code", code="x" * 5_000_000)
        response = await caller.http.post(web.url, **asked)
        assert response.status_code == 413
        assert "at most 4,194,304 bytes" in response.text

        async def drops() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b" " * 50_000

        del asked["json"]
        assert (await caller.http.post(web.url, content=drops(), **asked)).status_code == 413
        assert (await caller.run("1")).startswith("1\n")
        stranger = await caller.http.post(
            web.url, content=drops(), headers={"Authorization": "Bearer x"}
        )
        assert stranger.status_code == 401


@pytest.mark.parametrize(
    "sent", [b"", b"POST /mcp HT", b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", "refused"]
)
async def test_who_only_occupies_a_connection_loses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes | str
) -> None:
    monkeypatch.setattr("kernel_exec.http.door._HEAD_SECONDS", 0.2)
    async with opened(tmp_path) as web, await anyio.connect_tcp(*web.address) as stream:
        refused = web.head(1_000_000, Authorization="no") + b"..."
        await stream.send(refused if isinstance(sent, str) else sent)
        with (
            anyio.fail_after(patient(5)),
            suppress(anyio.EndOfStream, anyio.BrokenResourceError),
        ):
            while True:
                await stream.receive()


async def test_a_body_that_does_not_come_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernel_exec.http.guard._BODY_SECONDS", 0.1)
    async with opened(tmp_path) as web, await anyio.connect_tcp(*web.address) as stream:
        await stream.send(web.head(100) + b"{")
        with anyio.fail_after(patient(5)):
            assert (await stream.receive()).startswith(b"HTTP/1.1 408")


async def test_of_too_many_sessions_the_one_that_is_idle_for_longest_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that nobody has used for long; what it had is found again."""
    monkeypatch.setattr(clients, "_MOST_SESSIONS", 3)
    async with (
        opened(tmp_path) as web,
        web.caller("first", ERAS[0]) as first,
        web.caller("second", ERAS[0]) as second,
    ):
        await second.run("x = 1")
        for _ in range(5):
            await first.call("get_environment_config")
            async with web.caller("more", ERAS[0]):
                pass
        await first.call("get_environment_config")
        gone = await second.http.post(web.url, json=call("get_environment_config"))
        assert gone.status_code == 404
        assert "initialize again" in gone.text
        await second.begin()
        assert (await second.run("x")).startswith("1\n")


# The door itself


async def test_a_door_that_closes_ends_every_stream_and_no_kernel(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        async with door_to(here) as web, web.caller(version=ERAS[0]) as caller:
            await caller.run("x = 1")
            async with caller.http.stream("GET", web.url) as stream:
                assert stream.status_code == 200
                assert here.sessions[0].clients.names
        assert not here.sessions[0].clients.names
        with pytest.raises(OSError, match=r"refused|failed"):
            await anyio.connect_tcp(*web.address)
        async with door_to(here) as again, again.caller(version=ERAS[0]) as caller:
            assert (await caller.run("x")).startswith("1\n")


async def test_health_says_nothing_and_needs_no_token(tmp_path: Path) -> None:
    async with opened(tmp_path) as web, httpx2.AsyncClient() as client:
        response = await client.get(web.url.replace("/mcp", "/health"))
        assert (response.status_code, response.json()) == (200, {"status": "ok"})

"""The stdio transport around a server of a few lines, and that server as a process of its own."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp_types import CallToolRequestParams, CallToolResult, TextContent

from tests.host.tiny import tiny
from tests.server.peer import INITIALIZED, call, handshake, request, served

ROOT = Path(__file__).parents[2]
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}
UNKNOWN = {**ENVELOPE, "io.modelcontextprotocol/protocolVersion": "2099-01-01"}
REFUSED = {
    b"no json": -32700,
    b"\xff\xfe\x00": -32700,
    b"[" * 100_000: -32700,
    b"[1]": -32600,
    b"null": -32600,
    b"{}": -32600,
    b'{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}': -32600,
    b'{"jsonrpc": "2.0", "id": true, "method": "ping"}': -32600,
}
"""Lines that are no messages, and could have been requests whose ids nobody can tell."""

PASSED_OVER = [
    b"",
    b"\r",
    b'{"jsonrpc": "2.0", "method": 5}',
    b'{"jsonrpc": "2.0", "id": null, "method": "ping"}',
    b'{"jsonrpc": "2.0", "id": 1, "result": 5}',
    b'{"id": 1, "error": {}}',
]
"""Lines that nobody waits for an answer to."""


async def test_a_client_is_served_until_it_closes_its_end() -> None:
    async with served(tiny()) as peer:
        assert (await peer.begin())["result"]["serverInfo"] == {"name": "tiny", "version": "1"}
        assert (await peer.ask(request("ping")))["result"] == {}
        assert await peer.call("echo", text="häßlich 🐧\r\n") == "häßlich 🐧\r\n"


async def test_messages_of_megabytes_pass_in_both_directions() -> None:
    async with served(tiny()) as peer:
        await peer.begin()
        assert await peer.call("count", text="x" * 50_000_000) == "50,000,000"
        assert len(await peer.call("repeat", text="0123456789")) == 10_000_000


async def test_a_line_in_many_pieces_is_one_message() -> None:
    async with served(tiny()) as peer:
        await peer.begin()
        line = json.dumps(call("echo", text="whole")).encode() + b"\n"
        for at in range(len(line)):
            await peer.stream.send(line[at : at + 1])
        assert (await peer.hear())["result"]["content"][0]["text"] == "whole"


async def test_lines_that_are_no_messages_are_refused_without_an_id() -> None:
    async with served(tiny()) as peer:
        await peer.begin()
        for line, code in REFUSED.items():
            answer = await peer.ask(line)
            assert (answer["id"], answer["error"]["code"]) == (None, code)
        assert await peer.call("echo", text="still here") == "still here"


async def test_lines_that_want_no_answer_get_none() -> None:
    async with served(tiny()) as peer:
        await peer.begin()
        for line in PASSED_OVER:
            await peer.say(line)
            assert await peer.call("echo", text="still here") == "still here"


async def test_a_request_with_half_a_surrogate_pair_is_answered() -> None:
    async with served(tiny()) as peer:
        await peer.begin()
        assert await peer.call("count", text="\ud83d") == "1"
        # the answer holds it, too: escaped, as it came
        assert (await peer.ask(request("\ud83d")))["error"]["data"] == "\ud83d"
        assert await peer.call("echo", text="still here") == "still here"


async def test_a_request_that_is_not_well_formed_is_refused_by_its_id() -> None:
    async with served(tiny()) as peer:
        await peer.begin()
        answer = await peer.ask(b'{"jsonrpc": "2.0", "id": 7, "method": "ping", "params": [1]}')
    assert answer["id"] == 7
    assert answer["error"]["code"] == -32600
    assert answer["error"]["message"].startswith("not a JSON-RPC 2.0 request: params: ")


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_a_client_that_probes_and_then_initialises_is_served(version: str) -> None:
    async with served(tiny()) as peer:
        probe = await peer.ask(request("server/discover", _meta=ENVELOPE))
        assert probe["result"]["supportedVersions"] == ["2026-07-28"]
        answer = await peer.ask(handshake(version))
        assert answer["result"]["protocolVersion"] == version
        await peer.say(INITIALIZED)
        assert (await peer.ask(request("tools/list")))["result"]["tools"][0]["name"] == "echo"


async def test_a_client_that_probes_and_stays_with_the_newest_protocol_is_served() -> None:
    async with served(tiny()) as peer:
        for _ in range(2):
            await peer.ask(request("server/discover", _meta=ENVELOPE))
        answer = await peer.ask(request("tools/list", _meta=ENVELOPE))
        assert answer["result"]["resultType"] == "complete"
        later = await peer.ask(request("server/discover", _meta=ENVELOPE))
        assert later["result"]["supportedVersions"] == ["2026-07-28"]


@pytest.mark.parametrize("meta", [ENVELOPE, UNKNOWN, {}, "no object"])
async def test_a_probe_is_answered_as_the_sdk_answers_it(meta: Any, tmp_path: Path) -> None:
    probe = request("server/discover", _meta=meta)
    said, answers = tmp_path / "said", tmp_path / "answers"
    said.write_text(json.dumps(probe) + "\n")
    stock = tiny()
    async with (
        await anyio.open_file(said) as stdin,
        await anyio.open_file(answers, "w") as stdout,
        stdio_server(stdin, stdout) as (incoming, outgoing),
    ):
        await stock.run(incoming, outgoing, stock.create_initialization_options())
    async with served(tiny()) as peer:
        assert await peer.ask(probe) == json.loads(answers.read_text())


async def test_requests_are_begun_no_faster_than_their_answers_are_taken() -> None:
    begun: list[str] = []

    async def large(ctx: object, params: CallToolRequestParams) -> CallToolResult:
        begun.append(params.name)
        return CallToolResult(content=[TextContent(text="x" * 100_000)])

    async with served(Server("large", on_call_tool=large)) as peer:
        await peer.begin()
        for at in range(500):
            await peer.say({**call("large"), "id": at})
        await anyio.wait_all_tasks_blocked()
        assert len(begun) < 50
        answers = [await peer.hear() for _ in range(500)]
    assert sorted(answer["id"] for answer in answers) == list(range(500))
    assert all(len(answer["result"]["content"][0]["text"]) == 100_000 for answer in answers)


async def test_requests_that_were_cancelled_make_room_for_others() -> None:
    async with served(tiny()) as peer:
        await peer.begin()
        for at in range(1500):
            await peer.say({**call("wait"), "id": at})
            params = {"requestId": at}
            cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
            await peer.say(cancelled)
        assert (await peer.ask(request("ping")))["result"] == {}


async def test_a_client_that_leaves_with_its_answers_unread_ends_the_conversation() -> None:
    async with served(tiny()) as peer:
        await peer.begin()
        for _ in range(200):
            await peer.say(call("repeat", text="x"))
        await peer.stream.send_eof()
        # `served` ends when the conversation does


@contextmanager
def started(*argv: str, **streams: Any) -> Iterator["subprocess.Popen[bytes]"]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, *argv], cwd=ROOT, **{**pipes, **streams}) as process:
        try:
            yield process
        finally:
            process.kill()


class Process:
    """The same server as a process; what it does not answer hangs the test."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr

    def say(self, message: dict[str, Any]) -> None:
        self.stdin.write(json.dumps(message).encode() + b"\n")
        self.stdin.flush()

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self.say(message)
        answer: dict[str, Any] = json.loads(self.stdout.readline())
        return answer

    def stay(self) -> None:
        """Let a call run that does not end by itself."""
        self.say(call("stay"))
        assert self.stderr.readline() == b"staying\n"

    def leave(self) -> tuple[int, bytes, list[str]]:
        """Close its stdin; its exit code, and what else came on stdout and stderr."""
        stdout, stderr = self.process.communicate()
        return self.process.returncode, stdout, stderr.decode().splitlines()


@pytest.fixture
def server() -> Iterator[Process]:
    with started("-m", "tests.host.tiny") as process:
        started_server = Process(process)
        started_server.ask(handshake())
        started_server.say(INITIALIZED)
        yield started_server


def test_what_anybody_prints_goes_to_stderr_and_children_have_an_empty_stdin(
    server: Process,
) -> None:
    assert server.ask(call("print", text="told"))["result"]["content"][0]["text"] == "told"
    printed = ["from print", "from descriptor 1", "from a child", "''"]
    last = ["printed after the end", "closed in order"]
    assert server.leave() == (0, b"", printed + last)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="lists descriptors in /proc")
def test_children_inherit_nothing_but_the_standard_descriptors(server: Process) -> None:
    answer = server.ask(call("descriptors"))
    # the fourth is the listing's own
    assert answer["result"]["content"][0]["text"].split() == ["0", "1", "2", "3"]


@pytest.mark.parametrize("closing", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_the_server_in_order_while_it_works(
    server: Process, closing: signal.Signals
) -> None:
    server.stay()
    server.process.send_signal(closing)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait() == 0
    assert b"closed in order" in server.stderr.read()


def test_a_request_under_way_at_the_end_is_answered(server: Process) -> None:
    server.stay()
    code, stdout, _ = server.leave()
    assert code == 0
    assert json.loads(stdout)["error"]["message"] == "Connection closed"


def test_a_client_that_does_not_take_its_last_answer_does_not_hold_the_server(
    server: Process,
) -> None:
    server.say(call("repeat", text="x"))
    server.stdout.read(1)
    server.stdin.close()
    assert server.process.wait() == 0


def test_a_client_that_takes_no_answer_any_more_ends_the_server(server: Process) -> None:
    server.stdout.close()
    server.say(request("ping"))
    assert server.process.wait() == 0


def test_files_serve_as_well(tmp_path: Path) -> None:
    said, answers = tmp_path / "said", tmp_path / "answers"
    said.write_text(json.dumps(handshake()))
    with (
        said.open("rb") as stdin,
        answers.open("wb") as stdout,
        started("-m", "tests.host.tiny", stdin=stdin, stdout=stdout) as process,
    ):
        assert process.wait() == 0
    assert json.loads(answers.read_text())["result"]["serverInfo"]["name"] == "tiny"

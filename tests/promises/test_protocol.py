"""Whatever a client sends is answered or passed over, and the server and its kernels live on."""

import json
import random
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.promises.conftest import Agent
from tests.waits import FOR_EVER, Gate, wait_until
from tests.wire import LATEST, Result, Server, serving, started

pytestmark = pytest.mark.kernel

NEWEST = "2026-07-28"
"""The protocol without a handshake: each request says what it speaks."""

ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": NEWEST,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}


def alive(server: Server) -> None:
    assert server.request("ping", within=5)["result"] == {}


def line(**members: object) -> bytes:
    return json.dumps(members).encode()


def called(tool: object = "execute_code", **members: object) -> bytes:
    """A call under the id 7."""
    return line(jsonrpc="2.0", id=7, method="tools/call", params={"name": tool, **members})


# Lines that are no requests, and requests that are wrong

BAD_LINES: dict[str, tuple[bytes, int]] = {
    "no JSON": (b"hello", -32700),
    "half of it": (b'{"jsonrpc": "2.0", "id": 7', -32700),
    "bytes": (b"\xff\xfe\x00\x80", -32700),
    "deep JSON": (b"[" * 200_000, -32700),
    "deep params": (b'{"jsonrpc": "2.0", "id": 7, "method": "ping", "params": '
                    + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}", -32700),
    "an id of 5,000 digits": (
        b'{"jsonrpc": "2.0", "method": "ping", "id": ' + b"9" * 5000 + b"}", -32700),
    "a batch": (b'[{"jsonrpc": "2.0", "id": 7, "method": "ping"}]', -32600),
    "null": (b"null", -32600),
    "nothing in it": (b"{}", -32600),
    "a fraction for an id": (line(jsonrpc="2.0", id=1.5, method="ping"), -32600),
    "a truth for an id": (line(jsonrpc="2.0", id=True, method="ping"), -32600),
    "a list for an id": (line(jsonrpc="2.0", id=[7], method="ping"), -32600),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_line_whose_id_can_not_be_told_is_refused_without_one(server: Server, case: str) -> None:
    sent, code = BAD_LINES[case]
    server.send_raw(sent)
    assert server.answer(None, within=5)["error"]["code"] == code
    alive(server)


BAD_REQUESTS: dict[str, tuple[bytes, int]] = {
    "an old JSON-RPC": (line(jsonrpc="1.0", id=7, method="ping"), -32600),
    "no version": (line(id=7, method="ping"), -32600),
    "a number for a method": (line(jsonrpc="2.0", id=7, method=5), -32600),
    "no method": (line(jsonrpc="2.0", id=7), -32600),
    "text for params": (line(jsonrpc="2.0", id=7, method="tools/call", params="x"), -32600),
    "a list for params": (line(jsonrpc="2.0", id=7, method="tools/call", params=[1]), -32600),
    "an unknown method": (line(jsonrpc="2.0", id=7, method="tools/destroy"), -32601),
    "no params": (line(jsonrpc="2.0", id=7, method="tools/call"), -32602),
    "no name": (line(jsonrpc="2.0", id=7, method="tools/call", params={}), -32602),
    "a number for a name": (called(5), -32602),
    "a list for arguments": (called(arguments=[1]), -32602),
    "text for arguments": (called(arguments="print(1)"), -32602),
    "a number for _meta": (called(arguments={"code": ""}, _meta=5), -32602),
    "a list for a progress token": (
        called(arguments={"code": ""}, _meta={"progressToken": [1]}), -32602),
    "a number for a cursor": (
        line(jsonrpc="2.0", id=7, method="tools/list", params={"cursor": 5}), -32602),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_a_request_that_is_wrong_is_a_protocol_error_with_its_id(server: Server, case: str) -> None:
    sent, code = BAD_REQUESTS[case]
    server.send_raw(sent)
    assert server.answer(7, within=5)["error"]["code"] == code
    alive(server)


BAD_CALLS: dict[str, tuple[bytes, str]] = {
    "an unknown tool": (called("no_such_tool"), "unknown tool 'no_such_tool': the tools are exec"),
    "a tool by a huge name": (called("x" * 100_000), "unknown tool"),
    "no code": (called(arguments={}), "'code' is missing"),
    "a number for code": (called(arguments={"code": 5}), "'code' is 5"),
    "a list for code": (called(arguments={"code": ["1"]}), "'code' is ['1']"),
    "null for code": (called(arguments={"code": None}), "'code' is None"),
    "an unknown argument": (
        called(arguments={"code": "", "sesion": "a"}), "did you mean 'session'"),
    "infinite patience": (
        called(arguments={"code": ""}).replace(b'"code": ""', b'"code": "", "wait_seconds": 1e999'),
        "'wait_seconds' is inf"),
    "no number": (
        called(arguments={"code": ""}).replace(b'"code": ""', b'"code": "", "wait_seconds": NaN'),
        "'wait_seconds' is nan"),
    "a negative limit": (
        called(arguments={"code": "", "timeout_seconds": -1}), "'timeout_seconds'"),
    "a session by no name": (called(arguments={"code": "", "session": "../x"}), "session"),
    "half a surrogate pair in code": (
        called(arguments={"code": "print('\ud83d')"}), "half a surrogate pair"),
    "half a surrogate pair in a name": (called("\ud83d"), "unknown tool"),
    "bytes that are not UTF-8": (
        called(arguments={"code": "print(1)", "title": "#"}).replace(b"#", b"\xff"),
        "argument 'title' holds half a surrogate pair or bytes that are not UTF-8"),
    "half a surrogate pair in a list": (
        called("execute_code_file", arguments={"file_path": "a.py", "args": ["\udc80"]}),
        "argument 'args' holds half a surrogate pair"),
    "a number of 5,000 digits": (
        called("get_execution", arguments={"offset": 8}).replace(b": 8", b": " + b"8" * 5000),
        "'offset' is inf"),
    "a list that is nested deeply": (
        called("check_installed_packages", arguments={"packages": "[" * 5000}),
        "'packages' is '[["),
    "arguments that are unknown by the thousand": (
        called(arguments={f"a{at}": 1 for at in range(3000)}), "more arguments are wrong"),
    "code of many megabytes": (
        called(arguments={"code": "x" * 30_000_000}), "at most 2000000 characters"),
    "a session by a name of a megabyte": (
        called(arguments={"code": "", "session": "x" * 1_000_000}), "at most 4000 characters"),
    "NUL in code": (called(arguments={"code": "a = 1\nb = '\0'"}), "NUL in line 2, column 6"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_CALLS)
def test_a_call_that_is_wrong_is_told_what_is_and_what_would_be_right(
    server: Server, case: str
) -> None:
    sent, told = BAD_CALLS[case]
    server.send_raw(sent)
    result = server.result(7, within=5)
    assert result.is_error
    assert told in result.text
    assert len(result.text) < 2000
    alive(server)


IGNORED = {
    "an empty line": b"",
    "a blank line": b" \t\r",
    "an unknown notification": line(jsonrpc="2.0", method="notifications/moon", params={}),
    "a notification that is none": line(jsonrpc="2.0", method=5),
    "an answer to nothing": line(jsonrpc="2.0", id=7, result={}),
    "an error of nothing": line(jsonrpc="2.0", id=7, error={"code": 1, "message": "x"}),
    "a broken answer": line(jsonrpc="2.0", id=7, result=5),
    "a cancellation of nothing": line(jsonrpc="2.0", method="notifications/cancelled"),
    "a cancellation of a list": line(
        jsonrpc="2.0", method="notifications/cancelled", params={"requestId": [1]}
    ),
    "a cancellation of what never was": line(
        jsonrpc="2.0", method="notifications/cancelled", params={"requestId": 10**30}
    ),
}


@pytest.mark.parametrize("case", IGNORED)
def test_what_nobody_waits_for_an_answer_to_gets_none(server: Server, case: str) -> None:
    server.send_raw(IGNORED[case])
    number = secrets.token_hex(4)
    server.send_raw(line(jsonrpc="2.0", id=number, method="ping"))
    assert server.answer(number, within=5)["result"] == {}
    with pytest.raises(AssertionError, match="no answer"):
        server.answer(7, within=0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_answers_that_nobody_takes_do_not_fill_the_servers_memory(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.run("print('x' * 3000)")
        before = peak(server)
        server.pause()
        numbers = [server.begin("tools/list") for _ in range(4000)]
        server.resume()
        for number in numbers:
            assert "result" in server.answer(number)
        assert peak(server) - before < 50
        alive(server)


def peak(server: Server) -> float:
    """The most memory that the server has had so far, in MB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (found,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(found.split()[1]) / 1000


def test_a_request_that_is_too_long_is_refused_by_its_id_and_the_next_one_is_served(
    server: Server,
) -> None:
    server.send_raw(called(arguments={"code": "x" * (1 << 27)}))
    assert "is too long: at most 134,217,728" in server.answer(7)["error"]["message"]
    server.send_raw(b"x" * ((1 << 27) + 1))
    assert "is too long" in server.answer(None)["error"]["message"]
    alive(server)


@pytest.mark.parametrize(
    "number",
    [0, -1, 2**53 + 1, 10**400, "", "x" * 100_000, "\0", "\u2028", "💣", "7"],
    ids=range(10),
)
def test_any_id_comes_back_as_it_was(server: Server, number: int | str) -> None:
    server.send_raw(line(jsonrpc="2.0", id=number, method="ping"))
    assert server.answer(number, within=5)["id"] == number


def test_two_requests_of_one_id_are_both_carried_out(server: Server, agent: Agent) -> None:
    agent.run("seen = []")
    for at in range(2):
        call = called(arguments={"code": f"seen.append({at})", "session": agent.session})
        server.send_raw(call.replace(b'"id": 7', b'"id": "twice"'))
    assert server.answer("twice", within=10)["result"]["isError"] is False
    assert agent.run("seen").text.startswith("[0, 1]\n")


def test_nothing_that_is_sent_at_random_ends_the_server(tmp_path: Path) -> None:
    """Requests with something of them changed; always the same ones."""
    chance = random.Random(20261125)
    seeds = [
        *(sent for sent, _ in BAD_REQUESTS.values()),
        *(sent for sent, _ in BAD_CALLS.values()),
        called("kernel_status", arguments={"pattern": "*"}),
        called("get_execution", arguments={"search": "(", "tail": 5}),
        called("read_code_file", arguments={"file_path": "a.py", "offset": 0}),
        called("check_installed_packages", arguments={"packages": ["numpy"]}),
    ]
    tokens = [b"{", b"}", b"[", b"]", b'"', b",", b":", b"null", b"1e999", b"-", b"\\", b"\\ud800",
              b"\x00", b"\xff", b"9" * 400, b"true", b'{"a":' * 100]  # fmt: skip
    with serving(tmp_path) as server:
        for _ in range(400):
            sent = bytearray(chance.choice(seeds)[:4000])
            for _ in range(chance.randint(1, 4)):
                at = chance.randrange(len(sent) + 1)
                sent[at : at + chance.randint(0, 6)] = chance.choice(tokens)
            server.send_raw(bytes(sent).replace(b"\n", b" "))
        alive(server)
        assert server.run("print(6 * 7)", within=15).text.startswith("42\n")
        assert server.leave(within=5) == 0


# Code that is hard to read

BOMBS: dict[str, tuple[str, str]] = {
    "20,000 statements": ("x = 1\n" * 20_000 + "print('end')", "end\n"),
    "20,000 statements on a line": ("x = 1;" * 20_000 + "print('end')", "end\n"),
    "a literal of megabytes": ("x = '" + "y" * 1_900_000 + "'\nprint(len(x))", "1900000\n"),
    "10,000 parentheses": ("(" * 10_000 + ")" * 10_000, "SyntaxError: too many nested parenth"),
    "10,000 brackets": ("[" * 10_000 + "]" * 10_000, "SyntaxError: too many nested parenth"),
    "1,000 levels": (
        "".join(" " * at + "if 1:\n" for at in range(1000)) + " " * 1000 + "1",
        "IndentationError: too many levels"),
    "100,000 minus signs": ("-" * 100_000 + "1", "MemoryError"),
    "a chain of operators": ("+".join(["1"] * 100_000), "RecursionError"),
    "a chain of attributes": ("a" + ".b" * 100_000, "RecursionError"),
    "a number of digits": ("9" * 100_000, "SyntaxError: Exceeds the limit"),
    "percent signs": ("%" * 100_000, "UsageError"),
    "an error on a long line": ("x = 1;" * 5_000 + "1 / 0", "ZeroDivisionError"),
}  # fmt: skip


@pytest.mark.parametrize("case", BOMBS)
def test_a_parser_bomb_is_run_or_told_and_costs_no_kernel(shared: Agent, case: str) -> None:
    code, shows = BOMBS[case]
    shared.run("before = 1")
    result = shared.run(code, within=10)
    assert not result.is_error, result.text[:1000]
    assert shows in result.text
    assert len(result.text) < 15_000
    assert shared.run("before", within=5).text.startswith("1\n")


@pytest.mark.parametrize("code", ["x = 1;" * 900_000, "x = '" + "y" * 5_000_000 + "'"])
def test_five_megabytes_of_code_are_refused_at_once(shared: Agent, code: str) -> None:
    result = shared.run(code, within=5)
    assert result.is_error
    assert "at most 2000000 characters" in result.text
    assert len(result.text) < 300


# A client that cancels, gives up or goes away


class Speaker:
    """Calls the tools in one of the two eras of the protocol."""

    def __init__(self, server: Server, version: str) -> None:
        self.server = server
        self.meta: dict[str, Any] = {"_meta": ENVELOPE} if version == NEWEST else {}
        if version == NEWEST:
            server.request("server/discover", self.meta)
        else:
            server.initialize(version)

    def begin(self, tool: str, **arguments: object) -> int:
        call = {"name": tool, "arguments": arguments, **self.meta}
        return self.server.begin("tools/call", call)

    def call(self, tool: str, *, within: float = 10, **arguments: object) -> Result:
        return self.server.result(self.begin(tool, **arguments), within=within)

    def cancel(self, number: int, reason: str | None) -> None:
        told = {} if reason is None else {"reason": reason}
        self.server.notify("notifications/cancelled", requestId=number, **told, **self.meta)


@pytest.fixture(scope="module", params=[LATEST, NEWEST])
def speaker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Speaker]:
    with started(tmp_path_factory.mktemp("speaker")) as server:
        yield Speaker(server, request.param)


@pytest.fixture
def session(speaker: Speaker) -> Iterator[str]:
    """A session of its own, whose kernel ends with the test."""
    name = secrets.token_hex(4)
    yield name
    speaker.call("execute_code", code="import os; os._exit(0)", session=name)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def ticks(gate: Gate) -> str:
    """Code that waits at `gate`."""
    return f"print('tick', flush=True)\n{gate.passing}print('the end')"


def begun(speaker: Speaker, session: str, gate: Gate) -> int:
    """A call whose code has begun to run."""
    speaker.call("execute_code", code="mine = 7", session=session)
    number = speaker.begin("execute_code", code=ticks(gate), session=session)
    wait_until(lambda: "tick" in speaker.call("get_execution", session=session, offset=0).text)
    return number


@pytest.mark.parametrize("reason", [None, "user pressed Esc", "MCP request cancelled by caller"])
def test_a_call_that_is_cancelled_stops_its_code_and_keeps_all_else(
    speaker: Speaker, session: str, gate: Gate, reason: str | None
) -> None:
    number = begun(speaker, session, gate)
    speaker.cancel(number, reason)
    stopped = speaker.call("get_execution", session=session, wait_seconds=60)
    assert stopped.outcome == "interrupted"
    everything = speaker.call("get_execution", session=session, offset=0)
    assert everything.text.startswith("tick\n")
    assert speaker.call("execute_code", code="mine", session=session).text.startswith("7\n")
    with pytest.raises(AssertionError, match="no answer"):
        speaker.server.answer(number, within=0)


@pytest.mark.parametrize(
    "reason",
    [
        "request timeout",
        "McpError: MCP error -32001: Request timed out",
        "SdkError: Request timed out",
    ],
)
def test_a_client_that_timed_out_lets_the_work_go_on(
    speaker: Speaker, session: str, gate: Gate, reason: str
) -> None:
    number = begun(speaker, session, gate)
    speaker.cancel(number, reason)
    assert speaker.call("get_execution", session=session, wait_seconds=0.1).outcome == "running"
    gate.open()
    ended = speaker.call("get_execution", session=session, wait_seconds=60)
    assert ended.outcome == "ok"
    assert "the end\n" in ended.text
    assert speaker.call("execute_code", code="mine", session=session).text.startswith("7\n")


def test_a_call_that_waits_in_the_queue_is_taken_out_when_cancelled(
    speaker: Speaker, session: str, gate: Gate
) -> None:
    number = begun(speaker, session, gate)
    queued = speaker.begin("execute_code", code="mine = 0", session=session)
    speaker.cancel(queued, "user pressed Esc")
    speaker.call("kernel_status", session=session)  # answered after the cancellation was heard
    gate.open()
    assert speaker.call("execute_code", code="mine", session=session).text.startswith("7\n")
    assert speaker.server.result(number, within=5).outcome == "ok"


def test_code_sent_again_after_its_client_timed_out_is_followed_and_not_run_twice(
    speaker: Speaker, session: str, gate: Gate
) -> None:
    code = ticks(gate) + "\nruns = globals().get('runs', 0) + 1"
    speaker.call("execute_code", code="runs = 0", session=session)
    for _ in range(3):
        number = speaker.begin("execute_code", code=code, session=session)
        speaker.cancel(number, "Request timed out")
    again = speaker.call("execute_code", code=code, session=session, wait_seconds=0)
    gate.open()
    ended = speaker.call("get_execution", execution_id=again.id, wait_seconds=60)
    assert ended.outcome == "ok"
    assert "the end\n" in ended.text
    assert speaker.call("execute_code", code="runs", session=session).text.startswith("1\n")


def test_a_client_that_goes_away_leaves_a_history_that_tells_all(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.run("print('warm')", within=10)
        running = server.run(f"print('so far', flush=True)\n{FOR_EVER}", wait_seconds=0)
        wait_until(
            lambda: "so far" in server.call("get_execution", execution_id=running.id, offset=0).text
        )
        server.begin_call("get_execution", execution_id=running.id, wait_seconds=60)
        assert server.leave(within=5) == 0
    with serving(tmp_path) as server:
        told = server.call("get_execution", execution_id=running.id, within=10)
        assert told.outcome == "interrupted"
        assert "so far\n" in told.text
        assert "the server ended" in told.text
        assert server.run("print(6 * 7)", within=10).text.startswith("42\n")

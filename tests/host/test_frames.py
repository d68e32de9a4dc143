"""Lines that are messages, and lines that nearly are."""

import json
import math

import mcp_types as types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.host.frames import Refusal, decode, encode, probed
from kernel_exec.host.wire import TooLong

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=8,
)


@given(st.binary())
def test_no_line_is_a_reason_to_fail(line: bytes) -> None:
    decode(line)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), values))
def test_messages_come_back_as_they_were(params: dict[str, object]) -> None:
    message = types.JSONRPCRequest(jsonrpc="2.0", id=1, method="any", params=params)
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"jsonrpc": "1.0", "id": 7, "method": "ping"}, "jsonrpc: Input should be '2.0'"),
        ({"jsonrpc": "2.0", "id": 7, "method": 5}, "method: Input should be a valid string"),
        ({"jsonrpc": "2.0", "id": 7, "method": "x", "params": [1]}, "params: Input should be"),
        ({"jsonrpc": "2.0", "id": 7}, "method: Field required"),
    ],
)
def test_what_has_an_id_and_is_no_answer_is_refused_with_the_reason(
    line: dict[str, object], told: str
) -> None:
    refusal = decode(json.dumps(line).encode())
    assert isinstance(refusal, Refusal)
    assert refusal.answer.id == 7
    assert told in refusal.answer.error.message


LONG = {"size": 200_000_000, "limit": 128_000_000}


@pytest.mark.parametrize(
    ("begins", "ends", "number"),
    [
        (b'{"jsonrpc": "2.0", "id": 7, "method": "x", "params": {', b"}}", 7),
        (b'{"jsonrpc":"2.0","method":"tools/call","id":"a\\"b","params":{', b"}}", 'a"b'),
        (b'{"method":"tools/call","params":{"id":8', b'},"jsonrpc":"2.0","id":9}\n', 9),
        (b'{"params":{"id":8', b'},"id":9,"jsonrpc":"2.0","method":"x"} ', 9),
        (b'{"method":"x","params":{"id":8', b'"id":8}}', None),
        (b'{"method":"x","params":{"id":8', b'\\"id\\":8}"}', None),
        (b'[{"id":8', b'"id":8}]', None),
        (b"", b"", None),
        (b"aaaa", b"aaaa", None),
    ],
)
def test_a_line_that_is_too_long_is_refused_by_its_id_where_that_is_certain(
    begins: bytes, ends: bytes, number: object
) -> None:
    refusal = decode(TooLong(begins=begins, ends=ends, **LONG))
    assert isinstance(refusal, Refusal)
    assert refusal.answer.id == number
    assert "of 200,000,000 bytes is too long: at most 128,000,000" in refusal.answer.error.message


def test_bytes_that_are_not_utf_8_reach_the_argument_that_holds_them() -> None:
    line = b'{"jsonrpc": "2.0", "id": 7, "method": "x", "params": {"a": "\xff"}}'
    message = decode(line)
    assert isinstance(message, types.JSONRPCRequest)
    assert message.params == {"a": "\udcff"}


def test_a_number_that_is_far_too_large_reaches_the_argument_that_holds_it() -> None:
    line = b'{"jsonrpc": "2.0", "id": 7, "method": "x", "params": {"a": -' + b"9" * 5000 + b"}}"
    message = decode(line)
    assert isinstance(message, types.JSONRPCRequest)
    assert message.params == {"a": -math.inf}


def test_a_byte_order_mark_is_passed_over() -> None:
    message = types.JSONRPCNotification(jsonrpc="2.0", method="any")
    assert decode(b"\xef\xbb\xbf" + encode(message)) == message


def test_half_a_surrogate_pair_is_escaped_on_the_way_out() -> None:
    message = types.JSONRPCResponse(jsonrpc="2.0", id=1, result={"text": "\ud83d"})
    assert encode(message) == rb'{"jsonrpc": "2.0", "id": 1, "result": {"text": "\ud83d"}}'


@pytest.mark.parametrize(
    "meta",
    [None, "text", {}, {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}],
)
def test_only_a_whole_envelope_makes_a_probe(meta: object) -> None:
    message = types.JSONRPCRequest(
        jsonrpc="2.0", id=1, method="server/discover", params={"_meta": meta}
    )
    assert not probed(message)

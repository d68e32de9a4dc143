"""What travels between us and a kernel: unreadable content is reported, a forgery is refused."""

import hashlib
import hmac
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.jsons import text
from kernel_exec.kernels.messages import (
    UNREADABLE,
    Channel,
    Message,
    Outgoing,
    cell_name,
    execute_request,
)
from kernel_exec.kernels.wire_protocol import ForgedError, Frames

KEY = b"key"
HEADER = b'{"msg_id": "1", "msg_type": "%s", "date": "2026-11-28"}'
PARENT = b'{"msg_id": "e"}'


def signed(*parts: bytes, key: bytes = KEY) -> list[bytes]:
    signature = hmac.new(key, b"".join(parts), hashlib.sha256).hexdigest().encode()
    return [b"topic", b"<IDS|MSG>", signature, *parts]


def heard(
    content: bytes, *, msg_type: bytes = b"stream", channel: Channel = Channel.IOPUB
) -> list[Message]:
    frames = signed(HEADER % msg_type, PARENT, b"{}", content)
    return Frames(KEY).unpack(channel, frames)


def sent(outgoing: Outgoing) -> list[bytes]:
    return Frames(KEY).pack(outgoing)


def test_a_message_is_read_with_its_parent_and_date() -> None:
    (message,) = heard(b'{"name": "stdout", "text": "a"}')
    assert (message.msg_type, message.parent_id, message.date) == ("stream", "e", "2026-11-28")
    assert message.content == {"name": "stdout", "text": "a"}


@pytest.mark.parametrize("argument", ["a", "\ud83d", "é\0\u2028"])
def test_a_request_travels_as_it_is(argument: str) -> None:
    request = execute_request(
        msg_id="m", source=argument, file_path="/\udc80", arguments=[argument]
    )
    delimiter, signature, *parts = sent(request)
    assert [delimiter, signature] == signed(*parts)[1:3]
    header, _, metadata, content = (json.loads(part) for part in parts)
    assert (header["msg_id"], header["msg_type"]) == ("m", "execute_request")
    name = cell_name(argument)
    assert metadata == {"kernel_exec": {"name": name, "file": "/\udc80", "arguments": [argument]}}
    assert content["code"] == argument


READ: dict[str, tuple[bytes, object]] = {
    "a byte that is not UTF-8": (b'"a\x80"', "a\ufffd"),
    "half a surrogate": (b'"\\udc80"', "\udc80"),
    "half a surrogate in bytes": (b'"\xed\xb2\x80"', "\udc80"),
    "a number of 5,000 digits": (b"1" * 5000, "1" * 5000),
    "no number": (b"[NaN, -Infinity]", ["NaN", "-Infinity"]),
    "many lists": (b"[%s]" % b",".join([b"[[[1]]]"] * 300), [[[[1]]]] * 300),
}


@pytest.mark.parametrize("name", READ)
def test_odd_content_is_read(name: str) -> None:
    written, value = READ[name]
    (message,) = heard(b'{"text": %s}' % written)
    assert message.content == {"text": value}


DEEPER = sys.getrecursionlimit() + 100
UNREADABLE_CONTENT = {
    "no JSON": (b'{"text": ', "not JSON"),
    "no UTF-8 and no JSON": (b"\xff\xfe\x80", "not JSON"),
    "deep": (b'{"a": %s%s}' % (b"[" * 300, b"]" * 300), "nested deeper than 250 levels"),
    "deeper": (b'{"a": %s%s}' % (b"[" * DEEPER, b"]" * DEEPER), "nested too deep"),
}


@pytest.mark.parametrize("name", UNREADABLE_CONTENT)
def test_content_that_can_not_be_read_becomes_an_output_that_says_so(name: str) -> None:
    content, why = UNREADABLE_CONTENT[name]
    (message,) = heard(content, msg_type=b"display_data")
    assert (message.msg_type, message.parent_id) == ("stream", "e")
    assert text(message.content, "name") == "stderr"
    assert "a message (display_data) of " in text(message.content, "text")
    assert why in text(message.content, "text")


@pytest.mark.parametrize("name", UNREADABLE_CONTENT)
def test_an_answer_that_can_not_be_read_is_an_answer(name: str) -> None:
    report, answer = heard(
        UNREADABLE_CONTENT[name][0], msg_type=b"execute_reply", channel=Channel.SHELL
    )
    assert (report.channel, report.msg_type) == (Channel.IOPUB, "stream")
    assert (answer.msg_type, answer.parent_id) == ("execute_reply", "e")
    assert answer.content == {"status": UNREADABLE}


def test_a_header_that_can_not_be_read_is_told() -> None:
    (report,) = Frames(KEY).unpack(Channel.IOPUB, signed(b"\x80", PARENT, b"{}", b"{}"))
    assert (report.msg_type, report.parent_id) == ("stream", "")


FORGED = {
    "nothing": [],
    "no delimiter": [b"a", b"b"],
    "nothing after the delimiter": [b"<IDS|MSG>"],
    "too few parts": signed(b"{}", b"{}"),
    "another key": signed(HEADER % b"status", PARENT, b"{}", b"{}", key=b"another"),
    "no signature": [b"<IDS|MSG>", b"", HEADER % b"status", PARENT, b"{}", b"{}"],
}


@pytest.mark.parametrize("name", FORGED)
def test_what_does_not_have_the_kernels_signature_is_forged(name: str) -> None:
    with pytest.raises(ForgedError):
        Frames(KEY).unpack(Channel.IOPUB, FORGED[name])


@given(st.lists(st.binary(), max_size=6), st.lists(st.binary(), min_size=4, max_size=5))
def test_no_frames_break_the_reading(wild: list[bytes], parts: list[bytes]) -> None:
    for frames in (wild, signed(*parts[:4])):
        try:
            messages = Frames(KEY).unpack(Channel.SHELL, frames)
        except ForgedError:
            continue
        assert messages

"""Requests as the kernel reads them, and content that may be anything."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.jsons import JSON, JSONObject, count, mapping, text
from kernel_exec.kernels.messages import (
    Channel,
    Message,
    cell_name,
    execute_request,
    new_request,
    question_request,
)

values: st.SearchStrategy[JSON] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def test_code_is_asked_to_run_without_input_and_without_aborting_others() -> None:
    asked = execute_request(msg_id="m", source="1", file_path="/f.py")
    assert (asked.channel, asked.msg_type, asked.msg_id) == (Channel.SHELL, "execute_request", "m")
    assert asked.content["code"] == "1"
    assert asked.content["allow_stdin"] is False
    assert asked.content["stop_on_error"] is False
    assert asked.metadata == {"kernel_exec": {"name": cell_name("1"), "file": "/f.py"}}


def test_code_is_kept_in_the_kernels_history() -> None:
    asked = execute_request(msg_id="m", source="1", file_path=None)
    assert (asked.content["silent"], asked.content["store_history"]) == (False, True)
    assert asked.metadata == {"kernel_exec": {"name": cell_name("1"), "file": None}}


@pytest.mark.parametrize("source", ["", "\0", "a\ud800b", "\ufeff1", "x" * 1_000_000, "a\r\nb"])
def test_code_travels_as_it_is(source: str) -> None:
    assert execute_request(msg_id="m", source=source, file_path=None).content["code"] == source


def test_a_question_is_no_execution_and_goes_where_a_thread_answers() -> None:
    asked = question_request("variables", "a'b*")
    assert (asked.channel, asked.msg_type) == (Channel.CONTROL, "question_request")
    assert asked.content == {"question": "variables", "arguments": ("a'b*",)}


@pytest.mark.parametrize("channel", Channel)
def test_a_request_may_have_no_content(channel: Channel) -> None:
    asked, other = (new_request(channel, "kernel_info_request") for _ in range(2))
    assert (asked.channel, asked.msg_type) == (channel, "kernel_info_request")
    assert asked.msg_id != other.msg_id
    assert (asked.content, asked.metadata) == ({}, {})


def test_a_message_needs_no_parent_and_no_date() -> None:
    heard = Message(channel=Channel.IOPUB, msg_type="status", content={}, metadata={})
    assert (heard.parent_id, heard.date, heard.size) == ("", "", 0)


READ: dict[str, tuple[JSONObject, str, JSONObject, int | None]] = {
    "nothing": ({}, "", {}, None),
    "null": ({"at": None}, "", {}, None),
    "text": ({"at": "x"}, "x", {}, None),
    "text of a number": ({"at": "1"}, "1", {}, None),
    "a lone surrogate": ({"at": "\ud800"}, "\ud800", {}, None),
    "an object": ({"at": {"a": 1}}, "", {"a": 1}, None),
    "a list": ({"at": ["a", 1]}, "", {}, None),
    "zero": ({"at": 0}, "", {}, 0),
    "a count": ({"at": 7}, "", {}, 7),
    "a negative number": ({"at": -1}, "", {}, None),
    "a fraction": ({"at": 1.0}, "", {}, None),
    "true": ({"at": True}, "", {}, None),
    "another key": ({"elsewhere": "x"}, "", {}, None),
}


@pytest.mark.parametrize("name", READ)
def test_what_is_missing_or_wrong_in_content_reads_as_nothing(name: str) -> None:
    content, written, inner, number = READ[name]
    assert text(content, "at") == written
    assert mapping(content, "at") == inner
    assert count(content, "at") == number
    assert not isinstance(count(content, "at"), bool)


@given(st.dictionaries(st.sampled_from(["at", "elsewhere"]), values))
def test_any_content_can_be_read(content: JSONObject) -> None:
    assert isinstance(text(content, "at"), str)
    assert isinstance(mapping(content, "at"), Mapping)
    number = count(content, "at")
    assert number is None or number >= 0

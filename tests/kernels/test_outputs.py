"""What messages mean as outputs, and what outputs add up to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.kernels.messages import (
    Channel,
    JSONObject,
    Message,
    evaluate_request,
    execute_request,
    mapping,
    request,
    text,
)
from kernel_exec.kernels.outputs import (
    SPILL_MIME,
    Clear,
    DisplayData,
    ErrorOutput,
    ExecuteResult,
    Output,
    OutputEvent,
    Spill,
    Stream,
    Update,
    carry_out,
    fold,
    parse,
    parse_payload,
    strip_ansi,
)


def message(msg_type: str, content: JSONObject) -> Message:
    return Message(channel=Channel.IOPUB, msg_type=msg_type, content=content, metadata={})


def out(written: str, *, late: bool = False) -> Stream:
    return Stream(name="stdout", text=written, late=late)


def err(written: str) -> Stream:
    return Stream(name="stderr", text=written)


def shown(value: str, display_id: str | None = None) -> DisplayData:
    return DisplayData(data={"text/plain": value}, metadata={}, display_id=display_id)


PARSED: dict[str, tuple[Message, OutputEvent | None]] = {
    "stream": (message("stream", {"name": "stderr", "text": "x"}), err("x")),
    "stream without a name": (message("stream", {"text": "x"}), out("x")),
    "stream of nonsense": (message("stream", {"name": 3, "text": None}), out("")),
    "display": (
        message("display_data", {"data": {"text/plain": "x"}, "metadata": {}}),
        shown("x"),
    ),
    "display with an id": (
        message("display_data", {"data": {"text/plain": "x"}, "transient": {"display_id": "d"}}),
        shown("x", "d"),
    ),
    "display of nothing": (
        message("display_data", {"data": None}),
        DisplayData(data={}, metadata={}),
    ),
    "spill": (
        message("display_data", {"data": {SPILL_MIME: {"name": "stdout", "path": "/f"}}}),
        Spill(name="stdout", path="/f"),
    ),
    "update": (
        message(
            "update_display_data",
            {"data": {"text/plain": "y"}, "transient": {"display_id": "d"}},
        ),
        Update(display_id="d", data={"text/plain": "y"}, metadata={}),
    ),
    "result": (
        message("execute_result", {"data": {"text/plain": "1"}, "execution_count": 4}),
        ExecuteResult(data={"text/plain": "1"}, metadata={}, execution_count=4),
    ),
    "result without a count": (
        message("execute_result", {"data": {}, "execution_count": "four"}),
        ExecuteResult(data={}, metadata={}, execution_count=None),
    ),
    "error": (
        message("error", {"ename": "E", "evalue": "v", "traceback": ["a", 3, "b"]}),
        ErrorOutput(ename="E", evalue="v", traceback=("a", "b")),
    ),
    "error without a traceback": (
        message("error", {"ename": "E", "evalue": "v", "traceback": "a"}),
        ErrorOutput(ename="E", evalue="v", traceback=()),
    ),
    "clear": (message("clear_output", {"wait": True}), Clear(wait=True)),
    "clear without sense": (message("clear_output", {"wait": "yes"}), Clear(wait=False)),
    "status": (message("status", {"execution_state": "idle"}), None),
    "a type we do not know": (message("debug_event", {}), None),
}


@pytest.mark.parametrize("name", PARSED)
def test_a_message_means(name: str) -> None:
    told, expected = PARSED[name]
    assert parse(told) == expected


def test_only_a_page_is_a_payload_to_show() -> None:
    assert parse_payload({"source": "page", "data": {"text/plain": "x"}}) == shown("x")
    assert parse_payload({"source": "set_next_input", "text": "x"}) is None


LATE = Stream(name="stdout", text="late\n", late=True)

FOLDED: dict[str, tuple[list[OutputEvent], list[Output]]] = {
    "nothing": ([], []),
    "one stream": ([out("a"), out("b")], [out("ab")]),
    "streams that alternate": (
        [out("a"), err("x"), out("b")],
        [out("a"), err("x"), out("b")],
    ),
    "a display between": ([out("a"), shown("1"), out("b")], [out("a"), shown("1"), out("b")]),
    "empty text": ([out("")], []),
    "late text stays apart": ([out("a"), LATE, LATE], [out("a"), out("late\nlate\n", late=True)]),
    "clear": ([out("a"), Clear(wait=False), out("b")], [out("b")]),
    "clear at the end": ([out("a"), Clear(wait=False)], []),
    "clear and wait": ([out("a"), Clear(wait=True), out("b")], [out("b")]),
    "clear and wait for nothing": ([out("a"), Clear(wait=True)], [out("a")]),
    "clear and wait twice": ([out("a"), Clear(wait=True), Clear(wait=True), out("b")], [out("b")]),
    "an update does not end the wait": (
        [shown("1", "d"), Clear(wait=True), Update(display_id="d", data={}, metadata={})],
        [DisplayData(data={}, metadata={}, display_id="d")],
    ),
    "update": (
        [shown("1", "d"), out("a"), Update(display_id="d", data={"x": "2"}, metadata={"m": 1})],
        [DisplayData(data={"x": "2"}, metadata={"m": 1}, display_id="d"), out("a")],
    ),
    "update of all with the id": (
        [shown("1", "d"), shown("2", "d"), Update(display_id="d", data={}, metadata={})],
        [DisplayData(data={}, metadata={}, display_id="d")] * 2,
    ),
    "update of a result": (
        [
            ExecuteResult(data={}, metadata={}, execution_count=1, display_id="d"),
            Update(display_id="d", data={"x": "2"}, metadata={}),
        ],
        [ExecuteResult(data={"x": "2"}, metadata={}, execution_count=1, display_id="d")],
    ),
    "update before its display": (
        [Update(display_id="d", data={}, metadata={}), shown("1", "d")],
        [shown("1", "d")],
    ),
    "spill": (
        [out("a"), Spill(name="stdout", path="/f")],
        [Stream(name="stdout", text="a", path="/f")],
    ),
    "spill of another stream": (
        [out("a"), Spill(name="stderr", path="/f")],
        [out("a"), Stream(name="stderr", text="", path="/f")],
    ),
    "progress": ([err("\r10%"), err("\r50%"), err("\r100%\n")], [err("100%\n")]),
}


@pytest.mark.parametrize("name", FOLDED)
def test_events_add_up_to(name: str) -> None:
    events, outputs = FOLDED[name]
    assert fold(events) == outputs


CARRIED_OUT = {
    "plain": ("a\nb", "a\nb"),
    "return": ("abc\rx", "xbc"),
    "a longer line over a shorter": ("ab\rxyz", "xyz"),
    "return at the end": ("abc\r", "abc"),
    "Windows line ends": ("a\r\nb\r\n", "a\nb\n"),
    "only within its line": ("one\ntwo\rT", "one\nTwo"),
    "backspace": ("abc\b\bX", "aXc"),
    "backspace at the start": ("\b\bab", "ab"),
    "backspace and return": ("abc\b\rx", "xbc"),
}


@pytest.mark.parametrize("name", CARRIED_OUT)
def test_a_terminal_leaves(name: str) -> None:
    written, left = CARRIED_OUT[name]
    assert carry_out(written) == left


ANSI = {
    "colour": ("\x1b[1;31mred\x1b[0m", "red"),
    "title": ("\x1b]0;title\x07text", "text"),
    "link": ("\x1b]8;;http://x\x1b\\text\x1b]8;;\x1b\\", "text"),
    "cursor": ("\x1b[2K\x1b[?25ltext", "text"),
    "device control": ("\x1bPq#0\x1b\\text", "text"),
    "two characters": ("\x1bMtext", "text"),
    "none": ("text", "text"),
}


@pytest.mark.parametrize("name", ANSI)
def test_escape_sequences_are_taken_out(name: str) -> None:
    written, left = ANSI[name]
    assert strip_ansi(written) == left


def test_a_hundred_thousand_chunks_fold_at_once() -> None:
    assert fold([out("x")] * 100_000) == [out("x" * 100_000)]


def test_a_bar_of_a_hundred_thousand_frames_folds_at_once() -> None:
    frames = "".join(f"\r{number:>80}" for number in range(100_000))
    assert fold([err(frames)]) == [err(f"{99_999:>80}")]


@given(st.lists(st.text(), max_size=20))
def test_chunks_fold_like_their_whole(chunks: list[str]) -> None:
    assert fold([out(chunk) for chunk in chunks]) == fold([out("".join(chunks))])


@given(st.text(alphabet="ab\r\n\b"))
def test_carrying_out_twice_changes_nothing_more(written: str) -> None:
    assert carry_out(carry_out(written)) == carry_out(written)


def test_requests_carry_what_the_kernel_needs() -> None:
    asked = execute_request(msg_id="m", source="1", file_path="/f.py")
    assert (asked.msg_id, asked.content["code"]) == ("m", "1")
    assert asked.content["allow_stdin"] is False
    assert asked.metadata == {"kernel_exec": {"file": "/f.py"}}
    assert execute_request(msg_id="m", source="1", file_path=None).metadata == {}
    hello = request(Channel.SHELL, "kernel_info_request", msg_id="m")
    assert (hello.msg_type, hello.content) == ("kernel_info_request", {})
    question = evaluate_request(msg_id="m", expression="1", subshell_id="s")
    assert question.content["user_expressions"] == {"value": "1"}
    assert question.subshell_id == "s"


def test_what_is_missing_or_wrong_in_content_reads_as_empty() -> None:
    assert text({"a": 1}, "a") == text({}, "a") == ""
    assert mapping({"a": 1}, "a") == mapping({}, "a") == {}

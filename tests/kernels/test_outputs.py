"""What messages mean as outputs, and what outputs add up to."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.jsons import JSON, JSONObject
from kernel_exec.kernels.messages import Channel, Message
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
    files,
    fold,
    parse,
    parse_error,
    parse_payload,
    separate,
)
from kernel_exec.terminal import carry_out, strip_ansi

values: st.SearchStrategy[JSON] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def message(msg_type: str, content: JSONObject) -> Message:
    return Message(channel=Channel.IOPUB, msg_type=msg_type, content=content, metadata={})


def out(written: str, *, late: bool = False) -> Stream:
    return Stream(name="stdout", text=written, late=late)


def err(written: str) -> Stream:
    return Stream(name="stderr", text=written)


def shown(value: str, display_id: str | None = None) -> DisplayData:
    return DisplayData(data={"text/plain": value}, metadata={}, display_id=display_id)


def result(value: str, display_id: str | None = None) -> ExecuteResult:
    data = {"text/plain": value}
    return ExecuteResult(data=data, metadata={}, execution_count=1, display_id=display_id)


def update(value: str, display_id: str = "d", *, late: bool = False) -> Update:
    return Update(display_id=display_id, data={"text/plain": value}, metadata={}, late=late)


def spilled(text: str, path: str = "/f", *, name: str = "stdout") -> Stream:
    return Stream(name=name, text=text, path=path)


CLEAR = Clear(wait=False)
CLEAR_NEXT = Clear(wait=True)
SPILL_DIR = PurePath("/")
SPILL = Spill(name="stdout", path="/f")
FAILURE = ErrorOutput(ename="E", evalue="v", traceback=())


def test_a_message_of_several_streams_is_one_of_each_turn() -> None:
    more: JSON = [["stderr", "b"], ["stdout", "c"], "cd", ["stdout"], 3, [1, None]]
    several = message("stream", {"name": "stdout", "text": "a", "more": more})
    events = [parse(turn, SPILL_DIR) for turn in separate(several)]
    assert events == [out("a"), err("b"), out("c"), out("")]


@pytest.mark.parametrize("more", [None, 3, "ab", {"a": "b"}])
def test_a_message_of_one_stream_is_as_it_was(more: JSON) -> None:
    (one,) = separate(message("stream", {"name": "stderr", "text": "a", "more": more}))
    assert parse(one, SPILL_DIR) == err("a")


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
    "clear of nothing": (message("clear_output", {}), CLEAR),
    "stream of nothing": (message("stream", {}), out("")),
    "a display without content": (
        message("display_data", {}),
        DisplayData(data={}, metadata={}),
    ),
    "a display of wrong types": (
        message("display_data", {"data": [1], "metadata": "m", "transient": 3}),
        DisplayData(data={}, metadata={}),
    ),
    "a display with a number for an id": (
        message("display_data", {"data": {"text/plain": "x"}, "transient": {"display_id": 3}}),
        shown("x"),
    ),
    "a display with an empty id": (
        message("display_data", {"data": {"text/plain": "x"}, "transient": {"display_id": ""}}),
        shown("x"),
    ),
    "spill without a name": (
        message("display_data", {"data": {SPILL_MIME: {"path": "/f"}}}),
        SPILL,
    ),
    "spill to nowhere": (
        message("display_data", {"data": {SPILL_MIME: {"name": "stdout"}}}),
        DisplayData(data={SPILL_MIME: {"name": "stdout"}}, metadata={}),
    ),
    "spill of nonsense": (
        message("display_data", {"data": {SPILL_MIME: None}}),
        DisplayData(data={SPILL_MIME: None}, metadata={}),
    ),
    "update without an id": (
        message("update_display_data", {"data": {"text/plain": "y"}, "transient": None}),
        update("y", ""),
    ),
    "update of nothing": (
        message("update_display_data", {}),
        Update(display_id="", data={}, metadata={}),
    ),
    "result with an id": (
        message(
            "execute_result",
            {"data": {"text/plain": "1"}, "execution_count": 1, "transient": {"display_id": "d"}},
        ),
        result("1", "d"),
    ),
    "result of nothing": (
        message("execute_result", {}),
        ExecuteResult(data={}, metadata={}, execution_count=None),
    ),
    "result with a count no notebook allows": (
        message("execute_result", {"execution_count": -1}),
        ExecuteResult(data={}, metadata={}, execution_count=None),
    ),
    "result with a truth for a count": (
        message("execute_result", {"execution_count": True}),
        ExecuteResult(data={}, metadata={}, execution_count=None),
    ),
    "error of nothing": (
        message("error", {}),
        ErrorOutput(ename="", evalue="", traceback=()),
    ),
    "error of wrong types": (
        message("error", {"ename": 1, "evalue": None, "traceback": {"a": "b"}}),
        ErrorOutput(ename="", evalue="", traceback=()),
    ),
    "status": (message("status", {"execution_state": "idle"}), None),
    "execute_input": (message("execute_input", {"code": "", "execution_count": 1}), None),
    "comm_open": (message("comm_open", {"comm_id": "c"}), None),
    "no type": (message("", {}), None),
    "a type we do not know": (message("debug_event", {}), None),
}


@pytest.mark.parametrize("name", PARSED)
def test_a_message_means(name: str) -> None:
    told, expected = PARSED[name]
    assert parse(told, SPILL_DIR) == expected


OURS, FORGED = "/spill.txt", "/etc/passwd"
WITH_A_FILE = ["display_data", "update_display_data", "execute_result", "error"]


def with_file(msg_type: str, path: str) -> Message:
    ours: JSONObject = {"path": path, "files": {"text/html": path}}
    if msg_type == "error":
        return message(msg_type, {"ename": "E", "kernel_exec": ours})
    return message(msg_type, {"data": {}, "metadata": {"kernel_exec": ours}})


@pytest.mark.parametrize("msg_type", WITH_A_FILE)
def test_only_files_of_the_spill_folder_are_ours_to_read(msg_type: str) -> None:
    for path, expected in ((OURS, [OURS]), (FORGED, [])):
        event = parse(with_file(msg_type, path), SPILL_DIR)
        assert event is not None
        assert list(files(event).values()) == expected


def test_a_spill_to_a_foreign_file_is_none() -> None:
    spilled = message("display_data", {"data": {SPILL_MIME: {"path": FORGED}}})
    assert parse(spilled, SPILL_DIR) is None


@pytest.mark.parametrize("path", [OURS, FORGED])
def test_what_comes_with_a_reply_names_no_foreign_file_either(path: str) -> None:
    expected = [OURS] if path == OURS else []
    error = parse_error({"status": "error", "kernel_exec": {"path": path}}, SPILL_DIR)
    assert list(files(error).values()) == expected
    metadata: JSONObject = {"kernel_exec": {"files": {"text/html": path}}}
    page = parse_payload({"source": "page", "data": {}, "metadata": metadata}, SPILL_DIR)
    assert page is not None
    assert list(files(page).values()) == expected


PAYLOADS: dict[str, tuple[JSONObject, OutputEvent | None]] = {
    "page": ({"source": "page", "data": {"text/plain": "x"}, "start": 0}, shown("x")),
    "page of nothing": ({"source": "page"}, DisplayData(data={}, metadata={})),
    "page of wrong types": ({"source": "page", "data": "x"}, DisplayData(data={}, metadata={})),
    "next input": ({"source": "set_next_input", "text": "x"}, None),
    "exit": ({"source": "ask_exit", "keepkernel": None}, None),
    "edit": ({"source": "edit_magic", "filename": "f"}, None),
    "nothing": ({}, None),
    "a list for a source": ({"source": ["page"]}, None),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_only_a_page_is_a_payload_to_show(name: str) -> None:
    payload, expected = PAYLOADS[name]
    assert parse_payload(payload, SPILL_DIR) == expected


KEYS = ["name", "text", "data", "metadata", "transient", "ename", "traceback", "wait", "source"]
TYPES = ["stream", "display_data", "update_display_data", "execute_result", "error", "clear_output"]


@given(st.sampled_from(TYPES), st.dictionaries(st.sampled_from(KEYS), values))
def test_any_content_means_an_event_that_can_be_folded(msg_type: str, content: JSONObject) -> None:
    event = parse(message(msg_type, content), SPILL_DIR)
    assert event is not None
    for output in fold([event]):
        assert isinstance(output, Stream | ErrorOutput) or isinstance(output.data, Mapping)
    parse_payload(content, SPILL_DIR)


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
    "text that is not late after late text": ([LATE, out("a")], [LATE, out("a")]),
    "a stream of any name": ([Stream(name="log", text="a")], [Stream(name="log", text="a")]),
    "an error between": ([out("a"), FAILURE, out("b")], [out("a"), FAILURE, out("b")]),
    "an update between does not part text": (
        [out("a"), update("2"), out("b")],
        [out("ab")],
    ),
    "empty text between does not part text": ([out("a"), out(""), out("b")], [out("ab")]),
    "empty text of another stream does not part text": (
        [out("a"), err(""), out("b")],
        [out("ab")],
    ),
    "clear": ([out("a"), Clear(wait=False), out("b")], [out("b")]),
    "clear at the end": ([out("a"), Clear(wait=False)], []),
    "clear and wait": ([out("a"), Clear(wait=True), out("b")], [out("b")]),
    "clear and wait for nothing": ([out("a"), Clear(wait=True)], [out("a")]),
    "clear and wait twice": ([out("a"), Clear(wait=True), Clear(wait=True), out("b")], [out("b")]),
    "clear and wait, then clear": ([out("a"), CLEAR_NEXT, CLEAR, out("b")], [out("b")]),
    "clear, then clear and wait": ([out("a"), CLEAR, CLEAR_NEXT], []),
    "clear and wait for a display": ([out("a"), CLEAR_NEXT, shown("1")], [shown("1")]),
    "clear and wait for an error": ([shown("1"), CLEAR_NEXT, FAILURE], [FAILURE]),
    "clear and wait for a result": ([shown("1"), CLEAR_NEXT, result("2")], [result("2")]),
    "clear and wait clears once": (
        [out("a"), CLEAR_NEXT, out("b"), shown("1")],
        [out("b"), shown("1")],
    ),
    "clear of an error": ([FAILURE, CLEAR], []),
    "clear of nothing": ([CLEAR, CLEAR_NEXT, CLEAR], []),
    "a late clear": ([out("a"), Clear(wait=False, late=True)], []),
    "text is not joined over a clear": ([out("a\r"), CLEAR, out("\nb")], [out("\nb")]),
    "a display cleared before its update": ([shown("1", "d"), CLEAR, update("2")], []),
    "an update, then what the clear waits for": (
        [shown("1", "d"), CLEAR_NEXT, update("2"), out("a")],
        [out("a")],
    ),
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
    "updates: the last one counts": (
        [shown("1", "d"), update("2"), update("3")],
        [shown("3", "d")],
    ),
    "update of a display and a result": (
        [shown("1", "d"), result("1", "d"), update("2")],
        [shown("2", "d"), result("2", "d")],
    ),
    "update between two displays of one id": (
        [shown("1", "d"), update("2"), shown("3", "d")],
        [shown("2", "d"), shown("3", "d")],
    ),
    "update of another id": ([shown("1", "d"), update("2", "e")], [shown("1", "d")]),
    "update without an id": ([shown("1"), update("2", "")], [shown("1")]),
    "a late update": ([shown("1", "d"), update("2", late=True)], [shown("2", "d")]),
    "an update leaves errors alone": ([FAILURE, update("2")], [FAILURE]),
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
    "spill before any text": ([SPILL], [spilled("")]),
    "spill, then more text": ([out("a"), SPILL, out("b")], [spilled("a"), out("b")]),
    "spill twice": (
        [out("a"), SPILL, Spill(name="stdout", path="/g")],
        [spilled("a"), spilled("", "/g")],
    ),
    "spill, then late text": ([out("a"), SPILL, LATE], [spilled("a"), LATE]),
    "late spill": (
        [out("a"), Spill(name="stdout", path="/f", late=True)],
        [out("a"), replace(spilled(""), late=True)],
    ),
    "a file outlives a clear, for what follows goes there": (
        [out("a"), SPILL, CLEAR],
        [spilled("")],
    ),
    "a file outlives a clear that waited": (
        [out("a"), SPILL, err("x"), CLEAR_NEXT, err("y")],
        [spilled(""), err("y")],
    ),
    "a file is told once": ([out("a"), SPILL, CLEAR, CLEAR, SPILL, CLEAR], [spilled("")]),
    "a clear that waited ends with the spill": ([shown("1"), CLEAR_NEXT, SPILL], [spilled("")]),
    "text that has a file already": ([out("a"), spilled("b")], [spilled("ab")]),
    "progress": ([err("\r10%"), err("\r50%"), err("\r100%\n")], [err("100%\n")]),
    "progress in a file's head": ([out("10%\r20%"), SPILL], [spilled("20%")]),
    "a line end across chunks": ([out("a\r"), out("\nb")], [out("a\nb")]),
    "an escape sequence across chunks": ([out("abc\r\x1b["), out("Kx")], [out("x")]),
    "a surrogate pair across chunks": ([out("\ud83d"), out("\ude00")], [out("\ud83d\ude00")]),
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
    "return at the start": ("\rabc", "abc"),
    "returns alone": ("\r\r\r", ""),
    "spaces over a longer line": ("100 of 100\rdone      ", "done      "),
    "Windows line ends": ("a\r\nb\r\n", "a\nb\n"),
    "Windows line ends written as text": ("a\r\r\nb", "a\nb"),
    "only within its line": ("one\ntwo\rT", "one\nTwo"),
    "line ends before and after": ("\na\rb\n\n", "\nb\n\n"),
    "backspace": ("abc\b\bX", "aXc"),
    "backspace at the start": ("\b\bab", "ab"),
    "backspace stays in its line": ("a\n\bb", "a\nb"),
    "backspace and return": ("abc\b\rx", "xbc"),
    "backspace at the end": ("abc\b", "abc"),
    "a wheel that turns": ("- \b\b\\ \b\b| \b\bdone", "done"),
    "overstrike": ("N\bNA\bAM\bME\bE", "NAME"),
    "erase to the end": ("Downloading 50%\r\x1b[KDone", "Done"),
    "erase to the end from the middle": ("abcdef\rab\x1b[K", "ab"),
    "erase to the end with a zero": ("abcdef\rab\x1b[0K", "ab"),
    "erase at the end": ("ab\x1b[K\rx", "xb"),
    "erase the line, then return": ("abcdef\x1b[2K\rx", "x"),
    "return, then erase the line": ("abcdef\r\x1b[2Kx", "x"),
    "erase the line and go on where it was": ("abc\x1b[2Kx\r", "   x"),
    "erase the line and come back from there": ("abc\x1b[2Kx\b\by", "  yx"),
    "erase the line and fill it again": ("abc\x1b[2Kd\rx", "x  d"),
    "erase all that is left of a line": ("abc\x1b[2Kd\r\x1b[Kx", "x"),
    "erase the line and leave it": ("abc\x1b[2K\r", ""),
    "erasing without a return is left to the terminal": ("abc\x1b[2K", "abc\x1b[2K"),
    "a pointer that is hidden": ("\x1b[?25l10%\r20%\x1b[?25h", "20%"),
    "a title between frames": ("10%\r\x1b]0;title\x0720%", "20%"),
    "a sequence that was cut off": ("10%\r20%\x1b[3", "20%"),
    "colour under plain text": ("aaaa\x1b[31mred\x1b[0m\rbbbbbb", "bbbbbb\x1b[31md\x1b[0m"),
    "colour over plain text": ("abcd\r\x1b[32mOK\x1b[0m", "\x1b[32mOK\x1b[0mcd"),
    "colour over colour": (
        "\x1b[31m10%\x1b[0m\r\x1b[32m100%\x1b[0m",
        "\x1b[32m100%\x1b[0m",
    ),
    "colour that is not ended": ("\x1b[31mab\rc", "\x1b[31mcb"),
    "colour from the line before": ("\x1b[31ma\nb\rc\x1b[m", "\x1b[31ma\nc\x1b[0m"),
    "colour that begins with a reset": ("ab\r\x1b[0;31mc", "\x1b[0;31mc\x1b[0mb\x1b[0;31m"),
    "colours in two sequences": (
        "ab\r\x1b[1m\x1b[31mc\x1b[0m",
        "\x1b[1m\x1b[31mc\x1b[0mb",
    ),
    "a wide character over narrow ones": ("abcdef\r日本", "日本ef"),
    "narrow characters over wide ones": ("日本語\rabcd", "abcd語"),
    "half of a wide character": ("日本\ra", "a 本"),
    "a wide character over two halves": ("日本\ra日", "a日 "),
    "back into a wide character": ("日\bx", " x"),
    "erase half of a wide character": ("日本\rabc\x1b[K", "abc"),
    "erase from within a wide character": ("日本\b\x1b[K", "日 "),
    "combining marks": ("e\u0301x\rab", "ab"),
    "combining marks on top": ("ab\re\u0301", "e\u0301b"),
    "combining marks of a wide character": ("abcd\rが\u3099", "が\u3099cd"),
    "a mark with nothing before it": ("ab\r\u0301", "\u0301b"),
    "a joined emoji": ("abcdef\r\U0001f469\u200d\U0001f4bb", "\U0001f469\u200d\U0001f4bbef"),
    "blocks of a bar": ("  5%|▌    |\r100%|█████|", "100%|█████|"),
    "lone surrogates": ("\ud800b\r\udc00", "\udc00b"),
    "NUL": ("a\0b\rx", "x\0b"),
}


@pytest.mark.parametrize("name", CARRIED_OUT)
def test_a_terminal_leaves(name: str) -> None:
    written, left = CARRIED_OUT[name]
    assert carry_out(written) == left


def test_a_bar_as_tqdm_writes_it_is_left_as_it_ended() -> None:
    frames = [f"\r{done:3}%|{'█' * (done // 10):10}| {done}/100" for done in range(101)]
    assert carry_out("start\n" + "".join(frames) + "\nend") == (
        "start\n100%|██████████| 100/100\nend"
    )


def test_a_bar_whose_text_gets_shorter_is_padded_as_wide_as_the_terminal_shows_it() -> None:
    # tqdm pads by display width, so two wide characters are followed by two spaces only
    assert carry_out("\rabcdef\r日本  ") == "日本  "


ANSI = {
    "colour": ("\x1b[1;31mred\x1b[0m", "red"),
    "colour with colons": ("\x1b[38:2::1:2:3mred", "red"),
    "title": ("\x1b]0;title\x07text", "text"),
    "link": ("\x1b]8;;http://x\x1b\\text\x1b]8;;\x1b\\", "text"),
    "a title that does not end takes its line only": ("a\x1b]0;title\nb\x07", "a\nb\x07"),
    "cursor": ("\x1b[2K\x1b[?25ltext", "text"),
    "a shape of the cursor": ("\x1b[4 qtext", "text"),
    "device control": ("\x1bPq#0\x1b\\text", "text"),
    "a picture over many lines": ("\x1bPq#0\n#1\n\x1b\\text", "text"),
    "device control that does not end": ("a\x1bPq#0\nb", "a\nb"),
    "an application's command": ("\x1b_Ga=T;AAAA\x1b\\text", "text"),
    "two characters": ("\x1bMtext", "text"),
    "saving and restoring": ("\x1b7text\x1b8", "text"),
    "as tput resets": ("\x1b(B\x1b[mtext", "text"),
    "a keypad": ("\x1b=text\x1b>", "text"),
    "a full reset": ("\x1bctext", "text"),
    "cut off": ("text\x1b[3", "text"),
    "cut off at once": ("text\x1b", "text"),
    "cut off in a character set": ("text\x1b(", "text"),
    "one within another": ("\x1b\x1b[0m[31mtext", "[31mtext"),
    "before a letter that ends nothing": ("\x1b[étext", "étext"),
    "before a control character": ("\x1b\ntext", "\ntext"),
    "brackets without it": ("[31mtext]0;", "[31mtext]0;"),
    "none": ("text", "text"),
}


@pytest.mark.parametrize("name", ANSI)
def test_escape_sequences_are_taken_out(name: str) -> None:
    written, left = ANSI[name]
    assert strip_ansi(written) == left


pieces = st.lists(
    st.sampled_from(["\x1b", "[", "]", "P", "\\", "(", "3", ";", "m", "\x07", "\n", "é"])
)


@given(pieces.map("".join) | st.text())
def test_no_escape_character_is_left_and_nothing_else_than_sequences_is_lost(written: str) -> None:
    plain = strip_ansi(written)
    assert "\x1b" not in plain
    assert strip_ansi(plain) == plain
    assert "\x1b" in written or plain == written
    assert written.count("\n") == plain.count("\n") or "\x1bP" in written


# A terminal, written for the reader and not for speed: what `carry_out` is held against


@dataclass
class Terminal:
    """Cells by line and column; one that a wide character reaches into holds ""."""

    lines: list[dict[int, tuple[str, str]]] = field(default_factory=lambda: [{}])
    column: int = 0
    colour: str = ""

    def show(self, tokens: list[str]) -> "Terminal":
        for token in tokens:
            line = self.lines[-1]
            match token:
                case "\n" | "\r\n":
                    self.lines.append({})
                    self.column = 0
                case "\r":
                    self.column = 0
                case "\b":
                    self.column = max(0, self.column - 1)
                case "\x1b[2K":
                    line.clear()
                case "\x1b[K":
                    self.part(self.column)
                    for column in [column for column in line if column >= self.column]:
                        del line[column]
                case _ if token.startswith("\x1b"):
                    self.colour = token if token != "\x1b[0m" else ""
                case _:
                    self.write(token)
        return self

    def write(self, token: str) -> None:
        wide = unicodedata.east_asian_width(token[0]) == "W"
        self.part(self.column)
        self.part(self.column + 1 + wide)
        for text in (token, "")[: 1 + wide]:
            self.lines[-1][self.column] = text, self.colour
            self.column += 1

    def part(self, column: int) -> None:
        """Blank the wide character of which a half is about to go."""
        line = self.lines[-1]
        if line.get(column, " ")[0] == "":
            del line[column], line[column - 1]

    def seen(self) -> list[dict[int, tuple[str, str]]]:
        """All that is not blank; the halves of what is wide go without saying."""
        return [
            {column: cell for column, cell in line.items() if cell[0].strip(" ")}
            for line in self.lines
        ]


tokens = st.lists(
    st.sampled_from(
        [
            *("a", "b", " ", "日", "e\u0301", "\r", "\b"),
            *("\x1b[K", "\x1b[2K", "\x1b[31m", "\x1b[32m", "\x1b[0m"),
        ]
    ),
    max_size=30,
)
# a line without a return is left as it is, erasing included
lines = st.lists(tokens.map(lambda line: ["\r", *line]), max_size=4)


def parts(written: str) -> list[str]:
    """What `carry_out` left, as tokens again."""
    found: list[str] = []
    rest = written
    while rest:
        size = rest.index("m") + 1 if rest[0] == "\x1b" else 1
        size += size == 1 and rest[1:2] == "\u0301"
        found.append(rest[:size])
        rest = rest[size:]
    return found


@given(lines)
def test_what_is_left_looks_on_a_terminal_as_what_was_written(written: list[list[str]]) -> None:
    left = carry_out("\n".join("".join(line) for line in written))
    told = [token for line in written for token in [*line, "\n"]][:-1]
    assert Terminal().show(parts(left)).seen() == Terminal().show(told).seen()


MANY = 100_000

LONG: dict[str, tuple[list[OutputEvent], list[Output]]] = {
    "chunks": ([out("x")] * MANY, [out("x" * MANY)]),
    "chunks with an update after each": ([out("xxxx"), update("1")] * MANY, [out("xxxx" * MANY)]),
    "chunks with empty ones between": ([out("x"), err("")] * MANY, [out("x" * MANY)]),
    "clears": ([out("x"), CLEAR] * MANY, []),
    "clears of a file": ([out("x"), SPILL, CLEAR] * MANY, [spilled("")]),
    "updates of many displays": (
        [*[shown("0", "d")] * 1000, *[update(str(number)) for number in range(MANY)]],
        [shown(str(MANY - 1), "d")] * 1000,
    ),
    "frames": (
        [err("".join(f"\r{number:>80}" for number in range(MANY)))],
        [err(f"{MANY - 1:>80}")],
    ),
    "a long line that goes on between others": (
        [err("y" * MANY), *[out("x\n"), err("\b")] * (MANY // 10)],
        [err("y" * MANY), out("x\n" * (MANY // 10)), err("")],
    ),
    "streams in turn": (
        [out("x\n"), err("y\n")] * (MANY // 2),
        [out("x\n"), err("y\n")] * (MANY // 2),
    ),
    "frames in chunks": (
        [err(f"\r{number:>80}") for number in range(MANY)],
        [err(f"{MANY - 1:>80}")],
    ),
    "frames in colour": (
        [err("".join(f"\r\x1b[32m{number:>80}\x1b[39m" for number in range(MANY)))],
        [err(f"\x1b[39m\x1b[32m{MANY - 1:>80}\x1b[0m\x1b[32m\x1b[39m")],
    ),
    "frames of blocks": ([err(("\r" + "█" * 80) * MANY)], [err("█" * 80)]),
    "frames that erase": ([err("\r\x1b[Kab" * MANY)], [err("ab")]),
    "short frames over a long line": (
        [out("x" * 1_000_000 + "\rab" * MANY)],
        [out("ab" + "x" * 999_998)],
    ),
    "erasing at the end of a long line": (
        [out("x" * 1_000_000 + "\x1b[2Ky" * MANY + "\r")],
        [out(" " * (1_000_000 + MANY - 1) + "y")],
    ),
    "backspaces": ([out("x\b" * MANY)], [out("x")]),
    "marks on one character": ([out("\re" + "\u0301" * MANY)], [out("e" + "\u0301" * MANY)]),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", LONG)
def test_a_hundred_thousand_fold_in_linear_time(name: str) -> None:
    events, outputs = LONG[name]
    # not compared in the assertion: a difference of a megabyte takes for ever to explain
    same = fold(events) == outputs
    assert same


HOSTILE = {
    "escapes": "\x1b" * MANY + "\x01",
    "titles that do not end": "\x1b]x" * MANY,
    "device controls that do not end": "\x1bP" * MANY,
    "one sequence without an end": "\x1b[" + "0" * MANY,
    "colours without an end": "\r" + "".join(f"\x1b[38;5;{number}mx" for number in range(MANY)),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_sequences_are_taken_out_in_linear_time(name: str) -> None:
    plain = strip_ansi(carry_out(HOSTILE[name]))
    assert "\x1b" not in plain


def test_colours_that_add_up_without_end_are_forgotten() -> None:
    rows = carry_out("".join(f"\x1b[38;5;{number}mx" for number in range(1000)) + "\r")
    assert strip_ansi(rows) == "x" * 1000
    assert len(rows) < 300_000


@given(st.lists(st.text(), max_size=20))
def test_chunks_fold_like_their_whole(chunks: list[str]) -> None:
    assert fold([out(chunk) for chunk in chunks]) == fold([out("".join(chunks))])


events = st.lists(
    st.sampled_from(
        [
            *(out("a"), out("b\r"), err("x"), LATE, SPILL, FAILURE, CLEAR, CLEAR_NEXT),
            *(shown("1"), shown("1", "d"), result("1", "d"), update("2"), update("3", "e")),
        ]
    ),
    max_size=20,
)


@given(events)
def test_folding_outputs_again_changes_nothing_more(told: list[OutputEvent]) -> None:
    outputs = fold(told)
    assert fold(outputs) == outputs


@given(events, events)
def test_nothing_outlives_a_clear_but_files(
    before: list[OutputEvent], after: list[OutputEvent]
) -> None:
    plain = [event for event in before if not isinstance(event, Spill)]
    assert fold([*plain, CLEAR, *after]) == fold(after)


@given(tokens.map("".join) | st.text(alphabet="ab\r\n\b"))
def test_carrying_out_twice_changes_nothing_more(written: str) -> None:
    left = carry_out(written)
    assert "\r" not in left
    assert "\b" not in left
    assert carry_out(left) == left


said = st.lists(
    st.tuples(st.sampled_from(["stdout", "stderr"]), st.text(alphabet="ab \n", max_size=6)),
    max_size=30,
)


@given(said)
def test_merging_loses_no_character_of_a_stream_and_keeps_their_order(
    told: list[tuple[str, str]],
) -> None:
    outputs = fold([Stream(name=name, text=written) for name, written in told])
    for stream in ("stdout", "stderr"):
        merged = "".join(
            each.text for each in outputs if isinstance(each, Stream) and each.name == stream
        )
        assert merged == "".join(written for name, written in told if name == stream)


def test_a_bar_that_something_was_printed_below_is_shown_once_where_it_ended() -> None:
    events = [err("\r1/3"), out("a\n"), err("\r    \r"), err("\r2/3"), out("b\n"), err("\r3/3\n")]
    assert fold(events) == [out("a\nb\n"), err("3/3 \n")]


def test_a_line_without_returns_stays_where_it_was() -> None:
    events = [out("a"), err("x\n"), out("\nb")]
    assert fold(events) == events

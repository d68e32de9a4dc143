import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.history.entries import Entry, EntryKind
from kernel_exec.history.schema import decode_event, encode_event
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import (
    Clear,
    DisplayData,
    ErrorOutput,
    ExecuteResult,
    OutputEvent,
    Spill,
    Stream,
    Update,
)

any_text = st.text(st.characters(exclude_categories=()))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(any_text, json_values, max_size=4)
display_ids = st.none() | st.text(min_size=1)
events: st.SearchStrategy[OutputEvent] = st.one_of(
    st.builds(Stream, name=any_text, text=any_text, path=st.none() | any_text, late=st.booleans()),
    st.builds(
        DisplayData, data=objects, metadata=objects, display_id=display_ids, late=st.booleans()
    ),
    st.builds(
        ExecuteResult,
        data=objects,
        metadata=objects,
        execution_count=st.none() | st.integers(0),
        display_id=display_ids,
        late=st.booleans(),
    ),
    st.builds(
        ErrorOutput,
        ename=any_text,
        evalue=any_text,
        traceback=st.lists(any_text).map(tuple),
        late=st.booleans(),
    ),
    st.builds(Spill, name=any_text, path=any_text, late=st.booleans()),
    st.builds(Clear, wait=st.booleans(), late=st.booleans()),
    st.builds(Update, display_id=any_text, data=objects, metadata=objects, late=st.booleans()),
)


@given(events)
def test_an_event_comes_back_from_its_json_as_it_was(event: OutputEvent) -> None:
    kept = json.dumps(encode_event(event))

    assert decode_event(json.loads(kept)) == event


@pytest.mark.parametrize(
    ("event", "body"),
    [
        pytest.param(
            Stream(name="stdout", text="a\n"),
            {"type": "stream", "late": False, "name": "stdout", "text": "a\n", "path": None},
            id="stream",
        ),
        pytest.param(
            ErrorOutput(ename="E", evalue="v", traceback=("1", "2"), late=True),
            {"type": "error", "late": True, "ename": "E", "evalue": "v", "traceback": ["1", "2"]},
            id="late error",
        ),
        pytest.param(
            Clear(wait=True), {"type": "clear_output", "late": False, "wait": True}, id="clear"
        ),
        pytest.param(
            Spill(name="stderr", path="/s"),
            {"type": "spill", "late": False, "name": "stderr", "path": "/s"},
            id="spill",
        ),
        pytest.param(
            Update(display_id="d", data={"text/plain": "x"}, metadata={}),
            {
                "type": "update_display_data",
                "late": False,
                "display_id": "d",
                "data": {"text/plain": "x"},
                "metadata": {},
            },
            id="update",
        ),
        pytest.param(
            DisplayData(data={"text/plain": "x"}, metadata={"m": 1}, display_id="d"),
            {
                "type": "display_data",
                "late": False,
                "data": {"text/plain": "x"},
                "metadata": {"m": 1},
                "display_id": "d",
            },
            id="display",
        ),
        pytest.param(
            ExecuteResult(data={"text/plain": "1"}, metadata={}, execution_count=3),
            {
                "type": "execute_result",
                "late": False,
                "data": {"text/plain": "1"},
                "metadata": {},
                "display_id": None,
                "execution_count": 3,
            },
            id="result",
        ),
    ],
)
def test_the_kept_form_of_an_event_is_pinned(event: OutputEvent, body: JSONObject) -> None:
    assert encode_event(event) == body
    assert decode_event(body) == event


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="empty"),
        pytest.param({"type": "stdin"}, id="unknown type"),
        pytest.param({"type": 5}, id="type that is no text"),
        pytest.param({"type": ["stream"]}, id="type that is a list"),
    ],
)
def test_what_is_no_event_is_refused(body: JSONObject) -> None:
    with pytest.raises(ValueError, match="no output event has type"):
        decode_event(body)


@pytest.mark.parametrize(
    ("body", "event"),
    [
        pytest.param({"type": "stream"}, Stream(name="", text=""), id="stream"),
        pytest.param(
            {"type": "display_data", "data": 3, "metadata": None, "display_id": 1},
            DisplayData(data={}, metadata={}),
            id="display",
        ),
        pytest.param(
            {"type": "execute_result", "execution_count": "1", "late": "yes"},
            ExecuteResult(data={}, metadata={}, execution_count=None),
            id="result",
        ),
        pytest.param(
            {"type": "error", "traceback": "line"},
            ErrorOutput(ename="", evalue="", traceback=()),
            id="error",
        ),
        pytest.param({"type": "clear_output", "wait": 1}, Clear(wait=False), id="clear"),
    ],
)
def test_fields_of_the_wrong_type_are_read_as_absent(body: JSONObject, event: OutputEvent) -> None:
    assert decode_event(body) == event


@pytest.mark.parametrize(
    ("started", "ended", "duration"),
    [(None, None, None), (1.0, None, None), (1.0, 3.5, 2.5), (3.5, 1.0, 0.0)],
)
def test_a_duration_is_known_at_the_end_and_never_negative(
    started: float | None, ended: float | None, duration: float | None
) -> None:
    entry = Entry(
        id="e",
        session_id="s",
        number=1,
        kind=EntryKind.CODE,
        source="",
        outcome=Outcome.OK,
        queued=0.0,
        started=started,
        ended=ended,
    )

    assert entry.duration == duration

"""When an execution is over: tables of what is heard, and properties over all that could be."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.kernels.execution import (
    BEGIN_GRACE,
    IDLE_GRACE,
    REPLY_GRACE,
    Action,
    Began,
    Conversation,
    Death,
    Ended,
    Ending,
    Event,
    Outcome,
    Produced,
    Request,
)
from kernel_exec.kernels.messages import Channel, JSONObject, Message
from kernel_exec.kernels.outputs import DisplayData, ErrorOutput, Stream, Update


def iopub(msg_type: str, content: JSONObject, parent: str = "e") -> Message:
    return Message(
        channel=Channel.IOPUB,
        msg_type=msg_type,
        content=content,
        parent_id=parent,
        metadata={},
        date="2026-01-01T00:00:00+00:00",
    )


def reply(status: str = "ok", parent: str = "e", **content: object) -> Message:
    body = {"status": status, "execution_count": 1, **content}
    return replace(
        iopub("execute_reply", body, parent),  # type: ignore[arg-type] # JSON in tests
        channel=Channel.SHELL,
    )


BUSY = iopub("status", {"execution_state": "busy"})
IDLE = iopub("status", {"execution_state": "idle"})
INPUT = iopub("execute_input", {"code": "", "execution_count": 1})
PRINTED = iopub("stream", {"name": "stdout", "text": "hi\n"})
FAILURE: JSONObject = {"ename": "ValueError", "evalue": "no", "traceback": ["ValueError: no"]}
ERROR = iopub("error", FAILURE)
OK = reply()
FAILED = reply("error", ename="ValueError", evalue="no", traceback=["ValueError: no"])
STOPPED = reply("error", ename="KeyboardInterrupt", evalue="", traceback=[])


def begun(*, limit: float | None = None, heard: bool = True) -> Conversation:
    conversation = Conversation()
    conversation.begin(Request(id="e", source="x", time_limit=limit), 0.0)
    if heard:
        conversation.receive(BUSY, 0.0)
        conversation.receive(INPUT, 0.0)
    return conversation


def hear(conversation: Conversation, *messages: Message, now: float = 1.0) -> list[Event]:
    return [event for message in messages for event in conversation.receive(message, now)]


def ending(events: list[Event]) -> Ending:
    (ended,) = (event for event in events if isinstance(event, Ended))
    return ended.ending


@pytest.mark.parametrize("order", list(itertools.permutations([PRINTED, OK, IDLE])))
def test_it_ends_with_reply_and_idle_in_any_order(order: tuple[Message, ...]) -> None:
    conversation = begun()
    events = hear(conversation, *order)
    assert ending(events).outcome is Outcome.OK
    late = order[-1] is PRINTED
    printed = Stream(name="stdout", text="hi\n", late=late)
    assert Produced(execution_id="e", output=printed) in events
    assert conversation.current is None


@pytest.mark.parametrize("half", [OK, IDLE], ids=["reply", "idle"])
def test_one_half_alone_does_not_end_it(half: Message) -> None:
    conversation = begun()
    assert hear(conversation, half, half) == []
    assert conversation.current == "e"


OUTCOMES = {
    "ok": ([OK], Outcome.OK),
    "exception": ([ERROR, FAILED], Outcome.EXCEPTION),
    "exception only in the reply": ([FAILED], Outcome.EXCEPTION),
    "KeyboardInterrupt of its own": ([STOPPED], Outcome.EXCEPTION),
    "aborted": ([reply("aborted")], Outcome.INTERRUPTED),
    "a reply without sense": ([replace(OK, content={})], Outcome.EXCEPTION),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_the_reply_decides_the_outcome(name: str) -> None:
    messages, outcome = OUTCOMES[name]
    ended = ending(hear(begun(), *messages, IDLE))
    assert ended.outcome is outcome
    assert ended.complete


def test_an_error_that_is_only_in_the_reply_is_an_output_once() -> None:
    expected = ErrorOutput(ename="ValueError", evalue="no", traceback=("ValueError: no",))
    for messages in ([FAILED, IDLE], [ERROR, FAILED, IDLE], [FAILED, ERROR, IDLE]):
        events = hear(begun(), *messages)
        errors = [event.output for event in events if isinstance(event, Produced)]
        assert errors == [expected]
        assert ending(events).error == expected


def test_a_payload_is_shown_and_a_wish_to_exit_is_noted() -> None:
    page = {"source": "page", "data": {"text/plain": "help"}}
    events = hear(begun(), reply(payload=[page, {"source": "ask_exit"}, "nonsense"]), IDLE)
    assert isinstance(events[0], Produced)
    assert isinstance(events[0].output, DisplayData)
    assert ending(events).exit_requested


def test_names_are_new_then_changed_then_gone() -> None:
    conversation = Conversation()
    told: list[JSONObject] = [
        {"names": {"x": "int"}, "gone": []},
        {"names": {"x": "str", "y": "int"}, "gone": []},
        {"names": {}, "gone": ["x"]},
    ]
    changes = []
    for number, names in enumerate(told):
        conversation.begin(Request(id=f"e{number}", source=""), 0.0)
        answer = replace(reply(parent=f"e{number}"), metadata={"kernel_exec": names})
        idle = iopub("status", {"execution_state": "idle"}, f"e{number}")
        changes.append(ending(hear(conversation, answer, idle)).names)
    assert [dict(change.added) for change in changes] == [{"x": "int"}, {"y": "int"}, {}]
    assert [dict(change.changed) for change in changes] == [{}, {"x": "str"}, {}]
    assert [change.gone for change in changes] == [(), (), ("x",)]
    assert dict(conversation.names) == {"y": "int"}


def test_a_reply_without_idle_ends_incomplete_after_silence() -> None:
    conversation = begun()
    hear(conversation, OK, now=1.0)
    assert conversation.deadline == 1.0 + REPLY_GRACE
    hear(conversation, PRINTED, now=2.0)
    assert conversation.due(1.0 + REPLY_GRACE) == ([], [])
    actions, events = conversation.due(2.0 + REPLY_GRACE)
    assert actions == []
    assert not ending(events).complete


def test_an_idle_without_reply_costs_the_kernel() -> None:
    conversation = begun()
    hear(conversation, IDLE, now=1.0)
    assert conversation.deadline == 1.0 + IDLE_GRACE
    assert conversation.due(1.0 + IDLE_GRACE) == ([Action.KILL], [])
    assert conversation.due(1.0 + IDLE_GRACE + 3) == ([Action.ABANDON], [])
    assert ending(conversation.died(Death(reason="gone"))).outcome is Outcome.KERNEL_DIED


def test_messages_that_can_not_be_read_cost_the_kernel() -> None:
    conversation = begun()
    conversation.unreadable(1.0)
    conversation.unreadable(1.5)
    assert conversation.due(1.5) == ([Action.KILL], [])
    Conversation().unreadable(1.0)  # nothing runs: nothing to lose


def test_outcomes_know_whether_they_are_final() -> None:
    open_ones = {outcome for outcome in Outcome if not outcome.ended}
    assert open_ones == {Outcome.QUEUED, Outcome.RUNNING}


def test_what_a_reply_to_something_else_says_is_not_its_end() -> None:
    conversation = begun()
    inspected = replace(OK, msg_type="inspect_reply")
    started = replace(OK, metadata={"started": "2026-01-01T00:00:01+00:00"})
    assert hear(conversation, inspected, IDLE) == []
    ended = ending(hear(conversation, started))
    assert ended.timing["shell.execute_reply.started"] == "2026-01-01T00:00:01+00:00"


def steps(conversation: Conversation) -> list[tuple[float, Action]]:
    """All that is done as time passes, with its time, until nothing is due any more."""
    taken = []
    while (at := conversation.deadline) is not None:
        actions, _ = conversation.due(at)
        taken += [(round(at, 3), action) for action in actions]
    return taken


POLITE = [
    (1.0, Action.INTERRUPT),
    (1.05, Action.NUDGE),
    (3.0, Action.INTERRUPT),
    (3.05, Action.NUDGE),
]


def test_an_interrupt_is_repeated_and_leaves_the_kernel_alone() -> None:
    conversation = begun()
    conversation.interrupt(1.0, force=False)
    conversation.interrupt(1.5, force=False)
    assert steps(conversation) == POLITE
    conversation.interrupt(9.0, force=False)
    assert [action for _, action in steps(conversation)] == [action for _, action in POLITE]


def test_force_ends_in_a_kill() -> None:
    conversation = begun()
    conversation.interrupt(1.0, force=True)
    assert steps(conversation) == [*POLITE, (6.0, Action.KILL), (9.0, Action.ABANDON)]
    ended = ending(conversation.died(Death(signal="SIGKILL")))
    assert ended.outcome is Outcome.INTERRUPTED
    assert ended.death == Death(signal="SIGKILL")


def test_force_after_politeness_begins_again() -> None:
    conversation = begun()
    conversation.interrupt(1.0, force=False)
    conversation.due(1.1)
    conversation.interrupt(2.0, force=True)
    assert (7.0, Action.KILL) in steps(conversation)


def test_politeness_does_not_take_force_back() -> None:
    conversation = begun()
    conversation.interrupt(1.0, force=True)
    conversation.interrupt(1.1, force=False)
    assert Action.KILL in [action for _, action in steps(conversation)]


def test_the_time_limit_dumps_the_stack_interrupts_and_kills() -> None:
    conversation = begun(limit=10)
    assert conversation.deadline == 10.0
    assert [action for _, action in steps(conversation)] == [
        Action.DUMP_STACK,
        Action.INTERRUPT,
        Action.NUDGE,
        Action.INTERRUPT,
        Action.NUDGE,
        Action.KILL,
        Action.ABANDON,
    ]
    conversation.note_stack("where it was")
    ended = ending(conversation.died(Death(signal="SIGKILL")))
    assert (ended.outcome, ended.stack) == (Outcome.TIMEOUT, "where it was")


def test_the_time_limit_strikes_although_an_interrupt_was_tried() -> None:
    conversation = begun(limit=10)
    conversation.interrupt(1.0, force=False)
    assert (10.0, Action.DUMP_STACK) in steps(conversation)


def test_an_interrupt_waits_for_the_kernel_to_begin_but_not_for_ever() -> None:
    conversation = begun(heard=False)
    conversation.interrupt(1.0, force=False)
    assert conversation.deadline == 1.0 + BEGIN_GRACE
    hear(conversation, BUSY, INPUT, now=1.1)
    assert conversation.deadline == 1.1
    late = begun(heard=False)
    late.interrupt(1.0, force=False)
    assert steps(late)[0] == (1.0 + BEGIN_GRACE, Action.INTERRUPT)


STOPS = {
    "interrupted": (False, None, STOPPED, Outcome.INTERRUPTED),
    "stopped at its limit": (None, 1.0, STOPPED, Outcome.TIMEOUT),
    "ended well after all": (False, None, OK, Outcome.OK),
}


@pytest.mark.parametrize("name", STOPS)
def test_the_outcome_tells_why_it_was_stopped(name: str) -> None:
    force, limit, answer, outcome = STOPS[name]
    conversation = begun(limit=limit)
    if force is not None:
        conversation.interrupt(1.0, force=force)
    conversation.due(1.0)
    conversation.due(1.2)
    assert ending(hear(conversation, answer, IDLE, now=1.3)).outcome is outcome


def test_interrupting_nothing_does_nothing() -> None:
    conversation = Conversation()
    conversation.interrupt(1.0, force=True)
    conversation.note_stack("none")
    assert conversation.deadline is None
    assert conversation.due(5.0) == ([], [])
    assert conversation.died(Death()) == []
    assert conversation.recover("stdout", "text") == []


def test_death_keeps_what_had_come() -> None:
    conversation = begun()
    hear(conversation, PRINTED)
    ended = ending(conversation.died(Death(exit_code=3)))
    assert (ended.outcome, ended.complete) == (Outcome.KERNEL_DIED, False)
    assert ended.execution_count == 1


def test_death_after_the_reply_leaves_the_replys_outcome() -> None:
    conversation = begun()
    hear(conversation, OK)
    ended = ending(conversation.died(Death(exit_code=0)))
    assert (ended.outcome, ended.complete, ended.death) == (
        Outcome.OK,
        False,
        Death(exit_code=0),
    )


RECOVERED = {
    "nothing was received": ([], "all of it", "all of it"),
    "a part was received": (["all "], "all of it", "of it"),
    "everything was received": (["all of it"], "all of it", ""),
    "a child's text came in between": (["all CHILD", " of"], "all of it", "all of it"),
    "a child's text came before": (["CHILD", "all of"], "all of it and more", "all of it and more"),
}


@pytest.mark.parametrize("name", RECOVERED)
def test_what_was_written_but_not_sent_is_recovered(name: str) -> None:
    received, written, lost = RECOVERED[name]
    conversation = begun()
    for chunk in received:
        hear(conversation, iopub("stream", {"name": "stdout", "text": chunk}))
    expected = [Produced(execution_id="e", output=Stream(name="stdout", text=lost))]
    assert conversation.recover("stdout", written) == (expected if lost else [])


DEATHS = {
    "a reason": (Death(reason="it was closed", signal="SIGKILL"), "it was closed"),
    "a signal": (Death(signal="SIGSEGV"), "signal SIGSEGV"),
    "an exit code": (Death(exit_code=3), "exit code 3"),
    "nothing known": (Death(), "unknown cause"),
}


@pytest.mark.parametrize("name", DEATHS)
def test_a_death_is_told_in_a_phrase(name: str) -> None:
    death, phrase = DEATHS[name]
    assert str(death) == phrase


def test_late_outputs_belong_to_their_execution_and_are_marked() -> None:
    conversation = begun()
    hear(conversation, OK, IDLE)
    assert (
        hear(conversation, PRINTED, replace(PRINTED, parent_id=""))
        == [Produced(execution_id="e", output=Stream(name="stdout", text="hi\n", late=True))] * 2
    )
    assert hear(conversation, replace(PRINTED, parent_id="stranger"), IDLE, OK) == []


def test_a_display_is_updated_wherever_it_is_shown() -> None:
    conversation = begun()
    shown = {"data": {}, "metadata": {}, "transient": {"display_id": "d"}}
    hear(conversation, iopub("display_data", shown), OK, IDLE)
    conversation.begin(Request(id="f", source=""), 2.0)
    hear(conversation, iopub("display_data", shown, "f"))
    update = iopub("update_display_data", {**shown, "data": {"text/plain": "2"}}, "f")
    events = hear(conversation, update)
    assert [event.execution_id for event in events if isinstance(event, Produced)] == ["e", "f"]
    assert all(isinstance(e, Produced) and isinstance(e.output, Update) for e in events)
    stranger = iopub("update_display_data", {"transient": {"display_id": "?"}}, "f")
    assert hear(conversation, stranger) == []


# Properties: whatever is heard, in whatever order, it ends or waits for what can still come

MESSAGES = [
    BUSY, INPUT, PRINTED, ERROR, IDLE, OK, FAILED, STOPPED, reply("aborted"),
    iopub("clear_output", {"wait": True}), iopub("display_data", {"data": None}),
    iopub("update_display_data", {"transient": {"display_id": "d"}}), iopub("nonsense", {}),
    replace(IDLE, content={"execution_state": 7}), replace(OK, content={"payload": 3}),
    *(replace(each, parent_id=parent) for each in (PRINTED, OK, IDLE) for parent in ("", "other")),
]  # fmt: skip

happenings = st.lists(
    st.one_of(
        st.sampled_from(MESSAGES),
        st.sampled_from(["interrupt", "force", "unreadable", "time"]),
    ),
    max_size=30,
)


def tell(conversation: Conversation, happening: Message | str, now: float) -> list[Event]:
    match happening:
        case Message():
            return conversation.receive(happening, now)
        case "interrupt" | "force":
            conversation.interrupt(now, force=happening == "force")
        case "unreadable":
            conversation.unreadable(now)
        case _:
            return conversation.due(now)[1]
    return []


@given(happenings, st.floats(0.1, 5), st.sampled_from([None, 2.0]))
def test_it_ends_at_most_once_and_only_late_outputs_follow(
    told: list[Message | str], pace: float, limit: float | None
) -> None:
    conversation = begun(limit=limit, heard=False)
    ended = False
    for number, happening in enumerate(told):
        for event in tell(conversation, happening, number * pace):
            if ended:
                assert isinstance(event, Produced)
                assert event.output.late or isinstance(event.output, Update)
            assert not isinstance(event, Began) or not ended
            ended = ended or isinstance(event, Ended)
        assert (conversation.current is None) == ended


@given(happenings, st.floats(0.1, 5))
def test_with_a_time_limit_it_always_ends_as_time_passes(
    told: list[Message | str], pace: float
) -> None:
    conversation = begun(limit=5.0, heard=False)
    now = 0.0
    for happening in told:
        now += pace
        if happening != "time":
            tell(conversation, happening, now)
    taken: list[Action] = []
    for _ in range(30):
        if (at := conversation.deadline) is None:
            break
        now = max(now, at)
        actions, _ = conversation.due(now)
        assert conversation.due(now)[0] == []  # nothing is done twice
        after = conversation.deadline
        assert after is None or after > now
        taken += actions
    assert conversation.current is None or Action.ABANDON in taken
    conversation.died(Death(reason="abandoned"))
    assert conversation.current is None

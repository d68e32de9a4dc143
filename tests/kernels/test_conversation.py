"""When an execution is over: tables of what is heard, and properties over all that could be."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.jsons import JSON, JSONObject
from kernel_exec.kernels.conversation import (
    BEGIN_GRACE,
    IDLE_GRACE,
    REPLY_GRACE,
    REPLY_PATIENCE,
    Conversation,
)
from kernel_exec.kernels.messages import UNREADABLE, Channel, Message
from kernel_exec.kernels.outcomes import (
    Began,
    Death,
    Ended,
    Ending,
    Event,
    Outcome,
    Produced,
    Request,
)
from kernel_exec.kernels.outputs import (
    Clear,
    DisplayData,
    ErrorOutput,
    OutputEvent,
    Spill,
    Stream,
    Update,
)
from kernel_exec.kernels.stopping import Action


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


def idle(parent: str) -> Message:
    return iopub("status", {"execution_state": "idle"}, parent)


def display(msg_type: str, value: str = "1", parent: str = "e", display_id: str = "d") -> Message:
    content: JSONObject = {
        "data": {"text/plain": value},
        "metadata": {},
        "transient": {"display_id": display_id},
    }
    return iopub(msg_type, content, parent)


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
    conversation = Conversation(PurePath("/"))
    conversation.begin(Request(id="e", source="x", time_limit=limit), 0.0)
    if heard:
        conversation.receive(BUSY, 0.0)
        conversation.receive(INPUT, 0.0)
    return conversation


def hear(conversation: Conversation, *messages: Message, now: float = 1.0) -> list[Event]:
    return [event for message in messages for event in conversation.receive(message, now)]


def produced(events: list[Event]) -> list[tuple[str, OutputEvent]]:
    return [(event.execution_id, event.output) for event in events if isinstance(event, Produced)]


def ending(events: list[Event]) -> Ending:
    (ended,) = (event for event in events if isinstance(event, Ended))
    return ended.ending


ALL = {"busy": BUSY, "input": INPUT, "printed": PRINTED, "reply": OK, "idle": IDLE}
ORDERS = list(itertools.permutations(ALL))


@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
def test_it_ends_with_reply_and_idle_in_any_order(order: tuple[str, ...]) -> None:
    conversation = begun(heard=False)
    heard = [conversation.receive(ALL[name], 1.0) for name in order]
    end = max(order.index("reply"), order.index("idle"))
    ended = ending(heard[end])
    assert (ended.outcome, ended.complete, ended.execution_count) == (Outcome.OK, True, 1)
    printed = Stream(name="stdout", text="hi\n", late=order.index("printed") > end)
    assert produced(heard[order.index("printed")]) == [("e", printed)]
    began = [Began(execution_id="e", execution_count=1)]
    assert heard[order.index("input")] == (began if order.index("input") < end else [])
    assert sum(map(len, heard)) == 2 + (order.index("input") < end)
    assert conversation.current is None


@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
def test_what_is_heard_twice_counts_once(order: tuple[str, ...]) -> None:
    conversation, twice = begun(heard=False), begun(heard=False)
    once = hear(conversation, *(ALL[name] for name in order))
    events = hear(twice, *(ALL[name] for name in order for _ in range(2)))
    for kind in (Began, Ended):
        assert [e for e in events if isinstance(e, kind)] == [
            e for e in once if isinstance(e, kind)
        ]


# What is lost, what is done when, whether it has ended then, and how
LOST: dict[str, tuple[str, list[tuple[float, Action]], Outcome | None]] = {
    "nothing": ("", [], Outcome.OK),
    "busy": ("busy", [], Outcome.OK),
    "the input": ("input", [], Outcome.OK),
    "an output": ("printed", [], Outcome.OK),
    "the idle": ("idle", [], Outcome.OK),
    "the reply": (
        "reply",
        [(1.0 + IDLE_GRACE, Action.KILL), (4.0 + IDLE_GRACE, Action.ABANDON)],
        None,
    ),
    "both": ("reply idle", [], None),
    "all": ("busy input printed reply idle", [], None),
}


@pytest.mark.parametrize("name", LOST)
def test_a_message_that_is_lost_does_not_hold_it(name: str) -> None:
    lost, done, outcome = LOST[name]
    conversation = begun(heard=False)
    events = hear(conversation, *(ALL[each] for each in ALL if each not in lost.split()))
    taken = []
    while (at := conversation.deadline) is not None:
        actions, more = conversation.due(at)
        taken += [(at, action) for action in actions]
        events += more
    assert taken == done
    assert (conversation.current is None) == (outcome is not None)
    if outcome is None:
        events += conversation.died(Death(reason="it did not end"))
    assert ending(events).outcome is (outcome or Outcome.KERNEL_DIED)
    assert ending(events).complete == (name not in {"the idle", "the reply", "both", "all"})


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
    "aborted, with an error of its own": ([ERROR, reply("aborted")], Outcome.INTERRUPTED),
    "a status nobody knows": ([reply("abandoned")], Outcome.EXCEPTION),
    "a reply without sense": ([replace(OK, content={})], Outcome.EXCEPTION),
    "the first reply, when there are two": ([OK, FAILED], Outcome.OK),
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


PAGE: JSONObject = {"source": "page", "data": {"text/plain": "help"}}

# What a reply says beside its status, how many pages are shown, and whether it asks to exit
REPLIES: dict[str, tuple[JSONObject, int, bool]] = {
    "nothing": ({}, 0, False),
    "a page": ({"payload": [PAGE]}, 1, False),
    "two pages": ({"payload": [PAGE, PAGE]}, 2, False),
    "exit": ({"payload": [{"source": "ask_exit"}]}, 0, True),
    "exit as ipykernel says it": (
        {"payload": [{"source": "ask_exit", "keepkernel": None}]},
        0,
        True,
    ),
    "exit of the frontend alone": (
        {"payload": [{"source": "ask_exit", "keepkernel": True}]},
        0,
        False,
    ),
    "exit, then a page": ({"payload": [{"source": "ask_exit"}, PAGE]}, 1, True),
    "nonsense among payloads": ({"payload": [None, 3, "page", [], PAGE, {}]}, 1, False),
    "payloads that are none": ({"payload": {"source": "page"}}, 0, False),
    "payloads in a text": ({"payload": "page"}, 0, False),
    "payload null": ({"payload": None}, 0, False),
    "a count that is text": ({"execution_count": "1"}, 0, False),
    "a count below zero": ({"execution_count": -1}, 0, False),
    "a count that is true": ({"execution_count": True}, 0, False),
}


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_may_carry_pages_a_wish_to_exit_and_nonsense(name: str) -> None:
    said, pages, exits = REPLIES[name]
    events = hear(begun(), replace(OK, content={**OK.content, **said}), IDLE)
    shown = DisplayData(data={"text/plain": "help"}, metadata={})
    assert produced(events) == [("e", shown)] * pages
    ended = ending(events)
    assert ended.exit_requested is exits
    assert (ended.outcome, ended.execution_count) == (Outcome.OK, 1)
    assert not isinstance(ended.execution_count, bool)


TOLD: dict[str, JSONObject] = {
    "nothing": {},
    "null": {"kernel_exec": None},
    "text": {"kernel_exec": "names"},
    "a list of names": {"kernel_exec": {"names": ["x"], "gone": "x"}},
    "null for both": {"kernel_exec": {"names": None, "gone": None}},
}


@pytest.mark.parametrize("name", TOLD)
def test_a_kernel_that_tells_no_names_changes_none(name: str) -> None:
    conversation = begun()
    ended = ending(hear(conversation, replace(OK, metadata=TOLD[name]), IDLE))
    assert (dict(ended.names.added), dict(ended.names.changed), ended.names.gone) == ({}, {}, ())
    assert dict(conversation.names) == {}


def test_types_and_names_that_are_no_text_are_told_as_text() -> None:
    told: JSONObject = {"kernel_exec": {"names": {"x": None, "y": 1}, "gone": [2, None]}}
    ended = ending(hear(begun(), replace(OK, metadata=told), IDLE))
    assert dict(ended.names.added) == {"x": "None", "y": "1"}
    assert ended.names.gone == ("2", "None")


BROKEN_ERRORS: dict[str, JSONObject] = {
    "nothing": {},
    "null": {"ename": None, "evalue": None, "traceback": None},
    "wrong types": {"ename": 3, "evalue": ["no"], "traceback": "text"},
    "a traceback of wrong types": {"traceback": [None, 3, {}]},
}


@pytest.mark.parametrize("name", BROKEN_ERRORS)
def test_an_error_without_sense_is_still_an_exception(name: str) -> None:
    nothing = ErrorOutput(ename="", evalue="", traceback=())
    failed = replace(FAILED, content={"status": "error", **BROKEN_ERRORS[name]})
    events = hear(begun(), failed, IDLE)
    assert produced(events) == [("e", nothing)]
    assert (ending(events).outcome, ending(events).error) == (Outcome.EXCEPTION, nothing)


def test_names_are_new_then_changed_then_gone() -> None:
    conversation = Conversation(PurePath("/"))
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


def test_a_thread_that_is_never_silent_can_not_hold_an_execution_that_has_its_reply() -> None:
    conversation = begun()
    hear(conversation, OK, now=1.0)
    for second in range(2, int(REPLY_PATIENCE) + 1):
        assert conversation.due(float(second)) == ([], [])
        hear(conversation, PRINTED, now=float(second))
    assert conversation.deadline == 1.0 + REPLY_PATIENCE
    actions, events = conversation.due(1.0 + REPLY_PATIENCE)
    assert actions == []
    assert (ending(events).outcome, ending(events).complete) == (Outcome.OK, False)


def test_a_thread_that_is_never_silent_can_not_hold_an_execution_without_reply() -> None:
    conversation = begun()
    hear(conversation, IDLE, now=1.0)
    hear(conversation, PRINTED, IDLE, now=5.0)
    assert conversation.deadline == 1.0 + IDLE_GRACE
    assert conversation.due(1.0 + IDLE_GRACE) == ([Action.KILL], [])


NOTHING_LEFT_TO_STOP: dict[str, Callable[[Conversation], None]] = {
    "an interrupt": lambda conversation: conversation.interrupt(1.5, force=False),
    "force": lambda conversation: conversation.interrupt(1.5, force=True),
    "what can't be read": lambda conversation: conversation.give_up(1.5),
    "the time limit": lambda conversation: None,
}


@pytest.mark.parametrize("name", NOTHING_LEFT_TO_STOP)
@pytest.mark.parametrize("answer", [OK, FAILED], ids=["ok", "error"])
def test_after_the_reply_there_is_nothing_left_to_stop(name: str, answer: Message) -> None:
    for heard_idle in (True, False):
        conversation = begun(limit=1.6)
        events = hear(conversation, answer, now=1.0)
        NOTHING_LEFT_TO_STOP[name](conversation)
        assert conversation.deadline == 1.0 + REPLY_GRACE
        assert conversation.due(2.9) == ([], [])
        if heard_idle:
            events += hear(conversation, IDLE, now=2.9)
        else:
            events += conversation.due(3.0)[1]
        assert ending(events).outcome is (Outcome.OK if answer is OK else Outcome.EXCEPTION)


def test_steps_under_way_end_with_the_reply() -> None:
    conversation = begun()
    conversation.interrupt(1.0, force=True)
    assert conversation.due(1.0) == ([Action.INTERRUPT], [])
    hear(conversation, STOPPED, now=1.02)
    assert conversation.deadline == 1.02 + REPLY_GRACE
    assert conversation.due(2.0) == ([], [])
    assert ending(hear(conversation, IDLE, now=2.0)).outcome is Outcome.INTERRUPTED


def test_an_idle_without_reply_costs_the_kernel() -> None:
    conversation = begun()
    hear(conversation, IDLE, now=1.0)
    assert conversation.deadline == 1.0 + IDLE_GRACE
    assert conversation.due(1.0 + IDLE_GRACE) == ([Action.KILL], [])
    assert conversation.due(1.0 + IDLE_GRACE + 3) == ([Action.ABANDON], [])
    assert ending(conversation.died(Death(reason="gone"))).outcome is Outcome.KERNEL_DIED


def test_messages_that_can_not_be_read_cost_the_kernel() -> None:
    conversation = begun()
    conversation.give_up(1.0)
    conversation.give_up(1.5)
    assert conversation.due(1.5) == ([Action.KILL], [])
    Conversation(PurePath("/")).give_up(1.0)  # nothing runs: nothing to lose


def test_a_death_that_was_decided_here_has_its_reason_and_no_other_has() -> None:
    killed, asked = Death(signal="SIGKILL"), Death(reason="it was restarted on request")
    for given_up, due, death, reason in (
        (False, False, killed, ""),
        (True, False, killed, ""),  # nobody has been told to kill it yet
        (True, True, killed, "its key was changed"),
        (True, True, asked, asked.reason),
    ):
        conversation = begun()
        if given_up:
            conversation.give_up(1.0, "its key was changed")
        if due:
            conversation.due(1.0)
        assert ending(conversation.died(death)).death == replace(death, reason=reason)


def test_an_idle_without_reply_does_not_kill_what_is_being_killed() -> None:
    conversation = begun()
    conversation.interrupt(1.0, force=True)
    hear(conversation, IDLE, now=1.5)
    assert steps(conversation) == [*POLITE, (6.0, Action.KILL), (9.0, Action.ABANDON)]
    assert ending(conversation.died(Death())).outcome is Outcome.INTERRUPTED


def test_an_idle_without_reply_costs_the_kernel_although_a_limit_would_come_later() -> None:
    conversation = begun(limit=100)
    conversation.interrupt(1.0, force=False)
    hear(conversation, IDLE, now=2.0)
    assert steps(conversation) == [*POLITE, (7.0, Action.KILL), (10.0, Action.ABANDON)]
    assert ending(conversation.died(Death())).outcome is Outcome.KERNEL_DIED


def test_what_can_not_be_read_after_a_kill_changes_nothing_more() -> None:
    conversation = begun()
    conversation.interrupt(1.0, force=True)
    conversation.due(6.0)
    conversation.give_up(6.1)
    assert conversation.due(6.2) == ([], [])
    assert ending(conversation.died(Death())).outcome is Outcome.INTERRUPTED


def test_what_can_not_be_read_comes_before_an_interrupt_under_way() -> None:
    conversation = begun()
    conversation.interrupt(1.0, force=False)
    conversation.due(1.0)
    conversation.give_up(1.5)
    conversation.interrupt(1.6, force=True)
    assert steps(conversation) == [(1.5, Action.KILL), (4.5, Action.ABANDON)]
    assert ending(conversation.died(Death())).outcome is Outcome.KERNEL_DIED


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
    assert ended.death == Death(signal="SIGKILL", reason="it could not be interrupted")


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


LIMIT = [
    (10.0, Action.DUMP_STACK),
    (10.05, Action.INTERRUPT),
    (10.1, Action.NUDGE),
    (12.05, Action.INTERRUPT),
    (12.1, Action.NUDGE),
    (15.05, Action.KILL),
    (18.05, Action.ABANDON),
]


def test_the_time_limit_dumps_the_stack_interrupts_and_kills() -> None:
    conversation = begun(limit=10)
    assert conversation.deadline == 10.0
    assert conversation.due(9.999) == ([], [])
    assert steps(conversation) == LIMIT
    assert ending(conversation.died(Death(signal="SIGKILL"))).outcome is Outcome.TIMEOUT


# When it is interrupted and whether by force, and what is done then, with a time limit at 10
INTERRUPTED_BEFORE: dict[str, tuple[list[tuple[float, bool]], list[tuple[float, Action]]]] = {
    "long before": ([(1.0, False)], [*POLITE, *LIMIT]),
    "twice": (
        [(1.0, False), (4.0, False)],
        [*POLITE, *((at + 3, action) for at, action in POLITE), *LIMIT],
    ),
    "just before": ([(9.0, False)], [(9.0, Action.INTERRUPT), (9.05, Action.NUDGE), *LIMIT]),
    "at the very time": ([(10.0, False)], LIMIT),
    "just after": ([(10.2, False)], LIMIT),
    "just after, by force": ([(10.2, True)], LIMIT),
    "by force": (
        [(9.0, True)],
        [
            *((at + 8, action) for at, action in POLITE),
            (14.0, Action.KILL),
            (17.0, Action.ABANDON),
        ],
    ),
}


@pytest.mark.parametrize("name", INTERRUPTED_BEFORE)
def test_the_time_limit_strikes_although_an_interrupt_was_tried(name: str) -> None:
    interrupts, expected = INTERRUPTED_BEFORE[name]
    conversation = begun(limit=10)
    taken = []
    for at, force in [*interrupts, (100.0, False)]:
        while (deadline := conversation.deadline) is not None and deadline < at:
            taken += [(round(deadline, 3), action) for action in conversation.due(deadline)[0]]
        if at < 100:
            conversation.interrupt(at, force=force)
    assert taken == [(round(at, 3), action) for at, action in expected]


def test_a_time_limit_of_nothing_strikes_at_once() -> None:
    conversation = begun(limit=0, heard=False)
    assert conversation.deadline == 0.0
    assert conversation.due(0.0) == ([Action.DUMP_STACK], [])


def test_steps_that_were_missed_are_made_up_for_in_order() -> None:
    conversation = begun(limit=10)
    actions, events = conversation.due(1000.0)
    assert (actions, events) == ([Action.DUMP_STACK], [])
    assert conversation.due(2000.0)[0] == [action for _, action in LIMIT[1:]]
    assert conversation.deadline is None


def test_an_interrupt_waits_for_the_kernel_to_begin_but_not_for_ever() -> None:
    conversation = begun(heard=False)
    conversation.interrupt(1.0, force=False)
    assert conversation.deadline == 1.0 + BEGIN_GRACE
    hear(conversation, BUSY, INPUT, now=1.1)
    assert conversation.deadline == 1.1
    late = begun(heard=False)
    late.interrupt(1.0, force=False)
    assert steps(late)[0] == (1.0 + BEGIN_GRACE, Action.INTERRUPT)


# What is done before the answer comes: force or not, or the time when `due` is asked
STOPS: dict[str, tuple[list[tuple[float, str]], Message, Outcome]] = {
    "nothing": ([], STOPPED, Outcome.EXCEPTION),
    "an interrupt": ([(1.0, "polite"), (1.0, "due")], STOPPED, Outcome.INTERRUPTED),
    "an interrupt, and another error": (
        [(1.0, "polite"), (1.0, "due")],
        FAILED,
        Outcome.EXCEPTION,
    ),
    "an interrupt, and an error that came of it": (
        [(1.0, "polite"), (1.0, "due")],
        replace(FAILED, metadata={"kernel_exec": {"interrupted": True}}),
        Outcome.INTERRUPTED,
    ),
    "an interrupt, and it ended well": ([(1.0, "polite"), (1.0, "due")], OK, Outcome.OK),
    "an interrupt, and it was aborted": (
        [(1.0, "polite"), (1.0, "due")],
        reply("aborted"),
        Outcome.INTERRUPTED,
    ),
    "an interrupt that was not sent yet": ([(1.0, "polite")], FAILED, Outcome.EXCEPTION),
    "force": ([(1.0, "force"), (1.0, "due")], STOPPED, Outcome.INTERRUPTED),
    "an interrupt, then force": (
        [(1.0, "polite"), (1.0, "due"), (1.5, "force")],
        STOPPED,
        Outcome.INTERRUPTED,
    ),
    "its limit": ([(10.0, "due"), (10.05, "due")], STOPPED, Outcome.TIMEOUT),
    "its limit, and it was aborted": (
        [(10.0, "due"), (10.05, "due")],
        reply("aborted"),
        Outcome.TIMEOUT,
    ),
    "its limit, and it ended well": ([(10.0, "due"), (10.05, "due")], OK, Outcome.OK),
    "its limit, of which it knows nothing yet": ([(10.0, "due")], FAILED, Outcome.EXCEPTION),
    "an interrupt just before its limit": (
        [(9.99, "polite"), (9.99, "due"), (10.0, "due")],
        STOPPED,
        Outcome.INTERRUPTED,
    ),
    "its limit, after an interrupt that did nothing": (
        [(5.0, "polite"), (5.0, "due"), (10.0, "due"), (10.05, "due")],
        STOPPED,
        Outcome.TIMEOUT,
    ),
    "an interrupt after its limit": (
        [(10.0, "due"), (10.05, "due"), (10.1, "force")],
        STOPPED,
        Outcome.TIMEOUT,
    ),
}


@pytest.mark.parametrize("name", STOPS)
def test_the_outcome_tells_what_stopped_it(name: str) -> None:
    done, answer, outcome = STOPS[name]
    conversation = begun(limit=10)
    for at, what in done:
        if what == "due":
            conversation.due(at)
        else:
            conversation.interrupt(at, force=what == "force")
    assert ending(hear(conversation, answer, IDLE, now=11.0)).outcome is outcome


UNREAD: dict[str, tuple[list[Message], Outcome]] = {
    "no error was heard": ([], Outcome.OK),
    "an error was heard": ([ERROR], Outcome.EXCEPTION),
}


@pytest.mark.parametrize("name", UNREAD)
def test_a_reply_that_can_not_be_read_ends_it_as_the_outputs_tell(name: str) -> None:
    before, outcome = UNREAD[name]
    conversation = begun()
    hear(conversation, *before)
    assert ending(hear(conversation, reply(UNREADABLE), IDLE)).outcome is outcome


def test_only_the_latest_executions_have_late_outputs() -> None:
    conversation = Conversation(PurePath("/"))
    for number in range(1001):
        conversation.begin(Request(id=f"e{number}", source=""), 0.0)
        hear(conversation, reply(parent=f"e{number}"), idle(f"e{number}"))
    late = replace(PRINTED, parent_id="e1")
    assert [owner for owner, _ in produced(hear(conversation, late))] == ["e1"]
    assert hear(conversation, replace(PRINTED, parent_id="e0")) == []


def test_only_the_latest_displays_can_be_updated() -> None:
    conversation = begun()
    for number in range(10_001):
        hear(conversation, display("display_data", display_id=f"d{number}"))
    assert hear(conversation, display("update_display_data", display_id="d0")) == []
    assert len(hear(conversation, display("update_display_data", display_id="d1"))) == 1


def test_an_update_goes_to_the_latest_executions_that_show_the_display() -> None:
    conversation = Conversation(PurePath("/"))
    for number in range(101):
        conversation.begin(Request(id=f"e{number}", source=""), 0.0)
        shown = display("display_data", parent=f"e{number}")
        hear(conversation, shown, reply(parent=f"e{number}"), idle(f"e{number}"))
    updated = [owner for owner, _ in produced(hear(conversation, display("update_display_data")))]
    assert updated == [f"e{number}" for number in range(1, 101)]


@pytest.mark.parametrize("exits", [True, False])
def test_a_kernel_that_is_about_to_end_says_so(exits: bool) -> None:
    conversation = begun()
    told = replace(OK, metadata={"kernel_exec": {"exits": exits}})
    assert ending(hear(conversation, told, IDLE)).exit_requested is exits


# The same, when there is no answer but death
KILLS: dict[str, tuple[list[tuple[float, str]], Outcome]] = {
    "nothing": ([], Outcome.KERNEL_DIED),
    "an interrupt": ([(1.0, "polite"), (1.0, "due")], Outcome.KERNEL_DIED),
    "force, before the kill": ([(1.0, "force"), (5.9, "due")], Outcome.KERNEL_DIED),
    "force": ([(1.0, "force"), (6.0, "due")], Outcome.INTERRUPTED),
    "force, and it was abandoned": ([(1.0, "force"), (9.0, "due")], Outcome.INTERRUPTED),
    "the limit, before the kill": ([(10.0, "due"), (15.0, "due")], Outcome.KERNEL_DIED),
    "the limit": ([(10.0, "due"), (15.05, "due")], Outcome.TIMEOUT),
    "the limit, and it was abandoned": ([(10.0, "due"), (18.05, "due")], Outcome.TIMEOUT),
    "what can't be read": ([(1.0, "unreadable"), (1.0, "due")], Outcome.KERNEL_DIED),
    "what can't be read, after the kill": (
        [(1.0, "force"), (6.0, "due"), (6.1, "unreadable"), (6.1, "due")],
        Outcome.INTERRUPTED,
    ),
}


@pytest.mark.parametrize("name", KILLS)
def test_the_outcome_tells_what_killed_it(name: str) -> None:
    done, outcome = KILLS[name]
    conversation = begun(limit=10)
    hear(conversation, PRINTED)
    for at, what in done:
        match what:
            case "due":
                conversation.due(at)
            case "unreadable":
                conversation.give_up(at)
            case _:
                conversation.interrupt(at, force=what == "force")
    death = Death(signal="SIGKILL", reason="it was told so")
    ended = ending(conversation.died(death))
    assert (ended.outcome, ended.complete, ended.death) == (outcome, False, death)
    assert ended.execution_count == 1
    assert (conversation.current, conversation.deadline) == (None, None)
    assert conversation.died(death) == []


def test_interrupting_nothing_does_nothing() -> None:
    conversation = Conversation(PurePath("/"))
    conversation.interrupt(1.0, force=True)
    assert conversation.deadline is None
    assert conversation.due(5.0) == ([], [])
    assert conversation.died(Death()) == []
    assert conversation.died(Death(), [(1, Stream(name="stdout", text="text"))]) == []


def test_death_keeps_what_had_come() -> None:
    conversation = begun()
    hear(conversation, PRINTED, ERROR)
    ended = ending(conversation.died(Death(exit_code=3)))
    assert (ended.outcome, ended.complete) == (Outcome.KERNEL_DIED, False)
    assert ended.execution_count == 1
    assert ended.error == ErrorOutput(
        ename="ValueError", evalue="no", traceback=("ValueError: no",)
    )


def test_death_before_it_has_begun_ends_it() -> None:
    ended = ending(begun(heard=False).died(Death(exit_code=3)))
    assert (ended.outcome, ended.execution_count) == (Outcome.KERNEL_DIED, None)


@pytest.mark.parametrize("name", OUTCOMES)
def test_death_after_the_reply_leaves_the_replys_outcome(name: str) -> None:
    messages, outcome = OUTCOMES[name]
    conversation = begun()
    events = hear(conversation, *messages)
    events += conversation.died(Death(exit_code=0))
    ended = ending(events)
    assert (ended.outcome, ended.complete, ended.death) == (outcome, False, Death(exit_code=0))
    errors = [output for _, output in produced(events)]
    assert errors == ([ended.error] if ended.error is not None else [])


def test_death_after_the_end_changes_nothing() -> None:
    conversation = begun()
    hear(conversation, OK, IDLE)
    assert conversation.died(Death(exit_code=0)) == []


@pytest.mark.parametrize("name", ["ended", "died"])
def test_after_the_end_another_may_begin(name: str) -> None:
    conversation = begun(limit=5)
    conversation.interrupt(1.0, force=True)
    conversation.due(1.0)
    if name == "ended":
        hear(conversation, STOPPED, IDLE)
    else:
        conversation.died(Death())
    asked = conversation.begin(Request(id="f", source="1", file_path="/f.py"), 20.0)
    assert (asked.msg_id, asked.content["code"], conversation.current) == ("f", "1", "f")
    assert conversation.deadline is None
    assert hear(conversation, OK, IDLE, STOPPED) == []  # of the first, once more
    ended = ending(hear(conversation, reply(parent="f"), idle("f")))
    assert (ended.outcome, ended.execution_count) == (Outcome.OK, 1)


def test_two_at_a_time_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(AssertionError, match="one execution at a time"):
        begun().begin(Request(id="f", source=""), 1.0)


def test_the_times_of_the_protocol_are_kept() -> None:
    told = [
        replace(message, date=date)
        for message, date in zip([BUSY, INPUT, PRINTED, OK, IDLE], "abcde", strict=True)
    ]
    assert dict(ending(hear(begun(heard=False), *told)).timing) == {
        "iopub.status.busy": "a",
        "iopub.execute_input": "b",
        "shell.execute_reply": "d",
        "iopub.status.idle": "e",
    }


RECOVERED: dict[str, tuple[list[int | None], list[str]]] = {
    "nothing was received": ([], ["a", "b", "c"]),
    "a part was received": ([1], ["b", "c"]),
    "two of them came in one message": ([2], ["c"]),
    "everything was received": ([1, 3], []),
    "a child's text, which has no number, came in between": ([1, None], ["b", "c"]),
}


@pytest.mark.parametrize("name", RECOVERED)
def test_what_was_written_but_not_sent_is_recovered_in_its_order(name: str) -> None:
    received, lost = RECOVERED[name]
    written = [
        (1, Stream(name="stdout", text="a")),
        (2, Stream(name="stderr", text="b")),
        (3, Stream(name="stdout", text="c")),
    ]
    conversation = begun()
    for number in received:
        hear(conversation, iopub("stream", {"name": "stdout", "text": "x", "upto": number}))
    expected = [
        Produced(execution_id="e", output=output) for _, output in written if output.text in lost
    ]
    assert conversation.died(Death(), written)[:-1] == expected


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


LATE_ONES: dict[str, tuple[Message, OutputEvent | None]] = {
    "text": (PRINTED, Stream(name="stdout", text="hi\n", late=True)),
    "text without a parent": (
        replace(PRINTED, parent_id=""),
        Stream(name="stdout", text="hi\n", late=True),
    ),
    "text of a stranger": (replace(PRINTED, parent_id="stranger"), None),
    "text on another channel": (replace(PRINTED, channel=Channel.SHELL), None),
    "an error": (
        ERROR,
        ErrorOutput(ename="ValueError", evalue="no", traceback=("ValueError: no",), late=True),
    ),
    "a clear": (iopub("clear_output", {"wait": True}), Clear(wait=True, late=True)),
    "a display": (
        display("display_data"),
        DisplayData(data={"text/plain": "1"}, metadata={}, display_id="d", late=True),
    ),
    "a spill": (
        iopub(
            "display_data",
            {"data": {"application/vnd.kernel-exec.spill+json": {"name": "stdout", "path": "/f"}}},
        ),
        Spill(name="stdout", path="/f", late=True),
    ),
    "an update of nothing": (display("update_display_data"), None),
    "idle": (IDLE, None),
    "input": (INPUT, None),
    "a reply": (OK, None),
}


@pytest.mark.parametrize("name", LATE_ONES)
@pytest.mark.parametrize("running", [False, True], ids=["nothing runs", "another runs"])
def test_late_outputs_belong_to_their_execution_and_are_marked(name: str, running: bool) -> None:
    message, output = LATE_ONES[name]
    conversation = begun()
    hear(conversation, OK, IDLE)
    if running:
        conversation.begin(Request(id="f", source=""), 2.0)
    events = hear(conversation, message)
    if running and not message.parent_id:
        assert output is not None
        assert events == [Produced(execution_id="f", output=replace(output, late=False))]
    else:
        assert events == ([Produced(execution_id="e", output=output)] if output else [])


def test_what_comes_before_any_execution_belongs_to_none() -> None:
    assert (
        hear(Conversation(PurePath("/")), replace(PRINTED, parent_id=""), PRINTED, OK, IDLE) == []
    )


def test_late_outputs_find_their_execution_among_many() -> None:
    conversation = Conversation(PurePath("/"))
    for name in "abc":
        conversation.begin(Request(id=name, source=""), 0.0)
        hear(conversation, reply(parent=name), idle(name))
    events = hear(conversation, *(replace(PRINTED, parent_id=name) for name in "bca"))
    assert [execution_id for execution_id, _ in produced(events)] == ["b", "c", "a"]


def updated(late: bool) -> Update:
    return Update(display_id="d", data={"text/plain": "2"}, metadata={}, late=late)


@pytest.mark.parametrize("kind", ["display_data", "execute_result"])
@pytest.mark.parametrize("sender", ["e", "f", "", "stranger"])
def test_a_display_is_updated_wherever_it_is_shown_by_whoever(kind: str, sender: str) -> None:
    conversation = begun()
    hear(conversation, display(kind), display(kind), OK, IDLE)
    conversation.begin(Request(id="f", source=""), 2.0)
    hear(conversation, display(kind, parent="f"))
    events = hear(conversation, display("update_display_data", "2", sender))
    assert produced(events) == [("e", updated(late=True)), ("f", updated(late=False))]
    hear(conversation, reply(parent="f"), idle("f"))
    events = hear(conversation, display("update_display_data", "2", sender))
    assert produced(events) == [("e", updated(late=True)), ("f", updated(late=True))]


def test_an_update_of_a_display_nobody_shows_is_nothing() -> None:
    conversation = begun()
    hear(conversation, display("display_data"), iopub("display_data", {"data": {}}))
    assert hear(conversation, display("update_display_data", display_id="other")) == []
    assert hear(conversation, iopub("update_display_data", {"data": {}})) == []


def test_a_display_that_came_late_can_be_updated() -> None:
    conversation = begun()
    hear(conversation, OK, IDLE, display("display_data"))
    events = hear(conversation, display("update_display_data", "2"))
    assert produced(events) == [("e", updated(late=True))]


# Properties: whatever is heard, in whatever order, it ends or waits for what can still come

values: st.SearchStrategy[JSON] = st.recursive(
    st.sampled_from([None, True, -1, 1, 1.5, "", "x", "error", "ok", "idle", "page", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["source", "data", "display_id", "names"]), inner)
    ),
    max_leaves=4,
)
KEYS = [
    *("status", "execution_state", "execution_count", "payload", "traceback", "ename", "wait"),
    *("name", "text", "data", "metadata", "transient", "kernel_exec", "gone", "started"),
]
contents = st.dictionaries(st.sampled_from(KEYS), values, max_size=4)

malformed = st.builds(
    Message,
    channel=st.sampled_from(Channel),
    msg_type=st.sampled_from(
        [
            *("status", "execute_input", "execute_reply", "stream", "display_data", "error", ""),
            *("update_display_data", "execute_result", "clear_output", "comm_msg", "\0"),
        ]
    ),
    content=contents,
    metadata=contents,
    parent_id=st.sampled_from(["e", "e", "e", "", "e0", "stranger"]),
    date=st.sampled_from(["", "2026-01-01T00:00:00Z", "nonsense"]),
)

WELL_FORMED = [
    BUSY, INPUT, PRINTED, ERROR, IDLE, OK, FAILED, STOPPED, reply("aborted"),
    iopub("clear_output", {"wait": True}), display("display_data"),
    display("update_display_data"), display("update_display_data", parent="stranger"),
    replace(OK, content={"payload": 3}), replace(IDLE, content={"execution_state": 7}),
    *(replace(each, parent_id=parent) for each in (PRINTED, OK, IDLE) for parent in ("", "other")),
]  # fmt: skip

happenings = st.lists(
    st.one_of(
        st.sampled_from(WELL_FORMED),
        malformed,
        st.sampled_from(["interrupt", "force", "unreadable", "time", "time"]),
    ),
    max_size=30,
)
limits = st.sampled_from([None, 0.0, 2.0, 5.0])
paces = st.sampled_from([0.0, 0.01, 0.05, 0.3, 1.0, 2.5])


def tell(conversation: Conversation, happening: Message | str, now: float) -> list[Event]:
    match happening:
        case Message():
            return conversation.receive(happening, now)
        case "interrupt" | "force":
            conversation.interrupt(now, force=happening == "force")
        case "unreadable":
            conversation.give_up(now)
        case _:
            return pass_time(conversation, now)[1]
    return []


def pass_time(conversation: Conversation, now: float) -> tuple[list[Action], list[Event]]:
    """What is due; nothing is due twice, and what is due next lies ahead."""
    said = conversation.due(now)
    assert conversation.due(now) == ([], [])
    after = conversation.deadline
    assert after is None or after > now
    return said


def let_go(conversation: Conversation, now: float) -> tuple[list[Action], list[Event]]:
    """Let time pass until nothing is due any more, in a bounded number of steps."""
    actions: list[Action] = []
    events: list[Event] = []
    for _ in range(20):
        if (at := conversation.deadline) is None:
            return actions, events
        assert at > now or (actions, events) == ([], [])
        now = max(now, at)
        more = pass_time(conversation, now)
        assert more != ([], [])  # nobody is woken for nothing
        actions += more[0]
        events += more[1]
    raise AssertionError(f"it goes on for ever: {actions}")


def begun_second(limit: float | None) -> Conversation:
    """One execution has ended, which shows the display `d`; another has begun."""
    conversation = Conversation(PurePath("/"))
    conversation.begin(Request(id="e0", source=""), 0.0)
    shown = display("display_data", parent="e0")
    hear(conversation, shown, reply(parent="e0"), idle("e0"), now=0.0)
    conversation.begin(Request(id="e", source="x", time_limit=limit), 0.0)
    return conversation


@given(happenings, paces, limits)
def test_it_ends_at_most_once_and_only_late_outputs_follow(
    told: list[Message | str], pace: float, limit: float | None
) -> None:
    conversation, now = begun_second(limit), 0.0
    ended = False
    for happening in told:
        now += pace
        for event in tell(conversation, happening, now):
            if isinstance(event, Produced):
                over = ended or event.execution_id == "e0"
                assert event.output.late == over
            else:
                assert event.execution_id == "e"
                assert not ended
            ended = ended or isinstance(event, Ended)
        assert (conversation.current is None) == ended


@given(happenings, paces, limits)
def test_it_begins_at_most_once_and_shows_its_error_at_the_end_at_most_once(
    told: list[Message | str], pace: float, limit: float | None
) -> None:
    conversation, now = begun_second(limit), 0.0
    events: list[Event] = []
    for happening in told:
        now += pace
        events += tell(conversation, happening, now)
    events += let_go(conversation, now)[1]
    assert sum(isinstance(event, Began) for event in events) <= 1
    for event in events:
        if isinstance(event, Ended) and event.ending.error is not None:
            assert event.ending.error in [output for _, output in produced(events)]


@given(happenings, paces, limits)
def test_time_ends_it_or_it_waits_for_what_can_still_come(
    told: list[Message | str], pace: float, limit: float | None
) -> None:
    conversation, now = begun_second(limit), 0.0
    actions: list[Action] = []
    for happening in told:
        now += pace
        if happening == "time":
            actions += pass_time(conversation, now)[0]
        else:
            tell(conversation, happening, now)
    actions += let_go(conversation, now)[0]
    if conversation.current is None:
        return
    assert limit is None or Action.ABANDON in actions
    assert (Action.ABANDON in actions) == (Action.KILL in actions)
    if Action.ABANDON in actions:
        assert ending(conversation.died(Death(reason="it did not end"))).complete is False
    else:
        assert any(isinstance(event, Ended) for event in hear(conversation, OK, IDLE, now=now))
    assert conversation.current is None


@given(happenings, paces, limits)
def test_at_most_one_kill_and_one_dump_are_asked_for(
    told: list[Message | str], pace: float, limit: float | None
) -> None:
    conversation = begun(limit=limit, heard=False)
    now = 0.0
    actions: list[Action] = []
    for happening in told:
        now += pace
        if happening == "time":
            actions += pass_time(conversation, now)[0]
        else:
            tell(conversation, happening, now)
    actions += let_go(conversation, now)[0]
    for once in (Action.KILL, Action.DUMP_STACK, Action.ABANDON):
        assert actions.count(once) <= 1
    if Action.KILL in actions:  # then there is nothing else left to try
        assert actions[actions.index(Action.KILL) + 1 :] in ([], [Action.ABANDON])


@given(happenings, paces, limits)
def test_death_ends_whatever_was_going_on(
    told: list[Message | str], pace: float, limit: float | None
) -> None:
    conversation = begun(limit=limit, heard=False)
    ends = 0
    for number, happening in enumerate(told):
        events = tell(conversation, happening, number * pace)
        ends += sum(isinstance(event, Ended) for event in events)
    events = conversation.died(Death(signal="SIGKILL"))
    ends += sum(isinstance(event, Ended) for event in events)
    assert ends == 1
    assert (conversation.current, conversation.deadline) == (None, None)
    assert conversation.due(1000.0) == ([], [])

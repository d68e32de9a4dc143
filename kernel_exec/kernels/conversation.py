"""When an execution is over, and what belongs to it. Pure: no clock, no socket, no task.

Theory of operation. A `Conversation` is all that is said and heard on one kernel process. It is
told what happens (`begin`, `receive`, `interrupt`, `give_up`, `died`, and `due` when time has
passed), each with the time in seconds on a clock that only moves forward, and answers with
**events** for whoever keeps the history and **actions** for whoever holds the process. At most
one execution is current; its id is also the `msg_id` of its request, so every answer names it.

What ends an execution:

- its reply on shell *and* the `idle` status for it on iopub, in either order;
- death of the process. Outputs received so far stay; a reply that had come decides the outcome;
- one half of the pair alone: a reply without `idle` ends `REPLY_GRACE` seconds after the last
  message for it, but at most `REPLY_PATIENCE` after the reply, marked incomplete; an `idle` without
  a reply means after `IDLE_GRACE` that the kernel no longer answers, and costs the kernel.

What stops one that does not end: an interrupt or its time limit starts a list of steps (SIGINT, a
request that wakes the event loop, both again; by force also a kill). An execution is never
abandoned while a step may still help, and always ended when the last step has passed. Once the
reply has come nothing is left to stop: no further step is taken.

What may arrive late: outputs of threads, tasks and child processes after the end. They carry the
id of the execution that caused them, are kept with it and marked late. A display update belongs
to every execution that shows that display, whoever sent it.

Rule for editors: no other file decides that an execution has ended, or how.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import TypeVar

from kernel_exec.jsons import JSONObject, count, items, mapping, text

from .messages import UNREADABLE, Channel, Message, Outgoing, execute_request
from .outcomes import Began, Death, Ended, Ending, Event, NameChanges, Outcome, Produced, Request
from .outputs import (
    DisplayData,
    ErrorOutput,
    ExecuteResult,
    OutputEvent,
    Update,
    parse,
    parse_error,
    parse_payload,
)
from .stopping import FORCED, IN_VAIN, POLITE, TIME_LIMIT, UNANSWERING, Action, Stop

REPLY_GRACE = 2.0
"""Seconds of silence after a reply without `idle`: far more than a local socket ever needs."""

REPLY_PATIENCE = 60.0
"""Seconds after a reply without `idle`, at most; a thread that never falls silent can't hold it."""

BEGIN_GRACE = 0.3
"""Seconds to wait with an interrupt until the kernel says that it has begun: it can't say so when
C code took the interpreter at once."""

IDLE_GRACE = 5.0
"""Seconds to wait for the reply after `idle`: the kernel sends the reply first."""

_ENDED = 1000
"""Executions whose late outputs are still theirs; the kernel remembers as many."""

_DISPLAYS = 10_000
"""Displays that can be updated later, the latest that were shown."""

_SHOWN_IN = 100
"""Executions that show one display, the latest, to which its updates go."""

_INTERRUPTS = {"KeyboardInterrupt", "CancelledError"}
"""What an interrupt raises, in a cell and in one that awaits."""


@dataclass(slots=True, kw_only=True)
class _Current:
    """The execution under way."""

    request: Request
    limit_at: float | None
    heard_at: float
    reply: JSONObject | None = None
    replied_at: float = 0.0
    idle_at: float | None = None
    error: ErrorOutput | None = None
    begun: bool = False
    execution_count: int | None = None
    stop: Stop | None = None
    signalled: Outcome | None = None  # of the stop that sent a SIGINT; another may have followed
    exit_requested: bool = False
    interrupted: bool = False
    names: NameChanges = field(default_factory=NameChanges)
    moved_to: str = ""
    help: str = ""
    timing: dict[str, str] = field(default_factory=dict)
    heard_upto: int = 0  # the number of the last text that has come

    @property
    def given_up_at(self) -> float | None:
        """When half of the pair of reply and `idle` has been alone for too long."""
        if self.reply is not None:
            return min(self.heard_at + REPLY_GRACE, self.replied_at + REPLY_PATIENCE)
        if self.idle_at is not None and not (self.stop is not None and self.stop.has_killed):
            return self.idle_at + IDLE_GRACE
        return None


class Conversation:
    """All that is said and heard on one kernel process; see the module's docstring."""

    def __init__(self, spill_dir: PurePath | None = None) -> None:
        """Begin with nothing said. The kernel writes what is too long to files in `spill_dir`.

        `names` are the user's names and their descriptions, as the last replies have them.
        """
        self.names: dict[str, str] = {}
        self.spill_dir = spill_dir
        self._current: _Current | None = None
        self._ended: dict[str, None] = {}
        self._latest: str | None = None
        self._displays: dict[str, dict[str, None]] = {}

    @property
    def current(self) -> str | None:
        """The id of the execution under way."""
        return self._current.request.id if self._current else None

    def begin(self, request: Request, now: float) -> Outgoing:
        """Make `request` current; send what this returns. One at a time."""
        assert self._current is None, "one execution at a time"
        limit = None if request.time_limit is None else now + request.time_limit
        self._current = _Current(request=request, limit_at=limit, heard_at=now)
        self._latest = request.id
        return execute_request(
            msg_id=request.id,
            source=request.source,
            file_path=request.file_path,
            arguments=request.arguments,
            spill_dir=self.spill_dir,
        )

    def receive(self, message: Message, now: float) -> list[Event]:
        """Take in one message from any channel."""
        current = self._current
        if current is None or message.parent_id != current.request.id:
            return self._overhear(message)
        current.heard_at = now
        if message.channel is Channel.IOPUB:
            events = self._hear(current, message, now)
        elif message.msg_type == "execute_reply" and current.reply is None:
            current.replied_at = now
            events = self._take_reply(current, message)
        else:
            events = []
        if current.reply is not None and current.idle_at is not None:
            events += self._end_replied(current, current.reply)
        return events

    def interrupt(self, now: float, *, force: bool) -> None:
        """Start to stop the current execution, if there is one; `force` ends in a kill."""
        current = self._current
        if current is None:
            return
        stop = current.stop
        if stop is None or (stop.steps is POLITE and (force or stop.next_at is None)):
            # a SIGINT that comes before its execution is lost, or worse, meets another one
            since = now if current.begun else now + BEGIN_GRACE
            steps = FORCED if force else POLITE
            current.stop = Stop(
                outcome=Outcome.INTERRUPTED, since=since, steps=steps, reason=IN_VAIN
            )

    @property
    def deadline(self) -> float | None:
        """When `due` has something to say, unless something else happens before."""
        current = self._current
        if current is None:
            return None
        times = [current.given_up_at]
        if current.reply is None and current.stop is not None:
            times.append(current.stop.next_at)
        if current.reply is None and (current.stop is None or current.stop.steps is POLITE):
            times.append(current.limit_at)
        return min((at for at in times if at is not None), default=None)

    def due(self, now: float) -> tuple[list[Action], list[Event]]:
        """What to do, and what has happened, because it is now `now`."""
        current = self._current
        if current is None:
            return [], []
        given_up = current.given_up_at is not None and now >= current.given_up_at
        if current.reply is not None:
            ended = self._end_replied(current, current.reply, complete=False) if given_up else []
            return [], ended
        limited = current.limit_at is not None and now >= current.limit_at
        if given_up:
            self.give_up(now)
        elif limited and (current.stop is None or current.stop.steps is POLITE):
            current.stop = Stop(
                outcome=Outcome.TIMEOUT, since=now, steps=TIME_LIMIT, reason=IN_VAIN
            )
        if current.stop is None:
            return [], []
        actions = current.stop.due(now)
        if Action.INTERRUPT in actions:
            current.signalled = current.stop.outcome
        return actions, []

    def give_up(self, now: float, reason: str = "it no longer answers") -> None:
        """The kernel can't answer any more, or not so that it can be read.

        Its current execution is lost, unless the reply has come: then only outputs may be.
        """
        current = self._current
        if current is not None and not (current.stop is not None and current.stop.has_killed):
            current.stop = Stop(
                outcome=Outcome.KERNEL_DIED, since=now, steps=UNANSWERING, reason=reason
            )

    def died(self, death: Death, written: Iterable[tuple[int, OutputEvent]] = ()) -> list[Event]:
        """The process is gone, and all that it had sent was received.

        `written` is what the current execution put out last, numbered, read where it outlives the
        kernel; what was never sent of it becomes output.
        """
        current = self._current
        if current is None:
            return []
        lost = [output for number, output in written if number > current.heard_upto]
        events = [event for each in lost for event in self._produce(current.request.id, each)]
        stop = current.stop if current.stop is not None and current.stop.has_killed else None
        if stop is not None and not death.reason:
            death = replace(death, reason=stop.reason)
        if current.reply is not None:
            return events + self._end_replied(current, current.reply, complete=False, death=death)
        ending = Ending(
            outcome=Outcome.KERNEL_DIED if stop is None else stop.outcome,
            execution_count=current.execution_count,
            error=current.error,
            complete=False,
            death=death,
            timing=current.timing,
        )
        return events + self._end(current, ending)

    def _hear(self, current: _Current, message: Message, now: float) -> list[Event]:
        if message.msg_type == "status":
            state = text(message.content, "execution_state")
            if state in {"busy", "idle"}:
                current.timing[f"iopub.status.{state}"] = message.date
            if state == "idle" and current.idle_at is None:
                current.idle_at = now
            return []
        if message.msg_type == "execute_input":
            if current.begun:
                return []
            current.timing["iopub.execute_input"] = message.date
            current.execution_count = count(message.content, "execution_count")
            current.begun = True
            if current.stop is not None:
                current.stop.since = min(current.stop.since, now)
            return [Began(execution_id=current.request.id, execution_count=current.execution_count)]
        output = parse(message, self.spill_dir)
        if isinstance(output, ErrorOutput):
            current.error = output
        current.heard_upto = max(current.heard_upto, count(message.content, "upto") or 0)
        return self._produce(current.request.id, output)

    def _take_reply(self, current: _Current, message: Message) -> list[Event]:
        current.reply = message.content
        fields = mapping(message.metadata, "kernel_exec")
        current.names = _note_names(self.names, fields)
        current.moved_to = text(fields, "working_directory")
        current.help = text(fields, "help")
        current.interrupted = fields.get("interrupted") is True
        current.exit_requested = fields.get("exits") is True
        current.timing["shell.execute_reply"] = message.date
        if started := text(message.metadata, "started"):
            current.timing["shell.execute_reply.started"] = started
        events: list[Event] = []
        for payload in items(message.content, "payload"):
            if not isinstance(payload, Mapping):
                continue
            exits = payload.get("source") == "ask_exit" and payload.get("keepkernel") is not True
            current.exit_requested |= exits
            events += self._produce(current.request.id, parse_payload(payload, self.spill_dir))
        return events

    def _overhear(self, message: Message) -> list[Event]:
        """A message that answers no current request: late output, or nothing of ours."""
        output = parse(message, self.spill_dir) if message.channel is Channel.IOPUB else None
        owner = message.parent_id if message.parent_id in self._ended else None
        if owner is None and not message.parent_id:
            owner = self._latest  # a thread that started before any request
        if isinstance(output, Update):
            return self._produce("", output)
        if output is None or owner is None:
            return []
        return self._produce(owner, replace(output, late=owner != self.current))

    def _produce(self, execution_id: str, output: OutputEvent | None) -> list[Event]:
        if output is None:
            return []
        if isinstance(output, Update):  # it is for all that show its display, whoever sent it
            return [
                Produced(execution_id=owner, output=replace(output, late=owner != self.current))
                for owner in self._displays.get(output.display_id, ())
            ]
        if isinstance(output, (DisplayData, ExecuteResult)) and output.display_id is not None:
            owners = self._displays.pop(output.display_id, {})
            owners.pop(execution_id, None)
            _remember(owners, execution_id, None, most=_SHOWN_IN)
            _remember(self._displays, output.display_id, owners, most=_DISPLAYS)
        return [Produced(execution_id=execution_id, output=output)]

    def _end_replied(
        self,
        current: _Current,
        reply: JSONObject,
        *,
        complete: bool = True,
        death: Death | None = None,
    ) -> list[Event]:
        """End as the reply says; an error that never came on iopub is taken from it, too."""
        events: list[Event] = []
        if text(reply, "status") == "error" and current.error is None:
            current.error = parse_error(reply, self.spill_dir)
            events += self._produce(current.request.id, current.error)
        ending = replace(_replied(current, reply), complete=complete, death=death)
        return events + self._end(current, ending)

    def _end(self, current: _Current, ending: Ending) -> list[Event]:
        self._current = None
        _remember(self._ended, current.request.id, None, most=_ENDED)
        return [Ended(execution_id=current.request.id, ending=ending)]


def _is_interrupt(current: _Current, reply: JSONObject) -> bool:
    """True when the error came of an interrupt; code may survive one, and fail by itself later."""
    names = {text(reply, "ename"), current.error.ename if current.error is not None else ""}
    return current.interrupted or bool(names & _INTERRUPTS)


def _note_names(known: dict[str, str], fields: JSONObject) -> NameChanges:
    """Take into `known` what our kernel tells in its replies; other kernels tell nothing."""
    described = {name: str(what) for name, what in mapping(fields, "names").items()}
    changed = {name: what for name, what in described.items() if name in known}
    gone = tuple(map(str, items(fields, "gone")))
    known.update(described)
    for name in gone:
        known.pop(name, None)
    added = {name: what for name, what in described.items() if name not in changed}
    return NameChanges(
        added=added, changed=changed, gone=gone, unknown=fields.get("unknown") is True
    )


_Value = TypeVar("_Value")


def _remember(latest: dict[str, _Value], key: str, value: _Value, *, most: int) -> None:
    """Add to `latest`, from which the oldest is dropped when there are more than `most`."""
    latest[key] = value
    if len(latest) > most:
        del latest[next(iter(latest))]


def _replied(current: _Current, reply: JSONObject) -> Ending:
    """The ending that a reply decides."""
    status = text(reply, "status")
    number = count(reply, "execution_count")
    failed = status != "ok" and not (status == UNREADABLE and current.error is None)
    outcome = Outcome.EXCEPTION if failed else Outcome.OK
    if status == "aborted":
        outcome = current.signalled or Outcome.INTERRUPTED
    elif failed and current.signalled is not None and _is_interrupt(current, reply):
        outcome = current.signalled
    return Ending(
        outcome=outcome,
        execution_count=number if number is not None else current.execution_count,
        error=current.error,
        exit_requested=current.exit_requested,
        names=current.names,
        moved_to=current.moved_to,
        help=current.help,
        timing=current.timing,
    )

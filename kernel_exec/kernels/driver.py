"""Runs a `Conversation` on the event loop: its clock, its timer, and who waits for what.

Every kernel that is driven through Jupyter's messages has a `Driver`; what differs between kernels
is the `Process`. What comes is passed to `receive`, and goes through the conversation to the
listener.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Protocol

import anyio

from kernel_exec.errors import BusyError, KernelDeadError
from kernel_exec.jsons import JSON, JSONObject, count, items, mapping, text

from .answers import Answers
from .conversation import Conversation
from .kernel import KernelInfo, Listener, Variable, Variables
from .messages import Message, Outgoing, question_request
from .outcomes import Death, Ended, Ending, Event, Produced, Request
from .outputs import OutputEvent, Stream, separate
from .stopping import Action

logger = logging.getLogger(__name__)

_FORGED = 2
"""Messages in a row, without the right signature, after which nothing right is expected: an
execution ends with two, its reply and `idle`."""

_MOST_EARLY = 1000
"""Events that are kept of a kernel that is nobody's yet: what imports at its start have printed."""

_ANSWER_LIMIT = 5.0
"""Seconds to wait for an answer: C code may hold the interpreter."""

_CONTINUED = "[kernel-exec] a signal had stopped the kernel; it was made to go on\n"


class Process(Protocol):
    """Who holds a kernel's process; asked by its driver. Nothing here waits."""

    def send(self, outgoing: Outgoing) -> None:
        """Send a request to the kernel."""

    def interrupt(self) -> None:
        """Send SIGINT to the kernel and to all that it has started, or what comes near it."""

    def kill(self) -> None:
        """End the kernel and all that it has started; `Driver.finish` is called for it."""

    def dump_stack(self) -> int:
        """Ask for the main thread's stack; `stack` finds it by the number that this returns."""

    def stack(self, start: int) -> str:
        """The stack that was asked for; "" while it is not written."""


class Driver:
    """Feeds one kernel's conversation and carries out what it decides."""

    def __init__(self, *, process: Process) -> None:
        """Drive `process`, which is nobody's yet; see `assign`."""
        self.death: Death | None = None
        self.end_reason = ""
        self.conversation = Conversation()
        self.answers = Answers(process.send)
        self._early: deque[Event] = deque(maxlen=_MOST_EARLY)
        self._listener: Listener = self._early.append
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._forged = 0
        self._stack_from: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ending: asyncio.Future[Ending] = self._loop.create_future()
        self._dead = anyio.Event()

    def assign(self, listener: Listener, spill_dir: PurePath) -> None:
        """Pass every event on to `listener`. Files in `spill_dir` only are the kernel's own."""
        self.conversation.spill_dir = spill_dir
        self._listener = listener
        for event in self._early:
            listener(event)

    def require_alive(self) -> None:
        """Raise `KernelDeadError` when the process is gone."""
        if self.death is not None:
            raise KernelDeadError(f"the kernel is gone: {self.death}")

    def begin(self, request: Request) -> asyncio.Future[Ending]:
        """Have `request` run; its ending. See `Kernel.execute`."""
        self.require_alive()
        self._ending = self._loop.create_future()
        self._stack_from = None
        self._process.send(self.conversation.begin(request, self._loop.time()))
        self._set_timer()
        return self._ending

    def interrupt(self, *, force: bool) -> None:
        self.conversation.interrupt(self._loop.time(), force=force)
        self._on_time()

    def kill(self, reason: str) -> None:
        self.end_reason = reason
        self._process.kill()

    def receive(self, messages: Iterable[Message | None]) -> None:
        """Take in what the kernel sent; None stands for a message with a wrong signature."""
        now = self._loop.time()
        for message in messages:
            self._forged = self._forged + 1 if message is None else 0
            if message is not None:
                for each in separate(message):
                    if self.answers.take(each):
                        continue
                    try:
                        self._tell(self.conversation.receive(each, now))
                    except Exception:  # the rest of the messages still count
                        logger.exception("a message (%s) was left out", each.msg_type[:100])
            elif self._forged == _FORGED:
                self.conversation.give_up(now, "what it sends is no longer signed with its key")
        self._on_time()  # not only the timer's: a flood of messages would put it off for ever

    def give_up(self, reason: str) -> None:
        """The kernel can't answer any more: end it."""
        self.conversation.give_up(self._loop.time(), reason)
        self._on_time()

    def note_continued(self) -> None:
        """Say in the execution under way, if there is one, that a signal had held the kernel."""
        if (current := self.conversation.current) is not None:
            note = Stream(name="stderr", text=_CONTINUED)
            self._listener(Produced(execution_id=current, output=note))

    def finish(
        self,
        death: Death,
        execution_id: str | None = None,
        written: Iterable[tuple[int, OutputEvent]] = (),
    ) -> None:
        """The process is gone and nothing more will come; say so to all who wait.

        `written` is what `execution_id` put out last, numbered, read where it outlives the kernel.
        """
        if self.death is not None:
            return
        death = replace(death, reason=self.end_reason or death.reason)
        if execution_id != self.conversation.current:
            written = ()
        events = self.conversation.died(death, written)
        explained = [event.ending.death for event in events if isinstance(event, Ended)]
        self.death = next(iter(explained), None) or death
        self._tell(events)
        self._set_timer()
        self.answers.end(f"the kernel is gone: {self.death}")
        self._dead.set()

    async def wait_death(self) -> Death:
        """Wait until the process is gone."""
        await self._dead.wait()
        assert self.death is not None
        return self.death

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            if not isinstance(event, Ended):
                self._listener(event)
                continue
            # a stack is written by now, or never: no Python runs between the signal and the dump
            stack = "" if self._stack_from is None else self._process.stack(self._stack_from)
            ending = replace(event.ending, stack=stack)
            self._listener(replace(event, ending=ending))
            if not self._ending.done():  # who waited for it may have left
                self._ending.set_result(ending)

    def _act(self, action: Action) -> None:
        match action:
            case Action.DUMP_STACK:
                self._stack_from = self._process.dump_stack()
            case Action.INTERRUPT:
                self._process.interrupt()
            case Action.NUDGE:
                self.answers.nudge()
            case Action.KILL:
                self._process.kill()
            case Action.ABANDON:
                self.finish(Death(reason="it did not end after SIGKILL"))

    def _set_timer(self) -> None:
        deadline = None if self.death is not None else self.conversation.deadline
        if self._timer is not None:
            at = self._timer.when()
            if at == deadline and at > self._loop.time():
                return  # almost always, as a message moves no deadline
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._on_time)

    def _on_time(self) -> None:
        actions, events = self.conversation.due(self._loop.time())
        for action in actions:
            self._act(action)
        self._tell(events)
        self._set_timer()


class DrivenKernel:
    """All of an `UnassignedKernel` but its usage, whatever the process is that its driver has.

    What it is asked is answered by `inside/questions.py`.
    """

    def __init__(self, driver: Driver, info: KernelInfo) -> None:
        self.info = info
        self._driver = driver

    def assign(self, listener: Listener, spill_dir: PurePath) -> None:
        self._driver.assign(listener, spill_dir)

    @property
    def death(self) -> Death | None:
        return self._driver.death

    @property
    def names(self) -> Mapping[str, str]:
        return self._driver.conversation.names

    async def execute(self, request: Request) -> Ending:
        return await self._driver.begin(request)

    def interrupt(self, *, force: bool) -> None:
        self._driver.interrupt(force=force)

    def kill(self, reason: str) -> None:
        self._driver.kill(reason)

    async def wait_death(self) -> Death:
        return await self._driver.wait_death()

    async def variables(self, pattern: str) -> Variables:
        answer = mapping(await self._ask("variables", pattern), "answer")
        described = items(answer, "variables")
        found = [_variable(each) for each in described if isinstance(each, Mapping)]
        total = count(answer, "total")
        return Variables(found=found, total=len(found) if total is None else total)

    async def refresh_imports(self, modules: Collection[str]) -> Sequence[str]:
        reply = await self._ask("refresh", list(modules))
        return [name for name in items(reply, "answer") if isinstance(name, str)]

    async def versions(self, modules: Collection[str]) -> Mapping[str, str]:
        known = mapping(await self._ask("versions", list(modules)), "answer")
        return {name: version for name, version in known.items() if isinstance(version, str)}

    async def _ask(self, question: str, *arguments: JSON) -> JSONObject:
        """The reply, which has the `answer`."""
        asked = question_request(question, *arguments)
        reply = (await self._driver.answers.ask(asked, limit=_ANSWER_LIMIT)).content
        if text(reply, "status") != "ok":
            why = f"{text(reply, 'ename')}: {text(reply, 'evalue')}"
            raise BusyError(f"the kernel could not answer: {why}")
        return reply


def _variable(described: JSONObject) -> Variable:
    has_shape = isinstance(described.get("shape"), (list, tuple))
    shape = [each if isinstance(each, int) else None for each in items(described, "shape")]
    return Variable(
        name=text(described, "name"),
        type=text(described, "type"),
        shape=shape if has_shape else None,
        length=count(described, "length"),
        size=count(described, "size"),
        preview=text(described, "preview"),
        note=text(described, "note"),
    )

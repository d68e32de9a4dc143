"""Runs a `Conversation` on the event loop: its clock, its timer, and who waits for what.

Every kernel drives its conversation through this; what differs between kernels is the `Process`.
What comes is passed to `receive`, and goes through the conversation to the listener.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Protocol

import anyio

from kernel_exec.errors import BusyError, KernelDeadError
from kernel_exec.jsons import JSONObject

from .conversation import Conversation
from .kernel import Listener
from .messages import Channel, Message, Outgoing, new_request
from .outcomes import Death, Ended, Ending, Event, Produced, Request
from .outputs import OutputEvent, Stream, separate
from .stopping import Action

logger = logging.getLogger(__name__)

_FORGED = 2
"""Messages in a row, without the right signature, after which nothing right is expected: an
execution ends with two, its reply and `idle`."""

_PROBE_INTERVAL = 0.1
"""Seconds between `kernel_info` requests while nothing has come on iopub (JEP 65)."""

_CONTINUED = "[kernel-exec] a signal had stopped the kernel; it was made to go on\n"


class Process(Protocol):
    """Who holds a kernel's process; asked by its driver. Nothing here waits."""

    def send(self, outgoing: Outgoing) -> None:
        """Send a request to the kernel."""
        ...

    def interrupt(self) -> None:
        """Send SIGINT to the kernel and to all that it has started, or what comes near it."""
        ...

    def kill(self) -> None:
        """End the kernel and all that it has started; `Driver.finish` is called for it."""
        ...

    def dump_stack(self) -> int:
        """Ask for the main thread's stack; `stack` finds it by the number that this returns."""
        ...

    def stack(self, start: int) -> str:
        """The stack that was asked for; "" while it is not written."""
        ...


@dataclass(slots=True)
class _Answer:
    """The reply that somebody waits for; none when the kernel died first."""

    given: anyio.Event = field(default_factory=anyio.Event)
    message: Message | None = None


class Driver:
    """Feeds one kernel's conversation and carries out what it decides."""

    def __init__(self, *, listener: Listener, process: Process, spill_dir: PurePath) -> None:
        """Pass every event on to `listener`. Files in `spill_dir` only are the kernel's own."""
        self.death: Death | None = None
        self.end_reason = ""
        self._listener = listener
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._conversation = Conversation(spill_dir)
        self._answers: dict[str, _Answer] = {}
        self._forged = 0
        self._stack_from: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ending: Ending | None = None
        self._ended = anyio.Event()
        self._heard_iopub = anyio.Event()
        self._dead = anyio.Event()

    @property
    def current(self) -> str | None:
        """The id of the execution under way."""
        return self._conversation.current

    @property
    def names(self) -> Mapping[str, str]:
        """The user's names and their descriptions."""
        return self._conversation.names

    def require_alive(self) -> None:
        """Raise `KernelDeadError` when the process is gone."""
        if self.death is not None:
            raise KernelDeadError(f"the kernel is gone: {self.death}")

    async def execute(self, request: Request) -> Ending:
        """See `Kernel.execute`."""
        self.require_alive()
        self._ended = anyio.Event()
        self._stack_from = None
        self._process.send(self._conversation.begin(request, self._loop.time()))
        self._set_timer()
        await self._ended.wait()
        assert self._ending is not None
        return self._ending

    async def greet(self, *, limit: float) -> JSONObject:
        """Wait until a kernel that was started answers and is heard; what it says of itself.

        Raises:
            KernelDeadError: It ended instead.
            BusyError: It did not answer in time.
        """
        reply = await self.ask(new_request(Channel.SHELL, "kernel_info_request"), limit=limit)
        while not self._heard_iopub.is_set() and self.death is None:
            self._nudge()
            with anyio.move_on_after(_PROBE_INTERVAL):
                await self._heard_iopub.wait()
        return reply.content

    async def ask(self, outgoing: Outgoing, *, limit: float) -> Message:
        """Send a request beside any execution; its reply, within `limit` seconds.

        Raises:
            KernelDeadError: The kernel is gone, or goes before it answers.
            BusyError: It did not answer in time.
        """
        self.require_alive()
        answer = self._answers[outgoing.msg_id] = _Answer()
        try:
            self._process.send(outgoing)
            with anyio.fail_after(limit):
                await answer.given.wait()
        except TimeoutError as error:
            raise BusyError(
                f"the kernel did not answer within {limit:.0f} seconds:"
                " code that holds the interpreter is running"
            ) from error
        finally:
            del self._answers[outgoing.msg_id]
        if answer.message is None:
            raise KernelDeadError(f"the kernel is gone: {self.death}")
        return answer.message

    def interrupt(self, *, force: bool) -> None:
        """See `Kernel.interrupt`."""
        self._conversation.interrupt(self._loop.time(), force=force)
        self._on_time()

    def kill(self, reason: str) -> None:
        """See `Kernel.kill`."""
        self.end_reason = reason
        self._process.kill()

    def receive(self, messages: Iterable[Message | None]) -> None:
        """Take in what the kernel sent; None stands for a message with a wrong signature."""
        now = self._loop.time()
        for message in messages:
            self._forged = self._forged + 1 if message is None else 0
            if message is not None:
                if message.channel is Channel.IOPUB:
                    self._heard_iopub.set()
                for each in separate(message):
                    self._take_in(each, now)
            elif self._forged == _FORGED:
                self._conversation.give_up(now, "what it sends is no longer signed with its key")
        self._on_time()  # not only the timer's: a flood of messages would put it off for ever

    def _take_in(self, message: Message, now: float) -> None:
        answer = self._answers.get(message.parent_id)
        if answer is None:
            try:
                self._tell(self._conversation.receive(message, now))
            except Exception:  # the rest of the messages still count
                logger.exception("a message (%s) was left out", message.msg_type[:100])
        elif message.channel is not Channel.IOPUB:
            answer.message = message
            answer.given.set()

    def give_up(self, reason: str) -> None:
        """The kernel can't answer any more: end it."""
        self._conversation.give_up(self._loop.time(), reason)
        self._on_time()

    def note_continued(self) -> None:
        """Say in the execution under way, if there is one, that a signal had held the kernel."""
        if (current := self.current) is not None:
            note = Stream(name="stderr", text=_CONTINUED)
            self._listener(Produced(execution_id=current, output=note))

    def finish(
        self,
        death: Death,
        execution_id: str = "",
        written: Iterable[tuple[int, OutputEvent]] = (),
    ) -> None:
        """The process is gone and nothing more will come; say so to all who wait.

        `written` is what `execution_id` put out last, numbered, read where it outlives the kernel.
        """
        if self.death is not None:
            return
        if execution_id and execution_id == self.current:
            self._tell(self._conversation.recover(written))
        death = replace(death, reason=self.end_reason or death.reason)
        self.death = death = self._conversation.explain(death)
        self._tell(self._conversation.died(death))
        self._set_timer()
        for answer in self._answers.values():
            answer.given.set()
        self._dead.set()

    async def wait_death(self) -> Death:
        """Wait until the process is gone."""
        await self._dead.wait()
        assert self.death is not None
        return self.death

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Ended):
                self._end(replace(event.ending, stack=self._stack()), event.execution_id)
            else:
                self._listener(event)

    def _end(self, ending: Ending, execution_id: str) -> None:
        self._listener(Ended(execution_id=execution_id, ending=ending))
        self._ending = ending
        self._ended.set()

    def _stack(self) -> str:
        """Where the execution was when it was stopped, if that was asked for.

        It is written by now, or never: no Python runs between the signal and the dump.
        """
        return "" if self._stack_from is None else self._process.stack(self._stack_from)

    def _nudge(self) -> None:
        """Have the kernel's event loop turn; its answer is of no interest."""
        self._process.send(new_request(Channel.SHELL, "kernel_info_request"))

    def _act(self, action: Action) -> None:
        match action:
            case Action.DUMP_STACK:
                self._stack_from = self._process.dump_stack()
            case Action.INTERRUPT:
                self._process.interrupt()
            case Action.NUDGE:
                self._nudge()
            case Action.KILL:
                self._process.kill()
            case Action.ABANDON:
                self.finish(Death(reason="it did not end after SIGKILL"))

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._conversation.deadline
        if deadline is not None and self.death is None:
            self._timer = self._loop.call_at(deadline, self._on_time)

    def _on_time(self) -> None:
        actions, events = self._conversation.due(self._loop.time())
        for action in actions:
            self._act(action)
        self._tell(events)
        self._set_timer()

"""Runs a `Conversation` on the event loop: its clock, its timer, and who waits for what.

Every kernel drives its conversation through this; what differs between kernels is how messages
travel (`send`) and how the process is signalled (`act`).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import anyio

from kernel_exec.errors import BusyError, KernelDeadError

from .conversation import Conversation
from .kernel import Listener
from .messages import Channel, Message, Outgoing
from .outcomes import Death, Ended, Ending, Event, Request
from .outputs import OutputEvent, separate
from .stopping import Action

logger = logging.getLogger(__name__)

_FORGED = 2
"""Messages in a row, without the right signature, after which nothing right is expected: an
execution ends with two, its reply and `idle`."""


@dataclass(slots=True)
class _Answer:
    """The reply that somebody waits for; none when the kernel died first."""

    given: anyio.Event = field(default_factory=anyio.Event)
    message: Message | None = None


class Driver:
    """Feeds one kernel's conversation and carries out what it decides."""

    def __init__(
        self,
        *,
        listener: Listener,
        send: Callable[[Outgoing], None],
        act: Callable[[Action], None],
    ) -> None:
        """Tell `listener` every event; `act` is called for every action, and must not wait."""
        self._listener = listener
        self._send = send
        self._act = act
        self._loop = asyncio.get_running_loop()
        self._conversation = Conversation()
        self._answers: dict[str, _Answer] = {}
        self._forged = 0
        self._timer: asyncio.TimerHandle | None = None
        self._ending: Ending | None = None
        self._ended = anyio.Event()
        self._dead = anyio.Event()
        self.death: Death | None = None

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
        self._send(self._conversation.begin(request, self._loop.time()))
        self._set_timer()
        await self._ended.wait()
        assert self._ending is not None
        return self._ending

    async def ask(self, outgoing: Outgoing, *, limit: float) -> Message:
        """Send a request beside any execution; its reply, within `limit` seconds.

        Raises:
            KernelDeadError: The kernel is gone, or goes before it answers.
            BusyError: It did not answer in time.
        """
        self.require_alive()
        answer = self._answers[outgoing.msg_id] = _Answer()
        try:
            self._send(outgoing)
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

    def receive(self, messages: Iterable[Message | None]) -> None:
        """Take in what the kernel sent; None stands for a message with a wrong signature."""
        now = self._loop.time()
        for message in messages:
            self._forged = self._forged + 1 if message is None else 0
            if message is not None:
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

    def note_stack(self, stack: str) -> None:
        """Keep a stack dump for the ending of the current execution."""
        self._conversation.note_stack(stack)

    def recover(self, written: Iterable[tuple[int, OutputEvent]]) -> None:
        """See `Conversation.recover`."""
        self._tell(self._conversation.recover(written))

    def finish(self, death: Death) -> None:
        """The process is gone and nothing more will come; say so to all who wait."""
        if self.death is not None:
            return
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
            self._listener(event)
            if isinstance(event, Ended):
                self._ending = event.ending
                self._ended.set()

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

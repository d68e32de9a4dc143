"""Requests to a kernel beside its executions, and the answers to them."""

import asyncio
from collections.abc import Callable

import anyio

from kernel_exec.errors import BusyError, KernelDeadError
from kernel_exec.jsons import JSONObject

from .messages import Channel, Message, Outgoing, new_request

_PROBE_INTERVAL = 0.1
"""Seconds between `kernel_info` requests while nothing has come on iopub (JEP 65)."""


class Answers:
    """Who waits for which answer of one kernel. Belongs to the running event loop."""

    def __init__(self, send: Callable[[Outgoing], None]) -> None:
        """`send` passes a request on to the kernel."""
        self._send = send
        self._waiting: dict[str, asyncio.Future[Message]] = {}
        self._gone = ""
        self._heard_iopub = anyio.Event()

    async def ask(self, outgoing: Outgoing, *, limit: float) -> Message:
        """Send a request; its reply, within `limit` seconds.

        Raises:
            KernelDeadError: The kernel is gone, or goes before it answers.
            BusyError: It did not answer in time.
        """
        if self._gone:
            raise KernelDeadError(self._gone)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[outgoing.msg_id] = answer
        try:
            self._send(outgoing)
            with anyio.fail_after(limit):
                return await answer
        except TimeoutError as error:
            raise BusyError(
                f"the kernel did not answer within {limit:.0f} seconds:"
                " code that holds the interpreter is running"
            ) from error
        finally:
            del self._waiting[outgoing.msg_id]

    async def greet(self, *, limit: float) -> JSONObject:
        """Wait until a kernel that was started answers and is heard; what it says of itself.

        Raises:
            KernelDeadError: It ended instead.
            BusyError: It did not answer in time.
        """
        reply = await self.ask(new_request(Channel.SHELL, "kernel_info_request"), limit=limit)
        while not self._heard_iopub.is_set() and not self._gone:
            self.nudge()
            with anyio.move_on_after(_PROBE_INTERVAL):
                await self._heard_iopub.wait()
        return reply.content

    def nudge(self) -> None:
        """Have the kernel's event loop turn; its answer is of no interest."""
        self._send(new_request(Channel.SHELL, "kernel_info_request"))

    def take(self, message: Message) -> bool:
        """Whether a message answers such a request, and so belongs to no execution."""
        if message.channel is Channel.IOPUB:
            self._heard_iopub.set()
        answer = self._waiting.get(message.parent_id)
        if answer is not None and message.channel is not Channel.IOPUB and not answer.done():
            answer.set_result(message)
        return answer is not None

    def end(self, reason: str) -> None:
        """No more answers come."""
        self._gone = reason
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(KernelDeadError(reason))

"""What was sent to one session's client lately, for when its stream breaks in the middle.

A client of 2025-11-25 names the last event that it got, and is sent what came after it.
"""

from collections import deque
from dataclasses import dataclass

from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp_types import JSONRPCError, JSONRPCMessage, JSONRPCResponse

from kernel_exec.signals import Signal

_MOST = 1000
_MOST_BYTES = 2_000_000
"""Two of the largest results; what is older is found by `get_execution`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    number: int
    stream: str
    message: JSONRPCMessage | None
    size: int

    @property
    def is_last(self) -> bool:
        """True for the answer, which ends its stream."""
        return isinstance(self.message, JSONRPCResponse | JSONRPCError)


class Events(EventStore):
    """Kept for one session, as streams are named by the ids of its requests."""

    def __init__(self) -> None:
        self._kept: deque[_Event] = deque()
        self._count = 0
        self._size = 0
        self._over = False
        self._changed = Signal()

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        """Keep what is about to be sent; None is what begins a stream. Its id."""
        self._count += 1
        size = 0 if message is None else len(message.model_dump_json(by_alias=True))
        self._kept.append(_Event(number=self._count, stream=stream_id, message=message, size=size))
        self._size += size
        while len(self._kept) > _MOST or (self._size > _MOST_BYTES and len(self._kept) > 1):
            self._size -= self._kept.popleft().size
        self._changed.fire()
        return str(self._count)

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> None:
        """Send what follows an event in its stream, to the answer or the end of the session.

        What comes meanwhile is sent from here as well, so that nothing falls between what was kept
        and what is new, as it might where the SDK goes on by itself.
        """
        stream = next((e.stream for e in self._kept if str(e.number) == last_event_id), None)
        sent = 0 if stream is None else int(last_event_id)
        while stream is not None and not self._over:
            following = next(
                (e for e in self._kept if e.stream == stream and e.number > sent), None
            )
            if following is None:
                await self._changed.wait()
                continue
            sent = following.number
            if following.message is not None:
                await send_callback(EventMessage(following.message, str(following.number)))
            if following.is_last:
                return

    def close(self) -> None:
        """The session is over: whoever waits here waits for nothing."""
        self._over = True
        self._changed.fire()

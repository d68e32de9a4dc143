"""The limit on kernels, and how long one is kept that has nothing to do.

Whoever starts a kernel takes a slot first, and keeps it until the kernel has ended.
"""

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import anyio

from kernel_exec.errors import BusyError

_LEAVING_LIMIT = 10.0
"""Seconds to wait for kernels that are about to end; one takes up to six."""


@dataclass(slots=True, kw_only=True, eq=False)
class Slot:
    """A kernel's place; `is_leaving` once the kernel is about to end and nothing follows."""

    holder: str
    is_leaving: Callable[[], bool] = lambda: False


class Clients:
    """Who is connected to a session, and how long its kernel may have nothing to do for them.

    They are kept by their connections' ids, with their names.
    """

    def __init__(
        self, *, wake: Callable[[], None], idle_limit: float | None, detached_limit: float | None
    ) -> None:
        """Nobody yet. The limits, in seconds, are for any kernel and for one without clients."""
        self.names: dict[str, str] = {}
        self.dismissed = ""
        self._wake = wake
        self._idle_limit = idle_limit
        self._detached_limit = detached_limit

    def join(self, connection: str, name: str) -> None:
        """A client begins to use the session."""
        self.names[connection] = name
        self.dismissed = ""
        self._wake()

    def leave(self, connection: str) -> None:
        """A client's connection is over, whether it used the session or not."""
        if self.names.pop(connection, None) is not None:
            self._wake()

    def dismiss(self, why: str) -> None:
        """Have the kernel that lives or starts now end as soon as it has nothing to do."""
        self.dismissed = why
        self._wake()

    @property
    def patience(self) -> tuple[float, str]:
        """After how many seconds with nothing to do the kernel ends, and why."""
        if self.dismissed:
            return 0.0, self.dismissed
        limits = [
            (limit, f"it had nothing to do for {limit:.0f} seconds{when}")
            for limit, when in (
                (self._idle_limit, ""),
                (None if self.names else self._detached_limit, " and no client was connected"),
            )
            if limit is not None
        ]
        return min(limits, default=(math.inf, ""))


TakeSlot: TypeAlias = Callable[[str], AbstractAsyncContextManager[Slot]]
"""`Slots.taken` for one environment."""


class Slots:
    """At most `most` kernels at once, whatever they are for."""

    def __init__(
        self,
        most: int,
        *,
        room: Callable[[str], str],
        make_room: Callable[[], bool] = lambda: False,
    ) -> None:
        """`room` names those that have kernels, to somebody in that environment.

        `make_room` has one end that nobody needs, and is true if there was one.
        """
        self._most = most
        self._room = room
        self._make_room = make_room
        self._taken: list[Slot] = []
        self._free = anyio.Semaphore(most)

    @asynccontextmanager
    async def taken(self, holder: str, *, environment: str) -> AsyncIterator[Slot]:
        """Hold a slot for a kernel of `environment`; `holder` is a word such as "session".

        Raises:
            BusyError: All slots are taken.
        """
        others = self._free.statistics().tasks_waiting  # each for a kernel that is about to end
        leaving = sum(slot.is_leaving() for slot in self._taken)
        acquired = False
        if self._free.value or leaving > others or self._make_room():
            with anyio.move_on_after(_LEAVING_LIMIT):
                await self._free.acquire()
                acquired = True
        if not acquired:
            raise BusyError(self._full(environment))
        slot = Slot(holder=holder)
        self._taken.append(slot)
        try:
            yield slot
        finally:
            self._taken.remove(slot)
            self._free.release()

    @property
    def free(self) -> int:
        """How many more kernels there may be."""
        return self._free.value

    @property
    def any_taken(self) -> bool:
        """True while a kernel runs."""
        return bool(self._taken)

    def _full(self, environment: str) -> str:
        holders = Counter(slot.holder for slot in self._taken)
        listed = ", ".join(
            f"{count} {holder}{'s' if count > 1 else ''}" for holder, count in holders.items()
        )
        allowed = f"{self._most} kernel{'s' if self._most > 1 else ''}"
        return (
            f"KERNEL_EXEC_MAX_KERNELS allows {allowed}, and as many are running ({listed})."
            f" {self._room(environment)}"
        )

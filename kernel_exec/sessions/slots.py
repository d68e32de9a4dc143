"""The limit on kernels: whoever starts one takes a slot first, and keeps it until it has ended."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import anyio

from kernel_exec.errors import BusyError

from .ledger import Signal

_LEAVING_LIMIT = 10.0
"""Seconds to wait for kernels that are about to end; one takes up to six."""


@dataclass(slots=True, kw_only=True, eq=False)
class Slot:
    """A kernel's place; `leaving` once the kernel is about to end and nothing follows."""

    holder: str
    leaving: bool = False


TakeSlot: TypeAlias = Callable[[str], AbstractAsyncContextManager[Slot]]
"""`Slots.taken` for one environment."""


class Slots:
    """At most `most` kernels at once, whatever they are for."""

    def __init__(self, most: int, *, room: Callable[[str], str]) -> None:
        """`room` names the kernels that could be ended, to somebody in that environment."""
        self._most = most
        self._room = room
        self._taken: list[Slot] = []
        self._freed = Signal()

    @asynccontextmanager
    async def taken(self, holder: str, *, environment: str) -> AsyncIterator[Slot]:
        """Hold a slot for a kernel of `environment`; `holder` is a word such as "session".

        Raises:
            BusyError: All slots are taken.
        """
        with anyio.move_on_after(_LEAVING_LIMIT):
            while self._is_full and any(slot.leaving for slot in self._taken):
                await self._freed.wait()
        if self._is_full:
            raise BusyError(self._full(environment))
        slot = Slot(holder=holder)
        self._taken.append(slot)
        try:
            yield slot
        finally:
            self._taken.remove(slot)
            self._freed.fire()

    @property
    def any_taken(self) -> bool:
        """True while a kernel runs."""
        return bool(self._taken)

    @property
    def _is_full(self) -> bool:
        return len(self._taken) >= self._most

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

"""What waits for a session's kernel, in order, and what runs in it."""

from collections import deque
from collections.abc import Iterable

from kernel_exec.errors import BusyError
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.outcomes import Outcome

from .ledger import Ledger, Live

QUEUE_LIMIT = 32
"""Executions that may wait in one session; more than that is a client out of control."""


class Queue:
    """First in, first out; a replay in it is stopped as a whole, and ends with its first failure.

    `current` is the id of what runs.
    """

    def __init__(self, ledger: Ledger) -> None:
        """Nothing waits. What ends here ends in `ledger`."""
        self.current: str | None = None
        self._ledger = ledger
        self._waiting: deque[str] = deque()
        self._replay: frozenset[str] = frozenset()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def require_room(self, session: str) -> None:
        """Raise `BusyError` when as many wait as may."""
        if len(self) >= QUEUE_LIMIT:
            raise BusyError(
                f"session {session!r} is busy: {len(self)} executions wait already;"
                " wait for them with get_execution, or stop one with interrupt_execution"
            )

    def add(self, live: Live) -> None:
        """It waits from now on."""
        self._waiting.append(live.entry.id)

    def begin_replay(self, entry_ids: Iterable[str]) -> None:
        """What waits as `entry_ids` belongs together from now on."""
        self._replay = frozenset(entry_ids)

    def before(self, entry_id: str) -> int:
        """How many run or wait before it; 0 when it does not wait."""
        if entry_id not in self._waiting:
            return 0
        return self._waiting.index(entry_id) + (1 if self.current else 0)

    def take_first(self) -> Live | None:
        """What is next, which is current from now on; None when nothing waits."""
        if not self._waiting:
            return None
        self.current = self._waiting.popleft()
        return self._ledger.find(self.current)

    def take_back(self, entry_id: str) -> bool:
        """End it if it waits; False when it does not."""
        if entry_id not in self._waiting:
            return False
        self._waiting.remove(entry_id)
        reason: JSONObject = {"reason": "it was taken from the queue"}
        self.end(self._ledger.find(entry_id), Outcome.INTERRUPTED, reason)
        return True

    def clear(self) -> None:
        """End all that waits; what runs is no longer part of a replay."""
        self._replay = frozenset()
        for entry_id in list(self._waiting):
            self.take_back(entry_id)

    def meant(self, entry_id: str | None) -> Live | None:
        """What somebody means who stops `entry_id`, or nothing in particular.

        That is what runs, else what is next, else the newest work beside the kernel; and instead
        of a step of a replay, the one that it has come to.
        """
        target = entry_id or self.current or next(iter(self._waiting), None)
        newest = next(reversed(self._ledger.unfinished), None)
        live = self._ledger.get(target) if target is not None else newest
        if live is None or live.entry.outcome.ended:
            return None
        if live.entry.id not in self._replay:
            return live
        at = next(each for each in (self.current, *self._waiting) if each in self._replay)
        return self._ledger.find(at)

    def end(self, live: Live, outcome: Outcome, details: JSONObject) -> None:
        """It is over, whether it ran or waited."""
        if live.entry.id == self.current:
            self.current = None
        self._ledger.end(live, outcome, details)
        if live.entry.id not in self._replay or outcome is Outcome.OK:
            return
        why = f"the replay stopped at execution {live.entry.id}, which ended as {outcome.value}"
        for rest in [each for each in self._waiting if each in self._replay]:
            self._waiting.remove(rest)
            self._ledger.end(self._ledger.find(rest), Outcome.INTERRUPTED, {"reason": why})

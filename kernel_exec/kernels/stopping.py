"""How an execution is stopped: by steps, each later and harder than the one before. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from .outcomes import Outcome


class Action(StrEnum):
    """What the holder of the process must do."""

    DUMP_STACK = "dump_stack"
    INTERRUPT = "interrupt"
    NUDGE = "nudge"
    KILL = "kill"
    ABANDON = "abandon"


Steps: TypeAlias = Sequence[tuple[float, Action]]

POLITE: Steps = (
    (0.0, Action.INTERRUPT),
    (0.05, Action.NUDGE),  # wakes an event loop that SIGINT alone does not (ipykernel#881)
    (2.0, Action.INTERRUPT),
    (2.05, Action.NUDGE),
)
IN_VAIN = "it could not be interrupted"
FORCED: Steps = (*POLITE, (5.0, Action.KILL), (8.0, Action.ABANDON))
TIME_LIMIT: Steps = (
    (0.0, Action.DUMP_STACK),
    *((after + 0.05, action) for after, action in FORCED),
)
UNANSWERING: Steps = ((0.0, Action.KILL), (3.0, Action.ABANDON))


@dataclass(slots=True, kw_only=True)
class Stop:
    """An attempt to stop the current execution, step by step."""

    outcome: Outcome
    since: float
    steps: Steps
    done: int = 0
    reason: str = ""

    @property
    def next_at(self) -> float | None:
        return self.since + self.steps[self.done][0] if self.done < len(self.steps) else None

    def due(self, now: float) -> list[Action]:
        first = self.done
        while (at := self.next_at) is not None and at <= now:
            self.done += 1
        return [action for _, action in self.steps[first : self.done]]

    @property
    def has_killed(self) -> bool:
        """True once nothing else is left to try."""
        return any(action is Action.KILL for _, action in self.steps[: self.done])

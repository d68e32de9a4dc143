"""The steps that made a session's state, to be run again after a restart. Pure.

What counts is the state that the latest kernel has, or had when it ended. It carries on through
deaths, idle limits and servers, and begins with the last restart that asked for a fresh start.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kernel_exec.history.entries import (
    Entry,
    EntryKind,
    KernelRecord,
    Origin,
    is_isolated,
    script_arguments,
)
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.outcomes import Outcome

from .ledger import Submission


def replayable(entries: Iterable[Entry], kernels: Iterable[KernelRecord]) -> list[Entry]:
    """The successful steps of a session's entries that a replay runs, in order.

    A step that was replayed counts once. Steps that a replay did not reach are still wanted, but
    come last: the work went on without them, and one of them may never succeed again.
    """
    origins = {kernel.generation: kernel.origin for kernel in kernels}
    state = _State()
    generation = 0
    for entry in entries:
        if entry.outcome is not Outcome.OK or not _counts(entry):
            continue
        for number in range(generation + 1, entry.generation + 1):
            state.begin(origins.get(number, Origin.NEEDED))
        generation = max(generation, entry.generation)
        state.add(entry)
    for number in range(generation + 1, max(origins, default=0) + 1):
        state.begin(origins.get(number, Origin.NEEDED))
    return [*state.made, *state.missing]


def steps_of(entries: Sequence[Entry], *, time_limit: float | None) -> list[Submission]:
    """`entries` as steps to run again, each at most `time_limit` seconds."""
    return [_again(entry, time_limit) for entry in entries]


@dataclass(slots=True)
class _State:
    """The steps that made the state, and those that a replay has not made again yet."""

    made: list[Entry] = field(default_factory=list)
    missing: list[Entry] = field(default_factory=list)

    def begin(self, origin: Origin) -> None:
        """A kernel was started."""
        if origin is Origin.RESTART:
            self.made, self.missing = [], []
        elif origin is Origin.REPLAY:
            self.made, self.missing = [], [*self.made, *self.missing]

    def add(self, entry: Entry) -> None:
        """A step succeeded."""
        original = entry.details.get("replay_of")
        again = [step for step in self.missing if step.id == original]
        self.made += again or [entry]
        self.missing = [step for step in self.missing if step.id != original]


def _counts(entry: Entry) -> bool:
    """Whether it ran in the session's kernel, and did not end that on purpose."""
    in_kernel = entry.kind in {EntryKind.CODE, EntryKind.SCRIPT} and not is_isolated(entry)
    return in_kernel and "exit_requested" not in entry.details


def _again(entry: Entry, time_limit: float | None) -> Submission:
    arguments = script_arguments(entry)
    script: JSONObject = {} if arguments is None else {"arguments": list(arguments)}
    return Submission(
        source=entry.source,
        title=entry.title,
        kind=entry.kind,
        file_path=entry.file_path,
        time_limit=time_limit,
        details={"replay_of": entry.id, **script},
    )

"""The kernels of a session one after the other: number, record, and what went with each."""

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kernel_exec.history.entries import Entry, KernelRecord, Origin
from kernel_exec.history.opening import SERVER_DIED
from kernel_exec.history.store import Store
from kernel_exec.jsons import JSONObject, items, mapping
from kernel_exec.kernels.kernel import Kernel
from kernel_exec.kernels.outcomes import SERVER_ENDED

_log = logging.getLogger(__name__)

_MOST_SEEN = 10_000
"""Names of earlier kernels that are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelStatus:
    """A session's kernel now: not started, starting, idle, busy, dead, running in another server.

    `idle` is for how many seconds it has had nothing to do, `names` are the variables it holds.
    """

    state: str
    generation: int
    pid: int | None = None
    python_version: str = ""
    ipykernel_version: str = ""
    support: str = ""
    sandbox: JSONObject = field(default_factory=dict)
    started: float | None = None
    current: str | None = None
    queued: int = 0
    death: str = ""
    idle: float | None = None
    names: Collection[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """Where an earlier server left a session: its last entry and kernel, and what went with it."""

    number: int = 0
    generation: int = 0
    reason: str = ""
    names: Mapping[str, str] = field(default_factory=dict)


def left_behind(entries: Sequence[Entry], kernels: Sequence[KernelRecord]) -> Before:
    """Where a session stands by its latest entries and its kernels."""
    if not kernels:
        return Before(number=entries[-1].number if entries else 0)
    last = kernels[-1]
    names: dict[str, str] = {}
    for entry in entries:
        if entry.generation == last.generation:
            changes = mapping(entry.details, "names")
            for key in ("added", "changed"):
                names |= {name: str(what) for name, what in mapping(changes, key).items()}
            for name in items(changes, "gone"):
                names.pop(str(name), None)
    return Before(
        number=entries[-1].number if entries else 0,
        generation=last.generation,
        reason="the server died" if last.end_reason == SERVER_DIED else last.end_reason,
        names=names,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartReport:
    """What a restart did: the number of the new kernel, and the variables that are lost."""

    generation: int
    lost: Mapping[str, str]


class Generations:
    """Counts a session's kernels; what one took with it is reported once, by the next.

    `number` is that of the latest kernel, 0 before the first; `record` is set while one lives.
    `origin` is why the next one starts.
    """

    def __init__(self, *, session_id: str, store: Store, before: Before) -> None:
        """Continue after the kernel `before`."""
        self.number = before.generation
        self.record: KernelRecord | None = None
        self.origin = Origin.NEEDED
        self._session_id = session_id
        self._store = store
        self._lost: JSONObject = {}
        self._seen: dict[str, int] = {}
        if self.number:
            reason = before.reason or SERVER_ENDED
            self._lost = {"generation": self.number, "reason": reason, "names": dict(before.names)}

    @property
    def death(self) -> str:
        """What the latest kernel died of, while no result has said so; or ""."""
        return str(self._lost.get("reason", ""))

    def begin(self, kernel: Kernel) -> None:
        """A new kernel has started."""
        self.number += 1
        self.record = KernelRecord(
            session_id=self._session_id,
            generation=self.number,
            started=time.time(),
            executable=kernel.info.executable,
            python_version=kernel.info.python_version,
            support=kernel.info.support,
            sandbox=kernel.info.sandbox,
            origin=self.origin,
        )
        self.origin = Origin.NEEDED
        self._store.put_kernel(self.record)
        _log.info(
            "kernel %d of session %s starts: process %s, Python %s, %r",
            *(self.number, self._session_id, kernel.info.pid),
            *(kernel.info.python_version, kernel.info.executable),
        )

    def end(self, kernel: Kernel, *, asked: bool, told: bool) -> None:
        """The latest kernel is gone.

        Whoever `asked` for it has no need to be told what is lost, and has it from elsewhere; its
        last words are kept unless they were `told` with the execution that it died in.
        """
        assert self.record is not None
        death = kernel.death
        reason = str(death or SERVER_ENDED)
        is_crash = death is not None and not death.reason and death.exit_code != 0
        level = logging.WARNING if is_crash else logging.INFO
        _log.log(level, "kernel %d of session %s ends: %s", self.number, self._session_id, reason)
        self._seen |= dict.fromkeys(kernel.names, self.number)
        while len(self._seen) > _MOST_SEEN:
            del self._seen[next(iter(self._seen))]
        if not asked:
            words: JSONObject = (
                {} if told or death is None else {"stderr": death.stderr, "dump": death.dump}
            )
            names = dict(kernel.names)
            self._lost = {"generation": self.number, "reason": reason, "names": names, **words}
        self._store.put_kernel(replace(self.record, ended=time.time(), end_reason=reason))
        self.record = None

    def seen(self, name: str) -> int | None:
        """The latest of the kernels before this one that had the name."""
        return self._seen.get(name)

    def forget(self, names: Iterable[str]) -> None:
        """These were deleted since, and not lost."""
        for name in names:
            self._seen.pop(name, None)

    def fail(self, reason: str) -> None:
        """The next kernel can't be had."""
        _log.warning("session %s gets no kernel: %s", self._session_id, reason)

    def take_lost(self) -> JSONObject:
        """What the next result has to say of the kernel before."""
        lost, self._lost = self._lost, {}
        return lost


def ended_status(kernels: Sequence[KernelRecord]) -> KernelStatus:
    """The status of a session that is not open here, by its kernels."""
    if not kernels:
        return KernelStatus(state="not started", generation=0)
    latest = kernels[-1]
    alive = latest.ended is None and not latest.end_reason
    return KernelStatus(
        state="running in another server" if alive else "dead",
        generation=latest.generation,
        death=latest.end_reason,
    )

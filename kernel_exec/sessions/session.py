"""A session: one kernel at a time, a bounded queue in order, and a history.

The worker (`run`) starts a kernel when there is something to do, serves the queue until the
kernel dies or a restart is asked for, and begins again with the next generation. Nobody else
touches the kernel's life. Callers submit, wait and ask; what they see are history's entries.
"""

import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

import anyio
from anyio.abc import TaskGroup, TaskStatus

from kernel_exec.environments.spec import Environment
from kernel_exec.errors import BusyError, KernelDeadError, KernelExecError, KernelStartError
from kernel_exec.history.entries import Entry, EntryKind, Origin, SessionRecord
from kernel_exec.history.store import Store
from kernel_exec.jsons import JSON, JSONObject
from kernel_exec.kernels.kernel import Kernel
from kernel_exec.kernels.outcomes import Outcome

from .asides import undertake
from .generations import Generations
from .isolated import isolated
from .ledger import Ledger, Live, Signal
from .reports import (
    KernelStatus,
    Prepare,
    RestartReport,
    Submission,
    Work,
    describe_ending,
    describe_error,
)
from .slots import Slot, TakeSlot

QUEUE_LIMIT = 32
"""Executions that may wait in one session; more than that is a client out of control."""

EXIT_GRACE = 5.0
"""Seconds that a kernel has to end after `exit()`."""

_INSIDE = "__import__('sys').modules['_kernel_exec.questions']"


class Session:
    """See the module's docstring; `run` must be running for anything to happen."""

    def __init__(
        self,
        *,
        record: SessionRecord,
        environment: Environment,
        prepare: Prepare,
        slot: TakeSlot,
        store: Store,
        number: int = 0,
        generation: int = 0,
        idle_limit: float | None = None,
    ) -> None:
        """Continue `record` after entry `number` and kernel `generation`.

        Its kernels each take a `slot`. One with nothing to do for `idle_limit` seconds is ended.
        """
        self.id, self.name = record.id, record.name
        self.environment = environment
        self._prepare = prepare
        self._take_slot = slot
        self._slot: Slot | None = None
        self._ledger = Ledger(session_id=record.id, store=store, number=number)
        self._generations = Generations(session_id=record.id, store=store, number=generation)
        self.events, self.last_words = self._ledger.events, self._ledger.last_words
        self._idle_limit = idle_limit
        self._tasks: TaskGroup | None = None
        self._queue: deque[str] = deque()
        self._replay: set[str] = set()
        self._current: str | None = None
        self._kernel: Kernel | None = None
        self._starting = False
        self._start_error: KernelExecError | None = None
        self._restart_wanted = False
        self._wake = Signal()
        self._started = Signal()
        self._death_told = False
        self._idle_since = time.monotonic()

    # What callers do

    def submit(self, submission: Submission) -> Entry:
        """Queue something to run; its entry tells all that follows.

        Raises:
            BusyError: The queue is full.
        """
        if len(self._queue) >= QUEUE_LIMIT:
            raise BusyError(
                f"session {self.name!r} is busy: {len(self._queue)} executions wait already;"
                " wait for them with get_execution, or stop one with interrupt_execution"
            )
        return self._enqueue(submission)

    def resent(self, kind: EntryKind, source: str) -> Entry | None:
        """What a client sent before, gave up waiting for, and now sends again; or None."""
        live = self._ledger.resent(kind, source)
        return live.entry if live is not None else None

    async def wait(self, entry_id: str, seconds: float) -> Entry:
        """The entry when it has ended or `seconds` have passed; see `Ledger.wait`."""
        return await self._ledger.wait(entry_id, seconds)

    async def wait_change(self, entry_id: str, seen: int) -> int:
        """Wait for news of an entry; see `Ledger.wait_change`."""
        return await self._ledger.wait_change(entry_id, seen)

    def background(self, entry_id: str) -> list[str]:
        """What executions other than this one have put out since this was asked last."""
        return self._ledger.background.take(entry_id)

    def waiting_before(self, entry_id: str) -> int:
        """How many executions run or wait before this one."""
        before = 1 if self._current else 0
        return self._queue.index(entry_id) + before if entry_id in self._queue else 0

    def entry(self, entry_id: str) -> Entry | None:
        """An entry that this server began, as it is now."""
        live = self._ledger.get(entry_id)
        return live.entry if live is not None else None

    def interrupt(self, entry_id: str | None = None, *, force: bool = False) -> Entry | None:
        """Stop an execution; None when there is nothing to stop.

        By default that is the running one, else the next, else the newest work beside the kernel.
        With `force`, a kernel that does not obey is killed. A replay is stopped as a whole.
        """
        target = entry_id or self._current or next(iter(self._queue), None)
        live = self._ledger.get(target) if target is not None else self._ledger.newest_unfinished()
        if live is None or live.entry.outcome.ended:
            return None
        if live.entry.id in self._replay:
            at = next(each for each in (self._current, *self._queue) if each in self._replay)
            live = self._ledger.find(at)
        if live.entry.id in self._queue:
            self._queue.remove(live.entry.id)
            self._end(live, Outcome.INTERRUPTED, {"reason": "it was taken from the queue"})
        elif live.cancel is not None:
            live.cancel()
        elif live.entry.id == self._current and self._kernel is not None:
            self._kernel.interrupt(force=force)
        return live.entry

    async def restart(self) -> RestartReport:
        """End the kernel, whatever it does now, and start the next generation.

        Raises:
            KernelExecError: The new kernel did not start.
        """
        before, lost = self._generations.number, self._begin_anew(Origin.RESTART)
        while self._generations.number == before and self._start_error is None:
            await self._started.wait()
        if self._start_error is not None:
            raise self._start_error
        return RestartReport(generation=self._generations.number, lost=lost)

    def replay(self, steps: Sequence[Submission]) -> tuple[Mapping[str, str], list[Entry]]:
        """Restart, then run `steps` in order until one fails, which ends the rest.

        Returns at once: the lost variables, and the entries of the steps.
        """
        lost = self._begin_anew(Origin.REPLAY)
        entries = [self._enqueue(step) for step in steps]
        self._replay = {entry.id for entry in entries}
        return lost, entries

    def undertake(self, submission: Submission, work: Work) -> Entry:
        """Begin work in parallel to the kernel, such as an install, with an entry of its own."""
        assert self._tasks is not None, "the session runs"
        return undertake(
            submission,
            work,
            ledger=self._ledger,
            tasks=self._tasks,
            generation=self._generations.number,
        )

    def submit_isolated(self, submission: Submission, arguments: tuple[str, ...]) -> Entry:
        """Begin to run a script in a kernel of its own."""
        work = isolated(self._prepare, self._take_slot, submission, arguments)
        return self.undertake(submission, work)

    def note(self, kind: EntryKind, source: str, *, details: JSONObject | None = None) -> Entry:
        """Put something that is over already into the history."""
        return self._ledger.begin(
            Submission(source=source, kind=kind, details=details),
            outcome=Outcome.OK,
            generation=self._generations.number,
        ).entry

    async def evaluate(self, expression: str) -> JSON:
        """The value of an expression of `inside/questions.py`, from JSON.

        Raises:
            KernelDeadError: No kernel is running.
            BusyError: The kernel could not answer in time.
        """
        if self._kernel is None or self._kernel.death is not None:
            raise KernelDeadError(
                f"session {self.name!r} has no running kernel: its variables are gone or not"
                " yet made; the next execute_code starts one"
            )
        value: JSON = json.loads(await self._kernel.evaluate(f"{_INSIDE}.{expression}"))
        return value

    def status(self) -> KernelStatus:
        """The kernel now."""
        kernel, number, record = self._kernel, self._generations.number, self._generations.record
        if kernel is None or record is None or kernel.death is not None:
            state = "starting" if self._starting else "dead" if number else "not started"
            return KernelStatus(
                state=state,
                generation=number,
                queued=len(self._queue),
                death=str((kernel and kernel.death) or self._generations.death),
            )
        return KernelStatus(
            state="busy" if self._current else "idle",
            generation=number,
            pid=kernel.info.pid,
            python_version=kernel.info.python_version,
            ipykernel_version=kernel.info.ipykernel_version,
            support=kernel.info.support,
            started=record.started,
            current=self._current,
            queued=len(self._queue),
            idle=None if self._current or self._queue else time.monotonic() - self._idle_since,
        )

    # What the worker does

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve the session until cancelled; its kernel and its work end with it."""
        try:
            async with anyio.create_task_group() as self._tasks:
                task_status.started()
                while True:
                    while not self._queue and not self._restart_wanted:
                        await self._wake.wait()
                    await self._run_kernels()
        finally:
            self._ledger.end_all("the server ended")

    async def _run_kernels(self) -> None:
        """Run one kernel after the other for as long as there is something to do, in one slot."""
        self._starting = True
        try:
            async with self._take_slot("session") as self._slot:
                while True:
                    self._slot.leaving = self._restart_wanted = False
                    await self._run_generation()
                    if not self._queue and not self._restart_wanted:
                        break
        except BusyError as error:
            self._restart_wanted = False
            self._give_up(str(error))
        finally:
            self._starting = False
            self._started.fire()

    async def _run_generation(self) -> None:
        """Start a kernel and serve the queue with it, to its end."""
        self._starting = True
        try:
            starter = await self._prepare()
            async with starter(self._ledger.listen) as kernel:
                self._note_start(kernel)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._watch_death, kernel)
                    await self._serve(kernel)
                    tasks.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001 - whatever it is, the other sessions go on
            self._give_up(describe_error(error))
        finally:
            self._starting = False
            self._note_end()
            self._started.fire()

    def _give_up(self, reason: str) -> None:
        """End what the kernel ran, or else what it should have been started for."""
        self._start_error = KernelStartError(reason)
        running = self._current is not None
        wanted = self._current or (self._queue.popleft() if self._queue else None)
        self._current = None
        if wanted is not None:
            details: JSONObject = {"death": {"cause": reason}} if running else {"error": reason}
            self._end(self._ledger.find(wanted), Outcome.KERNEL_DIED, details)

    async def _serve(self, kernel: Kernel) -> None:
        while kernel.death is None and not self._restart_wanted:
            if self._queue:
                await self._execute(kernel, self._ledger.find(self._queue[0]))
                continue
            with anyio.move_on_after(self._idle_limit) as idle:
                await self._wake.wait()
            if idle.cancelled_caught and not self._queue:
                kernel.kill(f"it had nothing to do for {self._idle_limit:.0f} seconds")
                await kernel.wait_death()

    async def _execute(self, kernel: Kernel, live: Live) -> None:
        """Run the first in the queue; it stays there when the kernel turns out to be dead."""
        if kernel.death is not None:
            return
        self._queue.popleft()
        lost = self._generations.take_lost()
        state: JSONObject = {"state_lost": lost} if lost else {}
        self._current = live.entry.id
        self._ledger.start(live, generation=self._generations.number, details=state)
        ending = await kernel.execute(live.request)
        self._current = None
        self._idle_since = time.monotonic()
        live.entry = replace(
            live.entry, execution_count=ending.execution_count, timing=ending.timing
        )
        restarted = ending.outcome is Outcome.KERNEL_DIED and self._restart_wanted
        self._death_told = ending.death is not None
        if ending.exit_requested or ending.death is not None:
            self._note_leaving()
        self._end(
            live,
            Outcome.INTERRUPTED if restarted else ending.outcome,
            describe_ending(ending, known=kernel.names),
        )
        if ending.exit_requested:  # nothing may begin in a kernel that is about to end
            with anyio.move_on_after(EXIT_GRACE):
                await kernel.wait_death()
            if kernel.death is None:
                kernel.kill(f"it had not ended {EXIT_GRACE:.0f} seconds after exit()")
                await kernel.wait_death()

    def _enqueue(self, submission: Submission) -> Entry:
        live = self._ledger.begin(
            submission, outcome=Outcome.QUEUED, generation=self._generations.number
        )
        self._queue.append(live.entry.id)
        self._wake.fire()
        return live.entry

    def _begin_anew(self, origin: Origin) -> Mapping[str, str]:
        """End the kernel and all that waits for it; the variables that go with it."""
        lost = dict(self._kernel.names) if self._kernel is not None else {}
        self._replay = set()
        for entry_id in list(self._queue):
            self.interrupt(entry_id)
        self._start_error = None
        self._generations.origin = origin
        if not self._starting:
            self._restart_wanted = True
            if self._kernel is not None:
                self._kernel.kill("it was restarted on request")
            self._wake.fire()
        return lost

    def _end(self, live: Live, outcome: Outcome, details: JSONObject) -> None:
        """An execution of the queue is over; a replay ends with its first step that fails."""
        self._ledger.end(live, outcome, details)
        if live.entry.id not in self._replay or outcome is Outcome.OK:
            return
        why = f"the replay stopped at execution {live.entry.id}, which ended as {outcome.value}"
        for rest in [each for each in self._queue if each in self._replay]:
            self._queue.remove(rest)
            self._ledger.end(self._ledger.find(rest), Outcome.INTERRUPTED, {"reason": why})

    async def _watch_death(self, kernel: Kernel) -> None:
        await kernel.wait_death()
        self._note_leaving()
        self._wake.fire()

    def _note_leaving(self) -> None:
        """The kernel is about to end, and its slot becomes free unless something waits here."""
        if self._slot is not None:
            self._slot.leaving = not self._queue and not self._restart_wanted

    def _note_start(self, kernel: Kernel) -> None:
        self._starting = False
        self._kernel = kernel
        self._death_told = False
        self._idle_since = time.monotonic()
        self._generations.begin(kernel)
        self._started.fire()

    def _note_end(self) -> None:
        """A generation is over, or never began."""
        kernel, self._kernel = self._kernel, None
        if kernel is not None:
            self._generations.end(kernel, asked=self._restart_wanted, told=self._death_told)

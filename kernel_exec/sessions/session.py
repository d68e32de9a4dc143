"""A session: one kernel at a time, a bounded queue in order, and a history.

Callers submit, wait and ask; what they see are history's entries, which the `ledger` holds. What
becomes of them is the `worker`'s.
"""

from collections.abc import Mapping, Sequence

import anyio
from anyio.abc import TaskGroup, TaskStatus

from kernel_exec.environments.spec import Environment
from kernel_exec.errors import BusyError, KernelDeadError
from kernel_exec.history.entries import Entry, EntryKind, Origin, SessionRecord
from kernel_exec.history.store import Store
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.kernel import Inspection
from kernel_exec.kernels.outcomes import SERVER_ENDED, Outcome

from .generations import Before, Generations, KernelStatus, RestartReport
from .ledger import Ledger, Submission
from .queue import Queue
from .slots import TakeSlot
from .work import Prepare, Work, carry_out, isolated
from .worker import Worker


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
        before: Before,
        idle_limit: float | None = None,
        detached_limit: float | None = None,
    ) -> None:
        """Continue `record` where it was left `before`.

        Its kernels each take a `slot`; for the limits see `Clients`.
        """
        self.id, self.name, self.record = record.id, record.name, record
        self.environment = environment
        self.is_over = False
        self.ledger = Ledger(session_id=record.id, store=store, number=before.number)
        self._prepare = prepare
        self._take_slot = slot
        self._generations = Generations(session_id=record.id, store=store, before=before)
        self.queue = Queue(self.ledger)
        self._worker = Worker(
            prepare=prepare,
            slot=slot,
            ledger=self.ledger,
            queue=self.queue,
            generations=self._generations,
            idle_limit=idle_limit,
            detached_limit=detached_limit,
        )
        self.clients = self._worker.clients
        self._tasks: TaskGroup | None = None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve the session until cancelled; its kernel and its work end with it.

        It `is_over` by itself when no client is connected, no kernel lives and nothing goes on.
        """
        try:
            async with anyio.create_task_group() as self._tasks:
                task_status.started()
                await self._worker.run()
                self.is_over = True
                self.ledger.begun.fire()
        finally:
            for live in self.ledger.unfinished:
                self.ledger.end(live, Outcome.INTERRUPTED, {"reason": SERVER_ENDED})

    def submit(self, submission: Submission) -> Entry:
        """Queue something to run; its entry tells all that follows."""
        self.queue.require_room(self.name)
        return self._enqueue(submission)

    async def wait(self, entry_id: str, seconds: float) -> Entry:
        """The entry when it has ended or `seconds` have passed; see `Ledger.wait`."""
        return await self.ledger.wait(entry_id, seconds)

    def entry(self, entry_id: str) -> Entry | None:
        """An entry that this server began, as it is now."""
        live = self.ledger.get(entry_id)
        return live.entry if live is not None else None

    def interrupt(self, entry_id: str | None = None, *, force: bool = False) -> Entry | None:
        """Stop an execution; None when there is nothing to stop.

        By default that is the running one, else the next, else the newest work beside the kernel.
        With `force`, a kernel that does not obey is killed. A replay is stopped as a whole.
        """
        live = self.queue.meant(entry_id)
        if live is None:
            return None
        kernel = self._worker.kernel
        if self.queue.take_back(live.entry.id):
            pass
        elif live.cancel is not None:
            live.cancel()
        elif live.entry.id == self.queue.current and kernel is not None:
            kernel.interrupt(force=force)
        return live.entry

    async def restart(self) -> RestartReport:
        """End the kernel, whatever it does now, and start the next generation."""
        before, lost = self._generations.number, self._worker.begin_anew(Origin.RESTART)
        return RestartReport(generation=await self._worker.wait_started(before), lost=lost)

    async def stop(self) -> None:
        """End the kernel and all that runs or waits here; what comes next starts another."""
        await self._worker.stop()

    def replay(self, steps: Sequence[Submission]) -> tuple[Mapping[str, str], list[Entry]]:
        """Restart, then run `steps` in order until one fails, which ends the rest.

        Returns at once: the lost variables, and the entries of the steps.
        """
        lost = self._worker.begin_anew(Origin.REPLAY)
        entries = [self._enqueue(step) for step in steps]
        self.queue.begin_replay(entry.id for entry in entries)
        return lost, entries

    def undertake(self, submission: Submission, work: Work) -> Entry:
        """Begin work in parallel to the kernel, such as an install, with an entry of its own.

        Raises:
            BusyError: The session is over, as when it was only looked at.
        """
        if self._tasks is None or self.is_over:
            raise BusyError(f"session {self.name!r} was closed just now: try again")
        live = self.ledger.begin(
            submission, outcome=Outcome.RUNNING, generation=self._generations.number
        )
        scope = anyio.CancelScope()
        live.cancel = scope.cancel  # from now on: it may be stopped before its task first runs
        self._tasks.start_soon(carry_out, self.ledger, live, scope, work, self._worker.wake.fire)
        return live.entry

    def submit_isolated(self, submission: Submission, arguments: tuple[str, ...]) -> Entry:
        """Begin to run a script in a kernel of its own."""
        work = isolated(self._prepare, self._take_slot, submission, arguments)
        return self.undertake(submission, work)

    def note(self, kind: EntryKind, source: str, *, details: JSONObject | None = None) -> Entry:
        """Put something that is over already into the history."""
        noted = Submission(source=source, kind=kind, details=details)
        generation = self._generations.number
        return self.ledger.begin(noted, outcome=Outcome.OK, generation=generation).entry

    def status(self) -> KernelStatus:
        """The kernel now."""
        return self._worker.status()

    def inspect(self) -> Inspection:
        """The kernel, to be asked something.

        Raises:
            KernelDeadError: No kernel is running.
        """
        kernel = self._worker.kernel
        if kernel is None or kernel.death is not None:
            raise KernelDeadError(
                f"session {self.name!r} has no running kernel: its variables are gone or not"
                " yet made; the next execute_code starts one"
            )
        return kernel

    def _enqueue(self, submission: Submission) -> Entry:
        live = self.ledger.begin(
            submission, outcome=Outcome.QUEUED, generation=self._generations.number
        )
        self.queue.add(live)
        self._worker.wake.fire()
        return live.entry

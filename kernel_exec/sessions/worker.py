"""A session's kernels, one after the other, and what they run.

The worker starts a kernel when there is something to do, serves the queue until the kernel dies
or a restart is asked for, and begins again with the next generation. Nobody else touches the
kernel's life.
"""

import time
from collections.abc import Mapping
from dataclasses import replace

import anyio

from kernel_exec.errors import BusyError, KernelExecError, KernelStartError
from kernel_exec.history.entries import Origin
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.kernel import Kernel
from kernel_exec.kernels.outcomes import Ending, Outcome
from kernel_exec.kernels.outputs import undefined_name
from kernel_exec.signals import Signal

from .generations import Generations, KernelStatus
from .ledger import Ledger, Live, describe_ending
from .queue import Queue
from .slots import Clients, TakeSlot
from .work import Prepare, describe_error

STOPPED = "it was stopped on request"
"""Why a kernel ended that a person has stopped."""

EXIT_GRACE = 5.0
"""Seconds that a kernel has to end after `exit()`."""


class Worker:
    """See the module's docstring.

    `kernel` is the one that lives now, if any does; whoever adds to the queue, or ends work beside
    the kernel, fires `wake`.
    """

    def __init__(
        self,
        *,
        prepare: Prepare,
        slot: TakeSlot,
        ledger: Ledger,
        queue: Queue,
        generations: Generations,
        idle_limit: float | None,
        detached_limit: float | None,
    ) -> None:
        """Each kernel takes a `slot`; for the limits see `Clients`."""
        self.kernel: Kernel | None = None
        self.wake = Signal()
        self.clients = Clients(
            wake=self.wake.fire, idle_limit=idle_limit, detached_limit=detached_limit
        )
        self._prepare = prepare
        self._take_slot = slot
        self._ledger = ledger
        self._queue = queue
        self._generations = generations
        self._starting = False
        self._start_error: KernelExecError | None = None
        self._restart_wanted = False
        self._exits = False
        self._started = Signal()  # and ended, or not started
        self._death_shown = False
        self._idle_since = time.monotonic()

    def begin_anew(self, origin: Origin) -> Mapping[str, str]:
        """End the kernel and all that waits for it; the variables that go with it."""
        lost = dict(self.kernel.names) if self.kernel is not None else {}
        self._queue.clear()
        self._start_error = None
        self._generations.origin = origin
        if not self._starting:
            self._restart_wanted = True
            if self.kernel is not None:
                self.kernel.kill("it was restarted on request")
            self.wake.fire()
        return lost

    async def stop(self) -> None:
        """End the kernel, all that waits for it and all work beside it."""
        self._queue.clear()
        for live in self._ledger.unfinished:
            if live.cancel is not None:
                live.cancel()
        kernel = self.kernel
        if kernel is not None:
            kernel.kill(STOPPED)
            while self.kernel is kernel:
                await self._started.wait()
        elif self._starting:
            self.clients.dismiss(STOPPED)

    async def wait_started(self, after: int) -> int:
        """Wait for a kernel later than generation `after`; its number.

        Raises:
            KernelExecError: It did not start.
        """
        while self._generations.number == after and self._start_error is None:
            await self._started.wait()
        if self._start_error is not None:
            raise self._start_error
        return self._generations.number

    def status(self) -> KernelStatus:
        """The kernel now."""
        kernel, number, record = self.kernel, self._generations.number, self._generations.record
        queued, current = len(self._queue), self._queue.current
        if kernel is None or record is None or kernel.death is not None:
            return KernelStatus(
                state="starting" if self._starting else "dead" if number else "not started",
                generation=number,
                queued=queued,
                death=str((kernel and kernel.death) or self._generations.death),
            )
        return KernelStatus(
            state="busy" if current else "idle",
            generation=number,
            pid=kernel.info.pid,
            python_version=kernel.info.python_version,
            ipykernel_version=kernel.info.ipykernel_version,
            support=kernel.info.support,
            sandbox=kernel.info.sandbox,
            started=record.started,
            current=current,
            queued=queued,
            idle=None if current or queued else time.monotonic() - self._idle_since,
            names=kernel.names,
        )

    async def run(self) -> None:
        """Start kernels as long as a client is connected, or something is to be done."""
        while self.clients.names or self._restart_wanted or self._ledger.unfinished:
            if self._queue or self._restart_wanted:
                await self._run_kernels()
            else:
                await self.wake.wait()

    async def _run_kernels(self) -> None:
        """Run one kernel after the other for as long as there is something to do, in one slot."""
        self._starting = True
        try:
            async with self._take_slot("session") as slot:
                slot.is_leaving = self._is_leaving
                while True:
                    self._restart_wanted = self._exits = False
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
        self._generations.fail(reason)
        if (running := self._queue.current) is not None:
            live: Live | None = self._ledger.find(running)
            details: JSONObject = {"death": {"cause": reason}}
        else:
            live, details = self._queue.take_first(), {"error": reason}
        if live is not None:
            self._queue.end(live, Outcome.KERNEL_DIED, details)

    async def _serve(self, kernel: Kernel) -> None:
        # what waits stays in the queue when the kernel turns out to be dead
        while kernel.death is None and not self._restart_wanted:
            if (live := self._queue.take_first()) is not None:
                await self._execute(kernel, live)
                continue
            limit, why = self.clients.patience
            rest = self._idle_since + limit - time.monotonic()
            if rest > 0:
                with anyio.move_on_after(rest):
                    await self.wake.wait()
            else:
                kernel.kill(why)
                await kernel.wait_death()

    async def _execute(self, kernel: Kernel, live: Live) -> None:
        lost = self._generations.take_lost()
        state: JSONObject = {"state_lost": lost} if lost else {}
        self._ledger.start(live, generation=self._generations.number, details=state)
        ending = await kernel.execute(live.request)
        self._queue.current = None
        self._idle_since = time.monotonic()
        live.entry = replace(
            live.entry, execution_count=ending.execution_count, timing=ending.timing
        )
        restarted = ending.outcome is Outcome.KERNEL_DIED and self._restart_wanted
        self._death_shown = ending.death is not None
        self._exits = ending.exit_requested
        self._queue.end(
            live,
            Outcome.INTERRUPTED if restarted else ending.outcome,
            {
                **describe_ending(ending, names_before=kernel.names),
                **_seen_before(self._generations, ending, lost),
            },
        )
        if ending.exit_requested:  # nothing may begin in a kernel that is about to end
            with anyio.move_on_after(EXIT_GRACE):
                await kernel.wait_death()
            if kernel.death is None:
                kernel.kill(f"it had not ended {EXIT_GRACE:.0f} seconds after exit()")
                await kernel.wait_death()

    async def _watch_death(self, kernel: Kernel) -> None:
        await kernel.wait_death()
        self.wake.fire()

    def _is_leaving(self) -> bool:
        """True when the kernel is about to end, and nothing waits here for the next."""
        is_dead = self.kernel is not None and self.kernel.death is not None
        ends = self._exits or is_dead or self.clients.dismissed
        return bool(ends) and not self._queue and not self._restart_wanted

    def _note_start(self, kernel: Kernel) -> None:
        self._starting = False
        self.kernel = kernel
        self._death_shown = False
        self._idle_since = time.monotonic()
        self._generations.begin(kernel)
        self._started.fire()

    def _note_end(self) -> None:
        """A generation is over, or never began."""
        kernel, self.kernel = self.kernel, None
        self.clients.dismissed = ""
        if kernel is not None:
            self._generations.end(kernel, asked=self._restart_wanted, told=self._death_shown)


def _seen_before(generations: Generations, ending: Ending, lost: JSONObject) -> JSONObject:
    """Which kernel had a name that is missing now, unless the result names what was `lost`."""
    generations.forget(ending.names.gone)
    name = undefined_name(ending.error)
    before = generations.seen(name) if name and not lost else None
    if before is None or "`import " in ending.help:
        return {}
    return {"help": f"`{name}` was lost with kernel {before}: run the code that made it again"}

"""A notebook run again from top to bottom in a fresh kernel, and what came of it.

Outputs are taken in and compared (`compare`) as the session's were; nothing goes into a history,
and the notebook itself is only read. An error does not stop the run, as later cells may do
without what failed; a dead kernel does. Works for any notebook in nbformat 4.
"""

import datetime as dt
import importlib.metadata
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread

from kernel_exec.environments.catalog import PreparedEnvironment
from kernel_exec.errors import BusyError, InvalidArgumentError, KernelDeadError
from kernel_exec.history.entries import Entry, EntryKind
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.kernel import Kernel, Kernels, KernelStarter
from kernel_exec.kernels.outcomes import Ending, Event, Outcome, Produced, Request
from kernel_exec.kernels.outputs import ErrorOutput, OutputEvent, fold
from kernel_exec.notebooks.needs import imports
from kernel_exec.notebooks.outputs import notebook_outputs
from kernel_exec.notebooks.reading import walls_of

from .compare import Comparison, Verdict, compare
from .normalise import ANY_RERUN, Rerun
from .plan import PlannedCell, is_unrecorded, make_plan
from .results import CellReport, OnCell, Verification

TIME_LIMIT = 600.0
"""Seconds that a cell may run unless somebody says otherwise."""

_LATE_GRACE = 5.0
"""Seconds to wait at the end for outputs that were also late when they were recorded."""

_DIED = "the kernel died"


async def verify_in(
    kernels: Kernels,
    prepared: PreparedEnvironment,
    notebook: JSONObject,
    *,
    working_directory: Path,
    time_limit: float | None = TIME_LIMIT,
    on_cell: OnCell | None = None,
) -> Verification:
    """Verify `notebook` in an environment, as `verify` does; its spilled outputs are thrown away.

    It runs behind walls that promise no less than those that it records of its kernels.

    Raises:
        InvalidArgumentError: It is no Python notebook, or there is no such working directory.
        KernelStartError: No kernel could be started.
    """
    if not working_directory.is_dir():
        raise InvalidArgumentError(
            f"working directory {str(working_directory)!r} does not exist;"
            " create it or choose another"
        )
    sandbox = prepared.sandbox.at_least(walls_of(notebook))
    with tempfile.TemporaryDirectory(prefix="kernel-exec-verify-") as name:
        spill_dir = Path(name)

        def tell(report: CellReport, done: int, total: int) -> None:
            for spilled in spill_dir.rglob("*"):  # a cell may write a gigabyte
                with suppress(OSError):
                    spilled.unlink()
            if on_cell is not None:
                on_cell(report, done, total)

        start = partial(
            kernels.open,
            replace(prepared, sandbox=sandbox),
            working_directory=working_directory,
            spill_dir=spill_dir,
        )
        verification = await verify(notebook, start, time_limit=time_limit, on_cell=tell)
    return replace(
        verification, environment=prepared.environment.key, working_directory=str(working_directory)
    )


async def verify(
    notebook: JSONObject,
    start: KernelStarter,
    *,
    time_limit: float | None = TIME_LIMIT,
    on_cell: OnCell | None = None,
) -> Verification:
    """Run the notebook's code in a kernel of `start`, and compare cell by cell.

    Each cell may take `time_limit` seconds. `on_cell` hears of each that ran and must not block;
    the verification has the verdicts of the end, when late outputs have come.

    Raises:
        InvalidArgumentError: It is no Python notebook.
        KernelStartError: No kernel could be started.
    """
    plan = make_plan(notebook)
    judged = [cell for cell in plan if not cell.generated]
    began = time.time()
    run = _Run(notebook, plan, time_limit)
    async with start(run.listen) as kernel:
        done = 0
        for cell in plan:
            await run.cell(kernel, cell)
            if on_cell is not None and not cell.generated:
                done += 1
                on_cell(await run.report(cell), done, len(judged))
        await run.wait_late()
        packages = await _packages(kernel, plan)
        info = kernel.info
    reports = [await run.report(cell) for cell in judged]
    return Verification(
        cells=reports,
        when=dt.datetime.fromtimestamp(began, dt.UTC).isoformat(timespec="seconds"),
        seconds=round(time.time() - began, 3),
        python=info.python_version,
        executable=info.executable,
        packages=packages,
        version=importlib.metadata.version("kernel-exec"),
        reason=run.reason,
    )


@dataclass(slots=True, kw_only=True)
class _Ran:
    """What a cell did, and how the first `compared` of its events compare."""

    events: list[OutputEvent] = field(default_factory=list)
    rerun: Rerun = ANY_RERUN
    ending: Ending | None = None
    missed: str = ""
    seconds: float | None = None
    report: CellReport | None = None
    compared: int = 0


class _Run:
    """One pass through a notebook."""

    def __init__(
        self, notebook: JSONObject, plan: Sequence[PlannedCell], time_limit: float | None
    ) -> None:
        self.reason = ""
        self._over = ""
        self._plan = plan
        self._time_limit = time_limit
        self._ran: dict[int, _Ran] = {cell.index: _Ran() for cell in plan}
        self._by_id: dict[str, _Ran] = {}
        self._heard = anyio.Event()
        self._unrecorded = is_unrecorded(notebook)

    def listen(self, event: Event) -> None:
        """Take in what the kernel puts out."""
        if isinstance(event, Produced) and (ran := self._by_id.get(event.execution_id)):
            ran.events.append(event.output)
            self._heard.set()

    async def cell(self, kernel: Kernel, cell: PlannedCell) -> None:
        """Run one cell, unless there is a reason not to."""
        ran = self._ran[cell.index]
        if self._over:
            ran.missed = self.reason = self._over
        elif cell.skipped:
            ran.missed = "it is tagged `skip-execution`"
        elif cell.runs:
            await self._execute(kernel, cell, ran)

    async def _execute(self, kernel: Kernel, cell: PlannedCell, ran: _Ran) -> None:
        ran.rerun = Rerun(moment=dt.datetime.now().astimezone(), process=kernel.info.pid)
        request = Request(id=uuid.uuid4().hex, source=cell.source, time_limit=self._time_limit)
        self._by_id[request.id] = ran
        began = time.monotonic()
        try:
            ran.ending = ending = await kernel.execute(request)
        except KernelDeadError:
            ran.missed = self.reason = self._over = f"{_DIED} ({kernel.death})"
            return
        ran.seconds = round(time.monotonic() - began, 3)
        if ending.death is not None:
            self.reason = self._over = f"{_DIED} in step {cell.number} ({ending.death})"
        elif ending.exit_requested:
            self._over = f"step {cell.number} ended the kernel"
        if ending.error is not None and not any(
            isinstance(event, ErrorOutput) for event in ran.events
        ):
            ran.events.append(ending.error)

    async def report(self, cell: PlannedCell) -> CellReport:
        """How a cell did, by what has come of it so far."""
        ran = self._ran[cell.index]
        events = tuple(ran.events)
        if ran.report is None or ran.compared != len(events):
            found = await to_thread.run_sync(self._compare, cell, ran, events)
            ran.compared = len(events)
            ran.report = CellReport(
                cell=cell, verdict=found.verdict, difference=found.difference, seconds=ran.seconds
            )
        return ran.report

    def _compare(self, cell: PlannedCell, ran: _Ran, events: Sequence[OutputEvent]) -> Comparison:
        if ran.missed:
            return Comparison(verdict=Verdict.NOT_RUN, difference=ran.missed)
        if ran.ending is not None and (failure := self._failure(ran.ending)):
            return Comparison(verdict=Verdict.NEW_ERROR, difference=failure)
        return compare(
            cell.outputs,
            list(notebook_outputs(fold(events), _ENTRY, folder="")),
            may_fail=cell.may_fail,
            errors_only=self._unrecorded or cell.asks_for_help,
            source=cell.source,
            rerun=ran.rerun,
        )

    def _failure(self, ending: Ending) -> str:
        """What is worse than an exception."""
        if ending.outcome is Outcome.TIMEOUT:
            return f"it was stopped at the time limit of {self._time_limit:g} seconds"
        return f"{_DIED} ({ending.death})" if ending.outcome is Outcome.KERNEL_DIED else ""

    async def wait_late(self) -> None:
        """Wait for what threads are still to say, where they had said it."""
        with anyio.move_on_after(0 if self._over else _LATE_GRACE):
            for cell in self._plan:
                while cell.had_late and not self._ran[cell.index].missed:
                    self._heard = anyio.Event()
                    if (await self.report(cell)).verdict is not Verdict.DIFFERENT:
                        break
                    await self._heard.wait()


_ENTRY = Entry(
    id="", session_id="", number=0, kind=EntryKind.CODE, source="", outcome=Outcome.OK, queued=0.0
)
"""Outputs of now belong to no entry."""


async def _packages(kernel: Kernel, plan: Sequence[PlannedCell]) -> dict[str, str]:
    """The versions of what the notebook imports; empty when the kernel can't tell."""
    names = sorted({name for cell in plan for name in imports(cell.source)})
    if not names or kernel.death is not None:
        return {}
    try:
        return dict(await kernel.versions(names))
    except (BusyError, KernelDeadError):
        return {}

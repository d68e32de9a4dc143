"""An export whose notebook is run again first, as work beside the kernel."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from kernel_exec.content.plain import one_line
from kernel_exec.environments.catalog import PreparedEnvironment
from kernel_exec.errors import BusyError, UnusableEnvironmentError
from kernel_exec.history.entries import Entry
from kernel_exec.jsons import JSONObject, mapping, text
from kernel_exec.kernels.kernel import Kernels
from kernel_exec.kernels.outputs import Stream
from kernel_exec.notebooks.reading import ours
from kernel_exec.sessions.slots import TakeSlot
from kernel_exec.sessions.work import Done, Job, Work
from kernel_exec.verification.basis import basis
from kernel_exec.verification.plan import PlannedCell, make_plan
from kernel_exec.verification.results import Verification, recalled
from kernel_exec.verification.verify import verify_in

from .export import Exported

Verify: TypeAlias = Callable[[JSONObject], Awaitable[Verification]]

_TITLE = 60
"""Characters of a cell's title that progress shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """How a notebook is run again; `earlier` is the session's latest verification, if it may count.

    `documents` is the folder in which exports are kept.
    """

    kernels: Kernels
    prepare: Callable[[], Awaitable[PreparedEnvironment]]
    slot: TakeSlot
    working_directory: Path
    documents: Path
    time_limit: float | None
    earlier: Entry | None


def verified_export(export: Callable[[Verify], Awaitable[Exported]], again: Again) -> Work:
    """Work that runs the notebook again, which `export` hands over, and lets it be written."""

    async def work(job: Job) -> Done:
        run = _Run(again, job)
        exported = await export(run.verify)
        assert exported.verification is not None
        details: JSONObject = {
            "path": str(exported.path),
            "cells": exported.cells,
            "verification": exported.verification.as_json(),
            "reused": run.reused,
            "basis": "" if exported.verification.reason else await run.basis(),
        }
        return Done(details=details)

    return work


class _Run:
    """One verification."""

    def __init__(self, again: Again, job: Job) -> None:
        self.reused = False
        self._again = again
        self._job = job
        self._plan: list[PlannedCell] = []
        self._directory = again.working_directory

    async def verify(self, notebook: JSONObject) -> Verification:
        """Run the notebook again, unless the verdict of before still holds."""
        self._plan = make_plan(notebook)
        kept = text(ours(notebook), "working_directory")
        if kept and Path(kept).is_dir():
            self._directory = Path(kept)
        if (earlier := self._again.earlier) is not None:
            basis_then = text(earlier.details, "basis")
            if basis_then and basis_then == await self.basis():
                self.reused = True
                return recalled(mapping(earlier.details, "verification"), self._plan)
        async with self._again.slot("verification"):
            try:
                prepared = await self._again.prepare()
            except UnusableEnvironmentError as error:
                raise UnusableEnvironmentError(
                    f"{error}; the session can still be exported without verify"
                ) from error
            self._report(0, "")
            return await verify_in(
                self._again.kernels,
                prepared,
                notebook,
                working_directory=self._directory,
                time_limit=self._again.time_limit,
                on_cell=lambda report, done, _: self._report(done, f"{report.verdict}\n"),
            )

    async def basis(self) -> str:
        """What the verdict rests on, as it is now; "" when the environment does not answer."""
        try:
            return await basis(
                self._plan,
                await self._again.prepare(),
                working_directory=self._directory,
                apart=self._again.documents,
                time_limit=self._again.time_limit,
            )
        except (BusyError, UnusableEnvironmentError):
            return ""

    def _report(self, done: int, verdict: str) -> None:
        """Report how a cell did, and which one runs now."""
        cells = [cell for cell in self._plan if not cell.generated]
        following = ""
        if done < len(cells):
            title = one_line(cells[done].title, _TITLE)
            place = f"step {cells[done].number} ({done + 1} of {len(cells)})"
            following = f"{place}{f' {title}' if title else ''}: "
        self._job.emit(Stream(name="stdout", text=f"{verdict}{following}"))

"""The tools that make documents of what was done."""

import time
from collections.abc import Callable

import anyio
from mcp_types import CallToolResult

from kernel_exec.documents.export import Document, Exported
from kernel_exec.kernels.messages import JSON
from kernel_exec.verification.compare import Verdict
from kernel_exec.verification.results import CellDone, Verification

from . import arguments as given
from .call import Call
from .results import structured

_PROGRESS_EVERY = 2.0
"""Seconds between two signs of life while a notebook runs again."""

_DIFFERENCES = 10
"""Differences that a result tells; the document has all of them."""

_LONGEST = 300
"""Characters of one difference in a result."""


async def export_notebook(call: Call, asked: given.ExportNotebook) -> CallToolResult:
    """Write the session as a document, on request after running it again."""
    if asked.verify:
        exported = await _verified(call, asked)
    else:
        exported = await _export(call, asked, None)
    told: dict[str, JSON] = {
        "status": "success",
        "path": str(exported.path),
        "cells": exported.cells,
    }
    if exported.verification is not None:
        told["verification"] = _told(exported.verification)
    return structured(told)


async def add_note(call: Call, asked: given.AddNote) -> CallToolResult:
    """Put words between the cells."""
    entry = await call.client.note(markdown=asked.markdown, session=asked.session)
    return structured({"status": "success", "number": entry.number})


async def _export(
    call: Call, asked: given.ExportNotebook, verify: Callable[[CellDone], None] | None
) -> Exported:
    document = Document(
        path=asked.path,
        format=asked.format or "",
        overwrite=asked.overwrite,
    )
    return await call.client.export(document, session=asked.session, verify=verify)


async def _verified(call: Call, asked: given.ExportNotebook) -> Exported:
    """Export with verification, telling of progress: it takes as long as the session did."""
    latest = "starting a kernel to run it again"
    began = time.monotonic()

    def on_cell(done: CellDone) -> None:
        nonlocal latest
        latest = f"cell {done.number} of {done.total}: {done.verdict}"

    async def tell() -> None:
        while True:
            await anyio.sleep(_PROGRESS_EVERY)
            await call.progress(time.monotonic() - began, latest)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tell)
        exported = await _export(call, asked, on_cell)
        tasks.cancel_scope.cancel()
    return exported


def _told(verification: Verification) -> JSON:
    """What a model needs to know; the document has the rest."""
    fine = {Verdict.SAME, Verdict.CLOSE, Verdict.NOT_RUN}
    differing = [cell for cell in verification.cells if cell.verdict not in fine]
    return {
        "verdict": verification.verdict,
        "counts": dict(verification.counts),
        "seconds": verification.seconds,
        "reason": verification.reason,
        "differences": [
            {
                "cell": cell.number,
                "title": cell.title,
                "verdict": cell.verdict.value,
                "difference": cell.difference[:_LONGEST],
            }
            for cell in differing[:_DIFFERENCES]
        ],
    }

"""A session that runs again and is written with the verdict: followed like any other work."""

import datetime as dt
from collections.abc import Mapping

from mcp_types import CallToolResult

from kernel_exec.history.entries import Entry
from kernel_exec.jsons import JSON, JSONObject, mapping, text
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.notebooks.reading import objects
from kernel_exec.sessions.session import Session
from kernel_exec.verification.compare import Verdict

from .call import Call
from .results import structured

_DIFFERENCES = 10
"""Differences that a result tells; the document has all of them."""

_LONGEST = 300
"""Characters of one difference in a result."""

_FINE = (Verdict.SAME, Verdict.CLOSE, Verdict.NOT_RUN)


async def present_verification(
    call: Call, session: Session | None, entry: Entry, more: JSONObject | None = None
) -> CallToolResult:
    """What came of it, or how far it is; one that did not end well is shown as any execution."""
    fields: dict[str, JSON] = {"execution_id": entry.id, **(more or {})}
    if not entry.outcome.ended:
        live = session.ledger.get(entry.id) if session is not None else None
        words = live.last_words.splitlines() if live is not None else []
        fields = {
            "status": "running",
            "progress": words[-1].removesuffix(":") if words else "starting a kernel",
            "message": "the verification continues; wait for it with"
            f' get_execution(execution_id="{entry.id}", wait_seconds=45), stop it with'
            f' interrupt_execution(execution_id="{entry.id}")',
            **fields,
        }
        return structured(fields)
    if entry.outcome is not Outcome.OK:
        return await call.present(session, entry)
    fields = {
        "status": "success",
        "path": entry.details.get("path"),
        "cells": entry.details.get("cells"),
        "verification": _verdict(entry.details),
        **fields,
    }
    return structured(fields)


def _verdict(details: JSONObject) -> JSON:
    """What a model needs to know; the document has the rest."""
    verification = mapping(details, "verification")
    cells = objects(verification.get("cells"))
    differing = [cell for cell in cells if text(cell, "verdict") not in _FINE]
    fields: dict[str, JSON] = {
        key: verification.get(key) for key in ("verdict", "counts", "seconds", "reason", "when")
    }
    fields["differences"] = [
        {
            "step": cell.get("number"),
            "title": text(cell, "title"),
            "verdict": text(cell, "verdict"),
            "difference": text(cell, "difference")[:_LONGEST],
        }
        for cell in differing[:_DIFFERENCES]
    ]
    if details.get("reused") is True:
        fields["reused"] = _reused(verification)
    return fields


def _reused(verification: Mapping[str, JSON]) -> str:
    when = dt.datetime.fromisoformat(text(verification, "when")).astimezone()
    return (
        f"this is the verdict of the run that began at {when:%Y-%m-%d %H:%M:%S}. Since that run"
        " ended, the code, its recorded outputs, the environment's packages and the files in"
        f" {text(verification, 'working_directory')} have not changed. Files elsewhere, hidden"
        " ones, the network and the time are not considered; verify_again=true runs it again."
    )

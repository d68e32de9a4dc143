"""A session that runs again and is written with the verdict: followed like any other work."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence

from mcp_types import CallToolResult

from kernel_exec.content.plain import counted
from kernel_exec.history.entries import Entry
from kernel_exec.jsons import JSON, JSONObject, count, mapping, text
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
    call: Call, session: Session | None, entry: Entry, others: Sequence[JSONObject] = ()
) -> CallToolResult:
    """What came of it, or how far it is; one that did not end well is shown as any execution."""
    if not entry.outcome.ended:
        live = session.ledger.get(entry.id) if session is not None else None
        words = live.last_words.splitlines() if live is not None else []
        progress = words[-1].removesuffix(":") if words else "starting a kernel"
        message = (
            "the verification continues; wait for it with"
            f' get_execution(execution_id="{entry.id}", wait_seconds=45), stop it with'
            f' interrupt_execution(execution_id="{entry.id}")'
        )
        running = {"status": "running", "progress": progress, "message": message}
        return structured({**running, "execution_id": entry.id}, [progress, message])
    if entry.outcome is not Outcome.OK:
        return await call.present(session, entry)
    path, cells = text(entry.details, "path"), count(entry.details, "cells") or 0
    fields, lines = exported_to(path, cells, others)
    verdict = _verdict(entry.details)
    fields |= {"verification": verdict, "execution_id": entry.id}
    return structured(fields, [*lines, *verdict_lines(verdict)])


def exported_to(
    path: str, cells: int, others: Sequence[JSONObject]
) -> tuple[dict[str, JSON], list[str]]:
    """The fields and the lines on a document that was written, and on the `others` there are."""
    fields: dict[str, JSON] = {"status": "success", "path": path, "cells": cells}
    if others:
        fields["other_sessions"] = others
    also = [
        f"session {text(each, 'session')} has {counted(count(each, 'steps') or 0, 'step')}:"
        f" {text(each, 'export')}"
        for each in others
    ]
    return fields, [f"{counted(cells, 'cell')} exported to {path}", *also]


def verdict_lines(verdict: JSONObject) -> Iterator[str]:
    """The verdict with the number of cells of each kind, and what differs."""
    counts = [f"{number} {word}" for word, number in mapping(verdict, "counts").items()]
    reason = f", {reason}" if (reason := text(verdict, "reason")) else ""
    yield f"verified: {text(verdict, 'verdict')}{reason} ({', '.join(counts) or 'nothing to run'})"
    for cell in objects(verdict.get("differences")):
        title = text(cell, "title")
        named = f"step {cell.get('step')}{f' ({title})' if title else ''}"
        yield f"{named} {text(cell, 'verdict')}: {text(cell, 'difference')}"
    if reused := text(verdict, "reused"):
        yield reused


def _verdict(details: JSONObject) -> JSONObject:
    """What a model needs to know; the document has the rest."""
    verification = mapping(details, "verification")
    cells = objects(verification.get("cells"))
    differing = [cell for cell in cells if text(cell, "verdict") not in _FINE]
    fields: dict[str, JSON] = {
        key: verification.get(key) for key in ("verdict", "seconds", "reason", "when")
    }
    counts = mapping(verification, "counts").items()
    fields["counts"] = {verdict: number for verdict, number in counts if number}
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

"""The tools that make documents of what was done."""

from mcp_types import CallToolResult

from kernel_exec import executions, exports
from kernel_exec.documents.export import Document
from kernel_exec.jsons import JSON
from kernel_exec.server import arguments

from .call import Call
from .results import structured
from .verifying import present_verification


async def export_notebook(call: Call, asked: arguments.ExportNotebook) -> CallToolResult:
    """Write the session as a document, on request after running it again."""
    document = Document(
        path=asked.path,
        format=asked.format or "",
        title=asked.title,
        overwrite=asked.overwrite,
    )
    if asked.verify or asked.verify_again:
        return await _verified(call, asked, document)
    exported = await exports.export(call.connection, document, session=asked.session)
    fields: dict[str, JSON] = {
        "status": "success",
        "path": str(exported.path),
        "cells": exported.cells,
    }
    return structured(fields | await _others(call, asked.session))


async def add_note(call: Call, asked: arguments.AddNote) -> CallToolResult:
    """Put words between the cells."""
    entry = await executions.add_note(
        call.connection, markdown=asked.markdown, session=asked.session
    )
    return structured({"status": "success", "number": entry.number})


async def _verified(
    call: Call, asked: arguments.ExportNotebook, document: Document
) -> CallToolResult:
    begun = await exports.verify(
        call.connection,
        document,
        session=asked.session,
        time_limit=call.limit(asked.timeout_seconds),
        anew=asked.verify_again,
    )
    call.begun(begun.session, begun.entry)
    entry = await call.follow(begun.session, begun.entry, call.window(asked.wait_seconds))
    more = await _others(call, asked.session)
    return await present_verification(call, begun.session, entry, more)


async def _others(call: Call, session: str) -> dict[str, JSON]:
    """The other sessions of this conversation, if there are any."""
    others = await exports.others(call.connection, session)
    return {"other_sessions": others} if others else {}

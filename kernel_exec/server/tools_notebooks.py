"""The tools that make documents of what was done."""

from mcp_types import CallToolResult

from kernel_exec import executions, exports
from kernel_exec.documents.export import Document
from kernel_exec.server import arguments

from .call import Call
from .results import structured
from .verifying import exported_to, present_verification


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
    others = await exports.others(call.connection, asked.session)
    fields, lines = exported_to(str(exported.path), exported.cells, others)
    return structured(fields, lines)


async def add_note(call: Call, asked: arguments.AddNote) -> CallToolResult:
    """Put words between the cells."""
    entry = await executions.add_note(
        call.connection, markdown=asked.markdown, session=asked.session
    )
    return structured(
        {"status": "success", "number": entry.number}, [f"added as step {entry.number}"]
    )


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
    others = await exports.others(call.connection, asked.session)
    return await present_verification(call, begun.session, entry, others)

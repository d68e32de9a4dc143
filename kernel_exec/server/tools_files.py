"""The tools that write and read code files, without running them."""

from functools import partial

from anyio import to_thread
from mcp_types import CallToolResult

from kernel_exec.errors import InvalidArgumentError
from kernel_exec.jsons import JSON
from kernel_exec.server import arguments

from .call import Call
from .results import structured


async def initialize_code_file(call: Call, asked: arguments.InitializeCodeFile) -> CallToolResult:
    """Store code as a new script, or as the one of that name."""
    scripts = call.connection.scripts
    if asked.overwrite and not asked.filename:
        raise InvalidArgumentError("overwrite needs filename, the stem of the file to write")
    store = scripts.replace if asked.overwrite else scripts.save
    path = await to_thread.run_sync(store, asked.content, asked.filename)
    return structured(
        {
            "status": "success",
            "message": "file created; append_to_code_file adds to it",
            "file_path": str(path),
            "filename": path.name,
            "generated_filename": path.name,
        }
    )


async def append_to_code_file(call: Call, asked: arguments.AppendToCodeFile) -> CallToolResult:
    """Add code to a script."""
    appended = await to_thread.run_sync(
        call.connection.scripts.append, asked.file_path, asked.content
    )
    return structured(
        {
            "status": "success",
            "message": "content appended",
            "file_path": str(appended.path),
            "lines": appended.lines,
            "bytes": appended.size,
        }
    )


async def read_code_file(call: Call, asked: arguments.ReadCodeFile) -> CallToolResult:
    """Show lines of a script."""
    read = partial(
        call.connection.scripts.read, asked.file_path, offset=asked.offset, limit=asked.limit
    )
    page = await to_thread.run_sync(read)
    fields: dict[str, JSON] = {
        "status": "success",
        "file_path": str(page.path),
        "total_lines": page.total_lines,
        "offset": page.offset,
        "next_offset": page.next_offset,
        "encoding_errors": page.encoding_errors,
    }
    if page.cut_lines:
        fields["cut_lines"] = list(page.cut_lines)
    return structured(fields, exact={"content": page.text})

"""The tools that write and read code files, without running them."""

from collections.abc import Iterator
from functools import partial

from anyio import to_thread
from mcp_types import CallToolResult

from kernel_exec.content.plain import counted, escaped
from kernel_exec.errors import InvalidArgumentError
from kernel_exec.jsons import JSON
from kernel_exec.scripts.pages import ScriptPage
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
            "message": "file stored",
            "file_path": str(path),
            "filename": path.name,
            "generated_filename": path.name,
        },
        [f"stored as {path}"],
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
        },
        [f"appended; {appended.path.name} has {counted(appended.lines, 'line')}"],
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
    return structured(fields, page_lines(page), exact={"content": page.text})


def page_lines(page: ScriptPage) -> Iterator[str]:
    """The lines with their numbers, which tracebacks count from 1, and how to read on."""
    lines = page.text.removesuffix("\n").split("\n") if page.text else []
    for number, line in enumerate(lines, page.offset + 1):
        shown = escaped(line.removesuffix("\r"))
        yield f"{number}\t{shown}"
    if not page.total_lines:
        yield "[the file is empty]"
    elif not lines:
        total = counted(page.total_lines, "line")
        yield f"[no line has the offset {page.offset:,}; the file has {total}]"
    elif len(lines) < page.total_lines:
        after = f"; next: offset={page.next_offset}" if page.next_offset is not None else ""
        first, last = page.offset + 1, page.offset + len(lines)
        place = f"lines {first:,}-{last:,}" if first < last else f"line {last:,}"
        yield f"[{place} of {page.total_lines:,}{after}]"
    if page.encoding_errors:
        yield "[bytes that are not in the file's encoding are shown as U+FFFD]"

"""The tools that run code and follow it."""

from dataclasses import asdict

from mcp_types import CallToolResult, TextContent

from kernel_exec import executions
from kernel_exec.connection import Begun
from kernel_exec.content.paging import Asked
from kernel_exec.errors import BusyError, KernelDeadError
from kernel_exec.history.entries import EntryKind, SessionRecord
from kernel_exec.jsons import JSON, JSONObject
from kernel_exec.kernels.kernel import Variable
from kernel_exec.server import arguments
from kernel_exec.sessions.session import Session

from .call import Call
from .presenting import Lines
from .replaying import replay
from .results import structured, texts
from .verifying import present_verification


async def execute_code(call: Call, asked: arguments.ExecuteCode) -> CallToolResult:
    """Run code in the session's kernel."""
    begun = await executions.run(
        call.connection,
        source=asked.code,
        session=asked.session,
        filename=asked.filename,
        title=asked.title,
        time_limit=call.limit(asked.timeout_seconds),
    )
    return await _follow(call, begun, asked.wait_seconds)


async def execute_code_file(call: Call, asked: arguments.ExecuteCodeFile) -> CallToolResult:
    """Run a stored script."""
    begun = await executions.run_script(
        call.connection,
        asked.file_path,
        tuple(asked.args),
        isolated=asked.mode == "isolated",
        session=asked.session,
        title=asked.title,
        time_limit=call.limit(asked.timeout_seconds),
    )
    return await _follow(call, begun, asked.wait_seconds)


async def get_execution(call: Call, asked: arguments.GetExecution) -> CallToolResult:
    """Wait for an execution, or page and search what it has produced."""
    session, entry = await executions.find(
        call.connection, execution_id=asked.execution_id, session=asked.session
    )
    if session is not None and not entry.outcome.ended:
        entry = await call.follow(session, entry, asked.wait_seconds)
    if asked.picture is not None:
        return await call.present(session, entry, asked.picture)
    lines = (asked.offset, asked.limit)
    if lines == (None, None) and asked.stream == "all" and not asked.tail and not asked.search:
        if entry.kind is EntryKind.VERIFICATION:
            return await present_verification(call, session, entry)
        return await call.present(session, entry, only_new=True)
    limit = _MOST_LINES if asked.limit is None else asked.limit
    page = Asked(offset=asked.offset or 0, limit=limit, tail=asked.tail)
    part = Lines(stream=asked.stream, asked=page, search=asked.search)
    return await call.present(session, entry, part)


async def interrupt_execution(call: Call, asked: arguments.InterruptExecution) -> CallToolResult:
    """Stop an execution and keep the kernel, if it obeys."""
    if target := asked.execution_id:
        session, entry = await executions.find(call.connection, execution_id=target)
        if entry.outcome.ended:
            return texts(f"execution {target} has ended already: {entry.outcome.value}")
        if session is None:
            raise BusyError(f"execution {target} runs in another server: stop it there")
    else:
        found = await call.connection.existing(asked.session)
        session = found if isinstance(found, Session) else None
        if session is None:
            return texts(f"nothing is running in session {found.name!r}")
    stopped = session.interrupt(target or None, force=asked.force)
    if stopped is None:
        return texts(f"nothing is running in session {session.name!r}")
    entry = await session.wait(stopped.id, _STOP_WINDOW)
    return await call.present(session, entry, only_new=True)


async def restart_kernel(call: Call, asked: arguments.RestartKernel) -> CallToolResult:
    """Begin with a new kernel, on request with the old state made again."""
    await call.connection.existing(asked.session)  # what does not exist is not begun by a restart
    session = await call.connection.session(asked.session)
    if asked.restore == "replay":
        return await replay(
            call,
            session,
            time_limit=call.limit(asked.timeout_seconds),
            window=call.window(asked.wait_seconds),
        )
    report = await session.restart()
    return structured(
        {
            "status": "success",
            "session": session.name,
            "generation": report.generation,
            "lost": dict(report.lost),
        }
    )


async def kernel_status(call: Call, asked: arguments.KernelStatus) -> CallToolResult:
    """What the kernel is and does, and which variables it holds."""
    found = await call.connection.existing(asked.session)
    session = found if isinstance(found, Session) else None
    status = await executions.kernel_status(call.connection, found)
    fields: dict[str, JSON] = {
        "session": found.name,
        "environment": (
            found.environment if isinstance(found, SessionRecord) else found.environment.key
        ),
        "state": status.state,
        "generation": status.generation,
        "queued": status.queued,
        "history": call.connection.history or "ok",
    }
    if notice := call.connection.news() or call.connection.notice:
        fields["notice"] = notice
    if status.current is not None:
        fields["execution_id"] = status.current
    if status.death:
        fields["died_of"] = status.death
    if session is not None and status.started is not None:
        fields |= {
            "pid": status.pid,
            **await _usage(session),
            "python_version": status.python_version,
            "ipykernel_version": status.ipykernel_version,
            "kernel_support": status.support,
            "started": status.started,
        }
    if asked.variables or asked.pattern != "*":
        fields |= await _variables(session, asked.pattern)
    return structured(fields)


_MOST_LINES = 200
"""Lines of a page, if nobody asks for another number."""

_STOP_WINDOW = 10.0
"""Seconds to wait for an interrupted execution: a kernel that must be killed takes up to eight."""


async def _follow(call: Call, begun: Begun, wait_seconds: float | None) -> CallToolResult:
    """Wait for what this call has begun, or found under way."""
    session, entry = begun.session, begun.entry
    call.begun(session, entry)
    entry = await call.follow(session, entry, call.window(wait_seconds))
    result = await call.present(session, entry)
    if not begun.resent:
        return result
    note = (
        f"[this code was already running as execution {entry.id}, and was not started again; to"
        " run it once more, send it after the end of that execution]\n"
    )
    *content, status = result.content
    return result.model_copy(update={"content": [*content, TextContent(text=note), status]})


async def _variables(session: Session | None, pattern: str) -> JSONObject:
    if session is None:
        return {"variables": [], "total": 0}
    try:
        variables = await session.inspect().variables(pattern)
    except KernelDeadError:
        return {"variables": [], "total": 0}
    return {
        "variables": [_described(each) for each in variables.found],
        "total": variables.total,
    }


def _described(variable: Variable) -> JSONObject:
    """What is known of a variable."""
    return {key: fact for key, fact in asdict(variable).items() if fact not in (None, "")}


async def _usage(session: Session) -> JSONObject:
    """What a kernel's process takes; nothing once it is gone."""
    try:
        usage = await session.inspect().usage()
    except KernelDeadError:
        return {}
    return {"memory_bytes": usage.memory, "working_directory": usage.working_directory}

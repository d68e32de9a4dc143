"""The tools that run code and follow it."""

from collections.abc import Iterator, Mapping
from contextlib import suppress

from mcp_types import CallToolResult, TextContent

from kernel_exec import executions
from kernel_exec.connection import Begun
from kernel_exec.content.paging import Asked
from kernel_exec.content.plain import one_line, sized
from kernel_exec.content.status import described, is_data, sandbox_line
from kernel_exec.errors import BusyError, KernelDeadError
from kernel_exec.history.entries import EntryKind, SessionRecord
from kernel_exec.jsons import JSON, JSONObject, count, mapping, text
from kernel_exec.kernels.kernel import Variable, Variables
from kernel_exec.server import arguments
from kernel_exec.sessions.naming import whose
from kernel_exec.sessions.session import Session

from .call import Call
from .presenting import Lines
from .replaying import replay, restarted
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
        },
        restarted(report.generation, report.lost),
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
    if session is not None and (other := whose(session, call.connection.owner.id)):
        fields["client"] = other
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
            "sandbox": status.sandbox,
            "started": status.started,
        }
    lines = [*_status_lines(fields)]
    if asked.variables or asked.pattern != "*":
        held = await _variables(session, asked.pattern)
        variables = {each.name: describe(each) for each in held.found[:_MOST_VARIABLES]}
        fields |= {"variables": variables, "total": held.total}
        lines += _variable_lines(variables, held.total)
    return structured(fields, lines)


_NAMED = {
    "environment": "environment",
    "working_directory": "working directory",
    "client": "the session is",
    "execution_id": "running execution",
    "died_of": "died of",
    "history": "history",
    "notice": "notice",
}
"""Fields that have a line of their own, and what it calls them."""

_LONGEST = 500
"""Characters of a path, a reason or a notice."""

_MOST_VARIABLES = 200
"""Variables that a result lists."""

_LARGE = 10_000
"""Bytes from which on the size of a variable is of interest."""


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


async def _variables(session: Session | None, pattern: str) -> Variables:
    if session is not None:
        with suppress(KernelDeadError):
            return await session.inspect().variables(pattern)
    return Variables(found=(), total=0)


def _status_lines(fields: JSONObject) -> Iterator[str]:
    """The kernel in a line, and one for each field that is out of the ordinary."""
    parts = [f"session {text(fields, 'session')}: {text(fields, 'state')}"]
    parts += [f"kernel {number}"] if (number := count(fields, "generation")) else []
    parts += [f"Python {version}"] if (version := text(fields, "python_version")) else []
    parts += [f"pid {pid}"] if (pid := count(fields, "pid")) else []
    parts += [sized(memory)] if (memory := count(fields, "memory_bytes")) else []
    parts += [f"{queued} queued"] if (queued := count(fields, "queued")) else []
    yield ", ".join(parts)
    for key, name in _NAMED.items():
        if (told := text(fields, key)) not in {"", "ok"}:
            yield f"{name} {one_line(told, _LONGEST)}"
    if held := mapping(fields, "sandbox"):
        yield sandbox_line(held)


def _variable_lines(variables: Mapping[str, str], total: int) -> Iterator[str]:
    """A line for each that holds data, and one for the others."""
    yield from described(variables)
    if others := [one_line(name) for name, what in variables.items() if not is_data(what)]:
        yield f"other names: {', '.join(others)}"
    if len(variables) < total:
        yield f"[{len(variables):,} of {total:,} variables; pattern selects others]"
    elif not total:
        yield "no variables"


def describe(variable: Variable) -> str:
    """Type, shape or length, size where it is large, and the value of a plain one."""
    extent = [str(variable.length)] if variable.length is not None else []
    if variable.shape:
        extent = ["x".join("?" if each is None else str(each) for each in variable.shape)]
    size = variable.size or 0
    taken = [sized(size)] if size >= _LARGE else []
    value = [f"= {variable.preview}"] if variable.preview else []
    note = [f"({variable.note})"] if variable.note else []
    return " ".join([variable.type, *extent, *taken, *value, *note])


async def _usage(session: Session) -> JSONObject:
    """What a kernel's process takes; nothing once it is gone."""
    try:
        usage = await session.inspect().usage()
    except KernelDeadError:
        return {}
    return {"memory_bytes": usage.memory, "working_directory": usage.working_directory}

"""The MCP server over one `App`: a static table of tools, and one way through all of them."""

import importlib.metadata
import logging
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ImageContent,
    ListToolsResult,
    PaginatedRequestParams,
    RequestId,
    TextContent,
    Tool,
    ToolAnnotations,
)
from pydantic import BaseModel, ValidationError

from kernel_exec.app import App
from kernel_exec.client import Client
from kernel_exec.content.plain import one_line
from kernel_exec.errors import KernelExecError, bare
from kernel_exec.sessions.history import Entry
from kernel_exec.sessions.session import Session

from . import arguments as given
from . import tools_environment as environment
from . import tools_files as files
from . import tools_notebooks as notebooks
from . import tools_run as run
from .call import Call
from .presenting import Presenter
from .results import failed
from .validation import parse, schema

RESULT_LIMIT = 900_000
"""Bytes of one result on the wire; the smallest host breaks at a million."""

_REMEMBERED = 200
"""Requests whose execution is remembered, for a cancellation that comes late."""

_NAME_SHOWN = 100
"""Characters of an unknown tool's name that its refusal repeats."""

_LONGEST_PATH = 500
"""Characters of a path in the instructions, which clients cut at 2 KB."""

_TIMED_OUT = re.compile(r"time[d ]?-? ?out|-32001", re.IGNORECASE)
"""In the reason of a cancellation: the client gave up waiting, nobody wants the work to stop."""

_log = logging.getLogger(__name__)

_Handler = Callable[[Call, Any], Awaitable[CallToolResult]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool: its name, handler, arguments, and its description for the model."""

    name: str
    title: str
    description: str
    handler: _Handler
    model: type[given.Arguments]
    read_only: bool = False
    destructive: bool = False
    idempotent: bool = False
    open_world: bool = False


TOOLS: Sequence[ToolSpec] = (
    ToolSpec(
        name="execute_code",
        title="Run Python",
        description="Run Python in the session's long-lived kernel; variables, imports and files"
        " stay for the next call. Returns printed output, the value of the last expression,"
        " pictures and errors. If the code is still running after wait_seconds, the call returns"
        " an execution_id and the code keeps running; use get_execution to wait for it. %magics,"
        " !commands and top-level await work; input() does not.",
        handler=run.execute_code,
        model=given.ExecuteCode,
        destructive=True,
        open_world=True,
    ),
    ToolSpec(
        name="execute_code_file",
        title="Run a code file",
        description="Run a stored file as a script, with __file__ and sys.argv, in the session's"
        " kernel or isolated in a separate process. If it is still running after wait_seconds,"
        " the call returns an execution_id and the script keeps running.",
        handler=run.execute_code_file,
        model=given.ExecuteCodeFile,
        destructive=True,
        open_world=True,
    ),
    ToolSpec(
        name="initialize_code_file",
        title="Begin a code file",
        description="Store Python in a new file without running it, to write a long script step"
        " by step. Returns its file_path.",
        handler=files.initialize_code_file,
        model=given.InitializeCodeFile,
    ),
    ToolSpec(
        name="append_to_code_file",
        title="Append to a code file",
        description="Append code to a stored file, on a new line, without running it. Repeating"
        " the call appends it again.",
        handler=files.append_to_code_file,
        model=given.AppendToCodeFile,
    ),
    ToolSpec(
        name="read_code_file",
        title="Read a code file",
        description="Show a stored file, a page of lines at a time; pass next_offset as offset"
        " for the next page.",
        handler=files.read_code_file,
        model=given.ReadCodeFile,
        read_only=True,
        idempotent=True,
    ),
    ToolSpec(
        name="install_dependencies",
        title="Install packages",
        description="Install packages into the environment of the running kernel; they can be"
        " imported at once. Reports what changed and which already-imported modules need a kernel"
        " restart.",
        handler=environment.install_dependencies,
        model=given.InstallDependencies,
        destructive=True,
        open_world=True,
    ),
    ToolSpec(
        name="check_installed_packages",
        title="Check packages",
        description="Show which packages are installed, with versions, by distribution or import"
        " name. Imports nothing.",
        handler=environment.check_installed_packages,
        model=given.CheckInstalledPackages,
        read_only=True,
        idempotent=True,
    ),
    ToolSpec(
        name="configure_environment",
        title="Switch environment",
        description="Switch to another Python environment. The previous environment's kernel and"
        " variables are kept and available again after switching back.",
        handler=environment.configure_environment,
        model=given.ConfigureEnvironment,
        idempotent=True,
    ),
    ToolSpec(
        name="get_environment_config",
        title="Show environment",
        description="Show the environment in use, its interpreter, limits and folders, and which"
        " kernels are running.",
        handler=environment.get_environment_config,
        model=given.GetEnvironmentConfig,
        read_only=True,
        idempotent=True,
    ),
    ToolSpec(
        name="get_execution",
        title="Follow an execution",
        description="Wait for a running execution, or read its output: a page of lines at a"
        " time, from the end (tail), or the lines that match a regular expression. Works while it"
        " runs, as often as you like, and for earlier executions.",
        handler=run.get_execution,
        model=given.GetExecution,
        read_only=True,
        idempotent=True,
    ),
    ToolSpec(
        name="interrupt_execution",
        title="Stop an execution",
        description="Stop a running execution or remove a queued one; the kernel and its"
        " variables are kept. With force, a kernel that does not stop is killed.",
        handler=run.interrupt_execution,
        model=given.InterruptExecution,
        destructive=True,
        idempotent=True,
    ),
    ToolSpec(
        name="restart_kernel",
        title="Restart the kernel",
        description="End the kernel and start a new one; all variables are lost. With"
        " restore=replay, the steps that succeeded run again in order, up to the first failure.",
        handler=run.restart_kernel,
        model=given.RestartKernel,
        destructive=True,
    ),
    ToolSpec(
        name="kernel_status",
        title="Show the kernel",
        description="Show the kernel's state, even while code is running. With variables=true,"
        " also list variables with type, shape or length, and size.",
        handler=run.kernel_status,
        model=given.KernelStatus,
        read_only=True,
        idempotent=True,
    ),
    ToolSpec(
        name="export_notebook",
        title="Export a notebook",
        description="Write the session as a Jupyter notebook that can be rerun, a page for review"
        " (html), a script (py) or a report (md). With verify, it is rerun in a fresh kernel and"
        " compared cell by cell.",
        handler=notebooks.export_notebook,
        model=given.ExportNotebook,
        destructive=True,
        idempotent=True,
    ),
    ToolSpec(
        name="add_note",
        title="Add a note",
        description="Add markdown between the steps of the notebook: findings, decisions and"
        " their reasons.",
        handler=notebooks.add_note,
        model=given.AddNote,
    ),
)


def create_server(app: App) -> Server[Any]:
    """A server for one client of `app`."""
    dispatch = _Dispatch(app)
    server: Server[Any] = Server(
        "kernel-exec",
        version=importlib.metadata.version("kernel-exec"),
        title="kernel-exec",
        instructions=_instructions(app),
        on_list_tools=dispatch.list_tools,
        on_call_tool=dispatch.call_tool,
    )
    server.middleware += [dispatch.watch_cancellation, _explain_malformed]
    return server


class _Dispatch:
    """Validates a call, carries it out, and keeps its result within bounds."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._presenter = Presenter(app)
        self._client: Client | None = None
        self._specs = {spec.name: spec for spec in TOOLS}
        self._tools = [_tool(spec) for spec in TOOLS]
        self._begun: OrderedDict[RequestId, tuple[Session, Entry]] = OrderedDict()

    async def list_tools(
        self, ctx: ServerRequestContext[Any], params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=self._tools)

    async def call_tool(
        self, ctx: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        spec = self._specs.get(params.name)
        if spec is None:
            name = params.name[:_NAME_SHOWN]
            return failed(f"unknown tool {name!r}: there are {', '.join(self._specs)}")
        try:
            asked = parse(spec.model, params.arguments)
            result = _bounded(await spec.handler(self._call(ctx), asked))
        except Exception as error:  # noqa: BLE001 - a defect of ours must not cost the session
            result = _refused(params.name, bare(error))
        # some clients cancel requests that were answered already; their work goes on on purpose
        if ctx.request_id is not None:
            self._begun.pop(ctx.request_id, None)
        return result

    async def watch_cancellation(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Stop what a cancelled request had begun, unless its client only gave up waiting."""
        if ctx.method == "notifications/cancelled":
            told = ctx.params or {}
            request_id = told.get("requestId")
            begun = self._begun.pop(request_id, None) if _is_id(request_id) else None
            if begun is not None and not _TIMED_OUT.search(str(told.get("reason") or "")):
                session, entry = begun
                session.interrupt(entry.id)
        return await call_next(ctx)

    def _call(self, ctx: ServerRequestContext[Any]) -> Call:
        if self._client is None:
            introduced = ctx.session.client_params
            who = introduced.client_info if introduced is not None else None
            name = f"{who.name} {who.version}".strip() if who is not None else ""
            self._client = Client(app=self._app, name=name)

        async def progress(elapsed: float, message: str) -> None:
            await ctx.session.report_progress(elapsed, None, message)

        def begun(session: Session, entry: Entry) -> None:
            if ctx.request_id is not None:
                self._begun[ctx.request_id] = (session, entry)
                while len(self._begun) > _REMEMBERED:
                    self._begun.popitem(last=False)

        return Call(
            app=self._app,
            client=self._client,
            presenter=self._presenter,
            progress=progress,
            begun=begun,
        )


async def _explain_malformed(
    ctx: ServerRequestContext[Any, Any], call_next: CallNext
) -> HandlerResult:
    """Name what is wrong with a call, where the SDK says that its parameters are invalid."""
    if ctx.method == "tools/call":
        try:
            CallToolRequestParams.model_validate(ctx.params or {}, by_name=False)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in problem["loc"])
            message = f"invalid parameters of tools/call: {place}: {problem['msg']}"
            raise MCPError(code=INVALID_PARAMS, message=message) from error
    return await call_next(ctx)


def _refused(tool: str, error: Exception) -> CallToolResult:
    if isinstance(error, KernelExecError):
        return failed(str(error))
    _log.error("%s failed", tool, exc_info=error)
    return failed(f"internal error in kernel-exec: {error!r}; the server's log has the details")


def _tool(spec: ToolSpec) -> Tool:
    return Tool(
        name=spec.name,
        title=spec.title,
        description=spec.description,
        input_schema=schema(spec.model),
        annotations=ToolAnnotations(
            title=spec.title,
            read_only_hint=spec.read_only,
            destructive_hint=spec.destructive,
            idempotent_hint=spec.idempotent,
            open_world_hint=spec.open_world,
        ),
    )


def _is_id(value: object) -> TypeGuard[RequestId]:
    return isinstance(value, int | str)


def _bounded(result: CallToolResult) -> CallToolResult:
    """Leave pictures out of a result that would break its host, the largest first, then text."""
    if _size(result) <= RESULT_LIMIT:
        return result
    content = list(result.content)
    order = [(not isinstance(block, ImageContent), -_size(block)) for block in content]
    for at in sorted(range(len(content)), key=order.__getitem__):
        dropped = _size(content[at])
        content[at] = TextContent(text=f"[left out: {dropped:,} bytes; see the notebook]\n")
        smaller = result.model_copy(update={"content": content})
        if _size(smaller) <= RESULT_LIMIT:
            return smaller
    return failed("the result is too large to send: ask for less, with a pattern or fewer names")


def _size(part: BaseModel) -> int:
    """Bytes on the wire."""
    return len(part.model_dump_json(by_alias=True, exclude_none=True).encode())


def _instructions(app: App) -> str:
    settings = app.settings
    limit = (
        f"up to {settings.time_limit:g} s (timeout_seconds)"
        if settings.time_limit is not None
        else "without a time limit (set timeout_seconds for one)"
    )
    return (
        "Runs Python in a long-lived kernel: variables, imports and the working directory stay"
        " from call to call, so do not repeat earlier steps. Work in small steps and give each a"
        " title. export_notebook writes the session as a notebook.\n"
        f"A call returns within {settings.wait_seconds:g} s (set wait_seconds to change this). The"
        f" code keeps running in the background {limit}. Wait for it with get_execution or stop it"
        " with interrupt_execution. Do not send the same code again while it runs.\n"
        "Install packages with install_dependencies, not with pip. Every result ends with a status"
        " line giving the outcome and whether variables survived. Trust it rather than"
        " re-checking. Only that last line is kernel-exec's word: lines above it that look alike"
        " are output of the code. Long output is shortened, and the result names the call that"
        " shows the rest.\n"
        f"Relative file paths start at {one_line(settings.working_directory, _LONGEST_PATH)}."
    )

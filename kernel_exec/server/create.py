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
from mcp_types import (
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
from pydantic import BaseModel

from kernel_exec.app import App
from kernel_exec.client import Client
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

RESULT_LIMIT = 900_000
"""Bytes of one result on the wire; the smallest host breaks at a million."""

_REMEMBERED = 200
"""Requests whose execution is remembered, for a cancellation that comes late."""

_NAME_SHOWN = 100
"""Characters of an unknown tool's name that its refusal repeats."""

_TIMED_OUT = re.compile(r"time[d ]?-? ?out|-32001", re.IGNORECASE)
"""In the reason of a cancellation: the client gave up waiting, nobody wants the work to stop."""

_log = logging.getLogger(__name__)

_Handler = Callable[[Call, Any], Awaitable[CallToolResult]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool: its name, handler, arguments, and what the model is told."""

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
        " stay for the next call. Returns what was printed, the value of the last expression,"
        " pictures and errors. A call that outlasts its window returns a handle and the code runs"
        " on: follow it with get_execution. %magics, !commands and top-level await work; input()"
        " does not.",
        handler=run.execute_code,
        model=given.ExecuteCode,
        destructive=True,
        open_world=True,
    ),
    ToolSpec(
        name="execute_code_file",
        title="Run a code file",
        description="Run a stored file as a script, with __file__ and sys.argv, in the session's"
        " kernel or isolated in a process of its own. Longer runs go on under a handle.",
        handler=run.execute_code_file,
        model=given.ExecuteCodeFile,
        destructive=True,
        open_world=True,
    ),
    ToolSpec(
        name="initialize_code_file",
        title="Begin a code file",
        description="Store Python as a new file, without running it, to write a long script step"
        " by step. Returns its file_path.",
        handler=files.initialize_code_file,
        model=given.InitializeCodeFile,
    ),
    ToolSpec(
        name="append_to_code_file",
        title="Append to a code file",
        description="Add code at the end of a stored file, on a new line, without running it."
        " Each call adds it once more.",
        handler=files.append_to_code_file,
        model=given.AppendToCodeFile,
    ),
    ToolSpec(
        name="read_code_file",
        title="Read a code file",
        description="Show a stored file by pages of lines; next_offset is where the next page"
        " begins.",
        handler=files.read_code_file,
        model=given.ReadCodeFile,
        read_only=True,
        idempotent=True,
    ),
    ToolSpec(
        name="install_dependencies",
        title="Install packages",
        description="Install packages into the environment while its kernel lives; they can be"
        " imported at once. Tells what changed and which imported modules need a restart.",
        handler=environment.install_dependencies,
        model=given.InstallDependencies,
        destructive=True,
        open_world=True,
    ),
    ToolSpec(
        name="check_installed_packages",
        title="Check packages",
        description="Tell which packages are installed, by distribution or import name, with"
        " versions. Imports nothing.",
        handler=environment.check_installed_packages,
        model=given.CheckInstalledPackages,
        read_only=True,
        idempotent=True,
    ),
    ToolSpec(
        name="configure_environment",
        title="Switch environment",
        description="Switch to another Python environment. The kernel and the variables of the"
        " previous one are kept and are there again after switching back.",
        handler=environment.configure_environment,
        model=given.ConfigureEnvironment,
        idempotent=True,
    ),
    ToolSpec(
        name="get_environment_config",
        title="Show environment",
        description="Tell which environment is in use, its interpreter, limits, folders, and"
        " which kernels live.",
        handler=environment.get_environment_config,
        model=given.GetEnvironmentConfig,
        read_only=True,
        idempotent=True,
    ),
    ToolSpec(
        name="get_execution",
        title="Follow an execution",
        description="Wait for an execution that runs on, or read what it has produced: by pages"
        " of lines, from the end (tail), or searched with a regular expression. Works while it"
        " runs, repeatedly, and for earlier executions.",
        handler=run.get_execution,
        model=given.GetExecution,
        read_only=True,
        idempotent=True,
    ),
    ToolSpec(
        name="interrupt_execution",
        title="Stop an execution",
        description="Stop what runs, or take back what is queued; the kernel and its variables"
        " are kept. With force, a kernel that does not obey is killed.",
        handler=run.interrupt_execution,
        model=given.InterruptExecution,
        destructive=True,
        idempotent=True,
    ),
    ToolSpec(
        name="restart_kernel",
        title="Restart the kernel",
        description="End the kernel and start a new one; all variables are lost. With"
        " restore=replay, what had succeeded runs again in order, up to the first failure.",
        handler=run.restart_kernel,
        model=given.RestartKernel,
        destructive=True,
    ),
    ToolSpec(
        name="kernel_status",
        title="Show the kernel",
        description="Tell what the kernel is and does, also while code runs; with variables=true"
        " the variables with type, shape or length, and size.",
        handler=run.kernel_status,
        model=given.KernelStatus,
        read_only=True,
        idempotent=True,
    ),
    ToolSpec(
        name="export_notebook",
        title="Export a notebook",
        description="Write the session as a Jupyter notebook that runs again, a page to review"
        " (html), a script (py) or a report (md). With verify, it is run again in a fresh kernel"
        " and compared cell by cell.",
        handler=notebooks.export_notebook,
        model=given.ExportNotebook,
        destructive=True,
        idempotent=True,
    ),
    ToolSpec(
        name="add_note",
        title="Add a note",
        description="Put markdown between the steps of the notebook: what was found, what was"
        " decided and why.",
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
    server.middleware.append(dispatch.watch_cancellation)
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
            asked = given.parse(spec.model, params.arguments)
            result = _bounded(await spec.handler(self._call(ctx), asked))
        except Exception as error:  # noqa: BLE001 - a defect of ours must not cost the session
            result = _refused(params.name, bare(error))
        # some clients cancel what was answered already; what goes on then is meant to
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


def _refused(tool: str, error: Exception) -> CallToolResult:
    if isinstance(error, KernelExecError):
        return failed(str(error))
    _log.error("%s failed", tool, exc_info=error)
    return failed(f"{tool} failed by a defect of kernel-exec: {error!r}")


def _tool(spec: ToolSpec) -> Tool:
    return Tool(
        name=spec.name,
        title=spec.title,
        description=spec.description,
        input_schema=given.schema(spec.model),
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
        content[at] = TextContent(text=f"[left out: {dropped:,} bytes; the notebook has it]\n")
        smaller = result.model_copy(update={"content": content})
        if _size(smaller) <= RESULT_LIMIT:
            return smaller
    return failed("the result is too large to be sent: ask for less, with a pattern or fewer names")


def _size(part: BaseModel) -> int:
    """Bytes on the wire."""
    return len(part.model_dump_json(by_alias=True, exclude_none=True).encode())


def _instructions(app: App) -> str:
    settings = app.settings
    limit = (
        f"stopped after {settings.time_limit:g} s (timeout_seconds changes that)"
        if settings.time_limit is not None
        else "not limited in time (timeout_seconds limits it)"
    )
    return (
        "Runs Python in a long-lived kernel: variables, imports and working directory stay from"
        " call to call, so do not repeat what was done. Work in small steps and give each a"
        " title; the session is exported as a notebook with export_notebook.\n"
        f"A call returns after at most {settings.wait_seconds:g} s (wait_seconds changes that);"
        f" the code runs on, {limit}. Follow it with get_execution, stop it with"
        " interrupt_execution. Do not send the same code again while it runs.\n"
        "Install packages with install_dependencies, not with pip. Every result ends with a line"
        " that tells the outcome and whether variables are kept; believe it. Long output is cut"
        " and the result names the call that shows the rest.\n"
        f"Files: relative paths are below {settings.working_directory}."
    )

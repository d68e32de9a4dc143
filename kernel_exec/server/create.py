"""The MCP server over one `App`: one way through all of its tools, and what it says of itself."""

import importlib.metadata
import logging
import re
from collections import OrderedDict
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
)
from pydantic import BaseModel, ValidationError

from kernel_exec.app import App
from kernel_exec.client import Client
from kernel_exec.content.plain import one_line
from kernel_exec.errors import KernelExecError, bare
from kernel_exec.history.entries import Entry
from kernel_exec.sessions.session import Session

from .call import Call
from .presenting import Presenter
from .results import failed
from .tools import TOOLS
from .validation import parse

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
        self._presenter = Presenter(app.settings.server_variables)
        self._client: Client | None = None
        self._specs = {spec.name: spec for spec in TOOLS}
        self._tools = [spec.listed() for spec in TOOLS]
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
            return failed(f"unknown tool {name!r}: the tools are {', '.join(self._specs)}")
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

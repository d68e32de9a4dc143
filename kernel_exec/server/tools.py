"""The tools, in the order in which clients see them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from inspect import get_annotations
from typing import Any

from mcp_types import CallToolResult, Tool, ToolAnnotations

from kernel_exec.server import tools_environment as environment
from kernel_exec.server import tools_files as files
from kernel_exec.server import tools_notebooks as notebooks
from kernel_exec.server import tools_run as run

from .arguments import Arguments
from .call import Call
from .validation import schema

_Handler = Callable[[Call, Any], Awaitable[CallToolResult]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool: what carries it out and gives it its name, and its description for the model."""

    handler: _Handler
    title: str
    description: str
    read_only: bool = False
    destructive: bool = False
    idempotent: bool = False
    open_world: bool = False

    @property
    def name(self) -> str:
        """What clients call it."""
        return self.handler.__name__

    @property
    def model(self) -> type[Arguments]:
        """Its arguments, as its handler takes them."""
        model: type[Arguments] = get_annotations(self.handler)["asked"]
        return model

    def listed(self) -> Tool:
        """As clients see it."""
        return Tool(
            name=self.name,
            title=self.title,
            description=self.description,
            input_schema=schema(self.model),
            annotations=ToolAnnotations(
                title=self.title,
                read_only_hint=self.read_only,
                destructive_hint=self.destructive,
                idempotent_hint=self.idempotent,
                open_world_hint=self.open_world,
            ),
        )


TOOLS: Sequence[ToolSpec] = (
    ToolSpec(
        handler=run.execute_code,
        title="Run Python",
        description="Run Python in the session's long-lived kernel; variables, imports and"
        " files stay for the next call. Returns output, the last expression's value, pictures"
        " and errors. %magics, !commands and top-level await work; input() does not.",
        destructive=True,
        open_world=True,
    ),
    ToolSpec(
        handler=run.execute_code_file,
        title="Run a code file",
        description="Run a stored file as a script, with __file__ and sys.argv.",
        destructive=True,
        open_world=True,
    ),
    ToolSpec(
        handler=files.initialize_code_file,
        title="Begin a code file",
        description="Store Python in a new file, without running it. Returns its file_path.",
        destructive=True,
    ),
    ToolSpec(
        handler=files.append_to_code_file,
        title="Append to a code file",
        description="Append code to a stored file, on a new line, without running it.",
    ),
    ToolSpec(
        handler=files.read_code_file,
        title="Read a code file",
        description="Show a stored file with line numbers, a page at a time.",
        read_only=True,
        idempotent=True,
    ),
    ToolSpec(
        handler=environment.install_dependencies,
        title="Install packages",
        description="Install packages into the running kernel's environment. Reports what"
        " changed and which imported modules need a kernel restart.",
        destructive=True,
        open_world=True,
    ),
    ToolSpec(
        handler=environment.check_installed_packages,
        title="Check packages",
        description="Show installed versions by distribution or import name, importing"
        " nothing; without names, list all.",
        read_only=True,
        idempotent=True,
    ),
    ToolSpec(
        handler=environment.configure_environment,
        title="Switch environment",
        description="Switch to another Python environment; the kernel and variables of the"
        " previous one are kept.",
        idempotent=True,
    ),
    ToolSpec(
        handler=environment.get_environment_config,
        title="Show environment",
        description="Show the environment in use, limits, folders and running kernels.",
        read_only=True,
        idempotent=True,
    ),
    ToolSpec(
        handler=run.get_execution,
        title="Follow an execution",
        description="Wait for an execution and show its output since your last look, or read it:"
        " a page of lines, the last ones or those that match.",
        read_only=True,
        idempotent=True,
    ),
    ToolSpec(
        handler=run.interrupt_execution,
        title="Stop an execution",
        description="Stop a running execution or remove a queued one; the kernel and its"
        " variables are kept.",
        destructive=True,
        idempotent=True,
    ),
    ToolSpec(
        handler=run.restart_kernel,
        title="Restart the kernel",
        description="End the kernel and start a new one; all variables are lost.",
        destructive=True,
    ),
    ToolSpec(
        handler=run.kernel_status,
        title="Show the kernel",
        description="Show the kernel's state, even while code is running, and on request its"
        " variables.",
        read_only=True,
        idempotent=True,
    ),
    ToolSpec(
        handler=notebooks.export_notebook,
        title="Export a notebook",
        description="Write the session as a notebook (ipynb), page for review (html), script"
        " (py) or report (md).",
        destructive=True,
        idempotent=True,
    ),
    ToolSpec(
        handler=notebooks.add_note,
        title="Add a note",
        description="Add Markdown between the notebook's steps: decisions, reasons, findings."
        " The last note is also shown at the top.",
    ),
)

"""The tools, in the order in which clients see them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mcp_types import CallToolResult, Tool, ToolAnnotations

from kernel_exec.server import arguments
from kernel_exec.server import tools_environment as environment
from kernel_exec.server import tools_files as files
from kernel_exec.server import tools_notebooks as notebooks
from kernel_exec.server import tools_run as run

from .call import Call
from .validation import schema

_Handler = Callable[[Call, Any], Awaitable[CallToolResult]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool: its name, handler, arguments, and its description for the model."""

    name: str
    title: str
    description: str
    handler: _Handler
    model: type[arguments.Arguments]
    read_only: bool = False
    destructive: bool = False
    idempotent: bool = False
    open_world: bool = False

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
        name="execute_code",
        title="Run Python",
        description="Run Python in the session's long-lived kernel; variables, imports and"
        " files stay for the next call. Returns output, the last expression's value, pictures"
        " and errors. %magics, !commands and top-level await work; input() does not.",
        handler=run.execute_code,
        model=arguments.ExecuteCode,
        destructive=True,
        open_world=True,
    ),
    ToolSpec(
        name="execute_code_file",
        title="Run a code file",
        description="Run a stored file as a script, with __file__ and sys.argv.",
        handler=run.execute_code_file,
        model=arguments.ExecuteCodeFile,
        destructive=True,
        open_world=True,
    ),
    ToolSpec(
        name="initialize_code_file",
        title="Begin a code file",
        description="Store Python in a new file, without running it. Returns its file_path.",
        handler=files.initialize_code_file,
        model=arguments.InitializeCodeFile,
        destructive=True,
    ),
    ToolSpec(
        name="append_to_code_file",
        title="Append to a code file",
        description="Append code to a stored file, on a new line, without running it.",
        handler=files.append_to_code_file,
        model=arguments.AppendToCodeFile,
    ),
    ToolSpec(
        name="read_code_file",
        title="Read a code file",
        description="Show a stored file with line numbers, a page at a time.",
        handler=files.read_code_file,
        model=arguments.ReadCodeFile,
        read_only=True,
        idempotent=True,
    ),
    ToolSpec(
        name="install_dependencies",
        title="Install packages",
        description="Install packages into the running kernel's environment. Reports what"
        " changed and which imported modules need a kernel restart.",
        handler=environment.install_dependencies,
        model=arguments.InstallDependencies,
        destructive=True,
        open_world=True,
    ),
    ToolSpec(
        name="check_installed_packages",
        title="Check packages",
        description="Show installed versions by distribution or import name, importing"
        " nothing; without names, list all.",
        handler=environment.check_installed_packages,
        model=arguments.CheckInstalledPackages,
        read_only=True,
        idempotent=True,
    ),
    ToolSpec(
        name="configure_environment",
        title="Switch environment",
        description="Switch to another Python environment; the kernel and variables of the"
        " previous one are kept.",
        handler=environment.configure_environment,
        model=arguments.ConfigureEnvironment,
        idempotent=True,
    ),
    ToolSpec(
        name="get_environment_config",
        title="Show environment",
        description="Show the environment in use, limits, folders and running kernels.",
        handler=environment.get_environment_config,
        model=arguments.GetEnvironmentConfig,
        read_only=True,
        idempotent=True,
    ),
    ToolSpec(
        name="get_execution",
        title="Follow an execution",
        description="Wait for an execution and show its output since your last look, or read it:"
        " a page of lines, the last ones or those that match.",
        handler=run.get_execution,
        model=arguments.GetExecution,
        read_only=True,
        idempotent=True,
    ),
    ToolSpec(
        name="interrupt_execution",
        title="Stop an execution",
        description="Stop a running execution or remove a queued one; the kernel and its"
        " variables are kept.",
        handler=run.interrupt_execution,
        model=arguments.InterruptExecution,
        destructive=True,
        idempotent=True,
    ),
    ToolSpec(
        name="restart_kernel",
        title="Restart the kernel",
        description="End the kernel and start a new one; all variables are lost.",
        handler=run.restart_kernel,
        model=arguments.RestartKernel,
        destructive=True,
    ),
    ToolSpec(
        name="kernel_status",
        title="Show the kernel",
        description="Show the kernel's state, even while code is running, and on request its"
        " variables.",
        handler=run.kernel_status,
        model=arguments.KernelStatus,
        read_only=True,
        idempotent=True,
    ),
    ToolSpec(
        name="export_notebook",
        title="Export a notebook",
        description="Write the session as a notebook (ipynb), page for review (html), script"
        " (py) or report (md).",
        handler=notebooks.export_notebook,
        model=arguments.ExportNotebook,
        destructive=True,
        idempotent=True,
    ),
    ToolSpec(
        name="add_note",
        title="Add a note",
        description="Add Markdown between the notebook's steps: decisions, reasons, findings."
        " The last note is also shown at the top.",
        handler=notebooks.add_note,
        model=arguments.AddNote,
    ),
)

"""`kernel-exec demo`: a real client, a real server, a real analysis, step by step."""

import base64
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import click
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters
from mcp_types import CallToolResult, ImageContent, TextContent
from rich.console import Console
from rich.markup import escape
from rich.syntax import Syntax

from kernel_exec.environments.tools import tool_variables
from kernel_exec.options import SETTINGS
from kernel_exec.settings import process_variables

from .analysis import NOTE, PACKAGES, STEPS, TITLE

_SHOWN_LINES = 24
_POLL_SECONDS = 2


@click.command()
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("kernel-exec-demo"),
    show_default=True,
    help="Where the demo keeps its environment, its plots and its notebook.",
)
def demo(folder: Path) -> None:
    """Run an analysis of real data through the server, and export its notebook."""
    notebook = anyio.run(_run, folder.absolute())
    click.echo(notebook)


async def _run(folder: Path) -> str:
    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    try:
        async with Client(_server(folder, process_variables())) as client:
            return await _Demo(client, plots).run()
    except* MCPError as errors:
        raise click.ClickException(
            f"the conversation with the server failed: {errors.exceptions[0]}"
        ) from None


def _server(folder: Path, variables: Mapping[str, str]) -> StdioServerParameters:
    """A server with an environment of its own below `folder`, whatever is configured here.

    It gets the settings of proxies, certificates and package indexes, and is found where this
    program was, but not in the current folder.
    """
    settings = {setting.variable for setting in SETTINGS}
    kept = {
        name: value
        for name, value in tool_variables(variables, passed=()).items()
        if name not in settings
    }
    home = variables.get("PYTHONHOME")
    return StdioServerParameters(
        command=sys.executable,
        args=["-P", "-m", "kernel_exec", "serve", "--in-process", "--config", os.devnull],
        env={
            **kept,
            **({"PYTHONHOME": home} if home else {}),
            "PYTHONPATH": os.pathsep.join(_import_path(variables)),
            "CODE_STORAGE_DIR": str(folder),
        },
    )


def _import_path(variables: Mapping[str, str]) -> list[str]:
    given = variables.get("PYTHONPATH", "").split(os.pathsep)
    return [*filter(None, given), str(Path(__file__).parents[2])]


class _Demo:
    """Shows each step on stderr, so that stdout holds the notebook's path and nothing else."""

    def __init__(self, client: Client, plots: Path) -> None:
        self._client = client
        self._plots = plots
        self._console = Console(stderr=True, highlight=False)
        self._plot = 0

    async def run(self) -> str:
        """The path of the exported notebook."""
        self._heading("Install missing packages")
        await self._run("install_dependencies", packages=list(PACKAGES), wait_seconds=300)
        for step in STEPS:
            self._heading(step.title)
            self._console.print(Syntax(step.code, "python", background_color="default"))
            await self._run(
                "execute_code", code=step.code, title=step.title, wait_seconds=step.wait_seconds
            )
        self._heading("What is in memory now")
        await self._call("kernel_status", variables=True)
        self._heading("Restart the kernel and rerun the steps that succeeded")
        await self._run("restart_kernel", restore="replay")
        self._heading("Write down the finding, and export")
        await self._call("add_note", markdown=NOTE)
        exported = await self._call("export_notebook", title=TITLE, overwrite=True)
        return str((exported.structured_content or {})["path"])

    async def _run(self, tool: str, **arguments: object) -> None:
        """Call a tool, and follow what it has begun to its end."""
        result = await self._call(tool, **arguments)
        while _goes_on(facts := _facts(result)):
            result = await self._call(
                "get_execution",
                execution_id=facts["execution_id"],
                tail=3,
                wait_seconds=_POLL_SECONDS,
            )

    def _heading(self, text: str) -> None:
        self._console.rule(f"[bold]{escape(text)}", align="left")

    async def _call(self, tool: str, **arguments: object) -> CallToolResult:
        async def on_progress(
            progress: float, total: float | None = None, message: str | None = None
        ) -> None:
            self._console.print(f"[dim]… {escape(message or '')}")

        result = await self._client.call_tool(tool, arguments, progress_callback=on_progress)
        for block in result.content:
            if isinstance(block, TextContent):
                self._show_text(block.text)
            elif isinstance(block, ImageContent):
                self._save_plot(block)
        if result.is_error:
            raise click.ClickException(f"{tool} failed; its message is above")
        return result

    def _show_text(self, text: str) -> None:
        lines = text.rstrip().splitlines()
        self._console.print(escape("\n".join(lines[:_SHOWN_LINES])), style="cyan")
        if len(lines) > _SHOWN_LINES:
            self._console.print(f"[dim]({len(lines) - _SHOWN_LINES} more lines)")

    def _save_plot(self, image: ImageContent) -> None:
        self._plot += 1
        kind = re.sub(r"\W", "", image.mime_type.rpartition("/")[2])
        path = self._plots / f"plot_{self._plot}.{kind}"
        path.write_bytes(base64.b64decode(image.data))
        self._console.print(f"[green]plot saved: {escape(str(path))}")


def _facts(result: CallToolResult) -> dict[str, Any]:
    """What a result has for programs: metadata of an execution, or structured content."""
    return (result.meta or {}).get("kernel-exec") or result.structured_content or {}


def _goes_on(facts: dict[str, Any]) -> bool:
    return facts.get("outcome", facts.get("status")) in {"running", "queued"}

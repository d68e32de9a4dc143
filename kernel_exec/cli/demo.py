"""`kernel-exec demo`: a real client, a real server, a real analysis, step by step."""

import base64
import re
import sys
from pathlib import Path

import anyio
import click
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp_types import CallToolResult, ImageContent, TextContent
from rich.console import Console
from rich.markup import escape
from rich.syntax import Syntax

from .analysis import NOTE, PACKAGES, STEPS

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
    notebook = anyio.run(_run, folder.resolve())
    click.echo(notebook)


async def _run(folder: Path) -> str:
    plots = anyio.Path(folder / "plots")
    await plots.mkdir(parents=True, exist_ok=True)
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "kernel_exec"],
        env={"CODE_STORAGE_DIR": str(folder)},
    )
    async with Client(server) as client:
        return await _Demo(client, Path(plots)).run()


class _Demo:
    """Tells what it does on stderr, so that stdout holds the notebook's path and nothing else."""

    def __init__(self, client: Client, plots: Path) -> None:
        self._client = client
        self._plots = plots
        self._console = Console(stderr=True, highlight=False)
        self._plot = 0

    async def run(self) -> str:
        """The path of the exported notebook."""
        self._heading("Install what is missing")
        await self._call("install_dependencies", packages=list(PACKAGES), wait_seconds=300)
        for step in STEPS:
            self._heading(step.title)
            self._console.print(Syntax(step.code, "python", background_color="default"))
            result = await self._call(
                "execute_code", code=step.code, title=step.title, wait_seconds=step.wait_seconds
            )
            while _meta(result, "outcome") == "running":
                result = await self._call("get_execution", tail=3, wait_seconds=_POLL_SECONDS)
        self._heading("What is in memory now")
        await self._call("kernel_status", variables=True)
        self._heading("Restart the kernel and run again what had succeeded")
        await self._call("restart_kernel", restore="replay")
        self._heading("Write down what was found, and export")
        await self._call("add_note", markdown=NOTE)
        exported = await self._call("export_notebook", overwrite=True)
        return str((exported.structured_content or {})["path"])

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
                await self._save_plot(block)
        if result.is_error:
            raise click.ClickException(f"{tool} failed; what it said is above")
        return result

    def _show_text(self, text: str) -> None:
        lines = text.rstrip().splitlines()
        self._console.print(escape("\n".join(lines[:_SHOWN_LINES])), style="cyan")
        if len(lines) > _SHOWN_LINES:
            self._console.print(f"[dim]({len(lines) - _SHOWN_LINES} more lines)")

    async def _save_plot(self, image: ImageContent) -> None:
        self._plot += 1
        kind = re.sub(r"\W", "", image.mime_type.rpartition("/")[2])
        path = self._plots / f"plot_{self._plot}.{kind}"
        await anyio.Path(path).write_bytes(base64.b64decode(image.data))
        self._console.print(f"[green]plot saved: {escape(str(path))}")


def _meta(result: CallToolResult, key: str) -> object:
    """A field of what the server says about an execution beside its text."""
    ours = (result.meta or {}).get("kernel-exec", {})
    return ours.get(key)

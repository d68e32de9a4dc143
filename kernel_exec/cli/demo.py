"""`kernel-exec demo`: a real client, a real server, a real analysis, step by step."""

import base64
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import anyio
import click
from mcp import Client, MCPError
from mcp_types import CallToolResult, ImageContent, TextContent
from rich.console import Console
from rich.markup import escape
from rich.syntax import Syntax

from kernel_exec.clients.here import launcher
from kernel_exec.doctor.servers import server_of_our_own
from kernel_exec.files import write_whole
from kernel_exec.settings import process_variables

from .analysis import NOTE, PACKAGES, STEPS, TITLE

_NEXT = """
Next:
  {program} init
      connects the clients on this machine
  {opener} {page}
      opens the page
  {program} verify {notebook}
      runs everything once more, and compares
"""

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
    """Run an analysis of real data through the server, and verify it.

    Prints the path of the page for reviewers.
    """
    notebook, page = anyio.run(_run, folder.absolute())
    click.echo(page)
    paths = {"page": shlex.quote(page), "notebook": shlex.quote(notebook)}
    program = shlex.join(launcher(process_variables()))
    opener = {"darwin": "open", "win32": "start"}.get(sys.platform, "xdg-open")
    click.echo(_NEXT.format(program=program, opener=opener, **paths), err=True)


async def _run(folder: Path) -> tuple[str, str]:
    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    server = server_of_our_own(folder, process_variables(), {}, "--in-process")
    try:
        async with Client(server) as client:
            return await _Demo(client, plots).run()
    except* MCPError as errors:
        raise click.ClickException(
            f"the conversation with the server failed: {errors.exceptions[0]}"
        ) from None


class _Demo:
    """Shows each step on stderr, so that stdout holds the path of the page and nothing else."""

    def __init__(self, client: Client, plots: Path) -> None:
        self._client = client
        self._plots = plots
        self._console = Console(stderr=True, highlight=False)
        self._plot = 0

    async def run(self) -> tuple[str, str]:
        """The paths of the notebook and of the page."""
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
        self._heading("Write down the finding, run everything again, and export")
        await self._call("add_note", markdown=NOTE)
        return await self._exported("ipynb"), await self._exported("html")

    async def _exported(self, kind: str) -> str:
        """The path of a verified export; the second one has the verdict of the first."""
        result = await self._run(
            "export_notebook",
            format=kind,
            title=TITLE,
            verify=True,
            overwrite=True,
            wait_seconds=300,
        )
        return str(_facts(result)["path"])

    async def _run(self, tool: str, **arguments: object) -> CallToolResult:
        """Call a tool, and follow what it has begun to its end, with the result of that."""
        result = await self._call(tool, **arguments)
        while _goes_on(facts := _facts(result)):
            result = await self._call(
                "get_execution",
                execution_id=facts["execution_id"],
                tail=3,
                wait_seconds=_POLL_SECONDS,
            )
        return result

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
        write_whole(path, base64.b64decode(image.data))
        self._console.print(f"[green]plot saved: {escape(str(path))}")


def _facts(result: CallToolResult) -> dict[str, Any]:
    """What a result has for programs: metadata of an execution, or structured content."""
    return (result.meta or {}).get("kernel-exec") or result.structured_content or {}


def _goes_on(facts: dict[str, Any]) -> bool:
    return facts.get("outcome", facts.get("status")) in {"running", "queued"}

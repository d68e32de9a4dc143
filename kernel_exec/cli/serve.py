"""`kernel-exec serve`: MCP over stdin and stdout."""

import sys

import anyio
import click

from kernel_exec.host.secrecy import hide_variables
from kernel_exec.host.stdio import exit_now
from kernel_exec.host.stdio import serve as serve_stdio
from kernel_exec.host.wire import fill_standard_descriptors
from kernel_exec.processes import raise_descriptor_limit
from kernel_exec.settings import process_variables

from .reading import settings_of


@click.command()
@click.pass_obj
def serve(options: dict[str, str | None]) -> None:
    """Serve MCP over stdin and stdout (the default when no command is given)."""
    fill_standard_descriptors()
    raise_descriptor_limit()
    settings = settings_of(options)
    if sys.stdin is not None and sys.stdin.isatty():
        click.echo("waiting for an MCP client on stdin; Ctrl-D ends it", err=True)
    hide_variables(process_variables())
    exit_now(anyio.run(serve_stdio, settings, backend="asyncio"))

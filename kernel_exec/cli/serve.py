"""`kernel-exec serve`: MCP over stdin and stdout."""

import sys
from collections.abc import Callable
from typing import NoReturn

import anyio
import click

from kernel_exec.errors import InvalidArgumentError
from kernel_exec.host.secrecy import hide_variables
from kernel_exec.host.stdio import exit_now
from kernel_exec.host.stdio import serve as serve_stdio
from kernel_exec.host.wire import fill_standard_descriptors
from kernel_exec.processes import raise_descriptor_limit
from kernel_exec.settings import Settings, process_variables

from .reading import settings_of


@click.command()
@click.pass_obj
def serve(options: dict[str, str | None]) -> None:
    """Serve MCP over stdin and stdout (the default when no command is given)."""
    run(lambda: settings_of(options))


def run(read: Callable[[], Settings]) -> NoReturn:
    """Serve with the settings that `read` returns, or tell the client what it raises."""
    on_terminal = sys.stdin is not None and sys.stdin.isatty()

    def begin() -> Settings:
        settings = read()
        if on_terminal:
            click.echo("waiting for an MCP client on stdin; Ctrl-D ends it", err=True)
        hide_variables(process_variables())
        return settings

    fill_standard_descriptors()
    raise_descriptor_limit()
    exit_now(anyio.run(serve_stdio, begin, backend="asyncio"))


def refuse(reason: str) -> NoReturn:
    """Serve a client that has started the program in a wrong way, and tell it `reason`."""

    def read() -> Settings:
        raise InvalidArgumentError(reason)

    run(read)

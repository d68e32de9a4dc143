"""`kernel-exec serve`: MCP over stdin and stdout, served by the host process or by this one."""

import importlib
import os
from typing import NoReturn

import click

from kernel_exec.errors import InvalidArgumentError
from kernel_exec.relay.relay import relay


@click.command()
@click.option("--in-process", is_flag=True, help="Run kernels in this process; they end with it.")
@click.pass_obj
def serve(options: dict[str, str | None], in_process: bool) -> None:
    """Serve MCP over stdin and stdout (the default when no command is given)."""
    if not in_process and os.name != "nt" and (reason := relay(options)):
        refuse(reason)
    reading = importlib.import_module("kernel_exec.cli.reading")
    importlib.import_module("kernel_exec.host.services").run(lambda: reading.settings_of(options))


def refuse(reason: str) -> NoReturn:
    """Serve a client that can't be served as it wants, and tell it `reason`."""

    def read() -> NoReturn:
        raise InvalidArgumentError(reason)

    importlib.import_module("kernel_exec.host.services").run(read)
    raise AssertionError  # it has left

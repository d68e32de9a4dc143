"""`kernel-exec serve`: MCP over stdin and stdout, served by the host process or by this one."""

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

import click

from kernel_exec.errors import RefusedSettingError, unusable
from kernel_exec.relay.relay import relay


@click.command()
@click.option("--in-process", is_flag=True, help="Run kernels in this process; they end with it.")
@click.pass_obj
def serve(options: dict[str, str | None], in_process: bool) -> None:
    """Serve MCP over stdin and stdout (the default when no command is given)."""
    if not in_process and os.name != "nt" and (reason := relay(options)):
        refuse(reason, options)
    _run(options)


def refuse(reason: str, options: Mapping[str, str | None], *, unquoted: str = "") -> NoReturn:
    """Serve a client that can't be served as it wants, and tell it `reason`.

    The log gets what is `unquoted`, which is the reason if that quotes nothing.
    """
    _run(options, RefusedSettingError(reason, where="the command line", unquoted=unquoted))


def _run(options: Mapping[str, str | None], refusal: RefusedSettingError | None = None) -> NoReturn:
    reading = None
    try:
        reading = importlib.import_module("kernel_exec.cli.reading")
        stdio = importlib.import_module("kernel_exec.host.stdio")
    except Exception as error:  # noqa: BLE001 - another version of a library raises anything
        log = "" if reading is None else f"; log: {reading.log_of(options)}"
        sys.exit(f"error: {unusable(error)}{log}")

    def read() -> Any:
        if refusal is not None:
            raise refusal
        return reading.settings_of(options)

    stdio.run(read, lambda: reading.log_of(options))
    raise AssertionError  # it has left

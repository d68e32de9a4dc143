"""`kernel-exec serve`: MCP over stdin and stdout or over HTTP, by the host process or this one."""

import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import click

from kernel_exec.errors import RefusedSettingError, unusable
from kernel_exec.relay.relay import relay

_FILE = click.Path(path_type=Path)


@click.command()
@click.option("--in-process", is_flag=True, help="Run kernels in this process; they end with it.")
@click.option("--http", is_flag=True, help="Serve over HTTP instead, until Ctrl-C.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="HTTP: port; 0 for any (default: 8768)."
)
@click.option("--bind", metavar="ADDRESS", help="HTTP: IP address (default: 127.0.0.1).")
@click.option("--token-file", type=_FILE, help="HTTP: file with the token that clients carry.")
@click.option(
    "--allowed-host", multiple=True, metavar="NAME",
    help="HTTP: name by which clients reach the server; may be repeated.",
)  # fmt: skip
@click.option("--tls-cert", type=_FILE, help="HTTP: certificate (PEM) to serve HTTPS with.")
@click.option("--tls-key", type=_FILE, help="HTTP: its key.")
@click.option("--behind-proxy", is_flag=True, help="HTTP: a proxy in front of it speaks TLS.")
@click.option("--allow-root", is_flag=True, help="HTTP: serve although this is root.")
@click.pass_obj
def serve(options: dict[str, str | None], /, in_process: bool, http: bool, **given: Any) -> None:
    """Serve MCP over stdin and stdout (the default when no command is given)."""
    in_process = in_process or os.name == "nt"
    if http:
        command = importlib.import_module("kernel_exec.cli.http")
        command.serve(options, in_process=in_process, **given)
        return
    if given["port"] is not None or any(given.values()):
        raise click.UsageError("options of HTTP need --http")
    if not in_process and (reason := relay(options)):
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
        services = importlib.import_module("kernel_exec.host.services")
    except Exception as error:  # noqa: BLE001 - another version of a library raises anything
        log = "" if reading is None else f"; log: {reading.log_of(options)}"
        sys.exit(f"error: {unusable(error)}{log}")

    def read() -> Any:
        if refusal is not None:
            raise refusal
        return reading.settings_of(options)

    services.run(read, lambda: reading.log_of(options))
    raise AssertionError  # it has left

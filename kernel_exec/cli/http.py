"""`kernel-exec serve --http`: opens a door, and stays until somebody ends it."""

import importlib
import os
import signal
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path

import click

from kernel_exec.http.rules import LOOPBACK, PORT, Asked, require_safe
from kernel_exec.http.tokens import read_token
from kernel_exec.options import BY_KEY
from kernel_exec.relay.relay import order_of
from kernel_exec.settings import process_variables

from .reading import asked, settings_of, started_host


def serve(
    options: Mapping[str, str | None],
    *,
    in_process: bool,
    port: int | None,
    bind: str | None,
    token_file: Path | None,
    allowed_host: tuple[str, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    behind_proxy: bool,
    allow_root: bool,
) -> None:
    """Serve over HTTP, from the host process or from this one, until Ctrl-C or a signal."""
    wanted = Asked(
        bind=LOOPBACK if bind in {None, "localhost"} else bind,
        port=PORT if port is None else port,
        token="" if token_file is None else read_token(token_file),
        hosts=[each.lower() for each in allowed_host],
        tls_cert="" if tls_cert is None else str(tls_cert.absolute()),
        tls_key="" if tls_key is None else str(tls_key.absolute()),
        behind_proxy=behind_proxy,
        allow_root=allow_root,
    )
    settings = settings_of(options)
    said = options.get("sandbox") or process_variables().get(BY_KEY["sandbox"].variable)
    require_safe(
        wanted,
        is_root=hasattr(os, "geteuid") and os.geteuid() == 0,
        is_walled=bool(said or settings.connection.sandbox.walls),
    )
    if in_process:
        door = importlib.import_module("kernel_exec.http.door")
        door.run(settings, wanted, lambda opened: _announce(**opened._asdict()))
        return
    order = order_of(options)
    with closing(started_host(settings, order)) as host:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        try:
            for opened in asked(host, "http", http=asdict(wanted), **order):
                _announce(**opened)
        except KeyboardInterrupt:
            host.finish()


def _announce(url: str, token_file: str) -> None:
    with suppress(OSError):  # nobody reads it
        click.echo(f"serving MCP at {url}; Ctrl-C ends it", err=True)
        if token_file:
            click.echo(
                f"clients send 'Authorization: Bearer' and the token in {token_file}", err=True
            )

"""What commands read: the settings, history and the host process, with few imports.

Commands that are used while somebody waits load no event loop and nothing of MCP or Jupyter.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from kernel_exec.content.plain import clean
from kernel_exec.errors import KernelExecError, NotFoundError, explained
from kernel_exec.host.client import HostClient, open_host
from kernel_exec.options import BY_KEY
from kernel_exec.places import Places, make_root
from kernel_exec.relay.door import folder_of
from kernel_exec.relay.relay import start
from kernel_exec.settings import Settings, examine_settings, read_settings


def settings_of(options: Mapping[str, str | None], *, config_required: bool = True) -> Settings:
    """The settings that a command runs with; raises what `read_settings` raises."""
    settings = read_settings(options=options, config_required=config_required)
    if settings.connection.notice:
        warn(settings.connection.notice)
    return settings


def warn(message: str) -> None:
    """Print what is no reason to stop."""
    click.echo(explained(clean(message), kind="warning"), err=True)


def print_json(value: object) -> None:
    """Print it as programs read it."""
    click.echo(json.dumps(value, indent=2))


def log_of(options: Mapping[str, str | None]) -> Path:
    """Where the log is, whatever is wrong with the settings otherwise."""
    known = {key: value for key, value in options.items() if key in BY_KEY}
    settings, _ = examine_settings(options=known)
    return Places(settings.host.storage_root).log


def history_root(settings: Settings) -> Path:
    """The storage folder if it has a history, as opening one would create it.

    It has none, and `NotFoundError` is raised, when somebody mistyped the folder.
    """
    root = settings.host.storage_root
    if not Places(root).private.is_dir():
        raise NotFoundError(
            f"no history in {str(root)!r}; pass --storage-dir or set CODE_STORAGE_DIR to the"
            " server's storage folder"
        )
    return root


class RefusedError(KernelExecError):
    """Raised when the host process could not do what it was asked."""


def asked(host: HostClient, command: str, **request: object) -> Iterator[dict[str, Any]]:
    """What the host answers, message by message.

    Raises:
        RefusedError: It could not do it.
        BusyError: It ended meanwhile.
    """
    for message in host.ask({"command": command, **request}):
        if "error" in message and message.get("end"):
            raise RefusedError(str(message["error"]))
        if not message.get("end"):
            yield message


def started_host(settings: Settings, order: Mapping[str, object]) -> HostClient:
    """The host process, started if none runs; raises `NotFoundError` where none can be."""
    root = settings.host.storage_root
    host = open_host(root)
    if host is None and start(order, folder_of(root)):
        host = open_host(root)
    if host is None:
        make_root(root, settings.host.storage_source)
        raise NotFoundError(
            f"no host process can be started for {str(root)!r}; run `kernel-exec doctor`"
        )
    return host

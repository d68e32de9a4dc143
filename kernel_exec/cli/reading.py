"""What commands read: the settings, history and the host process, with few imports.

Commands that are used while somebody waits load no event loop and nothing of MCP or Jupyter.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from kernel_exec.errors import KernelExecError, NotFoundError
from kernel_exec.host.client import HostClient
from kernel_exec.places import Places
from kernel_exec.settings import Settings, read_settings


def settings_of(options: Mapping[str, str | None], *, config_required: bool = True) -> Settings:
    """The settings that a command runs with; raises what `read_settings` raises."""
    settings = read_settings(options=options, config_required=config_required)
    if settings.connection.notice:
        click.echo(f"warning: {settings.connection.notice}", err=True)
    return settings


def history_root(settings: Settings) -> Path:
    """The storage folder if it has a history, as opening one would create it.

    Raises:
        NotFoundError: It has none, as when somebody mistyped the folder.
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

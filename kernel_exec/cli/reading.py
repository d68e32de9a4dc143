"""Settings for a command: read, with a warning on stderr about a file that was ignored."""

from collections.abc import Mapping

import click

from kernel_exec.settings import Settings, read_settings


def settings_of(options: Mapping[str, str | None], *, config_required: bool = True) -> Settings:
    """The settings that a command runs with; raises what `read_settings` raises."""
    settings = read_settings(options=options, config_required=config_required)
    if settings.connection.notice:
        click.echo(f"warning: {settings.connection.notice}", err=True)
    return settings

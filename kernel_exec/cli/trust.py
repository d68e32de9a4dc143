"""`kernel-exec trust`: lets the configuration file of a folder hold until it changes."""

from pathlib import Path

import click

from kernel_exec import trust as trusting
from kernel_exec.configuration import (
    Written,
    named_environments,
    parse_path,
    parse_table,
    read_content,
)
from kernel_exec.places import CONFIG_NAME
from kernel_exec.settings import refuse_unknown_keys, user_config_folder


@click.command()
@click.argument("path", default="")
@click.option("--list", "listed", is_flag=True, help="Print the trusted files.")
@click.option("--remove", is_flag=True, help="Trust the file no longer.")
def trust(path: str, listed: bool, remove: bool) -> None:
    """Trust the configuration file of a folder as it is now.

    PATH is a `kernel_exec.toml` or its folder (default: the current folder). Read the file first:
    it can choose the Python that runs your code and the variables passed to it. When the file
    changes, it must be trusted again.
    """
    user = user_config_folder()
    if listed:
        for name, digest in sorted(trusting.trusted(user).items()):
            click.echo(name if trusting.holds(name, digest) else f"{name} (changed since)")
        return
    where = Written(value=path or ".", where="PATH", folder=Path.cwd())
    file = parse_path(where)
    if file.is_dir():
        file /= CONFIG_NAME
    if remove:
        trusting.forget(user, file)
        click.echo(f"{file} is no longer trusted", err=True)
        return
    content = read_content(file)
    table = parse_table(file, content)
    refuse_unknown_keys(table, file)
    named_environments(table, file)
    trusting.trust(user, file, content)
    click.echo(f"trusted {file}, which sets {', '.join(map(repr, table)) or 'nothing'}", err=True)

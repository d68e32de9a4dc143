"""The command line: `kernel-exec` serves over stdio, its commands do the rest."""

import importlib
from typing import Any

import click

from kernel_exec.errors import InvalidArgumentError, KernelExecError
from kernel_exec.settings import WORDS

_COMMANDS = {
    "demo": "Run an analysis of real data through the server, and export its notebook.",
    "export": "Write a session as a notebook.",
    "serve": "Serve MCP over stdin and stdout; what no command at all does, too.",
}


class _Commands(click.Group):
    """Imports a command when it is used: MCP and Jupyter take half a second to import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"kernel_exec.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KernelExecError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(2 if isinstance(error, InvalidArgumentError) else 1)


def _with_options(command: click.Group) -> click.Group:
    """One option for every setting."""
    for word in reversed(WORDS):
        option = click.option(word.option, word.key, help=f"{word.help} [{word.variable}]")
        command = option(command)
    return command


@_with_options
@click.group(cls=_Commands, invoke_without_command=True)
@click.option("--config", help="Configuration file (kernel_exec.toml). [KERNEL_EXEC_CONFIG]")
@click.version_option(package_name="kernel-exec")
@click.pass_context
def main(ctx: click.Context, **options: str | None) -> None:
    """Run an agent's Python in long-lived Jupyter kernels, over MCP.

    Without a command it serves over stdin and stdout, as MCP clients start it.
    """
    ctx.obj = options
    if ctx.invoked_subcommand is None:
        command = _Commands.get_command(main, ctx, "serve")
        assert command is not None
        ctx.invoke(command)

"""The command line: `kernel-exec` serves over stdio, its commands do the rest.

Exit codes: 0, 2 for usage and settings, 130 for an interrupt, 1 for all else. Data goes to
stdout, everything else to stderr.
"""

import importlib
import sys
from collections.abc import Iterator, Sequence
from typing import NoReturn

import click

from kernel_exec.content.plain import clean
from kernel_exec.errors import InvalidArgumentError, KernelExecError
from kernel_exec.settings import WORDS

COMMANDS = {
    "serve": "Serve MCP over stdin and stdout; what no command at all does, too.",
    "demo": "Run an analysis of real data through the server, and export its notebook.",
    "export": "Write a session's notebook from history, the latest or SESSION, and print its path.",
    "verify": "Run a notebook again in a fresh kernel, and tell cell by cell what differs.",
    "env": "List, add and check the environments that are configured.",
}
"""Each is `kernel_exec.cli.NAME:NAME`; with the first line of its help."""


class _LazyGroup(click.Group):
    """Imports a command when it is used: MCP and Jupyter take half a second to import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _load(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _load(name: str) -> click.Command:
    command: click.Command = getattr(importlib.import_module(f"kernel_exec.cli.{name}"), name)
    return command


@click.group(cls=_LazyGroup, name="kernel-exec", invoke_without_command=True)
@click.version_option(package_name="kernel-exec")
@click.pass_context
def group(ctx: click.Context, /, **options: str | None) -> object:
    """Run an agent's Python in long-lived Jupyter kernels, over MCP.

    Without a command it serves over stdin and stdout, as MCP clients start it.
    """
    ctx.obj = options
    return ctx.invoke(_load("serve")) if ctx.invoked_subcommand is None else None


group.params[:0] = [
    click.Option([word.option, word.key], help=f"{word.help} [{word.variable}]") for word in WORDS
] + [click.Option(["--config"], help="Configuration file. [KERNEL_EXEC_CONFIG]")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; our errors are told in a line, never as a traceback."""
    try:
        result = group.main(arguments, prog_name="kernel-exec", standalone_mode=False)
    except click.Abort:
        _fail(130, "interrupted")
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx is not None else "kernel-exec"
        _fail(2, error.format_message(), f"`{where} --help` lists what is allowed")
    except click.ClickException as error:
        _fail(1, error.format_message())
    except KernelExecError as error:
        _fail(_code([error]), str(error))
    except BaseExceptionGroup as errors:
        ours, others = errors.split(KernelExecError)
        if ours is None or others is not None:
            raise
        leaves = list(_leaves(ours))
        _fail(_code(leaves), "; ".join(map(str, leaves)))
    sys.exit(result if isinstance(result, int) else 0)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _code(errors: Sequence[BaseException]) -> int:
    return 2 if all(isinstance(error, InvalidArgumentError) for error in errors) else 1


def _fail(code: int, message: str, hint: str = "") -> NoReturn:
    click.echo(f"error: {clean(message).rstrip('.')}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)
    sys.exit(code)

"""The command line: `kernel-exec` serves over stdio, its commands do the rest.

Exit codes: 0, 2 for usage and settings, 130 for an interrupt, 1 for everything else. Data goes to
stdout, everything else to stderr.
"""

import codecs
import difflib
import errno
import importlib
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NoReturn

import click

from kernel_exec.content.plain import clean
from kernel_exec.errors import InvalidArgumentError, KernelExecError, explained, unusable
from kernel_exec.options import BY_KEY

COMMANDS = {
    "init": "Register this server with the clients on this machine, or with those named.",
    "serve": "Serve MCP over stdin and stdout (the default when no command is given).",
    "demo": "Run an analysis of real data through the server, and verify it.",
    "trust": "Trust the configuration file of a folder as it is now.",
    "sessions": "List the sessions, with what they do and what they take.",
    "show": "Show the steps of a session, or one step with its whole output.",
    "tail": "Show what a session puts out, live.",
    "run": "Run code in a session.",
    "interrupt": "Stop what runs in a session, and keep its kernel.",
    "restart": "Start a new kernel in a session.",
    "stop": "End the kernels of sessions, or the host process with all of them.",
    "export": "Write a session's notebook from history, the latest or SESSION, and print its path.",
    "verify": "Run a notebook again in a fresh kernel, and show cell by cell what differs.",
    "doctor": "Check everything that kernel-exec needs, and show what to do about what is broken.",
    "env": "List, add and check the configured environments.",
    "completion": "Print the script that makes a shell complete commands and options.",
}
"""Each is `kernel_exec.cli.NAME:NAME`, or in one of `_MODULES`; with the first line of its help."""

_MODULES = dict.fromkeys(("tail", "interrupt", "restart", "stop"), "run")

_WITHOUT_SETTINGS = {"demo", "trust", "completion"}

_WIDTH = max(30, min(80, shutil.get_terminal_size().columns) - 2)
"""Columns of help: click's own takes 50 where there are fewer."""

_WELCOME = (
    "kernel-exec gives your agent a Python that remembers, and you a notebook of what it did. It is"
    " an MCP server: your agent's client starts it and speaks to it over stdin and stdout, so there"
    " is nothing to type here."
)
_NEXT = (
    ("kernel-exec init", "connects the clients on this machine"),
    ("kernel-exec demo", "shows it at work"),
    ("kernel-exec --help", "lists all commands and settings"),
)


class _LazyGroup(click.Group):
    """Imports a command when it is used: MCP and Jupyter take half a second to import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _load(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As usual, but an unknown command is answered with the nearest that exists."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            raise click.UsageError(f"no command {name!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


def _load(name: str) -> click.Command:
    module = importlib.import_module(f"kernel_exec.cli.{_MODULES.get(name, name)}")
    command: click.Command = getattr(module, name)
    if name not in _WITHOUT_SETTINGS:
        _accept_settings(command)
    return command


def _accept_settings(command: click.Command) -> None:
    """Let settings stand behind a command as well as before it; those behind it win."""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            _accept_settings(each)
    if not any(isinstance(param, _SettingOption) for param in command.params):
        command.params += _settings(hidden=True)
        command.epilog = "All settings, such as --storage-dir: see `kernel-exec --help`."


class _SettingOption(click.Option):
    """A setting; behind a command it is kept in the same place as before it."""


def _settings(*, hidden: bool) -> Sequence[click.Option]:
    return [
        _SettingOption(
            [setting.option, setting.key],
            help=f"{setting.help} [{setting.variable}]",
            hidden=hidden,
            expose_value=not hidden,
            callback=_keep if hidden else None,
        )
        for setting in BY_KEY.values()
    ]


def _keep(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    options = ctx.find_object(dict)
    if value is not None and options is not None and param.name is not None:
        options[param.name] = value


@click.group(
    cls=_LazyGroup,
    name="kernel-exec",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "terminal_width": _WIDTH},
)
@click.version_option(package_name="kernel-exec", message="%(prog)s %(version)s")
@click.pass_context
def group(ctx: click.Context, /, **options: str | None) -> object:
    """Run an agent's Python in long-lived Jupyter kernels, over MCP.

    Without a command it serves over stdin and stdout, as MCP clients start it.
    """
    ctx.obj = options
    if ctx.invoked_subcommand is not None:
        _refuse_settings(ctx.invoked_subcommand, options)
        return None
    if sys.stdin is not None and sys.stdin.isatty():
        click.echo(_welcome())
        return None
    return ctx.invoke(_load("serve"), in_process=False)


group.params[:0] = _settings(hidden=False)


def _refuse_settings(command: str, options: dict[str, str | None]) -> None:
    given = [BY_KEY[key].option for key, value in options.items() if value is not None]
    if command in _WITHOUT_SETTINGS and given:
        raise click.UsageError(f"`{command}` takes no settings such as {given[0]}")


def _welcome() -> str:
    """What a person reads who types our name and nothing else."""
    words = click.HelpFormatter(width=_WIDTH)
    words.write_text(_WELCOME)
    words.write_paragraph()
    words.write_dl(_NEXT)
    words.write_paragraph()
    words.write_text("For a client that init does not know, add this to its configuration:")
    return f"{words.getvalue()}\n{_configuration()}"


def _configuration() -> str:
    """What a client's configuration says to start the program that runs now."""
    here = importlib.import_module("kernel_exec.clients.here")
    program, *arguments = here.launcher(here.process_variables())
    entry = {"command": program, **({"args": arguments} if arguments else {})}
    return json.dumps({"mcpServers": {"kernel-exec": entry}}, indent=2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; what can be explained in a line is never a traceback."""
    result: object = None
    codecs.register_error("shown", _shown)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="shown")
    try:
        result = group.main(arguments, prog_name="kernel-exec", standalone_mode=False)
    except BaseExceptionGroup as errors:
        leaves = list(_leaves(errors))
        if not all(isinstance(each, _EXPLAINED) for each in leaves):
            raise
        # what came of leaving after an interrupt is of no interest
        first = next((each for each in leaves if isinstance(each, KeyboardInterrupt)), None)
        _explain([first] if first is not None else leaves)
    except click.UsageError as error:
        given = sys.argv[1:] if arguments is None else arguments
        on_terminal = sys.stdin is not None and sys.stdin.isatty()
        if on_terminal or _OF_PEOPLE & set(given):
            _explain([error])
        importlib.import_module("kernel_exec.cli.serve").refuse(
            _way_out(error, given),
            {},
            unquoted="the arguments are those of another program, or mistyped",
        )
    except _EXPLAINED as error:
        _explain([error])
    sys.exit(result if isinstance(result, int) else 0)


def _shown(error: UnicodeError) -> tuple[str | bytes, int]:
    """What the encoding of stdout does not have: as an escape, but bytes of a path as they are."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.backslashreplace_errors(error)


_OF_PEOPLE = (COMMANDS.keys() - {"serve", "run"}) | {"--session", "--http"}
"""Arguments that only a person types; without one it is a client that starts the program.

Clients start containers with `run`, too.
"""

_VALUE = re.compile(r"(?<==).+", re.DOTALL)
"""What may be a secret in an argument such as `API_KEY=…`, and is not for the model to read."""


def _way_out(error: click.UsageError, given: Sequence[str]) -> str:
    """What is wrong with the arguments of a server, and the line of its configuration to change."""
    message = _message(error)
    message += "" if message.endswith((".", "?")) else "."
    shown = [_VALUE.sub("…", each) for each in given]
    line = f'`"args": {json.dumps(shown, ensure_ascii=False)}`'
    ours = ["serve", *_OF_PEOPLE, *(setting.option for setting in BY_KEY.values())]
    if any(difflib.get_close_matches(each.partition("=")[0], ours) for each in given):
        return (
            f"{message} If a client started this, correct {line} in its configuration, or remove"
            " that line if it is another program's"
        )
    return (
        f"{message} These are the arguments of another program: remove {line} from the client's"
        " configuration"
    )


_UNWRITTEN = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE, errno.EBADF}
"""What comes, without the name of a file, of writing to stdout."""

_EXPLAINED = (
    *(click.Abort, click.ClickException, KernelExecError, OSError, KeyboardInterrupt),
    ImportError,
)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _explain(errors: Sequence[BaseException]) -> NoReturn:
    first = errors[0]
    if isinstance(first, (click.Abort, KeyboardInterrupt)):
        _fail(130, ["interrupted"])
    if isinstance(first, click.UsageError):
        where = first.ctx.command_path if first.ctx is not None else "kernel-exec"
        _fail(2, [_message(first)], f"see `{where} --help`")
    if isinstance(first, BrokenPipeError) and first.errno:  # nobody reads it any more
        _abandon_stdout()
        sys.exit(1)
    usage = all(isinstance(error, InvalidArgumentError) for error in errors)
    _fail(2 if usage else 1, list(dict.fromkeys(map(_message, errors))))


def _message(error: BaseException) -> str:
    if isinstance(error, click.ClickException):
        words = re.sub(r"\s+", " ", error.format_message())  # click's have capitals and lists
        return words[:1].lower() + words[1:]
    if isinstance(error, OSError) and error.filename is None and error.errno in _UNWRITTEN:
        _abandon_stdout()
        return f"the output can't be written: {error.strerror}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename!r}: {error.strerror}"
    if isinstance(error, ImportError):
        return unusable(error)
    return str(error) or repr(error)


def _abandon_stdout() -> None:
    """Let nothing try again to write what could not be written, as the interpreter does at exit."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(code: int, messages: Sequence[str], hint: str = "") -> NoReturn:
    with suppress(OSError):  # where stderr can't be written either, the code has to do
        for message in messages:
            click.echo(explained(clean(message), hint), err=True)
    sys.exit(code)

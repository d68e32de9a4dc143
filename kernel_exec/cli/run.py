"""`kernel-exec run` and `tail`: code that runs in the host process, and what a session puts out."""

import base64
import sys
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import click

from kernel_exec.content.plain import clean
from kernel_exec.errors import KernelExecError, NotFoundError
from kernel_exec.host.client import HostClient, open_host
from kernel_exec.relay.door import folder_of
from kernel_exec.relay.relay import order_of, start
from kernel_exec.settings import Settings

from .reading import asked, settings_of
from .sessions import require_host

_FAILED = 1


@click.command()
@click.argument("code", default="")
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File whose code to run.",
)
@click.option(
    "--session", required=True, metavar="NAME", help="Session to run in; a new name begins one."
)
@click.option(
    "--pictures",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Folder for pictures (default: the current one).",
)
@click.pass_obj
def run(
    options: dict[str, str | None], code: str, file: Path | None, session: str, pictures: Path
) -> int:
    """Run code in a session.

    CODE is the code itself, or `-` for what stdin has. What it puts out is printed as it comes;
    pictures are written to files, whose paths are printed. Variables stay for what is run there
    next. The exit code is 1 if the code fails; Ctrl-C stops it.
    """
    if bool(code) == (file is not None):
        raise click.UsageError("pass either CODE or --file")
    source = code
    if file is not None or code == "-":
        source = _decoded(sys.stdin.buffer.read() if file is None else file.read_bytes())
    settings = settings_of(options)
    order = order_of(options)
    with closing(_host(settings, order)) as host:
        messages = asked(host, "run", session=session, code=source, **order)
        shown = _Shown(pictures)
        try:
            last = shown.follow(messages)
        except KeyboardInterrupt:
            _stop(settings, shown)
            raise
    if lost := last["lost"]:
        which, why = lost["generation"], clean(lost["reason"])
        click.echo(f"warning: new kernel; variables of kernel {which} were lost ({why})", err=True)
    if last["outcome"] == "ok":
        return 0
    click.echo(f"error: {last['error'] or last['outcome']}", err=True)
    return _FAILED


@click.command()
@click.argument("session")
@click.option("-n", "--lines", default=10, show_default=True, help="Lines of before to show.")
@click.pass_obj
def tail(options: dict[str, str | None], session: str, lines: int) -> None:
    """Show what a session puts out, live.

    It begins with the last lines that are there already, and ends with the session or Ctrl-C.
    """
    with closing(require_host(settings_of(options))) as host:
        _Shown(None).follow(asked(host, "tail", session=session, lines=lines))


class _Shown:
    """Prints what an execution puts out, as it comes."""

    def __init__(self, pictures: Path | None) -> None:
        """`pictures` is the folder for pictures; without one each step is announced."""
        self.begun: Mapping[str, Any] = {}
        self._pictures = pictures
        self._count = 0

    def follow(self, messages: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Print all of it; the last message."""
        message: Mapping[str, Any] = {}
        for message in messages:
            if "text" in message:
                click.echo(message["text"], nl=False, err=message["stream"] == "stderr")
            elif "picture" in message:
                self._picture(message)
            elif "outcome" in message:
                self._announce(f"step {message['step']}: {message['outcome']}")
            else:
                self.begun = message
                self._announce(f"step {message['step']} ({message['execution']}):"
                               f" {message['title']}")  # fmt: skip
        return message

    def _announce(self, words: str) -> None:
        if self._pictures is None:
            click.echo(f"--- {words}", err=True)

    def _picture(self, message: Mapping[str, Any]) -> None:
        self._count += 1
        if self._pictures is None:
            click.echo(f"[picture {self._count}: {message['type']}]")
            return
        ending = message["type"].rpartition("/")[2]
        path = self._pictures / f"picture_{self.begun['execution']}_{self._count}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(message["picture"]))
        click.echo(str(path))


def _host(settings: Settings, order: Mapping[str, object]) -> HostClient:
    """The host process, started if none runs.

    Raises:
        NotFoundError: None runs, and none can be started.
    """
    root = settings.host.storage_root
    host = open_host(root)
    if host is None and start(order, folder_of(root)):
        host = open_host(root)
    if host is None:
        raise NotFoundError(f"no host process can be started for {str(root)!r}")
    return host


def _stop(settings: Settings, shown: _Shown) -> None:
    """Stop what was begun, by another conversation: the first one is in the middle of its own."""
    host = open_host(settings.host.storage_root)
    if host is None or not shown.begun:
        return
    named = {"session": shown.begun["id"], "execution": shown.begun["execution"]}
    with closing(host), suppress(KernelExecError):  # it has ended meanwhile
        list(asked(host, "interrupt", **named))


def _decoded(source: bytes) -> str:
    try:
        return source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"the code is not UTF-8 ({error})") from None

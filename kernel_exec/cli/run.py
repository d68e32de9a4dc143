"""What a person asks of the host process: `run`, `tail`, `interrupt`, `restart`, `stop`."""

import base64
import importlib
import sys
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import click

from kernel_exec.content.plain import clean
from kernel_exec.errors import BusyError, KernelExecError, NotFoundError, explained
from kernel_exec.files import write_whole
from kernel_exec.host.client import HostClient, open_host, pid_of_host
from kernel_exec.relay.relay import order_of
from kernel_exec.settings import Settings

from .reading import asked, settings_of, started_host

_FAILED = 1

_FORCED = 2.0
"""Seconds that a host has to answer before it is killed, once somebody wants it to be."""

_ENDING = 15.0
"""Seconds that a host may take to end: its kernels and its history take a few."""


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
    with closing(started_host(settings, order)) as host:
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
    error = last["error"] or last["outcome"]
    ours = last["outcome"] != "exception"  # it is not the code's own words
    click.echo(explained(error) if ours else f"error: {error}", err=True)
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


@click.command()
@click.argument("session")
@click.option("--force", is_flag=True, help="Kill the kernel if it does not obey.")
@click.pass_obj
def interrupt(options: dict[str, str | None], session: str, force: bool) -> None:
    """Stop what runs in a session, and keep its kernel."""
    with closing(require_host(settings_of(options))) as host:
        for told in asked(host, "interrupt", session=session, force=force):
            name = told["session"]
            if told["execution"] is None:
                click.echo(f"nothing is running in session {name}", err=True)
            else:
                click.echo(f"session {name}: step {told['step']} is {told['outcome']}", err=True)


@click.command()
@click.argument("session")
@click.pass_obj
def restart(options: dict[str, str | None], session: str) -> None:
    """Start a new kernel in a session.

    The variables of the one before are lost.
    """
    with closing(require_host(settings_of(options))) as host:
        for told in asked(host, "restart", session=session):
            lost = len(told["lost"])
            gone = f"; {lost} variable{'' if lost == 1 else 's'} lost" if lost else ""
            click.echo(
                f"session {told['session']}: kernel {told['generation']} started{gone}", err=True
            )


@click.command()
@click.argument("session", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="End the host process with all kernels.")
@click.option("--force", is_flag=True, help="Kill a host process that does not answer.")
@click.pass_obj
def stop(
    options: dict[str, str | None], session: tuple[str, ...], everything: bool, force: bool
) -> None:
    """End the kernels of sessions, or the host process with all of them.

    History stays, and what is run next starts a new kernel.
    """
    if bool(session) == (everything or (force and not session)):
        raise click.UsageError("name sessions, or pass --all")
    settings = settings_of(options)
    root = settings.host.storage_root
    try:
        host = open_host(root, patience=_FORCED if force else None)
    except BusyError:
        if not force:
            raise
        _end(pid_of_host(root), kill=True, patience=0)
        return
    if host is None:
        click.echo("no host process is running", err=True)
        return
    with closing(host):
        if session:
            for told in asked(host, "stop", sessions=list(session)):
                click.echo(f"stopped {', '.join(told['stopped'])}", err=True)
            return
        list(asked(host, "stop"))
        _end(host.pid, kill=force)


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
        write_whole(path, base64.b64decode(message["picture"]), missing=0o777)
        click.echo(str(path))


def _end(pid: int | None, *, kill: bool, patience: float = _ENDING) -> None:
    """Wait until the host process is gone, which is killed if it is not after a while."""
    psutil = importlib.import_module("psutil")  # which all else here does without
    process = None
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
    if process is not None and psutil.wait_procs([process], timeout=patience)[1]:
        if not kill:
            raise BusyError(f"the host process {pid} has not ended yet; --force kills it")
        process.kill()
        psutil.wait_procs([process])
    click.echo("the host process has ended", err=True)


def require_host(settings: Settings) -> HostClient:
    """The running host process; raises `NotFoundError` where there is none."""
    host = open_host(settings.host.storage_root)
    if host is None:
        raise NotFoundError(
            f"no host process is running for {str(settings.host.storage_root)!r}, so no session has"
            " a kernel; `kernel-exec show` reads history, `kernel-exec run` starts a kernel"
        )
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

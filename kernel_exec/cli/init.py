"""`kernel-exec init`: has clients start this server, each by its own configuration file."""

import difflib
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click

from kernel_exec.clients.catalog import CLIENTS, Client, Machine
from kernel_exec.clients.files import this_machine
from kernel_exec.clients.here import environment_in, given, launcher, shared
from kernel_exec.clients.planning import Plan, carry_out, registering, removing
from kernel_exec.clients.registering import CHOICE, Wanted
from kernel_exec.clients.registrations import registrations
from kernel_exec.content.plain import clean, one_line
from kernel_exec.errors import KernelExecError, NotFoundError, explained
from kernel_exec.settings import current_folder

from .reading import warn

_SYSTEMS = {"darwin": "macOS", "win32": "Windows", "linux": "Linux"}
_SHOWN = 500
"""Characters of a path that are shown."""


def _names_that_begin(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
    return [client.name for client in CLIENTS if client.name.startswith(begun)]


@click.command()
@click.argument("clients", nargs=-1, metavar="[CLIENT]...", shell_complete=_names_that_begin)
@click.option("--print", "only_print", is_flag=True, help="Show the changes and write nothing.")
@click.option("-y", "--yes", is_flag=True, help="Write without asking.")
@click.option("--remove", is_flag=True, help="Remove kernel-exec again.")
@click.option("--project", is_flag=True, help="Use the clients' files in the current folder.")
@click.pass_obj
def init(
    options: Mapping[str, str | None],
    clients: Sequence[str],
    only_print: bool,
    yes: bool,
    remove: bool,
    project: bool,
) -> int:
    """Register this server with the clients on this machine, or with those named.

    CLIENT is claude-code, claude-desktop, cursor, vscode, windsurf, codex, gemini, copilot or
    opencode. The entry is written into the client's own configuration file, in which all else
    stays as it is. Each change is shown first. An entry of mcp_code_executor is replaced, and its
    variables are kept.

    The entry starts the installed script that runs now, or uvx if that ran it, and so survives
    upgrades. Settings behind the command go into the entry. Without one for the environment, it
    names the .venv of the current folder or project, or else the active conda environment unless
    that is base.
    """
    machine, folder = this_machine(), current_folder()
    chosen, failed = _chosen(clients, machine, project=project, remove=remove)
    plan_of: Callable[[Client, Path], Plan] = removing
    if not remove:
        plan_of = _registrar(options, machine, folder, project=project)
    waiting = 0
    for client in chosen:
        for file in _files(client, machine, folder, project=project, remove=remove):
            try:
                plan = plan_of(client, file)
                waiting += _carry_out(plan, only_print=only_print, yes=yes, remove=remove)
            except KernelExecError as error:
                _report(explained(f"{client.name}: {error}"))
                failed = True
    if waiting:
        raise click.ClickException(
            "nothing was written, since there is no terminal to ask on; pass --yes to write without"
            " a question"
        )
    return 1 if failed else 0


def _chosen(
    names: Sequence[str], machine: Machine, *, project: bool, remove: bool
) -> tuple[list[Client], bool]:
    """The clients to work on, and whether some that were named can't be."""
    known = {client.name: client for client in CLIENTS}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
            raise click.UsageError(f"no client {name!r}; {hint}", click.get_current_context())
    chosen, failed = [], False
    for client in [known[name] for name in dict.fromkeys(names)] or CLIENTS:
        reason = _reason_against(client, machine, project=project, named=bool(names) or remove)
        if not reason:
            chosen.append(client)
        elif names:
            _report(explained(f"{client.name}: {reason}"))
            failed = True
        elif not remove:
            _report(f"{client.name}: {reason}")
    if not chosen and not names:
        raise NotFoundError("no client was found; name one to create its file, such as `cursor`")
    return chosen, failed


def _reason_against(client: Client, machine: Machine, *, project: bool, named: bool) -> str:
    """Why a client can't be set up, or is not unless it is named; "" when it is."""
    if not client.exists_on(machine.system):
        return f"does not exist on {_SYSTEMS.get(machine.system, machine.system)}"
    if project and not client.project:
        return "has no files in projects; leave --project out"
    if named or (
        client.program and shutil.which(client.program, path=machine.variables.get("PATH"))
    ):
        return ""
    homes = client.candidates(machine)
    found = any(_is_installed(files, machine) for files in homes)
    return "" if found else f"not found on this machine (no {homes[0][0]})"


def _is_installed(files: Sequence[Path], machine: Machine) -> bool:
    folder = files[0].parent
    return any(file.exists() for file in files) or (folder != machine.home and folder.is_dir())


def _files(
    client: Client, machine: Machine, folder: Path, *, project: bool, remove: bool
) -> list[Path]:
    """The files to work on: one for each installation, or all where we may be."""
    homes = client.candidates(machine)
    if project:
        homes = [[folder / name for name in client.project]]
    if remove:
        return [file for files in homes for file in files]
    ours = {found.file for found in registrations(folder, machine.variables)}
    installed = [files for files in homes if _is_installed(files, machine)] or homes[:1]
    return [
        next((file for file in files if file in ours), None)
        or next((file for file in files if file.exists()), files[0])
        for files in installed
    ]


def _registrar(
    options: Mapping[str, str | None], machine: Machine, folder: Path, *, project: bool
) -> Callable[[Client, Path], Plan]:
    """What plans entries that say what is wanted here."""
    found, warning = environment_in(folder, machine.variables)
    variables = given(options, folder)
    wanted = Wanted(
        launcher=launcher(machine.variables, is_shared=project), given=variables, found=found
    )
    if warning and not variables.keys() & CHOICE:
        warn(warning)

    def plan(client: Client, file: Path) -> Plan:
        directory = "." if client.starts_in_project else client.project_folder if project else ""
        mine = replace(wanted, directory=directory)
        if project:
            mine = replace(
                mine,
                given=shared(variables, folder, directory),
                found=shared(found, folder, directory),
            )
        return registering(client, file, mine)

    return plan


def _carry_out(plan: Plan, *, only_print: bool, yes: bool, remove: bool) -> bool:
    """Show a change and make it; True when nobody could be asked."""
    name = plan.client.name
    for warning in plan.warnings:
        warn(f"{name}: {warning}")
    if not plan.changes:
        if not remove:
            _report(f"{name}: {plan.file} starts kernel-exec already")
        return False
    state = (
        " (a new file)" if plan.before is None else " (is deleted)" if plan.after is None else ""
    )
    click.echo(f"{name}: {one_line(plan.file, _SHOWN)}{state}")
    for line in plan.difference:
        click.echo(clean(line))
    if only_print:
        return False
    if not yes:
        if sys.stdin is None or not sys.stdin.isatty():
            return True
        if not click.confirm("Write this?", err=True):
            return False
    if warning := carry_out(plan):
        warn(f"{name}: {warning}")
    _report(
        f"{name}: {'deleted' if plan.after is None else 'wrote'} {plan.file}; restart the client"
    )
    return False


def _report(text: str) -> None:
    click.echo(clean(text), err=True)

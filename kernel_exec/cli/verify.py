"""`kernel-exec verify`: a notebook or a session, run again in a fresh kernel and compared."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from kernel_exec import processes
from kernel_exec.app import make_kernels, open_catalog
from kernel_exec.configuration import Written, parse_path
from kernel_exec.content.plain import clean, one_line
from kernel_exec.documents.budget import written
from kernel_exec.documents.export import session_notebook
from kernel_exec.documents.writing import write
from kernel_exec.environments.activation import allowed_variables
from kernel_exec.environments.catalog import default_environment
from kernel_exec.environments.spec import Environment, EnvironmentKind
from kernel_exec.errors import (
    InvalidArgumentError,
    KernelExecError,
    NotFoundError,
    UnusableEnvironmentError,
    explained,
)
from kernel_exec.history.store import open_store
from kernel_exec.jsons import JSONObject, text
from kernel_exec.notebooks.reading import ours, parse, read_bytes, session_of
from kernel_exec.review.opening import stamped
from kernel_exec.settings import Settings
from kernel_exec.verification.plan import make_plan
from kernel_exec.verification.results import CellReport, OnCell, Verification
from kernel_exec.verification.verify import TIME_LIMIT, verify_in

from .export import find_session
from .reading import history_root, print_json, settings_of, warn

_DIFFERS, _NOT_RUN = 1, 2
_COLOURS = {
    "same": "green",
    "close": "green",
    "different": "red",
    "fixed": "yellow",
    "new error": "red",
    "not run": "yellow",
    "failed": "red",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """What is verified: `file` is None for a session, whose notebook is nowhere but here."""

    name: str
    notebook: JSONObject
    file: Path | None = None
    content: bytes = b""


@click.command()
@click.argument("target", metavar="[NOTEBOOK|SESSION]", default="")
@click.option("--environment", metavar="NAME", help="Configured environment to run in.")
@click.option(
    "--python",
    metavar="PATH",
    help="Python executable to run in (default: the environment of the notebook).",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=TIME_LIMIT,
    show_default=True,
    help="How long each cell may run, in seconds; 0 for no limit.",
)
@click.option("--stamp", "stamped", is_flag=True, help="Write the verdicts into the notebook.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_obj
def verify(
    options: Mapping[str, str | None],
    target: str,
    environment: str | None,
    python: str | None,
    timeout: float,
    stamped: bool,
    as_json: bool,
) -> int:
    """Run a notebook again in a fresh kernel, and show cell by cell what differs.

    NOTEBOOK is any Python notebook, SESSION a name or an id as for `export`; the default is the
    latest session. Warning: the code really runs, in the session's working directory or the
    notebook's folder. Files it writes are written again, requests it sends are sent again.

    The exit code is 0 if every cell is the same or close, 1 if one differs, fails or was not
    reached, and 2 if nothing could be run.
    """
    if environment is not None and python is not None:
        raise click.UsageError("only one of --environment and --python can be given")
    try:
        settings = settings_of(options)
        chosen = _chosen(settings, environment, python)
        return anyio.run(_verify, settings, target, chosen, timeout or None, stamped, as_json)
    except KernelExecError as error:
        click.echo(explained(clean(str(error))), err=True)
        return _NOT_RUN


async def _verify(
    settings: Settings,
    target: str,
    chosen: Environment | None,
    time_limit: float | None,
    stamped: bool,
    as_json: bool,
) -> int:
    subject = await _subject(settings, target)
    if stamped and subject.file is None:
        raise InvalidArgumentError(
            "--stamp writes into a notebook; export the session first, then verify its file"
        )
    make_plan(subject.notebook)  # tells what is no notebook in Python before anything is started
    catalog = open_catalog(settings.host, settings.connection)
    kept = text(ours(subject.notebook), "environment")
    async with processes.warden(allowed_variables(settings.host.variables, passed=())):
        environment = chosen or Environment.from_key(kept) or catalog.active
        if environment == catalog.active:
            environment = await catalog.default()  # which makes the managed one if need be
        try:
            prepared = await catalog.prepare(environment)
        except UnusableEnvironmentError as error:
            raise UnusableEnvironmentError(
                f"{error}; --environment and --python run it in another one"
            ) from error
        directory = _working_directory(settings, subject)
        if subject.file is not None and directory == subject.file.parent:  # a person named it
            prepared = replace(prepared, sandbox=replace(prepared.sandbox, folder=directory))
        with _progress_bar() as tell:
            verification = await verify_in(
                make_kernels(settings.host),
                prepared,
                subject.notebook,
                working_directory=directory,
                time_limit=time_limit,
                on_cell=tell,
            )
    if as_json:
        print_json({"notebook": subject.name, **verification.as_json(), "stamped": stamped})
    else:
        _print(subject.name, verification)
    if stamped:
        _stamp(subject, verification)
    return 0 if verification.verdict in {"same", "close"} else _DIFFERS


async def _subject(settings: Settings, target: str) -> _Subject:
    path = Path(target)
    if target and (path.suffix == ".ipynb" or path.is_file()):
        file = path.resolve()  # a stamp goes into the file itself, not in the place of a link
        content = read_bytes(file)
        return _Subject(name=target, notebook=parse(content, file), file=file, content=content)
    async with open_store(history_root(settings)) as store:
        if store.notice:
            warn(store.notice)
        record = await find_session(store, target)
        wanted = settings.connection
        variables = allowed_variables(wanted.variables, passed=wanted.pass_env)
        notebook = await session_notebook(store, record, variables=variables)
        return _Subject(name=f"session {record.name}", notebook=notebook)


def _chosen(settings: Settings, name: str | None, python: str | None) -> Environment | None:
    """The environment that was asked for, if one was."""
    if python is not None:
        given = Written(value=python, where="option --python", folder=Path.cwd())
        return Environment(kind=EnvironmentKind.PYTHON, path=parse_path(given))
    if name is None:
        return None
    if name in {"default", "configured"}:
        return settings.connection.environment or default_environment(settings.host.storage_root)
    if name not in settings.connection.named_environments:
        known = ", ".join(map(repr, settings.connection.named_environments)) or "none"
        raise NotFoundError(
            f"no environment {name!r} is configured (known are: {known});"
            " `kernel-exec env add` adds one, --python names any Python"
        )
    return settings.connection.named_environments[name]


def _working_directory(settings: Settings, subject: _Subject) -> Path:
    """Where it runs: as the session did, if that is still there; beside a notebook otherwise."""
    beside = Path.cwd() if subject.file is None else subject.file.parent
    if not session_of(subject.notebook):
        return beside
    kept = text(ours(subject.notebook), "working_directory")
    session = Path(kept) if kept else settings.connection.working_directory
    return session if session.is_dir() else beside


@contextmanager
def _progress_bar() -> Iterator[OnCell]:
    """What shows on stderr how far it is, where somebody looks."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), console=console, transient=True,
        disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task("running", total=None)

        def tell(report: CellReport, done: int, total: int) -> None:
            words = f"step {report.cell.number} is {report.verdict}"
            progress.update(task, completed=done, total=total, description=words)

        yield tell


def _print(name: str, verification: Verification) -> None:
    console = Console(highlight=False, soft_wrap=True)
    place = f"Python {verification.python} of {verification.environment}"
    console.print(Text(clean(f"{name}: run with {place}, in {verification.working_directory}")))
    width = len(str(len(verification.cells)))
    for cell in verification.cells:
        console.print(_line(cell, width))
        for line in _shown(cell):
            console.print(Text(f"{' ' * (width + 13)}{clean(line)}", style="dim"))
    seconds = f" in {verification.seconds:.1f} s"
    console.print(Text(verification.summary + seconds, style=_COLOURS[verification.verdict]))


def _line(report: CellReport, width: int) -> Text:
    seconds = "" if report.seconds is None else f"{report.seconds:8.2f} s"
    return Text.assemble(
        f"{report.cell.number:{width}}  ",
        (f"{report.verdict.value:9}", _COLOURS[report.verdict.value]),
        f"{seconds:10}  {one_line(report.cell.title)}".rstrip(),
    )


def _shown(cell: CellReport) -> list[str]:
    """The first difference; of what is close, only where it is."""
    lines = cell.difference.split("\n") if cell.difference else []
    return lines[:1] if cell.verdict.value == "close" else lines


def _stamp(subject: _Subject, verification: Verification) -> None:
    file = subject.file
    assert file is not None

    def check(folder: Path) -> None:
        if folder != file.parent or read_bytes(file) != subject.content:
            raise InvalidArgumentError(
                f"{str(file)!r} has changed meanwhile and was not stamped; verify it again"
            )

    try:
        document = written(stamped(subject.notebook, verification))
    except ValueError as error:
        raise InvalidArgumentError(
            f"{str(file)!r} was not stamped because it has a number that JSON does not have"
        ) from error
    session = session_of(subject.notebook)
    write(file, document, session=session, overwrite=True, files={}, check=check)
    click.echo(f"stamped {file}", err=True)

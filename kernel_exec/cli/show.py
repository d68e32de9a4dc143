"""`kernel-exec show`: the steps of a session, or one with all that it has put out."""

import click

from kernel_exec.content.displays import said
from kernel_exec.content.lines import Source, Texts
from kernel_exec.content.plain import clean, one_line
from kernel_exec.history.database import Database, events, find
from kernel_exec.history.entries import Entry, choose, choose_step
from kernel_exec.history.schema import ENTRY, Query
from kernel_exec.kernels.outputs import files, fold

from .reading import print_json, settings_of
from .sessions import by_use, history_of, live

_TITLE = 100
"""Characters of the first line of a step."""


@click.command()
@click.argument("session")
@click.argument("execution", default="")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of the steps.")
@click.pass_obj
def show(options: dict[str, str | None], session: str, execution: str, as_json: bool) -> None:
    """Show the steps of a session, or one step with its whole output.

    SESSION is a name, an id or a unique beginning of either; EXECUTION is the number of a step, or
    its id. Also for sessions that have ended.
    """
    settings = settings_of(options)
    with history_of(settings) as history:
        past, opened = by_use(history)[0], {row["id"] for row in live(settings)[0]}
        record = choose(session, live=[each for each in past if each.id in opened], past=past)
        entries = find(history, Query(table=ENTRY, where={"session": (record.id,)}))
        if execution:
            _print_step(history, choose_step(execution, entries))
        elif as_json:
            print_json([_step_fields(each) for each in entries])
        else:
            for each in entries:
                click.echo(_step_line(each))


def _step_fields(entry: Entry) -> dict[str, object]:
    return {
        "step": entry.number,
        "id": entry.id,
        "kind": entry.kind.value,
        "outcome": entry.outcome.value,
        "kernel": entry.generation,
        "started": entry.started,
        "seconds": entry.duration,
        "title": entry.title,
        "source": entry.source,
    }


def _step_line(entry: Entry) -> str:
    seconds = "" if entry.duration is None else f"{entry.duration:.2f} s"
    title = one_line(entry.title or entry.source.strip().partition("\n")[0], _TITLE)
    kind = "" if entry.kind.value == "code" else f"{entry.kind.value}: "
    return f"{entry.number:4}  {entry.id}  {entry.outcome.value:11} {seconds:>10}  {kind}{title}"


def _print_step(history: Database, entry: Entry) -> None:
    """A step with its code and all that it has put out."""
    texts = Texts()
    click.echo(_step_line(entry).strip())
    for line in clean(entry.source).splitlines():
        click.echo(f">>> {line}")
    for output in fold(event for _, event in events(history, entry.id)):
        source = Source(text=said(output), path=files(output).get("", ""))
        for part in texts.lines(source):
            click.echo(clean("\n".join(part.lines)), nl=not part.goes_on)

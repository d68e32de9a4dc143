"""`kernel-exec doctor`: whether everything that kernel-exec needs works here."""

import os
import sys
from dataclasses import asdict

import anyio
import click

from kernel_exec.doctor.check import Check
from kernel_exec.doctor.examination import examine

from .reading import print_json

_MARKS = {"broken": "✗", "works": "✓", "could be had": "-"}
_ASCII = {"broken": "x", "works": "+", "could be had": "-"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_obj
def doctor(options: dict[str, str | None], as_json: bool) -> None:
    """Check everything that kernel-exec needs, and show what to do about what is broken.

    Looking changes nothing. The exit code is 1 if something is broken.
    """
    on_check = (lambda check: None) if as_json else _print  # all are printed at the end
    found = anyio.run(examine, options, on_check, backend="asyncio")
    if as_json:
        print_json({"checks": [asdict(each) for each in found]})
    sys.stdout.flush()
    os._exit(0 if all(each.ok for each in found) else 1)  # a thread may hang for ever


def _print(check: Check) -> None:
    kind = "broken" if not check.ok else "could be had" if check.fix else "works"
    marks = _MARKS if _can_encode(_MARKS["works"]) else _ASCII
    colour = {"broken": "red", "works": "green"}.get(kind)
    click.echo(f"{click.style(marks[kind], fg=colour)} {check.name}: {check.text}")
    if check.fix:
        click.echo(f"  {check.fix}")


def _can_encode(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True

"""What `kernel-exec init` would do to one file, and doing it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from kernel_exec.errors import InvalidArgumentError, KernelExecError

from .catalog import Client
from .files import read, record_of, remember, remove_folders, replaced, text_of
from .registering import Wanted, ours_in, registered
from .undoing import Record, difference, recorded, undone


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A change of a file from the content `before` (None: no file) to the text `after`.

    `record` is what remains to be undone once it is done.
    """

    client: Client
    file: Path
    before: bytes | None
    after: str | None
    record: Record | None
    warnings: Sequence[str] = ()

    @property
    def text(self) -> str:
        """What the file holds now."""
        return text_of(self.file, self.before or b"")

    @property
    def changes(self) -> bool:
        """True when there is something to be done."""
        return self.after != (None if self.before is None else self.text)

    @property
    def difference(self) -> list[str]:
        """The change, line by line."""
        return difference(self.text, self.after or "")


def registering(client: Client, file: Path, wanted: Wanted) -> Plan:
    """The change after which a client starts us."""
    before = read(file)
    text = text_of(file, before or b"")
    with _naming(file):
        after, warnings = registered(text, client, wanted)
        original: str | None = None if before is None else text
        old = record_of(file)
        if ours_in(client.format.parse(text), client):
            original = undone(text, client, old)
        record = recorded(original, after, client)
    if old is not None:
        record = replace(record, made_folder=old.made_folder)
    return Plan(
        client=client, file=file, before=before, after=after, record=record, warnings=warnings
    )


def removing(client: Client, file: Path) -> Plan:
    """The change after which a client starts us no longer."""
    before = read(file)
    after: str | None = None
    if before is not None:
        text = text_of(file, before)
        with _naming(file):
            found = ours_in(client.format.parse(text), client)
            after = undone(text, client, record_of(file)) if found else text
    return Plan(client=client, file=file, before=before, after=after, record=None)


def carry_out(plan: Plan) -> str:
    """Do it; returns a warning, or ""."""
    old = record_of(plan.file)
    folder = replaced(plan.client, plan.file, plan.before, plan.after)
    if plan.after is None and old is not None:
        remove_folders(plan.file, old.made_folder)
    record = plan.record
    if record is not None and folder:
        record = replace(record, made_folder=folder)
    try:
        remember(plan.file, record)
    except KernelExecError as error:
        return f"{error}; so `init --remove` will take out the entry and nothing else"
    return ""


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Name the file in what is wrong with it."""
    try:
        yield
    except (ValueError, InvalidArgumentError) as error:
        raise InvalidArgumentError(f"{file} is left as it is: {error}") from error

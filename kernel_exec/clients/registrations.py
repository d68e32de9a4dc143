"""Which clients start us, and how."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kernel_exec.errors import InvalidArgumentError

from .catalog import CLIENTS, Client
from .entries import read as read_entry
from .files import read, text_of, this_machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A server in a client's configuration that is us; `command` is what the client starts."""

    client: str
    file: Path
    name: str
    command: tuple[str, ...]


def registrations(folder: Path, variables: Mapping[str, str]) -> tuple[Registration, ...]:
    """Where the user's clients, and those in the project in `folder`, start us.

    Files that can't be read start nobody.
    """
    machine = this_machine(variables)
    return tuple(
        Registration(client=client.name, file=file, name=name, command=entry.command)
        for client in CLIENTS
        for file in [
            *(file for home in client.candidates(machine) for file in home),
            *(folder / name for name in client.project),
        ]
        for name, value in _servers(client, file, folder)
        if (entry := read_entry(value)) is not None and entry.is_ours
    )


def _servers(client: Client, file: Path, folder: Path) -> Iterator[tuple[str, object]]:
    try:
        document = client.format.parse(text_of(file, read(file) or b""))
    except (ValueError, InvalidArgumentError):
        return
    places: list[tuple[str, ...]] = [(client.servers,)]
    if client.by_folder is not None:
        before, behind = client.by_folder
        places.append((before, str(folder), behind))
    for place in places:
        servers: object = document
        for key in place:
            servers = servers.get(key) if isinstance(servers, Mapping) else None
        if isinstance(servers, Mapping):
            yield from servers.items()

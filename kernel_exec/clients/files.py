"""Clients' configuration files on disk: read whole, and replaced whole where nobody else did."""

import codecs
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from kernel_exec import configuration
from kernel_exec.errors import BusyError, InvalidArgumentError, StorageError
from kernel_exec.jsons import object_in
from kernel_exec.places import home_folder
from kernel_exec.settings import process_variables, user_config_folder

from .catalog import Client, Machine
from .undoing import Record

_LIMIT: Final = 50_000_000
"""Bytes of a file that some client could have written."""
_STALE: Final = 10.0
"""Seconds after which clients, too, take no notice of a lock that nobody renews."""
_STORE_NAME: Final = "clients.json"
"""Beside the user's own configuration file."""


def this_machine(variables: Mapping[str, str] | None = None) -> Machine:
    """The machine that we run on, with the variables of a user (default: the process's)."""
    variables = process_variables() if variables is None else variables
    return Machine(system=sys.platform, home=home_folder(variables), variables=variables)


def read(file: Path) -> bytes | None:
    """The content of a file, None where there is none, or where a link leads to none.

    Raises `InvalidArgumentError` when it is no file, can't be read, or is too large.
    """
    try:
        if not file.exists():
            return None
        if not file.is_file():  # a pipe would be waited for
            raise InvalidArgumentError(f"{file} is not a file")
        with file.open("rb") as stream:
            content = stream.read(_LIMIT + 1)
    except OSError as error:
        raise InvalidArgumentError(f"{file} can't be read: {error.strerror}") from error
    if len(content) > _LIMIT:
        raise InvalidArgumentError(f"{file} is longer than {_LIMIT:,} bytes")
    return content


def text_of(file: Path, content: bytes) -> str:
    """The text of a file, without the mark that some editors put in front of it.

    Raises `InvalidArgumentError` when it is in another encoding than clients read.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"{file} is not UTF-8: {error}") from error


def replaced(client: Client, file: Path, before: bytes | None, text: str | None) -> str:
    """Put `text` in the place of what a file held `before`; None stands for no file.

    Returns the first of the folders that were made for it, or "".

    Raises `BusyError` when another program has changed it since, or is about to.
    """
    missing = [folder for folder in file.parents if not folder.exists()]
    mark = codecs.BOM_UTF8 if before is not None and before.startswith(codecs.BOM_UTF8) else b""
    with _locked(client, file):
        if read(file) != before:
            raise BusyError(f"{file} was changed meanwhile; try again")
        if text is not None:
            content = mark + text.encode()
            configuration.write(file, content, make_folder=True, secret=True)
            return str(missing[-1]) if missing else ""
        try:
            Path(os.path.realpath(file)).unlink()
        except OSError as error:
            raise StorageError(f"{file} can't be removed: {error.strerror}") from error
    return ""


@contextmanager
def _locked(client: Client, file: Path) -> Iterator[None]:
    """Hold the lock under which the client itself writes the file, if it has one."""
    lock = Path(f"{file}.lock")
    if not client.locks or not file.parent.is_dir():
        yield
        return
    with suppress(OSError):
        if time.time() - lock.stat().st_mtime > _STALE:
            lock.rmdir()
    try:
        lock.mkdir()
    except FileExistsError as error:
        raise BusyError(f"{client.name} is writing {file}; try again") from error
    except OSError as error:
        raise StorageError(f"{file} can't be written: {error.strerror}") from error
    try:
        yield
    finally:
        with suppress(OSError):
            lock.rmdir()


def remove_folders(file: Path, first: str) -> None:
    """Remove the folders that were made for a file, from the `first` on, where they are empty."""
    for folder in file.parents:
        if not first or not folder.is_relative_to(first):
            return
        try:
            folder.rmdir()
        except OSError:
            return


def record_of(file: Path) -> Record | None:
    """What we have changed in a file."""
    found = _records().get(str(file))
    with suppress(TypeError):  # others have written there
        return None if found is None else Record(**found)
    return None


def remember(file: Path, record: Record | None) -> None:
    """Keep what we have changed in a file, or forget it.

    Raises:
        StorageError: It can't be kept.
        InvalidArgumentError: The user has no home folder.
    """
    known = _records()
    if record is not None:
        known[str(file)] = asdict(record)
    elif known.pop(str(file), None) is None:
        return
    content = json.dumps(known, indent=2).encode()
    configuration.write(user_config_folder() / _STORE_NAME, content, make_folder=True, secret=True)


def _records() -> dict[str, Any]:
    with suppress(OSError, InvalidArgumentError):
        return object_in((user_config_folder() / _STORE_NAME).read_bytes())
    return {}

"""A client's configuration file on disk: read whole, replaced whole, by nobody else meanwhile."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Final

from kernel_exec.environments.interpreters import home_folder
from kernel_exec.errors import InvalidArgumentError
from kernel_exec.jsons import JSON
from kernel_exec.settings import process_variables

from . import jsonc, tomls
from .catalog import Machine

_LIMIT: Final = 50_000_000
"""Bytes of a file that some client could have written."""


def read(file: Path) -> bytes | None:
    """The content of a file, None where there is none, or where a link leads to none.

    Raises:
        InvalidArgumentError: It is no file, can't be read, or is too large.
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


def text_of(file: Path, content: bytes | None) -> str:
    """The text of a file, without the mark that some editors put in front of it.

    Raises:
        InvalidArgumentError: It is in another encoding than clients read.
    """
    try:
        return (content or b"").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"{file} is not UTF-8: {error}") from error


def parsed(file: Path) -> JSON:
    """The value in a file, an empty object where there is none.

    Raises:
        InvalidArgumentError: It can't be read, or is broken.
    """
    try:
        value: JSON = format_of(file).parse(text_of(file, read(file)))
    except ValueError as error:
        raise InvalidArgumentError(f"{file} is broken: {error}") from error
    return value


def format_of(file: Path) -> ModuleType:
    """What reads and edits such a file."""
    return tomls if file.suffix == ".toml" else jsonc


def this_machine(variables: Mapping[str, str] | None = None) -> Machine:
    """The machine that we run on, with the variables of a user (default: the process's)."""
    variables = process_variables() if variables is None else variables
    return Machine(system=sys.platform, home=home_folder(variables), variables=variables)

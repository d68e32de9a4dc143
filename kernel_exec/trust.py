"""Which configuration files are read, and which of a foreign folder the user has trusted.

Clients start servers in the folder of a repository, and a configuration file can name an
interpreter and pass secrets to it. So the file that lies in the current folder is read only when
it was named, or when the user has trusted exactly this content at this path.
"""

import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kernel_exec.configuration import parse_table, read_content, write
from kernel_exec.errors import InvalidArgumentError, NotFoundError
from kernel_exec.jsons import object_in
from kernel_exec.places import CONFIG_NAME

_STORE_NAME: Final = "trusted.json"
"""Beside the user's own configuration file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFiles:
    """The tables that hold, the strongest first, each with its file.

    `notice` is a sentence about the file in the current folder if it is not trusted, or "".
    """

    tables: Sequence[tuple[Path, Mapping[str, object]]]
    notice: str = ""


def read_files(
    *,
    named: Path | None,
    source: str,
    folder: Path,
    user: Path | None,
    without: Collection[str] = (),
) -> ConfigFiles:
    """The file that `source` has named, otherwise that in `folder` if trusted, then the user's own.

    The files `without` which to do are left out.
    """
    if named is not None:
        if str(named) in without:
            return ConfigFiles(tables=())
        return ConfigFiles(tables=[(named, parse_table(named, read_content(named, source)))])
    own = None if user is None else user / CONFIG_NAME
    tables = []
    here, notice = folder / CONFIG_NAME, ""
    if str(here) in without:
        pass
    elif os.path.lexists(here) and (own is None or os.path.realpath(here) != os.path.realpath(own)):
        content = _content(here)
        if user is not None and trusted(user).get(_key(here)) == _hash(content):
            tables.append((here, parse_table(here, content)))
        else:
            notice = (
                f"{here} is ignored because it is not trusted; after reading it, run"
                f" `kernel-exec trust {here}`, or name it with --config"
            )
    if own is not None and str(own) not in without and os.path.lexists(own):
        tables.append((own, parse_table(own, read_content(own))))
    return ConfigFiles(tables=tables, notice=notice)


def trust(user: Path, file: Path, content: bytes) -> None:
    """Remember that the user trusts `file` as long as it holds `content`."""
    _remember(user, trusted(user) | {_key(file): _hash(content)})


def forget(user: Path, file: Path) -> None:
    """Trust `file` no longer; raises `NotFoundError` when it was not trusted."""
    known = trusted(user)
    if known.pop(_key(file), None) is None:
        raise NotFoundError(f"{file} was not trusted; `kernel-exec trust --list` lists those")
    _remember(user, known)


def trusted(user: Path) -> dict[str, str]:
    """The trusted files, each with the hash of its content."""
    with suppress(OSError):
        known = object_in((user / _STORE_NAME).read_bytes())
        return {file: digest for file, digest in known.items() if isinstance(digest, str)}
    return {}


def holds(file: str, digest: str) -> bool:
    """True when a trusted file still has the content that was trusted."""
    return _hash(_content(Path(file))) == digest


def _content(file: Path) -> bytes:
    """What a file holds; nothing when it can't be a configuration file."""
    try:
        return read_content(file)
    except InvalidArgumentError:
        return b""


def _key(file: Path) -> str:
    # the folder without links, but not the file: what its relative paths mean depends on it
    return str(Path(os.path.realpath(file.parent), file.name))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _remember(user: Path, known: Mapping[str, str]) -> None:
    write(user / _STORE_NAME, json.dumps(known, indent=2).encode(), make_folder=True)

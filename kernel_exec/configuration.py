"""The configuration file: its values, its named environments, and how one is added to it.

A value is kept with the place where the user wrote it, so that a refusal names that place;
options and variables are read in the same way. Only what `write` is given is ever written.
"""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from kernel_exec.environments.spec import NAME, NAME_RULE, Environment, EnvironmentKind
from kernel_exec.errors import InvalidArgumentError, RefusedSettingError, StorageError
from kernel_exec.files import write_whole
from kernel_exec.sandbox.walls import Walls

_FILE_LIMIT: Final = 1_000_000
"""Bytes of a configuration file; a larger one is not ours."""
_PATH_LIMIT: Final = 4096
"""Characters of a path, as Linux has it."""
_SHOWN: Final = 200
"""Characters of a wrong value that a message repeats."""
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
_RESERVED: Final = frozenset({"default", "configured"})
"""What the environment where servers begin is called."""
_KINDS: Final = "one of " + ", ".join(EnvironmentKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A value as the user wrote it, where that was, and the folder that is relative to.

    `home` is what `~` stands for, "" for the home of this process's user.
    """

    value: object
    where: str
    folder: Path
    home: str = ""

    def refuse(self, allowed: str) -> RefusedSettingError:
        """The error that says what the value should have been."""
        return RefusedSettingError(
            f"{self.where} is {_shown(self.value)}: it must be {allowed}",
            where=self.where,
            unquoted=f"{self.where} must be {allowed}",
        )


def written_in(
    file: Path, table: Mapping[str, object], prefix: str = "", *, home: str = ""
) -> dict[str, Written]:
    """The values of a table of the file, by key; `prefix` is what leads to the table."""
    return {
        key: Written(value=value, where=f"`{prefix}{key}` in {file}", folder=file.parent, home=home)
        for key, value in table.items()
    }


def read_content(file: Path, source: str = "") -> bytes:
    """The content of a configuration file; `source` is what named it, if anything did.

    Raises:
        InvalidArgumentError: It is missing, can't be read, or is too large to be one.
    """
    try:
        if not file.is_file():  # a pipe would be waited for
            named = f" (named by {source})" if source else ""
            message = f"configuration file {file} not found{named}"
            raise RefusedSettingError(message, where=str(file))
        with file.open("rb") as stream:
            content = stream.read(_FILE_LIMIT + 1)
    except OSError as error:
        message = f"{file} can't be read: {error.strerror}"
        raise RefusedSettingError(message, where=str(file)) from error
    if len(content) > _FILE_LIMIT:
        message = f"{file} is longer than {_FILE_LIMIT:,} bytes; shorten it"
        raise RefusedSettingError(message, where=str(file))
    return content


def parse_table(file: Path, content: bytes) -> dict[str, object]:
    """The table in the content of a file, which must be TOML; its values are not checked yet."""
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        message = f"{file} is not valid TOML: {error}"
        raise RefusedSettingError(message, where=str(file)) from error


def refuse_unknown(
    table: Iterable[str], allowed: Sequence[str], where: str, *, variables: Mapping[str, str]
) -> None:
    """Raise when a key is none of `allowed`; people write the names in `variables` for them."""
    for key in table:
        if key not in allowed:
            close = difflib.get_close_matches(key.lower()[:_SHOWN], allowed, n=1)
            meant = variables.get(key) or (close[0] if close else "")
            hint = f"did you mean `{meant}`?" if meant else f"it can be {', '.join(allowed)}"
            message = f"{where} the key {_shown(key)} is unknown; {hint}"
            raise RefusedSettingError(message, where=f"`{key}` {where}")


def named_environments(
    table: Mapping[str, object], file: Path, *, home: str = ""
) -> dict[str, Environment]:
    """The environments by name, from the whole table of the file."""
    written = written_in(file, table, home=home).get("environments")
    if written is None:
        return {}
    if not isinstance(written.value, dict):
        raise written.refuse("tables, such as [environments.analysis]")
    found = {}
    for name, each in written_in(file, written.value, "environments.", home=home).items():
        try:
            found[name] = _named_environment(name, each, file)
        except InvalidArgumentError as error:
            raise RefusedSettingError(str(error), where=each.where) from error
    return found


def environment_of(kind: EnvironmentKind, written: Written) -> Environment:
    """The environment of a kind whose path, or name for conda, is given."""
    text = parse_text(written)
    # a relative prefix can't be told from a name that went wrong
    if kind is EnvironmentKind.CONDA and not (text.startswith("~") or Path(text).is_absolute()):
        return _conda(written)
    return Environment(kind=kind, path=parse_path(written))


def parse_kind(written: Written) -> EnvironmentKind:
    """An environment's kind."""
    if isinstance(written.value, str) and written.value in set(EnvironmentKind):
        return EnvironmentKind(written.value)
    raise written.refuse(_KINDS)


def parse_walls(written: Written) -> Walls:
    """A word for walls."""
    words = {str(walls): walls for walls in Walls}
    try:
        return words[str(written.value).strip().lower()]
    except KeyError:
        raise written.refuse(f"one of {', '.join(words)}") from None


def parse_text(written: Written) -> str:
    """Text that is not empty."""
    value = written.value
    if not isinstance(value, str) or not value.strip():
        raise written.refuse("a text that is not empty")
    if _NOT_TEXT.search(value):
        raise written.refuse("text in UTF-8 without NUL")
    return value


def parse_path(written: Written) -> Path:
    """An absolute path; a relative one is taken from where it was written."""
    value = parse_text(written)
    if len(value) > _PATH_LIMIT:
        raise written.refuse(f"a path of at most {_PATH_LIMIT} characters")
    try:
        if written.home and (value == "~" or value.startswith("~/")):
            return written.folder / written.home / value[2:]
        return written.folder / Path(value).expanduser()
    except RuntimeError as error:
        raise written.refuse("a path whose `~` names a user with a home folder") from error


def with_environment(
    file: Path, name: str, environment: Environment, *, walls: Walls | None, replace: bool
) -> bytes:
    """What the file would hold with `environment` in it, in a table of its own.

    All other lines stay as they are, and so do comments in a table that is replaced.
    """
    _check_name(name, "")
    content = read_content(file) if os.path.lexists(file) else b""
    table = parse_table(file, content)
    if name in named_environments(table, file) and not replace:
        raise InvalidArgumentError(
            f"`environments.{name}` already exists in {file}; choose another name or pass --replace"
        )
    place = {"name": environment.name} if environment.path is None else {"path": environment.path}
    if walls is None:  # those that it had stay
        walls = named_environments(table, file).get(name, environment).walls
    sandbox = {"sandbox": walls} if walls else {}
    given = {"kind": environment.kind, **place, **sandbox}
    fields = {key: str(value) for key, value in given.items()}
    changed = _with_table(content.decode(), name, fields).encode()
    tables: Any = table.get("environments", {})
    wanted = {**table, "environments": {**tables, name: fields}}
    try:
        if parse_table(file, changed) == wanted:
            return changed
    except InvalidArgumentError:
        pass  # the others are in an inline table, which TOML closes
    raise InvalidArgumentError(
        f"`environments` in {file} has a layout that can't be extended;"
        " write each environment as a table, such as [environments.analysis]"
    )


def write(file: Path, content: bytes, *, make_folder: bool = False, secret: bool = False) -> None:
    """Put `content` in the place of a configuration file, whole or not at all.

    Links, mode and owner stay; a new one that is `secret` is the user's alone.
    """
    try:
        if make_folder:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = Path(os.path.realpath(file))  # of a link the file that it leads to
        was = file.stat() if file.exists() else None
        if was is not None and not (was.st_mode & 0o222 and os.access(file, os.W_OK)):
            raise StorageError(f"{file} is read-only; make it writable")
        owner = None if was is None else (was.st_uid, was.st_gid)
        write_whole(file, content, mode=0o600 if secret else None, owner=owner)
    except OSError as error:
        raise StorageError(f"{file} can't be written: {error.strerror or error}") from error


def _with_table(content: str, name: str, fields: Mapping[str, str]) -> str:
    """The file's text with the table of an environment: in its place, or at the end."""
    key = name if re.fullmatch("[A-Za-z0-9_-]+", name) else json.dumps(name)
    lines = "".join(
        f"{word} = {json.dumps(value, ensure_ascii=False)}\n" for word, value in fields.items()
    )
    header = f"[environments.{key}]"
    found = re.search(rf"(?m)^{re.escape(header)}.*\n((?:(?!\[).*\n|(?!\[).+)*)", content)
    if found is None:
        gap = "" if not content or content.endswith("\n") else "\n"
        return f"{content}{gap}\n{header}\n{lines}" if content else f"{header}\n{lines}"
    others = re.sub(r"(?m)^(?:kind|path|name|sandbox)[ \t]*=.*\n?", "", found[1])
    return f"{content[: found.start(1)]}{lines}{others}{content[found.end() :]}"


def _named_environment(name: str, written: Written, file: Path) -> Environment:
    where = f"`environments.{name[:_SHOWN]}` in {file}"
    _check_name(name, f"in {file} ")
    if not isinstance(written.value, dict):
        raise written.refuse(f"a table, such as [environments.{name}]")
    refuse_unknown(written.value, ("kind", "path", "name", "sandbox"), f"in {where}", variables={})
    fields = written_in(file, written.value, f"environments.{name}.", home=written.home)
    walls = parse_walls(fields.pop("sandbox")) if "sandbox" in fields else Walls.OFF
    if "kind" not in fields:
        raise InvalidArgumentError(f"{where} has no `kind`: it must be {_KINDS}")
    kind = parse_kind(fields["kind"])
    allowed = [{"path"}, {"name"}] if kind is EnvironmentKind.CONDA else [{"path"}]
    if fields.keys() - {"kind"} not in allowed:
        needed = "either `name` or `path`" if len(allowed) > 1 else "`path`, and no `name`"
        raise InvalidArgumentError(f"{where} is of kind {kind.value!r}: it must have {needed}")
    if "name" in fields:
        return replace(_conda(fields["name"]), walls=walls)
    return Environment(kind=kind, path=parse_path(fields["path"]), walls=walls)


def _check_name(name: str, where: str) -> None:
    if not NAME.fullmatch(name) or name in _RESERVED:
        why = NAME_RULE
        if name in _RESERVED:
            why = "it stands for the environment where servers begin; choose another name"
        raise InvalidArgumentError(
            f"{where}the environment name {_shown(name)} is not allowed: {why}"
        )


def _conda(written: Written) -> Environment:
    name = parse_text(written)
    if not NAME.fullmatch(name):
        raise written.refuse(
            "a name of at most 100 letters, digits, '_', '.' and '-', or an absolute path"
        )
    return Environment(kind=EnvironmentKind.CONDA, name=name)


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python is willing to write
        return "a number with too many digits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"

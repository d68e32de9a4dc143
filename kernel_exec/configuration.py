"""The configuration file: its values, its named environments, and how one is added to it.

A value is kept with the place where the user wrote it, so that a refusal names that place;
options and variables are read in the same way. Only what `write` is given is ever written.
"""

import difflib
import importlib
import os
import re
import shutil
import stat
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kernel_exec.environments.spec import Environment, EnvironmentKind
from kernel_exec.errors import InvalidArgumentError, StorageError

CONFIG_NAME: Final = "kernel_exec.toml"
"""In the user's configuration folder, and in folders that the user trusts."""

_FILE_LIMIT: Final = 1_000_000
"""Bytes of a configuration file; a larger one is not ours."""
_PATH_LIMIT: Final = 4096
"""Characters of a path, as Linux has it."""
_SHOWN: Final = 200
"""Characters of a wrong value that a message repeats."""
_BYTE_ORDER_MARK: Final = "\ufeff"
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_NAME_RULE: Final = "use letters, digits, '_', '.' and '-', at most 100 of them"
_RESERVED: Final = frozenset({"default", "configured"})
"""What the environment where servers begin is called."""
_KINDS: Final = "one of " + ", ".join(EnvironmentKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A value as the user wrote it, where that was, and the folder that is relative to."""

    value: object
    where: str
    folder: Path

    def refuse(self, allowed: str) -> InvalidArgumentError:
        """The error that says what the value should have been."""
        return InvalidArgumentError(f"{self.where} is {_shown(self.value)}: it must be {allowed}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """The values of one source, None where it says nothing; `spell` is how it writes a word."""

    values: Mapping[str, object]
    folder: Path
    spell: Callable[[str], str]

    def get(self, word: str) -> Given | None:
        """What it says about a word."""
        value = self.values.get(word)
        if value is None:
            return None
        return Given(value=value, where=self.spell(word), folder=self.folder)


def read_content(file: Path) -> bytes:
    """The content of a configuration file.

    Raises:
        InvalidArgumentError: It is missing, can't be read, or is too large to be one.
    """
    try:
        if not file.is_file():  # a pipe would be waited for
            raise InvalidArgumentError(f"configuration file {file} not found")
        with file.open("rb") as stream:
            content = stream.read(_FILE_LIMIT + 1)
    except OSError as error:
        raise InvalidArgumentError(f"{file} can't be read: {error.strerror}") from error
    if len(content) > _FILE_LIMIT:
        raise InvalidArgumentError(f"{file} is longer than {_FILE_LIMIT:,} bytes; shorten it")
    return content


def parse_table(file: Path, content: bytes) -> dict[str, object]:
    """The table in the content of a file; its values are not checked yet.

    Raises:
        InvalidArgumentError: It is no TOML.
    """
    return _parse(file, _text(file, content))


def refuse_unknown(
    table: Iterable[str], allowed: Sequence[str], where: str, *, variables: Mapping[str, str]
) -> None:
    """Raise when a key is none of `allowed`; people write the names in `variables` for them."""
    for key in table:
        if key not in allowed:
            close = difflib.get_close_matches(key.lower()[:_SHOWN], allowed, n=1, cutoff=0.0)
            raise InvalidArgumentError(
                f"{where} the key {_shown(key)} is unknown;"
                f" did you mean `{variables.get(key, close[0])}`?"
            )


def named_environments(tables: object, file: Path) -> dict[str, Environment]:
    """The environments by name, from what the file has under `environments`."""
    where = f"`environments` in {file}"
    if not isinstance(tables, dict):
        raise Given(value=tables, where=where, folder=file.parent).refuse(
            "tables, such as [environments.analysis]"
        )
    return {str(name): _named_environment(str(name), table, file) for name, table in tables.items()}


def environment_of(kind: EnvironmentKind, given: Given) -> Environment:
    """The environment of a kind whose path, or name for conda, is given."""
    text = parse_text(given)
    # a relative prefix can't be told from a name that went wrong
    if kind is EnvironmentKind.CONDA and not (text.startswith("~") or Path(text).is_absolute()):
        return _conda(given)
    return Environment(kind=kind, path=parse_path(given))


def parse_kind(given: Given) -> EnvironmentKind:
    """An environment's kind."""
    if isinstance(given.value, str) and given.value in set(EnvironmentKind):
        return EnvironmentKind(given.value)
    raise given.refuse(_KINDS)


def parse_text(given: Given) -> str:
    """Text that is not empty."""
    value = given.value
    if not isinstance(value, str) or not value.strip():
        raise given.refuse("a text that is not empty")
    if _NOT_TEXT.search(value):
        raise given.refuse("text in UTF-8 without NUL")
    return value


def parse_path(given: Given) -> Path:
    """An absolute path; a relative one is taken from where it was written."""
    value = parse_text(given)
    if len(value) > _PATH_LIMIT:
        raise given.refuse(f"a path of at most {_PATH_LIMIT} characters")
    try:
        return given.folder / Path(value).expanduser()
    except RuntimeError as error:
        raise given.refuse("a path whose `~` names a user with a home folder") from error


def with_environment(file: Path, name: str, environment: Environment, *, replace: bool) -> bytes:
    """What the file would hold with `environment` in it; its comments and layout are kept.

    Raises:
        InvalidArgumentError: The name is not allowed, or taken and not to be replaced; or the
            file can't be read, or is laid out in a way that can't be added to.
    """
    _check_name(name, "")
    content = _text(file, read_content(file)) if os.path.lexists(file) else ""
    table = _parse(file, content)
    tables: Any = table.get("environments", {})
    if name in named_environments(tables, file) and not replace:
        raise InvalidArgumentError(
            f"`environments.{name}` already exists in {file}; choose another name or pass --replace"
        )
    words = {"kind": environment.kind.value}
    if environment.path is None:
        words["name"] = str(environment.name)
    else:
        path = Given(value=str(environment.path), where="the path", folder=file.parent)
        words["path"] = parse_text(path)
    changed = _edited(file, content, name, words)
    # tomlkit misplaces a table after keys with dots
    if _parse(file, changed) != {**table, "environments": {**tables, name: words}}:
        raise InvalidArgumentError(
            f"`environments` in {file} has a layout that can't be extended;"
            " write each environment as a table, such as [environments.analysis]"
        )
    return changed.encode()


def write(file: Path, content: bytes, *, make_folder: bool = False) -> None:
    """Put `content` in the place of a configuration file, whole or not at all.

    Raises:
        StorageError: It can't be written, or is marked as read-only; it is as it was.
    """
    try:
        if make_folder:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = Path(os.path.realpath(file))  # of a link the file that it leads to
        before = file.stat() if file.exists() else None
        if before is not None and not (before.st_mode & 0o222 and os.access(file, os.W_OK)):
            raise StorageError(f"{file} is read-only; make it writable or name another file")
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".writing-") as folder:
            whole = Path(folder, file.name)
            with whole.open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            if before is not None:
                with suppress(PermissionError):  # root may edit the file of somebody else
                    shutil.chown(whole, before.st_uid, before.st_gid)
                whole.chmod(stat.S_IMODE(before.st_mode))
            whole.replace(file)
    except OSError as error:
        raise StorageError(
            f"{file} can't be written: {error.strerror or error}; choose another file with --config"
        ) from error


def _text(file: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except ValueError as error:
        raise _no_toml(file, error) from error


def _parse(file: Path, content: str) -> dict[str, object]:
    try:
        return tomllib.loads(content.removeprefix(_BYTE_ORDER_MARK))
    except (ValueError, RecursionError) as error:
        raise _no_toml(file, error) from error


def _no_toml(file: Path, error: Exception) -> InvalidArgumentError:
    return InvalidArgumentError(f"{file} is not valid TOML: {error}")


def _edited(file: Path, content: str, name: str, words: Mapping[str, str]) -> str:
    # its import takes 25 ms, which a server that adds nothing need not wait for
    tomlkit: Any = importlib.import_module("tomlkit")
    mark = _BYTE_ORDER_MARK if content.startswith(_BYTE_ORDER_MARK) else ""
    text = content.removeprefix(mark)
    try:
        document = tomlkit.parse(text if not text or text.endswith("\n") else f"{text}\n")
        if "environments" not in document:
            document["environments"] = tomlkit.table(is_super_table=True)
        tables = document["environments"]
        if name not in tables:
            inline = isinstance(tables, tomlkit.items.InlineTable)
            tables[name] = tomlkit.inline_table() if inline else tomlkit.table()
        for word in {"name", "path"} & set(tables[name]) - set(words):
            del tables[name][word]
        tables[name].update(words)
        return mark + str(tomlkit.dumps(document))
    except tomlkit.exceptions.TOMLKitError as error:
        raise _no_toml(file, error) from error


def _named_environment(name: str, table: object, file: Path) -> Environment:
    where = f"`environments.{name[:_SHOWN]}` in {file}"
    _check_name(name, f"in {file} ")
    if not isinstance(table, dict):
        raise Given(value=table, where=where, folder=file.parent).refuse(
            f"a table, such as [environments.{name}]"
        )
    refuse_unknown(table, ("kind", "path", "name"), f"in {where}", variables={})
    layer = Layer(
        values=table,
        folder=file.parent,
        spell=lambda word: f"`environments.{name}.{word}` in {file}",
    )
    kind, path, called = (layer.get(word) for word in ("kind", "path", "name"))
    if kind is None:
        raise InvalidArgumentError(f"{where} has no `kind`: it must be {_KINDS}")
    wanted = parse_kind(kind)
    conda = wanted is EnvironmentKind.CONDA
    if (path is None) == (called is None) or (called is not None and not conda):
        needed = "either `name` or `path`" if conda else "`path`, and no `name`"
        raise InvalidArgumentError(f"{where} is of kind {wanted.value!r}: it must have {needed}")
    if called is not None:
        return _conda(called)
    assert path is not None
    return Environment(kind=wanted, path=parse_path(path))


def _check_name(name: str, where: str) -> None:
    if not _ENVIRONMENT_NAME.fullmatch(name):
        raise InvalidArgumentError(
            f"{where}the environment name {_shown(name)} is not allowed: {_NAME_RULE}"
        )
    if name in _RESERVED:
        raise InvalidArgumentError(
            f"{where}the environment name {name!r} is not allowed: it stands for the environment"
            " where servers begin; choose another name"
        )


def _conda(given: Given) -> Environment:
    name = parse_text(given)
    if not _ENVIRONMENT_NAME.fullmatch(name):
        raise given.refuse(
            "a name of at most 100 letters, digits, '_', '.' and '-', or an absolute path"
        )
    return Environment(kind=EnvironmentKind.CONDA, name=name)


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python is willing to write
        return "a number with too many digits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"

"""A notebook in nbformat 4 as a plain JSON value, whoever wrote it: its file, and its parts."""

import importlib
import json
import math
import os
import stat
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from kernel_exec.errors import InvalidArgumentError, NotFoundError, StorageError
from kernel_exec.files import open_plain
from kernel_exec.jsons import JSON, JSONObject, items, mapping, text
from kernel_exec.sandbox.walls import Walls

_LARGEST = 500_000_000
"""Bytes of a notebook; one that is larger is no document any more."""

_LEVELS = 100
"""How deep values may be: all who read a notebook recurse, most of them in Python."""

_MESSAGE = 300
"""Characters of what nbformat says, which may quote a whole cell."""

_LONG = 40
"""Lines of code beyond which a cell is folded."""


def objects(value: JSON) -> list[JSONObject]:
    """The objects in a list; nothing for what is no list."""
    many = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    return [each for each in many if isinstance(each, Mapping)]


def cells(notebook: JSONObject) -> list[JSONObject]:
    """The cells, in order."""
    return objects(notebook.get("cells"))


def is_code(cell: JSONObject) -> bool:
    """Whether a cell is one of code."""
    return cell.get("cell_type") == "code"


def source_of(cell: JSONObject) -> str:
    """The source of a cell, whichever way it is kept."""
    return joined(cell.get("source"))


def is_long(source: str) -> bool:
    """Whether code is so long that it is folded where it is shown."""
    return source.rstrip().count("\n") >= _LONG


def outputs_of(cell: JSONObject) -> list[JSONObject]:
    """The outputs of a cell, in order."""
    return objects(cell.get("outputs"))


def tags(cell: JSONObject) -> list[str]:
    """The tags of a cell."""
    return [str(tag) for tag in items(mapping(cell, "metadata"), "tags")]


def joined(value: JSON) -> str:
    """A text that nbformat may also keep as a list of its lines."""
    if isinstance(value, str):
        return value
    return "".join(map(str, value)) if isinstance(value, Sequence) else ""


def traceback_of(error: JSONObject) -> str:
    """The traceback of an output that is an error, "" where it has none."""
    blocks = error.get("traceback")
    lines = [blocks] if isinstance(blocks, str) else blocks if isinstance(blocks, Sequence) else []
    return "\n".join(map(str, lines))


def ours(part: JSONObject) -> JSONObject:
    """What kernel-exec says of a notebook, a cell or an output in its metadata."""
    return mapping(mapping(part, "metadata"), "kernel_exec")


def role_of(part: JSONObject) -> str:
    """What a cell or an output is there for, "" for what is not ours and for a step's own."""
    return text(ours(part), "role")


def verdict_of(cell: JSONObject) -> tuple[str, str]:
    """How a cell did when it was last run again, and what differed; "" where nobody knows."""
    verdict = mapping(ours(cell), "verdict")
    return text(verdict, "verdict"), text(verdict, "difference")


def errors_of(cell: JSONObject) -> list[JSONObject]:
    """The errors among the outputs of a cell."""
    return [each for each in outputs_of(cell) if each.get("output_type") == "error"]


def session_of(notebook: JSONObject) -> str:
    """The id of the session that a notebook is the export of, or ""."""
    return text(ours(notebook), "session")


def walls_of(notebook: JSONObject) -> Walls:
    """The strongest walls of the kernels that a notebook records; an unknown word may mean more."""
    words = {str(each): each for each in Walls}
    kernels = objects(ours(notebook).get("kernels"))
    recorded = (text(mapping(each, "sandbox"), "walls") for each in kernels)
    return max((words.get(each, max(Walls)) for each in recorded if each), default=Walls.OFF)


def writable(value: JSON, levels: int = _LEVELS) -> JSON:
    """`value` as a file can hold it: lone surrogates escaped, NaN as null, nothing very deep."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping | Sequence) and not levels:
        return "[too deep for a notebook]"
    if isinstance(value, Mapping):
        return {str(writable(key)): writable(each, levels - 1) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [writable(each, levels - 1) for each in value]
    return value


def read_bytes(path: Path) -> bytes:
    """What a notebook's file holds.

    Raises:
        NotFoundError: There is no such file.
        InvalidArgumentError: It is no file, or a very large one.
        StorageError: It can't be read.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
            raise InvalidArgumentError(f"{str(path)!r} is no notebook's file, or far too large")
        with open_plain(Path(os.path.realpath(path))) as file:
            return file.read(_LARGEST)  # also of a file that grows meanwhile
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no notebook {str(path)!r}") from error
    except OSError as error:
        raise StorageError(f"{str(path)!r} can't be read: {error.strerror}") from error


def parse(written: bytes, path: Path) -> JSONObject:
    """The notebook that `path` holds; one in an older format is converted.

    Raises:
        InvalidArgumentError: It is no notebook.
    """
    try:
        notebook = json.loads(written)
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"{str(path)!r} is no notebook: it is not JSON") from error
    version = notebook.get("nbformat") if isinstance(notebook, Mapping) else None
    if version == 4 and isinstance(notebook.get("cells"), list):
        found: JSONObject = notebook
        return found
    if version not in {1, 2, 3}:
        raise InvalidArgumentError(
            f"{str(path)!r} is no notebook: it has no cells in a format of nbformat that is known"
        )
    nbformat = importlib.import_module("nbformat")  # takes 0.3 s, which few need to wait for
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converted = nbformat.reads(written.decode("utf-8", "replace"), as_version=4)
    except Exception as error:  # it trusts what it reads, and raises anything
        raise InvalidArgumentError(
            f"{str(path)!r} can't be converted to nbformat 4: {str(error)[:_MESSAGE]}"
        ) from error
    plain: JSONObject = json.loads(json.dumps(converted))
    return plain


def require_valid(notebook: JSONObject) -> None:
    """Refuse what is no valid notebook.

    Raises:
        InvalidArgumentError: It is none; the message says where.
    """
    nbformat = importlib.import_module("nbformat")  # takes 0.3 s, which few need to wait for
    try:
        nbformat.validate(nbformat.from_dict(notebook))
    except nbformat.ValidationError as error:
        where = ".".join(map(str, error.absolute_path)) or "the notebook"
        raise InvalidArgumentError(
            f"no valid notebook of format 4.5: {where}: {str(error.message)[:_MESSAGE]}"
        ) from error

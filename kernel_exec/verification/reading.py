"""A notebook from a file, whoever wrote it, as a plain JSON value in nbformat 4."""

import importlib
import json
import stat
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kernel_exec.errors import InvalidArgumentError, NotFoundError, StorageError
from kernel_exec.jsons import JSONObject

_LARGEST = 500_000_000
"""Bytes of a notebook; one that is larger is no document any more."""


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
    return _converted(path, written.decode("utf-8", "replace"))


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
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no notebook {str(path)!r}") from error
    except OSError as error:
        raise StorageError(f"{str(path)!r} can't be read: {error.strerror}") from error


def _converted(path: Path, written: str) -> JSONObject:
    # its import takes 0.3 s, which only old notebooks need
    nbformat: Any = importlib.import_module("nbformat")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            notebook = nbformat.reads(written, as_version=4)
    except Exception as error:  # it trusts what it reads, and raises anything
        raise InvalidArgumentError(
            f"{str(path)!r} can't be converted to nbformat 4: {str(error)[:300]}"
        ) from error
    plain: JSONObject = json.loads(json.dumps(notebook))
    return plain

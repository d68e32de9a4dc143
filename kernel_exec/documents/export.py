"""A session's document: read from history, made in one of four formats, written to a file."""

import importlib
import importlib.metadata
import json
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final

import anyio
from anyio import to_thread

from kernel_exec.environments.interpreters import Distribution, Interpreter, ask, distributions
from kernel_exec.errors import BusyError, InvalidArgumentError, UnusableEnvironmentError
from kernel_exec.history.entries import EntryKind, KernelRecord, SessionRecord
from kernel_exec.history.store import Store
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.outputs import fold
from kernel_exec.notebooks.budget import fit, written
from kernel_exec.notebooks.build import Surroundings, Wanted, build
from kernel_exec.notebooks.cells import Step
from kernel_exec.notebooks.value import cells, session_of, writable
from kernel_exec.places import PRIVATE_FOLDER, Places
from kernel_exec.verification.results import Verification, stamp

from .percent import marker, percent
from .report import report
from .writing import files_folder, write

FORMATS: Final = ("ipynb", "html", "py", "md")
"""What a document can be, each by the ending of its file."""

_NAME = 80
"""Characters of a session's name in a file name; file systems allow 255 in all."""
_MESSAGE = 300
"""Characters of what the validation says, which may quote a whole cell."""


def default_path(storage_root: Path, session: SessionRecord, suffix: str) -> Path:
    """Where a session's document goes unless somebody says otherwise."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", session.name)[:_NAME].lstrip(".") or "session"
    return Places(storage_root).notebooks / f"{name}-{session.id[:8]}{suffix}"


def chosen_path(storage_root: Path, session: SessionRecord, path: str, format_: str) -> Path:
    """Where a document goes; a relative `path` is below the storage root, as is the default.

    An empty `format_` is that of the path's ending, or a notebook.

    Raises:
        InvalidArgumentError: The path leads elsewhere, or does not end as the format does.
    """
    if not path:
        return default_path(storage_root, session, f".{format_ or 'ipynb'}")
    if not path.isprintable():
        raise InvalidArgumentError(
            f"path {path[:_NAME]!r} is not allowed: it holds a control or another invisible"
            " character"
        )
    given = PurePath(path)
    if not given.is_absolute():
        parts = given.parts
        if path.startswith("~") or ".." in parts or parts[:1] == (PRIVATE_FOLDER,):
            raise InvalidArgumentError(
                f"path {path!r} is not allowed: a relative path is below {str(storage_root)!r},"
                " without '..' and '~'; give an absolute path for any other place"
            )
    target = storage_root / path
    format_of(target, format_)
    return target


def format_of(path: Path, asked: str = "") -> str:
    """The format that a path's ending stands for.

    Raises:
        InvalidArgumentError: It stands for none, or for another one than is `asked` for.
    """
    found = path.suffix.removeprefix(".")
    if found not in FORMATS or (asked and found != asked):
        endings = f".{asked}" if asked else ", ".join(f".{each}" for each in FORMATS)
        wanted = endings if asked else f"one of {endings}"
        raise InvalidArgumentError(f"path {str(path)!r} must be a file name that ends in {wanted}")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a client asks for; an empty `format` is that of the path's ending, or a notebook."""

    path: str = ""
    format: str = ""
    overwrite: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A document that was written: its file, its cells, and how it ran again, if it did."""

    path: Path
    cells: int
    verification: Verification | None = None


async def export_session(
    store: Store,
    session: SessionRecord,
    path: Path,
    *,
    overwrite: bool,
    limit: int | None,
    variables: Mapping[str, str],
    private: bool = False,
    wanted: Wanted | None = None,
    verify: Callable[[JSONObject], Awaitable[Verification]] | None = None,
) -> Exported:
    """Write a session's document to `path`, in the format of its ending.

    With `verify` the notebook is run again first, and stamped with the verdict. See
    `read_notebook` and `export_document` for the rest, and for what is raised.
    """
    notebook = await read_notebook(store, session, path=path, wanted=wanted, variables=variables)
    verification = await verify(notebook) if verify is not None else None
    if verification is not None:
        notebook = stamp(notebook, verification)
    written_to = await export_document(
        notebook, path, overwrite=overwrite, limit=limit, private=private
    )
    return Exported(path=written_to, cells=len(cells(notebook)), verification=verification)


async def read_notebook(
    store: Store,
    session: SessionRecord,
    *,
    path: Path | None = None,
    wanted: Wanted | None = None,
    variables: Mapping[str, str] | None = None,
) -> JSONObject:
    """The notebook of a session, from its history, as it will be at `path`.

    The interpreter is asked what it has installed; it gets `variables`.
    """
    entries = [
        entry
        for entry in await store.entries(session.id)
        if entry.kind is not EntryKind.VERIFICATION
    ]
    events = await store.session_events(session.id)
    kernels = await store.kernels(session.id)
    known = await _ask_interpreter(kernels[-1] if kernels else None, variables or {})

    def make() -> JSONObject:
        steps = [
            Step(entry=entry, outputs=tuple(fold(events.get(entry.id, ())))) for entry in entries
        ]
        surroundings = Surroundings(
            version=importlib.metadata.version("kernel-exec"),
            platform=known.platform,
            inventory=known.inventory,
            folder="" if path is None else str(path.parent),
        )
        return build(
            session=session,
            kernels=kernels,
            steps=steps,
            surroundings=surroundings,
            wanted=wanted,
        )

    return await to_thread.run_sync(make)


async def export_document(
    notebook: JSONObject,
    path: Path,
    *,
    overwrite: bool,
    limit: int | None = None,
    private: bool = False,
) -> Path:
    """Write `notebook` in the format of the path's ending; its folder is made.

    An earlier export of the same session is replaced. Outputs beyond `limit` bytes are written to
    files in a folder beside it. A `private` one is for its owner only, any other has the mode of
    the user's own files.

    Raises:
        InvalidArgumentError: The path is not allowed, or holds something else; or the notebook
            is not valid.
        StorageError: It can't be written.
    """
    return await to_thread.run_sync(_export, notebook, path, overwrite, limit, private)


def _export(
    notebook: JSONObject, path: Path, overwrite: bool, limit: int | None, private: bool
) -> Path:
    format_ = format_of(path)
    document, files = _document(_writable(notebook), format_, limit, files_folder(path))
    session = session_of(notebook)
    write(path, document, session=session, overwrite=overwrite, files=files, private=private)
    return path


def _document(
    notebook: JSONObject, format_: str, limit: int | None, folder: str
) -> tuple[str, Mapping[str, bytes]]:
    """The document, and the files in `folder` that belong to it."""
    if format_ == "py":
        return percent(notebook), {}
    if format_ == "md":
        made = report(notebook, folder=folder)
        return made.text, made.files
    if format_ == "ipynb":
        _validate(notebook)
    whole = written(notebook)
    fitted = fit(notebook, limit=limit, folder=folder, size=len(whole.encode()))
    if format_ == "html":
        # it brings parsers along, which a server that makes no page need not wait for
        review: Any = importlib.import_module("kernel_exec.documents.review")
        return _with_mark(str(review.review(fitted.notebook)), session_of(notebook)), fitted.files
    return (whole if fitted.notebook is notebook else written(fitted.notebook)), fitted.files


def _writable(notebook: JSONObject) -> JSONObject:
    """The notebook as a file can hold it, which it nearly always is already."""
    try:
        json.dumps(notebook, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        return {key: writable(value) for key, value in notebook.items()}
    return notebook


def _with_mark(page: str, session: str) -> str:
    """The page with a comment that says whose it is; before the doctype it would break it."""
    if not session:
        return page
    doctype = re.match(r"\s*<!doctype[^>]*>\n?", page, re.IGNORECASE)
    top = doctype[0].strip() + "\n" if doctype else ""
    rest = page[doctype.end() :] if doctype else page
    return f"{top}<!-- {marker(session)} -->\n{rest}"


def _validate(notebook: JSONObject) -> None:
    # its import takes 0.3 s, which a server that exports nothing need not wait for
    nbformat: Any = importlib.import_module("nbformat")
    try:
        nbformat.validate(nbformat.from_dict(notebook))
    except nbformat.ValidationError as error:
        where = ".".join(map(str, error.absolute_path)) or "the notebook"
        raise InvalidArgumentError(
            f"no valid notebook of format 4.5: {where}: {str(error.message)[:_MESSAGE]}"
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What an interpreter tells now; nothing when it is gone."""

    platform: str = ""
    inventory: Mapping[str, list[tuple[str, str]]] | None = None


async def _ask_interpreter(kernel: KernelRecord | None, variables: Mapping[str, str]) -> _Known:
    if kernel is None or not kernel.executable:
        return _Known()
    executable = Path(kernel.executable)
    interpreters: list[Interpreter] = []
    installed: list[Distribution] = []

    async def ask_itself() -> None:
        interpreters.append(await ask(executable, variables=variables))

    async def ask_packages() -> None:
        installed.extend(await distributions(executable, variables=variables))

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask_itself)
            tasks.start_soon(ask_packages)
    except* (UnusableEnvironmentError, BusyError):
        interpreters.clear()  # it is gone, or has no time
    if not interpreters:
        return _Known()
    by_module: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for each in installed:
        for module in each.modules:
            by_module[module].append((each.name, each.version))
    return _Known(platform=interpreters[0].platform, inventory=by_module)

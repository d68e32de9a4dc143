"""A session's document: read from history, made in one of four formats, written to a file."""

import importlib
import importlib.metadata
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import to_thread

from kernel_exec.environments.interpreters import Distribution, Interpreter, ask, distributions
from kernel_exec.errors import BusyError, UnusableEnvironmentError
from kernel_exec.history.entries import EntryKind, KernelRecord, SessionRecord
from kernel_exec.history.store import Store
from kernel_exec.inherited import INHERITED
from kernel_exec.jsons import JSONObject
from kernel_exec.kernels.outputs import fold
from kernel_exec.notebooks.build import InterpreterFacts, OutputOptions, build
from kernel_exec.notebooks.cells import Step
from kernel_exec.notebooks.reading import cells, require_valid, session_of, writable
from kernel_exec.review.opening import opened, stamped
from kernel_exec.verification.results import Verification

from .budget import fit
from .paths import format_of
from .percent import percent
from .report import report
from .writing import Check, files_folder, write


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a client asks for.

    An empty `format` is that of the path's ending, or a notebook; an empty `title` is found in it.
    """

    path: str = ""
    format: str = ""
    title: str = ""
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
    title: str = "",
    umask: int = INHERITED.umask,
    options: OutputOptions | None = None,
    verify: Callable[[JSONObject], Awaitable[Verification]] | None = None,
    check: Check | None = None,
) -> Exported:
    """Write a session's document to `path`, in the format of its ending, if `check` allows it.

    With `verify` the notebook is run again first, and stamped with the verdict. See
    `session_notebook` and `export_document` for the rest.
    """
    notebook = await session_notebook(
        store, session, title=title, path=path, options=options, variables=variables
    )
    verification = await verify(notebook) if verify is not None else None
    if verification is not None:
        notebook = stamped(notebook, verification)
    await export_document(
        notebook, path, overwrite=overwrite, limit=limit, umask=umask, check=check
    )
    return Exported(path=path, cells=len(cells(notebook)), verification=verification)


async def session_notebook(
    store: Store,
    session: SessionRecord,
    *,
    title: str = "",
    path: Path | None = None,
    options: OutputOptions | None = None,
    variables: Mapping[str, str] | None = None,
) -> JSONObject:
    """The notebook of a session, from its history, as it will be at `path`, with its first screen.

    A `title` of "" is found in it. The interpreter is asked what it has installed; it gets
    `variables`.
    """
    entries = [
        entry
        for entry in await store.entries(session.id)
        if entry.kind is not EntryKind.VERIFICATION
    ]
    events = await store.session_events(session.id)
    kernels = await store.kernels(session.id)
    facts = await _interpreter_facts(kernels[-1] if kernels else None, variables or {})

    def make() -> JSONObject:
        notebook = build(
            session=session,
            kernels=kernels,
            steps=[
                Step(entry=entry, outputs=tuple(fold(events.get(entry.id, ()))))
                for entry in entries
            ],
            facts=facts,
            options=options,
            folder="" if path is None else str(path.parent),
            version=importlib.metadata.version("kernel-exec"),
        )
        return opened(notebook, title)

    return await to_thread.run_sync(make)


async def export_document(
    notebook: JSONObject,
    path: Path,
    *,
    overwrite: bool,
    limit: int | None = None,
    umask: int = INHERITED.umask,
    check: Check | None = None,
) -> None:
    """Write `notebook` in the format of the path's ending; its folder is made.

    An earlier export of the same session is replaced. Outputs beyond `limit` bytes are written to
    files in a folder beside it. A new file's mode leaves out `umask`.
    """

    def export() -> None:
        document, files = _document(_writable(notebook), path, limit)
        session = session_of(notebook)
        write(
            path, document, session=session, overwrite=overwrite, files=files, umask=umask,
            check=check,
        )  # fmt: skip

    await to_thread.run_sync(export)


def _document(
    notebook: JSONObject, path: Path, limit: int | None
) -> tuple[str, Mapping[str, bytes]]:
    """The document, and the files in the folder beside it that belong to it."""
    format_, folder = format_of(path), files_folder(path)
    if format_ == "py":
        return percent(notebook), {}
    if format_ == "md":
        made = report(notebook, folder=folder)
        return made.text, made.files
    if format_ == "ipynb":
        require_valid(notebook)
    fitted = fit(notebook, limit=limit, folder=folder)
    if format_ == "html":
        # it brings parsers along, which a server that makes no page need not wait for
        page = importlib.import_module("kernel_exec.review.page")
        return page.review(fitted.notebook), fitted.files
    return fitted.text, fitted.files


def _writable(notebook: JSONObject) -> JSONObject:
    """The notebook as a file can hold it, which it nearly always is already."""
    try:
        json.dumps(notebook, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        return {key: writable(value) for key, value in notebook.items()}
    return notebook


async def _interpreter_facts(
    kernel: KernelRecord | None, variables: Mapping[str, str]
) -> InterpreterFacts:
    if kernel is None or not kernel.executable:
        return InterpreterFacts()
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
        return InterpreterFacts()
    by_module: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for each in installed:
        for module in each.modules:
            by_module[module].append((each.name, each.version))
    return InterpreterFacts(platform=interpreters[0].platform, inventory=by_module)

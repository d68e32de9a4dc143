"""Where a notebook and its cells come from, as `metadata.kernel_exec` has it. Pure.

A notebook under version control is to be the same wherever and whenever it was made: code, notes
and outputs stay, as they are what the user keeps; times and the paths of interpreters,
environments, scripts and working directories, which also contain the user's name, are left out.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from kernel_exec.history.entries import (
    Entry,
    EntryKind,
    KernelRecord,
    SessionRecord,
    is_isolated,
    script_arguments,
)
from kernel_exec.jsons import JSON, JSONObject, mapping, text
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import Output, files

from .reading import cells

SCHEMA = 1
"""Version of what we keep under `metadata.kernel_exec`; keys are only added."""

OURS = "kernel-exec"
"""The author of cells that nobody ran."""

CODE = (EntryKind.CODE, EntryKind.SCRIPT)

_TIMES = frozenset({"started", "ended", "seconds"})
_ERROR_NAME = re.compile(r"[\w.]+(?=:)")


def about_entry(entry: Entry, outputs: Sequence[Output] = ()) -> dict[str, JSON]:
    """Where a cell comes from; `seconds` is how long it ran.

    `complete` is False when outputs may be missing, `truncated` says that some are elsewhere.
    """
    about: dict[str, JSON] = {
        "entry": entry.id,
        "number": entry.number,
        "kind": entry.kind.value,
        "author": entry.author,
        "intent": entry.title,
        "outcome": entry.outcome.value,
        "generation": entry.generation,
        "seconds": None if entry.duration is None else round(entry.duration, 3),
        "complete": entry.details.get("complete") is not False,
        "truncated": any(map(files, outputs)),
    }
    if entry.kind is EntryKind.SCRIPT:
        about |= {
            "path": entry.file_path,
            "sha256": text(entry.details, "sha256"),
            "arguments": list(script_arguments(entry) or ()),
            "isolated": is_isolated(entry),
        }
    return about


def about_session(
    session: SessionRecord,
    kernels: Sequence[KernelRecord],
    entries: Sequence[Entry],
    *,
    version: str,
    platform: str,
) -> dict[str, JSON]:
    """Where a notebook comes from; `version` is ours, `platform` the interpreter's."""
    counts = _counts(entries, kernels)
    kind, _, path = session.environment.partition(":")
    last = kernels[-1] if kernels else None
    executable = last.executable if last else ""
    return {
        "schema": SCHEMA,
        "session": session.id,
        "name": session.name,
        "environment": session.environment,
        "executable": executable,
        "interpreter": {
            "kind": kind,
            "path": path,
            "executable": executable,
            "python": last.python_version if last else "",
            "platform": platform,
        },
        "version": version,
        "clients": sorted({text(entry.details, "client") for entry in entries} - {""}),
        "working_directory": _working_directory(entries),
        "kernels": [
            {key: value for key, value in asdict(kernel).items() if key != "session_id"}
            for kernel in kernels
        ],
        "entries": len(entries),
        "executions": counts["executions"],
        "failed": counts["failed"],
        "counts": counts,
        "started": min((entry.queued for entry in entries), default=None),
        "ended": max((entry.ended for entry in entries if entry.ended), default=None),
    }


def _working_directory(entries: Sequence[Entry]) -> str:
    """Where the last kernels started, if the environment was ever switched; else as configured."""
    switches = [entry for entry in entries if entry.kind is EntryKind.ENVIRONMENT]
    return text(switches[-1].details, "working_directory") if switches else ""


def _counts(entries: Sequence[Entry], kernels: Sequence[KernelRecord]) -> dict[str, JSON]:
    code = [entry for entry in entries if entry.kind in CODE]
    ended = {outcome: sum(entry.outcome is outcome for entry in code) for outcome in Outcome}
    kinds = {kind: sum(entry.kind is kind for entry in entries) for kind in EntryKind}
    return {
        "executions": len(code),
        "ok": ended[Outcome.OK],
        "failed": sum(entry.outcome.ended and entry.outcome is not Outcome.OK for entry in code),
        "exceptions": ended[Outcome.EXCEPTION],
        "timeouts": ended[Outcome.TIMEOUT],
        "interrupted": ended[Outcome.INTERRUPTED],
        "died": ended[Outcome.KERNEL_DIED],
        "restarts": max(0, len(kernels) - 1),
        "scripts": kinds[EntryKind.SCRIPT],
        "installs": kinds[EntryKind.INSTALL],
        "notes": kinds[EntryKind.NOTE],
        "human": sum(entry.author == "human" for entry in code),
    }


def marker(session: str) -> str:
    """What says, in a comment, of which session a document is the export."""
    return f"kernel-exec session: {re.sub(r'[^A-Za-z0-9_-]', '_', session)[:64]}"


def portable_session(session: SessionRecord) -> SessionRecord:
    """The session, with the kind of its environment alone."""
    return replace(session, environment=_kind(session.environment))


def portable_entry(entry: Entry) -> Entry:
    """The entry, with the name of its script alone and what an error is, but not what it says."""
    details = {
        key: value for key, value in entry.details.items() if key not in {"executable", "previous"}
    }
    if details.get("working_directory"):
        details["working_directory"] = "."
    if error := text(details, "error"):
        name = _ERROR_NAME.match(error)
        details["error"] = name[0] if name else ""
    path = entry.file_path and re.split(r"[/\\]", entry.file_path)[-1]
    source = entry.source
    if entry.kind is EntryKind.ENVIRONMENT:
        source = _kind(source)
        details.pop("working_directory", None)
    return replace(entry, file_path=path, source=source, details=details)


def _kind(environment: str) -> str:
    return environment.partition(":")[0]


def without_times(notebook: JSONObject) -> JSONObject:
    """The notebook without a time or a duration, so that only what changed makes a difference."""

    def timeless(part: JSONObject) -> JSONObject:
        metadata = {
            key: _timeless(value) if key == "kernel_exec" else value
            for key, value in mapping(part, "metadata").items()
            if key != "execution"
        }
        return {**part, "metadata": metadata}

    return timeless({**notebook, "cells": [timeless(cell) for cell in cells(notebook)]})


def _timeless(value: JSON) -> JSON:
    if isinstance(value, Mapping):
        return {key: _timeless(each) for key, each in value.items() if key not in _TIMES}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_timeless(each) for each in value]
    return value

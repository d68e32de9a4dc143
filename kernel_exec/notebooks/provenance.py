"""Where a notebook and its cells come from, as `metadata.kernel_exec` tells it. Pure."""

from collections.abc import Sequence
from dataclasses import asdict

from kernel_exec.history.entries import (
    Entry,
    EntryKind,
    KernelRecord,
    SessionRecord,
    is_isolated,
    script_arguments,
)
from kernel_exec.jsons import JSON, text
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import Output, files

SCHEMA = 1
"""Version of what we keep under `metadata.kernel_exec`; keys are only added."""

OURS = "kernel-exec"
"""The author of cells that nobody ran."""

CODE = (EntryKind.CODE, EntryKind.SCRIPT)


def about_entry(entry: Entry, outputs: Sequence[Output] = ()) -> dict[str, JSON]:
    """Where a cell comes from; `seconds` is how long it ran.

    `complete` is False when outputs may be missing, `truncated` says that some are elsewhere.
    """
    told: dict[str, JSON] = {
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
        told |= {
            "path": entry.file_path,
            "sha256": text(entry.details, "sha256"),
            "arguments": list(script_arguments(entry) or ()),
            "isolated": is_isolated(entry),
        }
    return told


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

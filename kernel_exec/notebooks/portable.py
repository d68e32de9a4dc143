"""A session without what belongs to one machine, for a notebook under version control. Pure.

Code, notes and outputs stay as they are: they are what the user keeps. Paths of interpreters,
environments, scripts and working directories are left out, as they differ from machine to machine
and tell the user's name.
"""

import re
from dataclasses import replace

from kernel_exec.history.entries import Entry, EntryKind, KernelRecord, SessionRecord
from kernel_exec.jsons import text

_ERROR_NAME = re.compile(r"[\w.]+(?=:)")


def portable_session(session: SessionRecord) -> SessionRecord:
    """The session, with the kind of its environment alone."""
    return replace(session, environment=_kind(session.environment))


def portable_kernel(kernel: KernelRecord) -> KernelRecord:
    """The kernel, without its executable."""
    return replace(kernel, executable="")


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

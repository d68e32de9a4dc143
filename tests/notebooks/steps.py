"""Entries of a session, as history has them, and the steps of a notebook."""

from typing import Any

from kernel_exec.history.entries import Entry, EntryKind, SessionRecord
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import Output
from kernel_exec.notebooks.cells import Step

SESSION = SessionRecord(id="s" * 32, name="main", environment="venv:/e", created=0.0)


def entry(source: str, number: int = 1, **more: Any) -> Entry:
    """Code that ran well in the first kernel, but for what is said otherwise."""
    fields: dict[str, Any] = {
        "id": f"{number:016x}",
        "session_id": SESSION.id,
        "number": number,
        "kind": EntryKind.CODE,
        "source": source,
        "outcome": Outcome.OK,
        "generation": 1,
        "execution_count": number,
        "queued": 1.0,
        "started": 1.0,
        "ended": 2.0,
        **more,
    }
    return Entry(**fields)


def step(source: str, *outputs: Output, number: int = 1, **more: Any) -> Step:
    """The same with its outputs."""
    return Step(entry=entry(source, number, **more), outputs=outputs)

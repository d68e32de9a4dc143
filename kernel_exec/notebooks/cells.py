"""The cells that an entry of history becomes. Pure."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from kernel_exec.kernels.execution import Outcome
from kernel_exec.kernels.messages import JSON, JSONObject, mapping, text
from kernel_exec.kernels.outputs import ErrorOutput, Output
from kernel_exec.kernels.terminal import strip_ansi
from kernel_exec.sessions.history import Entry, EntryKind, is_isolated, script_arguments

from . import script_cells
from .failures import Verdict
from .markdown import fence, heading, html, literal, one_line
from .outputs import count, notebook_outputs, printed
from .pep723 import Inventory
from .provenance import OURS, about_entry

_TAIL = 2000
"""Characters of a folded cell's text that are shown."""
_MISSED = 10
"""Names that a folded cell tells of."""
_WHAT_FAILED = {
    Outcome.EXCEPTION: "failed",
    Outcome.TIMEOUT: "was stopped at its time limit",
    Outcome.INTERRUPTED: "was interrupted",
    Outcome.KERNEL_DIED: "ended with its kernel",
    Outcome.QUEUED: "had not begun",
    Outcome.RUNNING: "had not ended",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An entry with its outputs, folded."""

    entry: Entry
    outputs: tuple[Output, ...] = ()


def cells_of(
    step: Step, verdict: Verdict, *, folder: str, inventory: Inventory | None
) -> list[JSONObject]:
    """The cells of one step; `verdict` says whether its code runs again.

    Paths of outputs are as seen from `folder`, "" for in full.
    """
    entry = step.entry
    match entry.kind:
        case EntryKind.NOTE:
            return [_markdown(step, "note", entry.source)]
        case EntryKind.INSTALL:
            return [_markdown(step, "install", _install(entry))]
        case EntryKind.ENVIRONMENT:
            version = text(entry.details, "python_version")
            words = f"*Switched to environment* {literal(entry.source)}"
            more = f" (Python {html(version)})" if version else ""
            return [_markdown(step, "environment", words + more)]
        case EntryKind.VERIFICATION:
            return []
        case EntryKind.CODE | EntryKind.SCRIPT:
            above = (
                [_markdown(step, "title", heading(entry.title, 3, f"Step {entry.number}: "))]
                if entry.title.strip()
                else []
            )
            if entry.kind is EntryKind.SCRIPT:
                above.append(_markdown(step, "script", _script(entry)))
            if not verdict.keep:
                folded = _markdown(step, "folded", _folded(step, verdict.names))
                return [*above, folded, *_ended(step, verdict.ended)]
            if entry.outcome is not Outcome.OK:
                above.append(_markdown(step, "kept", _kept(step, verdict.names)))
            return [*above, *_lent(step, _code(step, folder), inventory)]


def kernel_heading(entry: Entry, end_reason: str | None) -> JSONObject:
    """Above what one of several kernels ran; the last one has no `end_reason`."""
    if end_reason is None:
        words = "*A new kernel: no variables of the earlier ones. What runs again begins here.*"
    else:
        reason = html(one_line(end_reason)) or "the reason is not known"
        lost = "and its variables were lost: what it ran is folded"
        words = f"*The kernel restarted after this ({reason}) {lost}.*"
    source = f"## Kernel {entry.generation}\n\n{words}"
    return _markdown(Step(entry=entry), "kernel", source)


def generated(source: str, *, cell_id: str, role: str, entry: Entry | None = None) -> JSONObject:
    """A code cell that nobody ran."""
    about: dict[str, JSON] = {"author": OURS, "role": role}
    if entry is not None:
        about["entry"] = entry.id
    return {
        "cell_type": "code",
        "id": cell_id,
        "metadata": {"kernel_exec": about, "tags": [f"{OURS}-generated"]},
        "execution_count": None,
        "source": source,
        "outputs": [],
    }


def plain_markdown(source: str, *, cell_id: str, role: str) -> JSONObject:
    """A Markdown cell that belongs to no entry."""
    return {
        "cell_type": "markdown",
        "id": cell_id,
        "metadata": {"kernel_exec": {"author": OURS, "role": role}},
        "source": source,
    }


def _code(step: Step, folder: str) -> JSONObject:
    entry = step.entry
    metadata: dict[str, JSON] = {
        "kernel_exec": about_entry(entry, step.outputs),
        "execution": {key: value for key, value in entry.timing.items() if value},
    }
    if entry.outcome is not Outcome.OK:
        metadata["tags"] = ["raises-exception"]
    return {
        "cell_type": "code",
        "id": _cell_id(entry, "code"),
        "metadata": metadata,
        "execution_count": count(entry.execution_count),
        "source": entry.source,
        "outputs": list(notebook_outputs(step.outputs, entry, folder=folder)),
    }


def _lent(step: Step, code: JSONObject, inventory: Inventory | None) -> list[JSONObject]:
    """The code cell, for a script between those that let it run as one."""
    entry = step.entry
    arguments = script_arguments(entry)
    if arguments is None or not script_cells.can_tell(entry.source, arguments, inventory):
        return [code]
    begin = script_cells.begin(entry.file_path or "script.py", arguments)
    return [
        generated(begin, cell_id=_cell_id(entry, "begin"), role="script-begin", entry=entry),
        code,
        generated(script_cells.END, cell_id=_cell_id(entry, "end"), role="script-end", entry=entry),
    ]


def _ended(step: Step, source: str) -> list[JSONObject]:
    """What had ended of a step before it was stopped, if later cells need it."""
    if not source:
        return []
    told = f"# Made by kernel-exec: what had ended of step {step.entry.number} when it was stopped"
    cell_id = _cell_id(step.entry, "ended")
    return [generated(f"{told}\n{source}", cell_id=cell_id, role="ended", entry=step.entry)]


def _markdown(step: Step, role: str, source: str) -> JSONObject:
    about = {**about_entry(step.entry, step.outputs), "role": role}
    return {
        "cell_type": "markdown",
        "id": _cell_id(step.entry, role),
        "metadata": {"kernel_exec": about},
        "source": source,
    }


def _script(entry: Entry) -> str:
    told = [f"*Script* {literal(entry.file_path or 'without a file')}"]
    if arguments := script_arguments(entry):
        told.append(f"*with arguments* {', '.join(map(literal, arguments))}")
    if sha256 := text(entry.details, "sha256"):
        told.append(f"(*SHA-256* {literal(sha256)})")
    return " ".join(told)


def _folded(step: Step, missed: Sequence[str]) -> str:
    """Source and end of something that does not run again, behind a line that opens it.

    `missed` are the names it may have bound or changed that later cells use.
    """
    entry = step.entry
    errors = [output for output in step.outputs if isinstance(output, ErrorOutput)]
    reason = _error(errors[-1]) if errors else _reason(entry)
    printed_text = strip_ansi("".join(map(printed, step.outputs))).rstrip()
    shown = printed_text if len(printed_text) <= _TAIL else f"…{printed_text[-_TAIL:]}"
    said = f"{shown}\n{strip_ansi(reason)}".strip("\n")
    summary = f"Step {entry.number} {_what(entry)}"
    if reason:
        summary += f": {html(one_line(reason))}"
    blocks = [fence(entry.source, "python"), *([fence(said, "text")] if said else [])]
    inside = "\n\n".join(blocks)
    folded = f"<details>\n<summary>{summary}</summary>\n\n{inside}\n\n</details>"
    if not missed:
        return folded
    words = f"*Later cells use* {_listed(missed)}*, which this step may have bound or changed.*"
    return f"{words}\n\n{folded}"


def _error(error: ErrorOutput) -> str:
    return f"{error.ename}: {error.evalue}" if error.evalue else error.ename


def _kept(step: Step, used: Sequence[str]) -> str:
    """Above a failed cell that runs again, as later cells need it."""
    names = _listed(used) if used else "*what it left, or count on its number*"
    return f"*Step {step.entry.number} failed and stays here: later cells use* {names}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MISSED} more" if len(names) > _MISSED else ""
    return ", ".join(map(literal, names[:_MISSED])) + more


def _what(entry: Entry) -> str:
    """How it ended, after "Step 3"."""
    if entry.started is None and entry.outcome is not Outcome.QUEUED:
        return "never began"
    if entry.outcome is Outcome.OK and entry.details.get("exit_requested"):
        return "ended its kernel"
    where = "ran in a process of its own" if is_isolated(entry) else "ran in an earlier kernel"
    return _WHAT_FAILED.get(entry.outcome, where)


def _reason(entry: Entry) -> str:
    details = entry.details
    told = text(details, "error") or text(mapping(details, "death"), "cause")
    exited = "exit() ends the kernel" if details.get("exit_requested") else ""
    return told or text(details, "reason") or exited


def _install(entry: Entry) -> str:
    details = entry.details
    excluded = text(details, "excluded").splitlines()
    asked = ", ".join(literal(each) for each in entry.source.splitlines() if each not in excluded)
    if not entry.outcome.ended:
        return f"*Installing* {asked} *had not ended*"
    if entry.outcome is not Outcome.OK:
        return f"*Installing* {asked} *failed:* {html(one_line(_reason(entry)))}".rstrip()
    before, after = mapping(details, "before"), mapping(details, "after")
    changes = [f"- {literal(name)} {_change(before.get(name), now)}" for name, now in after.items()]
    stale = details.get("stale")
    if isinstance(stale, Sequence) and not isinstance(stale, str) and stale:
        names = ", ".join(literal(str(name)) for name in stale)
        changes += ["", f"*The running kernel keeps what it had imported of* {names}"]
    if excluded:
        names = ", ".join(map(literal, excluded))
        changes += ["", f"*Not needed, as the marker excludes this environment:* {names}"]
    how = f" *with* {literal(tool)}" if (tool := text(details, "installer")) else ""
    title = f"*Installed* {asked}{how}" if asked else ""
    return "\n".join([title, "", *changes]).strip()


def _change(before: JSON, after: JSON) -> str:
    new = html(str(after)) if after else "removed"
    return f"{html(str(before))} → {new}" if before else new


def _cell_id(entry: Entry, role: str) -> str:
    """The same for the same entry, and nobody else's; nbformat allows 64 of few characters."""
    if re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", entry.id):
        return f"{entry.id}-{role}"
    digest = hashlib.sha256(entry.id.encode("utf-8", "backslashreplace")).hexdigest()
    return f"{digest[:32]}-{role}"

"""The cells that an entry of history becomes. Pure."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from kernel_exec.history.entries import Entry, EntryKind, is_isolated, script_arguments
from kernel_exec.jsons import JSON, JSONObject, items, mapping, text
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.kernels.outputs import ErrorOutput, Output
from kernel_exec.terminal import strip_ansi

from .markdown import fence, heading, html, literal, one_line
from .needs import SCRIPT_END, Inventory, can_tell, script_begin
from .outputs import count, notebook_outputs, printed
from .provenance import OURS, about_entry
from .reading import is_long

_TAIL = 2000
"""Characters of a folded cell's text that are shown."""
_NAMES = 10
"""Names that a stopped step has set, which are listed."""
_BLOCK = 50_000
"""Characters of one cell of an earlier kernel's steps; longer Markdown is laid out nowhere."""
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


def error_name(step: Step) -> str:
    """The type of the error that a step ended with, or ""."""
    errors = [each for each in step.outputs if isinstance(each, ErrorOutput) and not each.late]
    return errors[-1].ename if errors else ""


def was_stopped(step: Step) -> bool:
    """Whether a step did not end by itself, by whomever it was stopped."""
    stopped = step.entry.outcome in {Outcome.TIMEOUT, Outcome.INTERRUPTED}
    return stopped or error_name(step) == "KeyboardInterrupt"


def cells_of(
    step: Step, *, again: bool, folder: str, inventory: Inventory | None
) -> list[JSONObject]:
    """The cells of one step; `again` says whether its code runs when the notebook does.

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
            above: list[JSONObject] = []
            if entry.title.strip():
                title = heading(entry.title, 3, f"Step {entry.number}: ")
                above.append(_markdown(step, "title", title))
            if entry.kind is EntryKind.SCRIPT:
                above.append(_markdown(step, "script", _script(entry)))
            if not again:
                source = f"{_unrepeated(step)}{_folded(step)}"
                return [*above, _markdown(step, "folded", source)]
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


def earlier_steps(steps: Sequence[Step], *, shown_later: int) -> list[str]:
    """What an earlier kernel ran, as a closed block, or several of what is too long for one.

    `shown_later` of its steps ran again in a later kernel; they are not in `steps`.
    """
    blocks: list[list[str]] = []
    room = 0
    for step in steps:
        folded = _folded(step, alone=False)
        if len(folded) > room:
            blocks.append([])
            room = _BLOCK
        blocks[-1].append(folded)
        room -= len(folded)
    shown = []
    for block in blocks:
        summary = "1 step" if len(block) == 1 else f"{len(block)} steps"
        inside = "\n\n".join(block)
        shown.append(f"<details>\n<summary>{summary}</summary>\n\n{inside}\n\n</details>")
    if shown_later:
        words = "step of it was" if shown_later == 1 else "steps of it were"
        note = f"*{shown_later} {words} run again in a later kernel and shown there.*"
        shown[:1] = ["\n\n".join([note, *shown[:1]])]
    return shown


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
    if is_long(entry.source):
        metadata["jupyter"] = {"source_hidden": True}
    if entry.outcome is not Outcome.OK:
        metadata["tags"] = ["raises-exception"]
        metadata["jupyter"] = {"source_hidden": True, "outputs_hidden": True}
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
    if arguments is None or not can_tell(entry.source, arguments, inventory):
        return [code]
    begin = script_begin(entry.file_path or "script.py", arguments)
    return [
        generated(begin, cell_id=_cell_id(entry, "begin"), role="script-begin", entry=entry),
        code,
        generated(SCRIPT_END, cell_id=_cell_id(entry, "end"), role="script-end", entry=entry),
    ]


def _markdown(step: Step, role: str, source: str) -> JSONObject:
    about = {**about_entry(step.entry, step.outputs), "role": role}
    return {
        "cell_type": "markdown",
        "id": _cell_id(step.entry, role),
        "metadata": {"kernel_exec": about},
        "source": source,
    }


def _script(entry: Entry) -> str:
    parts = [f"*Script* {literal(entry.file_path or 'without a file')}"]
    if arguments := script_arguments(entry):
        parts.append(f"*with arguments* {', '.join(map(literal, arguments))}")
    if sha256 := text(entry.details, "sha256"):
        parts.append(f"(*SHA-256* {literal(sha256)})")
    return " ".join(parts)


def _folded(step: Step, *, alone: bool = True) -> str:
    """Source and end of something that does not run again, behind a line that opens it.

    Where it is not `alone`, no cells above it tell its title and script.
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
    if not alone:
        summary += f" · {html(one_line(entry.title))}" if entry.title.strip() else ""
        blocks = [*([_script(entry)] if entry.kind is EntryKind.SCRIPT else []), *blocks]
    inside = "\n\n".join(blocks)
    return f"<details>\n<summary>{summary}</summary>\n\n{inside}\n\n</details>"


def _unrepeated(step: Step) -> str:
    """Above what was stopped in a kernel that went on: what it had done by then."""
    entry = step.entry
    if not was_stopped(step) or entry.started is None or "death" in entry.details:
        return ""
    names = mapping(entry.details, "names")
    set_names = [*mapping(names, "added"), *mapping(names, "changed")]
    set_ = f", such as setting* {_listed(set_names)}*," if set_names else ""
    return f"*What this step had done when it was stopped{set_} is not repeated by a rerun.*\n\n"


def _error(error: ErrorOutput) -> str:
    return f"{error.ename}: {error.evalue}" if error.evalue else error.ename


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(map(literal, names[:_NAMES])) + more


def _what(entry: Entry) -> str:
    """How it ended, after "Step 3"."""
    if entry.started is None and entry.outcome is not Outcome.QUEUED:
        return "never began"
    if entry.outcome is Outcome.OK and entry.details.get("exit_requested"):
        return "ended its kernel"
    where = "ran in a process of its own" if is_isolated(entry) else "ran"
    return _WHAT_FAILED.get(entry.outcome, where)


def _reason(entry: Entry) -> str:
    details = entry.details
    error = text(details, "error") or text(mapping(details, "death"), "cause")
    exited = "exit() ends the kernel" if details.get("exit_requested") else ""
    return error or text(details, "reason") or exited


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
    if stale := items(details, "stale"):
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

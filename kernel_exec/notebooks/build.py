"""A session's history as a notebook. Pure: plain JSON values in nbformat 4.5.

The body that runs is what the last kernel ran. Earlier generations are folded above it, each
under a heading that says how it ended. A failed cell stays runnable when a later one needs it
(`failures`); otherwise it is folded, never hidden, as is always code that did not end by itself:
its cell says which of its names later cells use.
"""

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from kernel_exec.kernels.execution import Outcome
from kernel_exec.kernels.messages import JSON, JSONObject, mapping, text
from kernel_exec.kernels.outputs import (
    DisplayData,
    ErrorOutput,
    ExecuteResult,
    Output,
    Stream,
)
from kernel_exec.kernels.terminal import strip_ansi
from kernel_exec.sessions.history import (
    Entry,
    EntryKind,
    KernelRecord,
    SessionRecord,
    is_isolated,
)

from .failures import Cell, Verdict, needed
from .markdown import fence, html, literal, one_line

SCHEMA = 1
"""Version of what we keep under `metadata.kernel_exec`."""
_PRIVATE = ("application/vnd.kernel-exec.", "text/llm+plain")
_JSON_MIME = re.compile(r"application/(.*\+)?json$")
_BASE64 = re.compile(r"image/(?!svg\+xml)|(?:audio|video)/|application/pdf")
_LEVELS = 100
"""How deep values may be: all who read a notebook recurse, most of them in Python."""
_BROKEN = {"SyntaxError", "IndentationError", "TabError"}
_TAIL = 2000
"""Characters of a folded cell's text that are shown."""
_MISSED = 10
"""Names that a folded cell tells of."""
_CODE = (EntryKind.CODE, EntryKind.SCRIPT)
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


def build(
    *, session: SessionRecord, kernels: Sequence[KernelRecord], steps: Sequence[Step]
) -> JSONObject:
    """The notebook, as the value that nbformat would read from its file."""
    ran = [step.entry.generation for step in steps if _ran(step.entry)]
    last = max(ran, default=0)
    ends = {kernel.generation: kernel.end_reason for kernel in kernels}
    cells: list[JSONObject] = []
    generation = 0
    for step, verdict in zip(steps, _verdicts(steps, last), strict=True):
        entry = step.entry
        if _ran(entry) and entry.generation != generation:
            generation = entry.generation
            if min(ran) < last:
                reason = None if generation == last else ends.get(generation, "")
                cells.append(_generation_heading(entry, reason))
        cells += _cells(step, verdict)
    version = kernels[-1].python_version if kernels else ""
    display_name = f"Python {version}".strip()
    metadata: JSONObject = {
        "kernelspec": {"name": "python3", "display_name": display_name, "language": "python"},
        "language_info": {
            "name": "python",
            "version": version,
            "mimetype": "text/x-python",
            "file_extension": ".py",
            "pygments_lexer": "ipython3",
            "nbconvert_exporter": "python",
        },
        "kernel_exec": _provenance(session, kernels, steps),
    }
    whole: JSONObject = {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}
    return {key: writable(value) for key, value in whole.items()}


def _ran(entry: Entry) -> bool:
    return entry.kind in _CODE and entry.started is not None and not is_isolated(entry)


def _verdicts(steps: Sequence[Step], last: int) -> list[Verdict]:
    """For each step, whether it is a code cell of the running body."""
    body = [step for step in steps if _ran(step.entry) and step.entry.generation == last]
    verdicts = needed([_cell(step) for step in body])
    known = {step.entry.id: verdict for step, verdict in zip(body, verdicts, strict=True)}
    return [known.get(step.entry.id, Verdict(keep=False)) for step in steps]


def _cell(step: Step) -> Cell:
    entry = step.entry
    failed = entry.outcome is Outcome.EXCEPTION
    ended = failed or entry.outcome is Outcome.OK
    stopped = not ended or bool(entry.details.get("exit_requested"))
    errors = {output.ename for output in step.outputs if isinstance(output, ErrorOutput)}
    broken = failed and not errors.isdisjoint(_BROKEN)
    return Cell(source=entry.source, failed=failed, stopped=stopped, broken=broken)


def _cells(step: Step, verdict: Verdict) -> list[JSONObject]:
    entry = step.entry
    match entry.kind:
        case EntryKind.NOTE:
            return [_markdown(entry, "note", entry.source)]
        case EntryKind.INSTALL:
            return [_markdown(entry, "install", _install(entry))]
        case EntryKind.ENVIRONMENT:
            version = text(entry.details, "python_version")
            words = f"*Switched to environment* {literal(entry.source)}"
            more = f" (Python {html(version)})" if version else ""
            return [_markdown(entry, "environment", words + more)]
        case EntryKind.CODE | EntryKind.SCRIPT:
            title = html(" ".join(entry.title.split()))
            heading = [_markdown(entry, "title", f"### {title}")] if title else []
            if verdict.keep:
                return [*heading, _code(step)]
            return [*heading, _markdown(entry, "folded", _folded(step, verdict.names))]


def _code(step: Step) -> JSONObject:
    entry = step.entry
    metadata: dict[str, JSON] = {
        "kernel_exec": _about(entry),
        "execution": {key: value for key, value in entry.timing.items() if value},
    }
    if entry.outcome is not Outcome.OK:
        metadata["tags"] = ["raises-exception"]
    return {
        "cell_type": "code",
        "id": _cell_id(entry, "code"),
        "metadata": metadata,
        "execution_count": _count(entry.execution_count),
        "source": entry.source,
        "outputs": list(_outputs(step)),
    }


def _markdown(entry: Entry, role: str, source: str) -> JSONObject:
    return {
        "cell_type": "markdown",
        "id": _cell_id(entry, role),
        "metadata": {"kernel_exec": {**_about(entry), "role": role}},
        "source": source,
    }


def _outputs(step: Step) -> Iterator[JSONObject]:
    """The outputs as nbformat has them, with a line before those that came late."""
    late = False
    for output in step.outputs:
        shown = _output(output, step.entry)
        if shown is None:
            continue
        if output.late and not late:
            words = {"text/plain": "[after the cell had ended]"}
            about = {"kernel_exec": {"role": "late"}}
            yield {"output_type": "display_data", "data": words, "metadata": about}
        late = output.late
        yield shown


def _output(output: Output, entry: Entry) -> JSONObject | None:
    match output:
        case Stream():
            more = f"\n[all of it is in {output.path}]\n" if output.path else ""
            return {"output_type": "stream", "name": output.name, "text": output.text + more}
        case ErrorOutput():
            error = {"ename": output.ename, "evalue": output.evalue}
            return {"output_type": "error", **error, "traceback": list(output.traceback)}
        case DisplayData() | ExecuteResult():
            data = {
                mime: _mime_value(mime, value)
                for mime, value in output.data.items()
                if not mime.startswith(_PRIVATE) and value is not None
            }
            if not data:
                return None
            late: JSONObject = {"kernel_exec": {"late": True}} if output.late else {}
            shown: JSONObject = {
                "data": data,
                "metadata": {**_described(output.metadata, data, entry), **late},
            }
            if isinstance(output, DisplayData) or output.late:
                return {"output_type": "display_data", **shown}
            count = _count(output.execution_count)
            return {"output_type": "execute_result", "execution_count": count, **shown}


def _mime_value(mime: str, value: JSON) -> JSON:
    """JSON types hold any value, all others text, which may come as lines."""
    if _JSON_MIME.match(mime):
        return value
    lines = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    written = "".join(map(str, lines))
    return "".join(written.split()) if _BASE64.match(mime) else written


def _count(count: int | None) -> int | None:
    """A kernel may say anything; nbformat has no negative counts."""
    return count if count is not None and count >= 0 else None


def _described(metadata: JSONObject, data: JSONObject, entry: Entry) -> JSONObject:
    """An output's metadata, with words for who can't see its pictures."""
    described = dict(metadata)
    for mime in data:
        if mime.startswith("image/"):
            words = " ".join(entry.title.split()) or f"Plot of step {entry.number}"
            described[mime] = {"alt": words, **mapping(metadata, mime)}
    return described


def _folded(step: Step, missed: Sequence[str]) -> str:
    """Source and end of something that does not run again, behind a line that opens it.

    `missed` are the names it may have bound or changed that later cells use.
    """
    entry = step.entry
    errors = [output for output in step.outputs if isinstance(output, ErrorOutput)]
    reason = f"{errors[-1].ename}: {errors[-1].evalue}" if errors else _reason(entry)
    printed = strip_ansi("".join(map(_printed, step.outputs))).rstrip()
    shown = printed if len(printed) <= _TAIL else f"…{printed[-_TAIL:]}"
    said = f"{shown}\n{strip_ansi(reason)}".strip("\n")
    summary = f"Step {entry.number} {_what(entry)}"
    if reason:
        summary += f": {html(one_line(reason))}"
    blocks = [fence(entry.source, "python"), *([fence(said, "text")] if said else [])]
    inside = "\n\n".join(blocks)
    folded = f"<details>\n<summary>{summary}</summary>\n\n{inside}\n\n</details>"
    if not missed:
        return folded
    names = ", ".join(map(literal, missed[:_MISSED]))
    more = f" and {len(missed) - _MISSED} more" if len(missed) > _MISSED else ""
    words = f"*Later cells use* {names}{more}*, which this step may have bound or changed.*"
    return f"{words}\n\n{folded}"


def _what(entry: Entry) -> str:
    """How it ended, after "Step 3"."""
    if entry.started is None and entry.outcome is not Outcome.QUEUED:
        return "never began"
    if entry.outcome is Outcome.OK and entry.details.get("exit_requested"):
        return "ended its kernel"
    where = "ran in a process of its own" if is_isolated(entry) else "ran in an earlier kernel"
    return _WHAT_FAILED.get(entry.outcome, where)


def _printed(output: Output) -> str:
    match output:
        case Stream():
            return output.text
        case ExecuteResult() | DisplayData():
            shown = text(output.data, "text/plain")
            return f"{shown}\n" if shown else ""
        case ErrorOutput():
            return ""


def _reason(entry: Entry) -> str:
    details = entry.details
    told = text(details, "error") or text(mapping(details, "death"), "cause")
    exited = "exit() ends the kernel" if details.get("exit_requested") else ""
    return told or text(details, "reason") or exited


def _install(entry: Entry) -> str:
    details = entry.details
    asked = ", ".join(map(literal, entry.source.splitlines()))
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
    how = f" *with* {literal(tool)}" if (tool := text(details, "installer")) else ""
    return "\n".join([f"*Installed* {asked}{how}", "", *changes]).rstrip()


def _change(before: JSON, after: JSON) -> str:
    new = html(str(after)) if after else "removed"
    return f"{html(str(before))} → {new}" if before else new


def _generation_heading(entry: Entry, end_reason: str | None) -> JSONObject:
    """Above what one of several kernels ran; the last one has no `end_reason`."""
    if end_reason is None:
        words = "*A new kernel: no variables of the earlier ones. What runs again begins here.*"
    else:
        reason = html(one_line(end_reason)) or "the reason is not known"
        lost = "and its variables were lost: what it ran is folded"
        words = f"*The kernel restarted after this ({reason}) {lost}.*"
    return _markdown(entry, "kernel", f"## Kernel {entry.generation}\n\n{words}")


def _about(entry: Entry) -> dict[str, JSON]:
    """Where a cell comes from."""
    return {
        "entry": entry.id,
        "number": entry.number,
        "kind": entry.kind.value,
        "author": entry.author,
        "intent": entry.title,
        "outcome": entry.outcome.value,
        "generation": entry.generation,
        "seconds": None if entry.duration is None else round(entry.duration, 3),
        "complete": entry.details.get("complete") is not False,
    }


def _provenance(
    session: SessionRecord, kernels: Sequence[KernelRecord], steps: Sequence[Step]
) -> JSONObject:
    entries = [step.entry for step in steps]
    code = [entry for entry in entries if entry.kind in _CODE]
    return {
        "schema": SCHEMA,
        "session": session.id,
        "name": session.name,
        "environment": session.environment,
        "executable": kernels[-1].executable if kernels else "",
        "kernels": [
            {key: value for key, value in asdict(kernel).items() if key != "session_id"}
            for kernel in kernels
        ],
        "entries": len(entries),
        "executions": len(code),
        "failed": sum(entry.outcome.ended and entry.outcome is not Outcome.OK for entry in code),
        "started": min((entry.queued for entry in entries), default=None),
        "ended": max((entry.ended for entry in entries if entry.ended), default=None),
    }


def _cell_id(entry: Entry, role: str) -> str:
    """The same for the same entry, and nobody else's; nbformat allows 64 of few characters."""
    if re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", entry.id):
        return f"{entry.id}-{role}"
    digest = hashlib.sha256(entry.id.encode("utf-8", "backslashreplace")).hexdigest()
    return f"{digest[:32]}-{role}"


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

"""A session's history as a notebook. Pure: plain JSON values in nbformat 4.5.

The body that runs is what the last kernel ran. Earlier generations are folded above it, each
under a heading that says how it ended. A failed cell stays runnable when a later one needs it
(`failures`); otherwise it is folded, never hidden. Code that did not end by itself is always
folded: nobody wants to run it again.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kernel_exec.kernels.execution import Outcome
from kernel_exec.kernels.messages import JSON, JSONObject, mapping, text
from kernel_exec.kernels.outputs import DisplayData, ErrorOutput, ExecuteResult, Output, Stream
from kernel_exec.sessions.history import Entry, EntryKind, KernelRecord, SessionRecord

from .failures import needed

SCHEMA = 1
"""Version of what we keep under `metadata.kernel_exec`."""

_PRIVATE = ("application/vnd.kernel-exec.", "text/llm+plain")
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
    last = max((step.entry.generation for step in steps if _ran(step.entry)), default=0)
    keep = _kept(steps, last)
    cells: list[JSONObject] = []
    generation = 0
    for step, kept in zip(steps, keep, strict=True):
        entry = step.entry
        if _ran(entry) and entry.generation != generation:
            cells += _generation_heading(kernels, generation, entry)
            generation = entry.generation
        cells += _cells(step, runs=kept)
    version = kernels[-1].python_version if kernels else ""
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {
            "kernelspec": {
                "name": "python3",
                "display_name": f"Python {version}".strip(),
                "language": "python",
            },
            "language_info": {
                "name": "python",
                "version": version,
                "mimetype": "text/x-python",
                "file_extension": ".py",
                "pygments_lexer": "ipython3",
                "nbconvert_exporter": "python",
            },
            "kernel_exec": _provenance(session, kernels, steps),
        },
        "cells": [_writable(cell) for cell in cells],
    }


def _ran(entry: Entry) -> bool:
    return entry.kind in _CODE and entry.started is not None


def _kept(steps: Sequence[Step], last: int) -> list[bool]:
    """Which steps are code cells of the running body."""
    runs = [
        _ran(step.entry)
        and step.entry.generation == last
        and step.entry.outcome in {Outcome.OK, Outcome.EXCEPTION}
        and not step.entry.details.get("exit_requested")
        for step in steps
    ]
    body = [index for index, each in enumerate(runs) if each]
    entries = [steps[index].entry for index in body]
    wanted = needed(
        [entry.source for entry in entries],
        [entry.outcome is Outcome.EXCEPTION for entry in entries],
    )
    kept = [False] * len(steps)
    for index, each in zip(body, wanted, strict=True):
        kept[index] = each
    return kept


def _cells(step: Step, *, runs: bool) -> list[JSONObject]:
    entry = step.entry
    match entry.kind:
        case EntryKind.NOTE:
            return [_markdown(entry, "note", entry.source)]
        case EntryKind.INSTALL:
            return [_markdown(entry, "install", _install(entry))]
        case EntryKind.ENVIRONMENT:
            version = text(entry.details, "python_version")
            words = f"*Switched to environment* `{entry.source}` (Python {version})"
            return [_markdown(entry, "environment", words)]
        case EntryKind.CODE | EntryKind.SCRIPT:
            heading = [_markdown(entry, "title", f"### {entry.title}")] if entry.title else []
            if runs:
                return [*heading, _code(step)]
            return [*heading, _markdown(entry, "folded", _folded(step))]


def _code(step: Step) -> JSONObject:
    entry = step.entry
    metadata: dict[str, JSON] = {
        "kernel_exec": _about(entry),
        "execution": {key: value for key, value in entry.timing.items() if value},
    }
    if entry.outcome is not Outcome.OK:
        metadata["tags"] = ["raises-exception"]
    outputs = [shown for output in step.outputs if (shown := _output(output, entry))]
    return {
        "cell_type": "code",
        "id": _cell_id(entry, "code"),
        "metadata": metadata,
        "execution_count": entry.execution_count,
        "source": entry.source,
        "outputs": outputs,
    }


def _markdown(entry: Entry, role: str, source: str) -> JSONObject:
    return {
        "cell_type": "markdown",
        "id": _cell_id(entry, role),
        "metadata": {"kernel_exec": {**_about(entry), "role": role}},
        "source": source,
    }


def _output(output: Output, entry: Entry) -> JSONObject | None:
    late: JSONObject = {"kernel_exec": {"late": True}} if output.late else {}
    match output:
        case Stream():
            mark = "[after the cell had ended]\n" if output.late else ""
            more = f"\n[all of it is in {output.path}]\n" if output.path else ""
            return {
                "output_type": "stream",
                "name": output.name,
                "text": f"{mark}{output.text}{more}",
            }
        case ErrorOutput():
            return {
                "output_type": "error",
                "ename": output.ename,
                "evalue": output.evalue,
                "traceback": list(output.traceback),
            }
        case DisplayData() | ExecuteResult():
            data = {
                mime: value
                for mime, value in output.data.items()
                if not mime.startswith(_PRIVATE) and value is not None
            }
            if not data:
                return None
            shown: JSONObject = {
                "data": {mime: _mime_value(mime, value) for mime, value in data.items()},
                "metadata": {**_described(output.metadata, data, entry), **late},
            }
            if isinstance(output, DisplayData) or output.late:
                return {"output_type": "display_data", **shown}
            count = output.execution_count
            return {"output_type": "execute_result", "execution_count": count, **shown}


def _mime_value(mime: str, value: JSON) -> JSON:
    """JSON types hold any value, all others text."""
    if mime == "application/json" or mime.endswith("+json") or isinstance(value, str):
        return value
    return str(value)


def _described(metadata: JSONObject, data: JSONObject, entry: Entry) -> JSONObject:
    """An output's metadata, with words for who can't see its pictures."""
    described = dict(metadata)
    for mime in data:
        if mime.startswith("image/"):
            words = entry.title or f"Plot of step {entry.number}"
            described[mime] = {"alt": words, **mapping(metadata, mime)}
    return described


def _folded(step: Step) -> str:
    """Source and end of something that does not run again, behind a line that opens it."""
    entry = step.entry
    what = _WHAT_FAILED.get(entry.outcome, "ran in an earlier kernel")
    errors = [output for output in step.outputs if isinstance(output, ErrorOutput)]
    reason = f"{errors[-1].ename}: {errors[-1].evalue}" if errors else _reason(entry)
    printed = "".join(output.text for output in step.outputs if isinstance(output, Stream))
    said = f"{printed[-2000:].rstrip()}\n{reason}".strip()
    summary = f"Step {entry.number} {what}" + (f": {_html(_one_line(reason))}" if reason else "")
    blocks = [_fence(entry.source, "python"), *([_fence(said, "text")] if said else [])]
    inside = "\n\n".join(blocks)
    return f"<details>\n<summary>{summary}</summary>\n\n{inside}\n\n</details>"


def _reason(entry: Entry) -> str:
    for words in (
        text(entry.details, "error"),
        text(mapping(entry.details, "death"), "cause"),
        text(entry.details, "reason"),
    ):
        if words:
            return words
    return "exit() ends the kernel" if entry.details.get("exit_requested") else ""


def _install(entry: Entry) -> str:
    details = entry.details
    asked = ", ".join(f"`{line}`" for line in entry.source.splitlines())
    before, after = mapping(details, "before"), mapping(details, "after")
    if entry.outcome is not Outcome.OK:
        return f"*Installing* {asked} *failed:* {_html(_one_line(_reason(entry)))}"
    changes = [
        f"- `{name}` {f'{before.get(name)} → ' if before.get(name) else ''}{new or 'removed'}"
        for name, new in after.items()
    ]
    return "\n".join([f"*Installed* {asked}", "", *changes]).rstrip()


def _generation_heading(
    kernels: Sequence[KernelRecord], previous: int, entry: Entry
) -> list[JSONObject]:
    if not previous:
        return []
    reasons = {kernel.generation: kernel.end_reason for kernel in kernels}
    reason = reasons.get(previous) or "unknown"
    words = (
        f"## Kernel {entry.generation}\n\n"
        f"*Kernel {previous} ended ({_html(reason)}); its variables are gone from here on. What"
        " ran in it is folded above.*"
    )
    return [_markdown(entry, "kernel", words)]


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
            {
                "generation": kernel.generation,
                "python_version": kernel.python_version,
                "support": kernel.support,
                "started": kernel.started,
                "ended": kernel.ended,
                "end_reason": kernel.end_reason,
            }
            for kernel in kernels
        ],
        "entries": len(entries),
        "executions": len(code),
        "failed": sum(entry.outcome is not Outcome.OK for entry in code),
        "started": min((entry.queued for entry in entries), default=None),
        "ended": max((entry.ended for entry in entries if entry.ended), default=None),
    }


def _cell_id(entry: Entry, role: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_-]", "-", f"{entry.id[:40]}-{role}")


def _fence(written: str, language: str) -> str:
    """A fenced block that nothing in `written` can end."""
    longest = max((len(run) for run in re.findall(r"`+", written)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{written}\n{fence}"


def _one_line(words: str) -> str:
    line = " ".join(words.split())
    return line if len(line) <= 200 else f"{line[:200]}…"


def _html(words: str) -> str:
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _writable(value: JSON) -> JSON:
    """`value` with lone surrogates escaped: UTF-8 has no form for them."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {key: _writable(each) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [_writable(each) for each in value]
    return value

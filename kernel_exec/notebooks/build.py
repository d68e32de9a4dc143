"""A session's history as a notebook. Pure: plain JSON values in nbformat 4.5.

The body that runs is what the last kernel ran. Earlier generations are folded above it, each
under a heading that says how it ended. A failed cell stays runnable when a later one needs it
(`failures`); otherwise it is folded, never hidden, as is always code that did not end by itself:
its cell says which of its names later cells use.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from kernel_exec.kernels.execution import Outcome
from kernel_exec.kernels.messages import JSON, JSONObject, mapping
from kernel_exec.sessions.history import (
    Entry,
    EntryKind,
    KernelRecord,
    SessionRecord,
    is_isolated,
    is_unreached,
)

from .cells import Step, cells_of, generated, kernel_heading, plain_markdown
from .evidence import cell_of
from .failures import Verdict, needed
from .names import counts_cells
from .pep723 import Install, Inventory, asked_for, block, needs
from .portable import portable_entry, portable_kernel, portable_session
from .provenance import CODE, about_session
from .value import without_outputs, without_times, writable

_NAMELESS = {"venv", ".venv", "env", ".env", "environment", ".kernel_exec"}
"""Folders that say nothing about an environment; the one above does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What history does not know: our `version`, the interpreter's `platform` and packages.

    `inventory` is None when the interpreter is gone. `folder` is where the notebook will be, ""
    when that is not known.
    """

    version: str = ""
    platform: str = ""
    inventory: Inventory | None = None
    folder: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a notebook shows: failures that nothing needs, outputs, times.

    Without outputs or times it is meant for version control, and names no path of a machine.
    """

    failed: bool = True
    outputs: bool = True
    times: bool = True

    @property
    def portable(self) -> bool:
        """True when nothing that belongs to one machine is wanted."""
        return not (self.outputs and self.times)


def build(
    *,
    session: SessionRecord,
    kernels: Sequence[KernelRecord],
    steps: Sequence[Step],
    surroundings: Surroundings | None = None,
    wanted: Wanted | None = None,
) -> JSONObject:
    """The notebook, as the value that nbformat would read from its file."""
    around, wanted = surroundings or Surroundings(), wanted or Wanted()
    steps = [step for step in steps if not is_unreached(step.entry)]
    if wanted.portable:
        session, kernels = portable_session(session), list(map(portable_kernel, kernels))
        steps = [replace(step, entry=portable_entry(step.entry)) for step in steps]
    ran = [step.entry.generation for step in steps if _ran(step.entry)]
    last = max(ran, default=0)
    judged = list(zip(steps, _verdicts(steps, last), strict=True))
    shown = [
        (step, verdict) for step, verdict in judged if wanted.failed or not _spare(step, verdict)
    ]
    version = kernels[-1].python_version if kernels else ""
    provenance = about_session(
        session,
        kernels,
        [step.entry for step in steps],
        version=around.version,
        platform=around.platform,
    )

    def make(step: Step, verdict: Verdict) -> list[JSONObject]:
        seen = step if wanted.outputs else replace(step, outputs=())
        return cells_of(seen, verdict, folder=around.folder, inventory=around.inventory)

    requirements = list(_requirements(judged, version, around.inventory))
    counting = any(verdict.keep and counts_cells(step.entry.source) for step, verdict in judged)
    cells = [
        *([] if counting else requirements),
        *_cells(shown, kernels, last, min(ran, default=0) < last, make),
        *_ending(kernels, last),
        *(requirements if counting else []),  # where it shifts no count, such as `Out[3]`
    ]
    if left_out := len(judged) - len(shown):
        provenance["left_out"] = left_out
        told = "1 failed step" if left_out == 1 else f"{left_out} failed steps"
        words = f"*Left out: {told} that no later step depends on.*"
        cells.append(plain_markdown(words, cell_id="left-out", role="left-out"))
    whole: dict[str, JSON] = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": _metadata(session, version, provenance),
        "cells": cells,
    }
    notebook: JSONObject = {key: writable(value) for key, value in whole.items()}
    if not wanted.outputs:
        notebook = without_outputs(notebook)
    return notebook if wanted.times else without_times(notebook)


def _metadata(session: SessionRecord, version: str, provenance: JSONObject) -> JSONObject:
    """JupyterLab looks for a kernel by its name, so that is the usual one, whatever is shown."""
    shown = f"Python {version}".strip() + f" ({_short(session.environment)})"
    return {
        "kernelspec": {"name": "python3", "display_name": shown, "language": "python"},
        "language_info": {
            "name": "python",
            "version": version,
            "mimetype": "text/x-python",
            "file_extension": ".py",
            "pygments_lexer": "ipython3",
            "nbconvert_exporter": "python",
        },
        "kernel_exec": provenance,
    }


def _short(environment: str) -> str:
    """An environment's kind and name, such as `venv analysis`."""
    kind, _, path = environment.partition(":")
    parts = [part for part in path.replace("\\", "/").split("/") if part]
    if kind == "python" or not parts:
        return path or kind
    while len(parts) > 1 and parts[-1] in _NAMELESS:
        parts.pop()
    return f"{kind} {parts[-1]}"


def _cells(
    shown: Sequence[tuple[Step, Verdict]],
    kernels: Sequence[KernelRecord],
    last: int,
    several: bool,
    make: Callable[[Step, Verdict], list[JSONObject]],
) -> Iterator[JSONObject]:
    """The cells of all steps, each kernel's under a heading when there are several."""
    ends = {kernel.generation: kernel.end_reason for kernel in kernels}
    generation = 0
    for step, verdict in shown:
        entry = step.entry
        if _ran(entry) and entry.generation != generation:
            generation = entry.generation
            if several:
                reason = None if generation == last else ends.get(generation, "")
                yield kernel_heading(entry, reason)
        yield from make(step, verdict)


def _ending(kernels: Sequence[KernelRecord], last: int) -> Iterator[JSONObject]:
    """A restart after which nothing ran."""
    newest = kernels[-1].generation if kernels else 0
    if 0 < last < newest:
        words = "*The kernel was restarted after this; nothing has run in the new one.*"
        source = f"## Kernel {newest}\n\n{words}"
        yield plain_markdown(source, cell_id=f"kernel-{newest}", role="kernel")


def _requirements(
    judged: Sequence[tuple[Step, Verdict]], python_version: str, inventory: Inventory | None
) -> Iterator[JSONObject]:
    """The first cell: what the code that runs again needs."""
    kept = [
        (step.entry.number, step.entry.source if verdict.keep else verdict.ended)
        for step, verdict in judged
        if verdict.keep or verdict.ended
    ]
    if not kept:
        return
    needed = needs(
        kept,
        [_install(step.entry) for step, _ in judged if _installed(step.entry)],
        python_version=python_version,
        inventory=inventory,
    )
    source = block(needed, known=inventory is not None)
    yield generated(source, cell_id="requirements", role="requirements")


def _installed(entry: Entry) -> bool:
    return entry.kind is EntryKind.INSTALL and entry.outcome is Outcome.OK


def _install(entry: Entry) -> Install:
    def versions(key: str) -> dict[str, str]:
        return {name: str(version) for name, version in mapping(entry.details, key).items()}

    return Install(
        number=entry.number,
        asked=asked_for(entry.source),
        before=versions("before"),
        after=versions("after"),
    )


def _spare(step: Step, verdict: Verdict) -> bool:
    """Whether a step failed, and nothing that runs again misses it."""
    entry = step.entry
    failed = entry.outcome.ended and entry.outcome is not Outcome.OK
    return entry.kind in CODE and failed and not verdict.keep and not verdict.names


def _ran(entry: Entry) -> bool:
    return entry.kind in CODE and entry.started is not None and not is_isolated(entry)


def _verdicts(steps: Sequence[Step], last: int) -> list[Verdict]:
    """For each step, whether it is a code cell of the running body."""
    body = [step for step in steps if _ran(step.entry) and step.entry.generation == last]
    cells = [cell_of(step.entry, step.outputs) for step in body]
    if any(cell.failed or cell.stopped for cell in cells):
        verdicts = needed(cells)
    else:
        verdicts = [Verdict(keep=True)] * len(cells)
    known = {step.entry.id: verdict for step, verdict in zip(body, verdicts, strict=True)}
    return [known.get(step.entry.id, Verdict(keep=False)) for step in steps]

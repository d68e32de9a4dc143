"""A session's history as a notebook. Pure: plain JSON values in nbformat 4.5.

The body that runs is what the last kernel ran, failed cells included: what they did before they
failed, later cells may need, and to run them again is the one way to know. They are folded by the
metadata that Jupyter has for it. Prose is only what ran nothing, and what did not end by itself:
run again, it might not end, or end the kernel. Earlier kernels are closed blocks above, each under
a heading that says how it ended.
"""

import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from kernel_exec.history.entries import (
    Entry,
    EntryKind,
    KernelRecord,
    SessionRecord,
    is_isolated,
    is_unreached,
)
from kernel_exec.jsons import JSON, JSONObject, text
from kernel_exec.kernels.outcomes import Outcome
from kernel_exec.places import PRIVATE_FOLDER

from .cells import (
    Step,
    cells_of,
    earlier_steps,
    error_name,
    generated,
    kernel_heading,
    plain_markdown,
    was_stopped,
)
from .needs import Inventory, block, needs, parsed
from .provenance import CODE, about_session, portable_entry, portable_session, without_times
from .reading import writable

_NAMELESS = {"venv", ".venv", "env", ".env", "environment", PRIVATE_FOLDER}
"""Folders that say nothing about an environment; the one above does."""

_BROKEN = {"SyntaxError", "IndentationError", "TabError"}

_COUNTED = re.compile(r"\b(?:In|Out)\[|\b_i?\d+\b")
"""What asks for a cell by its number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InterpreterFacts:
    """What a session's interpreter reports today; nothing when it is gone."""

    platform: str = ""
    inventory: Inventory | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """What a notebook shows: outputs, times.

    Without outputs or times it is meant for version control, and names no path of a machine.
    """

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
    facts: InterpreterFacts | None = None,
    options: OutputOptions | None = None,
    folder: str = "",
    version: str = "",
) -> JSONObject:
    """The notebook, as the value that nbformat would read from its file.

    It is to be in `folder`, "" when that is not known; `version` is ours.
    """
    facts, options = facts or InterpreterFacts(), options or OutputOptions()
    steps = [step for step in steps if not is_unreached(step.entry)]
    if options.portable:
        session = portable_session(session)
        kernels = [replace(kernel, executable="") for kernel in kernels]
        steps = [replace(step, entry=portable_entry(step.entry)) for step in steps]
    last = max((step.entry.generation for step in steps if _ran(step.entry)), default=0)
    # The variables at the end are the last kernel's, so the body is what that one ran. Of the body
    # everything runs again but what was stopped, which might not end, and what ran nothing. Which
    # steps depend on which is not asked: a set that is too large only costs time.
    body = [step for step in steps if _ran(step.entry) and step.entry.generation == last]
    counted = any(_COUNTED.search(step.entry.source) for step in body)
    again = {step.entry.id for step in body if _runs_again(step, counted=counted)}
    entries = [step.entry for step in steps]
    python = kernels[-1].python_version if kernels else ""
    provenance = about_session(session, kernels, entries, version=version, platform=facts.platform)
    if not options.outputs:
        steps = [Step(entry=replace(entry, execution_count=None)) for entry in entries]

    def make(step: Step) -> list[JSONObject]:
        runs = step.entry.id in again
        return cells_of(step, again=runs, folder=folder, inventory=facts.inventory)

    requirements = list(_requirements(entries, again, python, facts.inventory))
    whole: dict[str, JSON] = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": _metadata(session, python, provenance),
        "cells": [
            *([] if counted else requirements),
            *_cells(steps, kernels, last, make),
            *_ending(kernels, last),
            *(requirements if counted else []),  # where it shifts no count, such as `Out[3]`
        ],
    }
    notebook: JSONObject = {key: writable(value) for key, value in whole.items()}
    return notebook if options.times else without_times(notebook)


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
    steps: Sequence[Step],
    kernels: Sequence[KernelRecord],
    last: int,
    make: Callable[[Step], list[JSONObject]],
) -> Iterator[JSONObject]:
    """The cells of all steps; each kernel begins with a heading when there are several."""
    ends = {kernel.generation: kernel.end_reason for kernel in kernels}
    lives: dict[int, list[Step]] = {}
    for step in steps:
        if _ran(step.entry):
            lives.setdefault(step.entry.generation, []).append(step)
    begun = 0
    for step in steps:
        generation = step.entry.generation
        if not _ran(step.entry):
            yield from make(step)
            continue
        if generation != begun and len(lives) > 1:
            yield kernel_heading(
                step.entry, None if generation == last else ends.get(generation, "")
            )
        if generation == last:
            yield from make(step)
        elif generation != begun:
            yield from _earlier(generation, lives)
        begun = generation


def _earlier(generation: int, lives: Mapping[int, Sequence[Step]]) -> Iterator[JSONObject]:
    """An earlier kernel's steps, without those that ran again in a later one."""
    # a step is left out where any later kernel ran it again, be it the last one or not: each
    # kernel's own block shows it, and so the newest of its runs is always there
    later = {
        _original(step.entry)
        for other, life in lives.items()
        if other > generation
        for step in life
    }
    steps = lives[generation]
    only = [step for step in steps if _original(step.entry) not in later]
    for at, source in enumerate(earlier_steps(only, shown_later=len(steps) - len(only)), 1):
        yield plain_markdown(source, cell_id=f"kernel-{generation}-{at}", role="earlier")


def _original(entry: Entry) -> str:
    """The id of the step that a replay ran again; of any other, its own."""
    return text(entry.details, "replay_of") or entry.id


def _ending(kernels: Sequence[KernelRecord], last: int) -> Iterator[JSONObject]:
    """A restart after which nothing ran."""
    newest = kernels[-1].generation if kernels else 0
    if 0 < last < newest:
        words = "*The kernel was restarted after this; nothing has run in the new one.*"
        source = f"## Kernel {newest}\n\n{words}"
        yield plain_markdown(source, cell_id=f"kernel-{newest}", role="kernel")


def _requirements(
    entries: Sequence[Entry], again: Container[str], python: str, inventory: Inventory | None
) -> Iterator[JSONObject]:
    """The first cell: what the code that runs again needs."""
    if not any(entry.id in again for entry in entries):
        return
    kept = [
        entry
        for entry in entries
        if entry.id in again or (entry.kind is EntryKind.INSTALL and entry.outcome is Outcome.OK)
    ]
    needed = needs(kept, python_version=python, inventory=inventory)
    source = block(needed, known=inventory is not None)
    yield generated(source, cell_id="requirements", role="requirements")


def _ran(entry: Entry) -> bool:
    return entry.kind in CODE and entry.started is not None and not is_isolated(entry)


def _runs_again(step: Step, *, counted: bool) -> bool:
    """Whether a step of the last kernel ended by itself and ran something.

    What ran nothing runs as well where the number of a cell is `counted` on.
    """
    entry = step.entry
    ended = entry.outcome in {Outcome.OK, Outcome.EXCEPTION} and not was_stopped(step)
    if not ended or "exit_requested" in entry.details:
        return False
    return counted or error_name(step) not in _BROKEN or parsed(entry.source) is not None

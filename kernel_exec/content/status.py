"""The last line of a result: how it ended, what became of the kernel, how to go on. Pure.

Names, types, paths and the last words of a kernel come from foreign code, so each is made one
bounded line, or a few, before it stands in one of ours.
"""

import re
from collections.abc import Sequence

from kernel_exec.history.entries import DEFAULT_NAME, Entry, EntryKind, is_isolated
from kernel_exec.jsons import JSONObject, items, mapping, text
from kernel_exec.kernels.outcomes import Outcome

from .items import RenderContext
from .plain import clean, counted, one_line, sized

_FOREIGN = re.compile(
    r"site-packages|/lib/python\d|/overlays/\w+-[0-9a-f]{16}/|kernel_exec/inside/"
    r"|^Thread |^Extension mod"
)
"""Frames of libraries and of our own in a dump, and threads of theirs."""

_EMPTY_STACK = "Stack (most recent call first):"
_MOST_NAMES = 12
_NO_DATA = {
    *("ABCMeta", "Axes", "EnumMeta", "EnumType", "Figure", "ModelMetaclass", "function", "method"),
    *("builtin_function_or_method", "module", "type", "ufunc"),
}
"""Types of names that hold no data: modules, functions, classes and drawings."""

_SMALL = re.compile(r" [\d.]+ K?B$")
"""A size that is of no interest after a name."""

_NAMES_LINE = 400
"""Characters of the line on names."""

_SLOW = 1.0
"""Seconds from which on the status line shows how long it took."""

_SHOWN_LINES = 15
_LONG_LINE = 300
"""Characters of a path or a reason."""

_LONGEST_LINE = 2000
"""Characters of a notice, a message or last words; those of ours name long paths twice."""


def status_line(
    entry: Entry, context: RenderContext, above: str = "", *, more: bool = False
) -> str:
    """The line that ends a result, in brackets, after blocks that only failures have.

    It names the id where the next call needs it and the lines `above` do not name it: `more` is
    true when they do not show everything.
    """
    details = entry.details
    parts = [_outcome(entry, context), f"step {entry.number}"]
    if is_isolated(entry):
        parts.append("isolated")
    elif context.new_kernel and entry.generation and "state_lost" not in details:
        parts.append(f"kernel {entry.generation}")
    if not entry.outcome.ended and not context.followed:
        parts.append(_go_on(entry))
    elif (more or entry.outcome is not Outcome.OK) and entry.id not in above:
        parts.append(f"id {entry.id}")
    if context.session != DEFAULT_NAME:
        parts.append(f"session {context.session}")
    if context.environment:
        parts.append(one_line(context.environment, _LONG_LINE))
    if details.get("complete") is False and "death" not in details:
        parts.append("outputs may be missing")
    if context.history:
        parts.append(f"history: degraded ({one_line(context.history, _LONG_LINE)})")
    parts += [
        one_line(each, _LONGEST_LINE)
        for each in (text(details, "unstored"), context.notice)
        if each
    ]
    blocks = [
        *_state_lost(mapping(details, "state_lost")),
        *_last_words(entry, mapping(details, "death")),
        *_lost(mapping(details, "lost")),
    ]
    return "\n".join([*blocks, f"[{' · '.join(parts)}]\n"])


def names_line(entry: Entry) -> str:
    """Which data is new, changed or gone, and a new working directory; "" when nothing is."""
    names = mapping(entry.details, "names")
    parts = []
    for sign, key in (("+", "added"), ("~", "changed")):
        if shown := [_SMALL.sub("", each) for each in described(mapping(names, key))]:
            parts.append(f"{sign} {some(shown)}")
    if gone := items(names, "gone"):
        parts.append(f"- {some([one_line(name) for name in gone])}")
    lines = [one_line(f"names: {'  '.join(parts)}", _NAMES_LINE)] if parts else []
    if moved_to := text(entry.details, "working_directory"):
        lines.append(f"working directory: {one_line(moved_to, _LONG_LINE)}")
    return "\n".join(lines)


def _outcome(entry: Entry, context: RenderContext) -> str:
    took = entry.duration or 0.0
    seconds = f" · {took:.1f} s" if took >= _SLOW else ""
    death = one_line(text(mapping(entry.details, "death"), "cause"), _LONG_LINE)
    kept = _kept(entry, death)
    match entry.outcome:
        case Outcome.QUEUED:
            waiting = context.waiting
            return f"queued, {waiting} before it" if waiting else "queued, the kernel is starting"
        case Outcome.RUNNING:
            return _running(entry, context)
        case Outcome.OK:
            ended = f" · the kernel ended afterwards ({death})" if death else ""
            asked = " · exit() ends the kernel" if entry.details.get("exit_requested") else ""
            return f"ok{seconds}{ended}{asked}"
        case Outcome.EXCEPTION:
            return f"exception{seconds}"
        case Outcome.TIMEOUT:
            return f"timeout{seconds}: it exceeded its time limit; {kept}"
        case Outcome.INTERRUPTED:
            reason = text(entry.details, "reason")
            return f"interrupted{seconds}: {one_line(reason, _LONG_LINE) or kept}"
        case Outcome.KERNEL_DIED:
            if text(entry.details, "error"):
                return "the kernel did not start"
            if is_isolated(entry):
                return f"process died{seconds}: {death}; {kept}"
            memory = (
                " (the system sends it when memory runs out)" if death == "signal SIGKILL" else ""
            )
            return (
                f"kernel died{seconds}: {death}{memory}; all variables are lost, the next call"
                " starts a new kernel"
            )


def _running(entry: Entry, context: RenderContext) -> str:
    if not _begun(entry):
        return "running, but the kernel has not begun it yet"
    since = max(0.0, context.now - (entry.started or context.now))
    return f"running for {since:.0f} s" + (" · nothing new" if context.nothing_new else "")


def _begun(entry: Entry) -> bool:
    """False while something of an earlier cell, such as a task that blocks, holds it up."""
    in_kernel = entry.kind in {EntryKind.CODE, EntryKind.SCRIPT} and not is_isolated(entry)
    return entry.execution_count is not None or not in_kernel


def _kept(entry: Entry, death: str) -> str:
    if is_isolated(entry):
        return "it ran in a separate process; the kernel and its variables are untouched"
    if death:
        return f"the kernel ended ({death}): all variables are lost"
    return "the kernel and its variables are kept"


def _go_on(entry: Entry) -> str:
    return (
        f'wait with get_execution(execution_id="{entry.id}", wait_seconds=45)'
        " or stop it with interrupt_execution"
    )


def is_data(what: object) -> bool:
    """False for a module, a function, a class or a drawing, by what the kernel says of its type."""
    return str(what).partition(" ")[0] not in _NO_DATA


def _state_lost(lost: JSONObject) -> list[str]:
    if not lost:
        return []
    generation, reason = lost.get("generation"), one_line(lost.get("reason"), _LONG_LINE)
    data = described(mapping(lost, "names"))
    which = f": {some(data)}" if data else ""
    blocks = _words(
        ("the kernel's fault dump", text(lost, "dump")), ("its stderr", text(lost, "stderr"))
    )
    return [*blocks, f"[new kernel; variables of kernel {generation} were lost ({reason}){which}]"]


def _lost(names: JSONObject) -> list[str]:
    data = described(names)
    return [f"[variables lost, as last seen: {some(data)}]"] if data else []


def _last_words(entry: Entry, death: JSONObject) -> list[str]:
    details = entry.details
    wrong = "" if entry.kind is EntryKind.INSTALL else text(details, "error")  # shown above
    return _words(
        ("where it was at its time limit", text(details, "stack")),
        ("the kernel's fault dump", text(death, "dump")),
        ("the kernel's stderr", text(death, "stderr")),
        ("what went wrong", wrong),
    )


def _words(*titled: tuple[str, str]) -> list[str]:
    """A block for each text that is not empty, without the lines that are not the user's."""
    blocks = []
    for title, words in titled:
        if words:
            plain = clean(words).split("\n")
            lines = [line[:_LONGEST_LINE] for line in plain if line and not _FOREIGN.search(line)]
            if lines == [_EMPTY_STACK]:
                continue  # the main thread was waiting for a task
            blocks.append("\n".join([f"[{title}]", *lines[:_SHOWN_LINES]]))
    return blocks


def described(names: JSONObject) -> list[str]:
    """Each name that holds data, with what it is."""
    return [f"{one_line(name)} {one_line(what)}" for name, what in names.items() if is_data(what)]


def some(listed: Sequence[str]) -> str:
    """The first of them in a line, and how many there are."""
    shown = ", ".join(listed[:_MOST_NAMES])
    return shown if len(listed) <= _MOST_NAMES else f"{shown}, … ({counted(len(listed), 'name')})"


def sandbox_line(held: JSONObject) -> str:
    """The walls and limits of a kernel, from `Sandbox.facts`."""
    limits = mapping(held, "limits")
    parts = [f"sandbox {text(held, 'walls')}"]
    by = text(held, "mechanism")
    walled = f"held by {by}, temporary files end with the kernel"
    parts += [walled if by else "code has the user's rights"]
    memory, size = limits.get("memory"), limits.get("file_size")
    if isinstance(memory, (int, float)):
        share = memory <= 1
        parts.append(f"memory {memory:.0%} of what is free" if share else f"memory {sized(memory)}")
    parts += [f"files {sized(size)}"] if isinstance(size, (int, float)) else []
    parts += [f"{each} processes"] if (each := limits.get("processes")) else []
    parts += [f"{each} open files"] if (each := limits.get("open_files")) else []
    return ", ".join(parts)

"""What an install changed, in lines for the model. Pure."""

import re

from kernel_exec.history.entries import Entry
from kernel_exec.jsons import JSON, items, mapping, text
from kernel_exec.kernels.outcomes import Outcome

from .plain import clean, one_line

_WARNING = re.compile(r"\s*warning:", re.IGNORECASE)
"""How uv, pip and conda begin what is no reason to fail."""


def installed(entry: Entry) -> str:
    """The changes, the requirements that were not needed, and the imports that are stale now."""
    details = entry.details
    if error := text(details, "error"):
        return f"{clean(error)}\n"
    before, after = mapping(details, "before"), mapping(details, "after")
    excluded = text(details, "excluded")
    lines = [_change(name, str(before.get(name, "")), str(new)) for name, new in after.items()]
    if not lines and entry.outcome is Outcome.OK and excluded != entry.source:
        lines.append(f"{'the others' if excluded else 'all of them'} were installed already")
    lines += [
        f"{one_line(each)}: not needed, its marker excludes this environment"
        for each in excluded.splitlines()
    ]
    if (installer := text(details, "installer")) not in {"", "uv"}:
        lines.append(f"installed with {installer}")
    lines += _stale(entry)
    return "".join(f"{line}\n" for line in lines)


def install_fields(entry: Entry) -> dict[str, JSON]:
    """The keys with which the server that we replace reported an install."""
    excluded = text(entry.details, "excluded").splitlines()
    done = entry.outcome is Outcome.OK
    output = text(entry.details, "output")
    warnings = [clean(line) for line in output.splitlines() if _WARNING.match(line)]
    return {
        "installed_packages": [
            each for each in entry.source.splitlines() if done and each not in excluded
        ],
        "warnings": "\n".join((*warnings, *_stale(entry))),
    }


def _stale(entry: Entry) -> list[str]:
    stale = items(entry.details, "stale")
    if not stale:
        return []
    names = ", ".join(map(one_line, stale))
    return [f"imported before and now stale: {names}; restart_kernel to use the new versions"]


def _change(name: str, old: str, new: str) -> str:
    name, old, new = one_line(name), one_line(old), one_line(new)
    if not old:
        return f"+ {name} {new}"
    return f"~ {name} {old} -> {new}" if new else f"- {name} {old}"

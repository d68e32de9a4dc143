"""What an install changed, in lines for the model. Pure."""

from kernel_exec.kernels.execution import Outcome
from kernel_exec.kernels.messages import mapping, text
from kernel_exec.sessions.history import Entry

from .plain import clean, one_line


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
    stale = details.get("stale")
    if isinstance(stale, (list, tuple)) and stale:
        lines.append(
            f"imported before and now stale: {', '.join(map(one_line, stale))};"
            " restart_kernel to use the new versions"
        )
    return "".join(f"{line}\n" for line in lines)


def _change(name: str, old: str, new: str) -> str:
    name, old, new = one_line(name), one_line(old), one_line(new)
    if not old:
        return f"+ {name} {new}"
    return f"~ {name} {old} -> {new}" if new else f"- {name} {old}"

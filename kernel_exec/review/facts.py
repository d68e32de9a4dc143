"""The head of the review page: what ran where and when, how it went, whether it holds. Pure."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from kernel_exec.content.plain import counted
from kernel_exec.jsons import JSON, JSONObject, count, items, mapping, text
from kernel_exec.notebooks.markdown import inline
from kernel_exec.notebooks.reading import (
    cells,
    errors_of,
    is_code,
    objects,
    ours,
    source_of,
    tags,
    verdict_of,
)

from .hypertext import escape
from .opening import DIFFERING, Mention, Opening
from .prose import line

VERDICTS = {
    "same": ("same", "✓", "same"),
    "close": ("close", "≈", "close"),
    "different": ("different", "≠", "different"),
    "new error": ("different", "✗", "new error"),
    "fixed": ("different", "!", DIFFERING["fixed"]),
    "not run": ("unknown", "○", "not run"),
    "failed": ("different", "✗", "failed"),
}
"""For each verdict on a cell or a notebook: its class, its mark, its words."""

_FENCE = re.compile(r"^(`{3,})python\n", re.MULTILINE)

_WHOLE = {"same", "close", "different", "failed"}
"""The verdicts on a notebook."""


def verdict_html(notebook: JSONObject, said: Opening) -> str:
    """What verification found, with the steps that differ, or that there was none."""
    about = ours(notebook)
    found = mapping(about, "verification")
    css_class, mark, _ = VERDICTS[said.verdict] if said.verdict in _WHOLE else VERDICTS["not run"]
    counts = mapping(found, "counts")
    listed = [
        f"{number:,} {escape(words)}"
        for key, (_, _, words) in VERDICTS.items()
        if (number := count(counts, key))
    ]
    how = [
        ", ".join(listed),
        _when(found.get("when"), None),
        duration(found.get("seconds")),
        f"Python {escape(python)}" if (python := text(found, "python")) else "",
        escape(where)
        if (where := text(found, "environment")) != text(about, "environment")
        else "",
    ]
    detail = " · ".join(filter(None, how)) if said.verdict in _WHOLE else ""
    return (
        f'<div class="verdict {css_class}"><p><span class="mark">{mark}</span> '
        f"{escape(said.sentence)}</p>{_differing(said)}"
        f"{f'<small>{detail}</small>' if detail else ''}</div>"
    )


def _differing(said: Opening) -> str:
    """The steps that differ, each with its intent, and those that are close."""
    differing, close = said.listed
    lines = [
        f"<li>{link_html(each)} {line(inline(each.intent))[0]}"
        f" <small>{DIFFERING[each.verdict]}</small></li>"
        for each in differing
    ]
    if more := len(said.differing) - len(differing):
        lines.append(f"<li>and {more:,} more</li>")
    names = ", ".join(map(link_html, close))
    if more := len(said.close) - len(close):
        names += f" and {more:,} more"
    return (f"<ul>{''.join(lines)}</ul>" if lines else "") + (
        f"<small>Trivial differences: {names}</small>" if names else ""
    )


def link_html(cell: Mention) -> str:
    """A link to a part of the page."""
    return f'<a href="#cell-{cell.index}">{escape(cell.name)}</a>'


def badge_html(cell: JSONObject) -> str:
    """What verification found of a cell."""
    verdict, _ = verdict_of(cell)
    if verdict not in VERDICTS:
        return ""
    css_class, mark, words = VERDICTS[verdict]
    return f'<span class="badge {css_class}">{mark} {words}</span>'


def facts_html(notebook: JSONObject) -> str:
    """Environment, time and counts as a list of terms."""
    terms = "".join(
        f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in _facts(notebook) if value
    )
    return f'<dl class="facts">{terms}</dl>{_packages(notebook)}'


def _facts(notebook: JSONObject) -> Iterator[tuple[str, str]]:
    about, metadata = ours(notebook), mapping(notebook, "metadata")
    code = [cell for cell in cells(notebook) if is_code(cell)]
    ran = [cell for cell in cells(notebook) if seconds_of(cell) is not None]
    executed = sum(cell.get("execution_count") is not None for cell in code)
    failures = sum(bool(errors_of(cell)) or "raises-exception" in tags(cell) for cell in code)
    failed = count(about, "failed")
    interpreter = mapping(about, "interpreter")
    version = text(interpreter, "python") or text(mapping(metadata, "language_info"), "version")
    language = text(mapping(metadata, "kernelspec"), "language") or "python"
    yield "Environment", _code(text(about, "environment"))
    yield (
        ("Python" if language.lower() == "python" else "Kernel"),
        escape(version or text(mapping(metadata, "kernelspec"), "display_name")),
    )
    yield "Platform", escape(text(interpreter, "platform"))
    yield "When", _when(about.get("started"), about.get("ended"))
    yield "Time in code", duration(_ran_for(ran))
    yield "Executions", f"{count(about, 'executions') or executed:,}"
    yield "Failed", f"{failures if failed is None else failed:,}"
    yield "Restarts", f"{_restarts(about):,}" if about else ""
    yield "Client", escape(", ".join(map(str, items(about, "clients"))))


def _ran_for(ran: Sequence[JSONObject]) -> float | None:
    """The time of all entries, each of which may have several cells."""
    times = {
        text(ours(cell), "entry") or str(at): seconds
        for at, cell in enumerate(ran)
        if (seconds := seconds_of(cell)) is not None
        and text(ours(cell), "kind") in {"", "code", "script"}
    }
    return sum(times.values()) if times else None


def _restarts(about: JSONObject) -> int:
    restarts = count(mapping(about, "counts"), "restarts")
    return max(0, len(objects(about.get("kernels"))) - 1) if restarts is None else restarts


def _packages(notebook: JSONObject) -> str:
    versions = mapping(mapping(ours(notebook), "verification"), "packages")
    rows = "".join(
        f"<li>{escape(name)} {escape(str(version))}</li>" for name, version in versions.items()
    )
    if not rows:
        return ""
    return (
        f"<details><summary>{counted(len(versions), 'package')} where it was verified</summary>"
        f'<ul class="packages">{rows}</ul></details>'
    )


def _code(words: str) -> str:
    return f"<code>{escape(words)}</code>" if words else ""


def seconds_of(cell: JSONObject) -> float | None:
    """How long a cell ran: as we noted it, or by the protocol's own times."""
    noted = ours(cell).get("seconds")
    if isinstance(noted, int | float) and not isinstance(noted, bool):
        return float(noted)
    times = mapping(mapping(cell, "metadata"), "execution")
    ends = [_read(times.get(key)) for key in ("iopub.execute_input", "shell.execute_reply")]
    if ends[0] is None or ends[1] is None:
        return None
    return max(0.0, (ends[1] - ends[0]).total_seconds())


def duration(seconds: JSON) -> str:
    """A time as people say it, "" for what is none."""
    if not isinstance(seconds, int | float) or not 0 <= seconds < 1e9:
        return ""
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _when(start: JSON, end: JSON) -> str:
    """From when to when, in UTC, because a page is read in other places, too."""
    began, ended = _read(start), _read(end)
    if began is None:
        return ""
    day = f"{began:%Y-%m-%d}"
    if ended is None or f"{ended:%Y-%m-%d %H:%M}" == f"{began:%Y-%m-%d %H:%M}":
        return f"{day} {began:%H:%M} UTC"
    until = f"{ended:%H:%M}" if f"{ended:%Y-%m-%d}" == day else f"{ended:%Y-%m-%d %H:%M}"
    return f"{day} {began:%H:%M} to {until} UTC"


def _read(when: JSON) -> datetime | None:
    """A time as seconds since the epoch or in ISO 8601; None for what is neither."""
    try:
        if isinstance(when, str):
            read = datetime.fromisoformat(when)
            return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
        if isinstance(when, int | float):
            return datetime.fromtimestamp(when, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def first_line(source: str) -> str:
    """The first line of code that says something."""
    lines = [line.strip() for line in source.splitlines()]
    return next((line for line in lines if line and not line.startswith("#")), "")


def code_of(cell: JSONObject) -> str:
    """The code of a step, also where it is folded."""
    source = source_of(cell)
    if is_code(cell):
        return source
    fence = _FENCE.search(source)
    return source[fence.end() :].partition(f"\n{fence[1]}")[0] if fence else ""

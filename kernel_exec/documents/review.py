"""A notebook as a page for reviewers: one file, without script and without network. Pure.

For each step its intent, its code and what came of it, under a head that says what ran where, how
it went and whether it holds. Works for every notebook in nbformat 4; what kernel-exec knows of its
own is read from `metadata.kernel_exec`.

Two walls keep outputs from doing anything: what they hold is escaped or sanitised (`hypertext`),
and the page's own policy lets a browser run no script, fetch nothing and use our styles only.
"""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources

from kernel_exec.kernels.messages import JSONObject, mapping, text
from kernel_exec.notebooks.value import cells, joined, ours, tags

from .hypertext import escape, highlighted, picture
from .prose import Anchors, Heading, prose, title
from .review_facts import (
    VERDICTS,
    duration,
    facts_html,
    first_line,
    has_error,
    seconds_of,
    source_of,
    verdict_html,
)
from .review_outputs import outputs_html, text_box

_STYLE = (resources.files(__package__) / "review.css").read_text("utf-8")
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; img-src data:; style-src 'sha256-{_HASH}'; "
    "base-uri 'none'; form-action 'none'"
)
_ENTRY = 90
"""Characters of a line of the contents."""

_OUTCOMES = {
    "exception": "failed",
    "timeout": "timed out",
    "interrupted": "interrupted",
    "kernel_died": "kernel died",
    "running": "did not end",
    "queued": "never began",
}
_FENCE = re.compile(r"^(`{3,})python\n", re.MULTILINE)
_GENERATED = {
    "requirements": "What the notebook needs to run again",
    "script-begin": "Added: lends the script its path and arguments",
    "script-end": "Added: takes them back",
}
_LEADS = {"title", "script", "script-begin"}
"""Roles of cells that belong to the code cell after them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A line of the contents."""

    anchor: str
    words: str
    number: str = ""
    level: int = 2
    css_class: str = ""
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A part of the page, and its lines in the contents."""

    html: str
    entries: Sequence[_Entry] = ()
    fallback: Sequence[_Entry] = ()
    """Lines for a notebook that has no others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writer:
    """What the parts of one page share."""

    language: str
    anchors: Anchors = field(default_factory=Anchors)


def review(notebook: JSONObject) -> str:
    """The page, complete with its style; it shows the same wherever it is opened."""
    info = mapping(mapping(notebook, "metadata"), "language_info")
    language = text(info, "pygments_lexer") or text(info, "name") or "python"
    writer = _Writer(language=language)
    name, named_by = _name(notebook)
    parts = list(_parts(writer, cells(notebook), named_by=named_by))
    entries = [entry for part in parts for entry in part.entries]
    contents = _contents(entries or [entry for part in parts for entry in part.fallback])
    body = "\n".join(part.html for part in parts) or '<p class="note">There are no cells.</p>'
    session = text(ours(notebook), "name")
    kicker = (
        "Notebook" if not ours(notebook) else "Session" if session == name else f"Session {session}"
    )
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<title>{escape(name)} · review</title>
<style>{_STYLE}</style>
</head>
<body>
<a class="skip" href="#steps">Skip to the steps</a>
<header class="top">
<p class="kicker">{escape(kicker)}</p>
<h1>{escape(name)}</h1>
{verdict_html(notebook)}
{facts_html(notebook)}
</header>
{contents}
<main id="steps">
{body}
</main>
</body>
</html>
"""
    return page.encode("utf-8", "replace").decode("utf-8")


def _name(notebook: JSONObject) -> tuple[str, int | None]:
    """What the notebook is called, and the cell that begins with that."""
    told = text(mapping(notebook, "metadata"), "title")
    first = _first_words(cells(notebook))
    if not told.strip() and first is not None:
        told = title(source_of(cells(notebook)[first]))
        if told:
            return told, first
    return told or text(ours(notebook), "name") or "Untitled", None


def _first_words(all_cells: Sequence[JSONObject]) -> int | None:
    """The cell that somebody wrote before anything else, if it is one of words."""
    for at, cell in enumerate(all_cells):
        if text(ours(cell), "role") not in {*_GENERATED, "install", "environment"}:
            words = cell.get("cell_type") == "markdown"
            return at if words and text(ours(cell), "role") in {"", "note"} else None
    return None


def _contents(entries: Sequence[_Entry]) -> str:
    if not entries:
        return ""
    # whoever begins with headings of the second level means those to be the highest
    raised = min(entry.level for entry in entries) - 2
    lines = "\n".join(_line(entry, entry.level - raised) for entry in entries)
    plain = "" if any(entry.number for entry in entries) else ' class="plain"'
    return (
        '<nav aria-label="Contents"><details open><summary>Contents</summary>\n'
        f"<ol{plain}>\n{lines}\n</ol></details></nav>"
    )


def _line(entry: _Entry, level: int) -> str:
    words = entry.words if len(entry.words) <= _ENTRY else f"{entry.words[:_ENTRY]}…"
    number = f'<span class="number">{escape(entry.number)}</span> ' if entry.number else ""
    remark = f' <span class="remark">{escape(entry.remark)}</span>' if entry.remark else ""
    return (
        f'<li class="level{level} {entry.css_class}">'
        f'<a href="#{entry.anchor}">{number}{escape(words)}</a>{remark}</li>'
    )


def _parts(
    writer: _Writer, all_cells: Sequence[JSONObject], *, named_by: int | None
) -> Iterator[_Part]:
    """The parts of the page, one for each step or for each cell that is none."""
    above: list[JSONObject] = []
    for at, cell in enumerate(all_cells):
        role = text(ours(cell), "role")
        if role in _LEADS:
            above.append(cell)
        elif role == "folded" or (cell.get("cell_type") == "code" and role not in _GENERATED):
            yield _step(writer, cell, above, f"cell-{at}")
            above = []
        else:
            yield from (_other(writer, each, f"cell-{at}") for each in above)
            above = []
            yield _other(writer, cell, f"cell-{at}", untitled=at == named_by)
    yield from (_other(writer, each, "cell-last") for each in above)


def _other(writer: _Writer, cell: JSONObject, anchor: str, *, untitled: bool = False) -> _Part:
    """A cell that is no step: words, an install, a new kernel, what we added."""
    role, kind = text(ours(cell), "role"), cell.get("cell_type")
    source = source_of(cell)
    if role in _GENERATED and kind == "code":
        return _Part(html=_generated(role, source))
    if kind != "markdown":
        label = f'<p class="label">{escape(str(kind))} cell, not run</p>'
        return _Part(html=f'<div class="raw">{label}{text_box(source)}</div>' if source else "")
    words = prose(source, writer.anchors, pictures=_attached(cell), untitled=untitled)
    css_class = {"kernel": "prose kernel", "note": "prose", "": "prose"}.get(role, "prose event")
    entries = [_heading_entry(heading, role) for heading in words.headings]
    if not entries and not untitled and role in {"note", "install", "environment"} and words.words:
        entries = [_Entry(anchor=anchor, words=words.words, css_class="quiet")]
    return _Part(html=f'<div class="{css_class}" id="{anchor}">{words.html}</div>', entries=entries)


def _heading_entry(heading: Heading, role: str) -> _Entry:
    return _Entry(
        anchor=heading.anchor,
        words=heading.words or "Untitled",
        # what is said between steps is as high as they are
        level=2 if role else min(heading.level + 1, 4),
        css_class="kernel" if role == "kernel" else "",
    )


def _generated(role: str, source: str) -> str:
    code = _code_html(source, "python")
    return f'<details class="setup"><summary>{_GENERATED[role]}</summary>{code}</details>'


def _attached(cell: JSONObject) -> Mapping[str, str]:
    """The addresses of a cell's attachments."""
    found: dict[str, str] = {}
    for name in (attachments := mapping(cell, "attachments")):
        for mime, content in mapping(attachments, name).items():
            if mime.startswith("image/") and (address := picture(mime, joined(content))):
                found.setdefault(name, address)
    return found


def _step(writer: _Writer, cell: JSONObject, above: Sequence[JSONObject], anchor: str) -> _Part:
    """A cell that ran, under its intent."""
    about = ours(cell)
    number = about.get("number")
    label = f"Step {number}" if isinstance(number, int) else ""
    intent = " ".join(text(about, "intent").split())
    folded = cell.get("cell_type") != "code"
    remark, css_class = _remark(cell, folded=folded)
    head = _head(cell, anchor, label, intent, remark, css_class)
    inside = [
        _lead(writer, each) for each in above if text(ours(each), "role") != "title" or not intent
    ]
    if folded:
        inside.append(prose(source_of(cell), writer.anchors, pictures={}).html)
    else:
        inside += _code_and_outputs(writer, cell, intent or label)
    inside.append(_difference(cell))
    name = f'aria-labelledby="{anchor}-name"'
    verdict, _, _ = VERDICTS.get(text(mapping(about, "verdict"), "verdict"), ("", "", ""))
    body = "\n".join(filter(None, inside))
    entry = _Entry(
        anchor=anchor,
        words=intent or first_line(_ran(cell)) or "Nothing",
        number=str(number) if label else "",
        css_class=" ".join(filter(None, [css_class, verdict, "" if intent else "code"])),
        remark=", ".join(filter(None, [remark, "differs" if verdict == "different" else ""])),
    )
    html = f'<section class="step {css_class}" id="{anchor}" {name}>\n{head}\n{body}\n</section>'
    return _Part(html=html, entries=[entry] if label else [], fallback=[] if label else [entry])


def _ran(cell: JSONObject) -> str:
    """The code of a step, also where it is folded."""
    source = source_of(cell)
    if cell.get("cell_type") == "code":
        return source
    fence = _FENCE.search(source)
    return source[fence.end() :].partition(f"\n{fence[1]}")[0] if fence else ""


def _head(
    cell: JSONObject, anchor: str, label: str, intent: str, remark: str, css_class: str
) -> str:
    """The line above a step: its number and intent, how it went, how long it took."""
    count = cell.get("execution_count")
    prompt = f"In [{count}]" if isinstance(count, int) else ""
    number = f'<span class="number">{escape(label or prompt or "Cell")}</span>'
    # a cell of a notebook that is not ours is no heading: its headings are in its words
    tag = "h2" if label else "p"
    line = first_line(_ran(cell)) if cell.get("cell_type") != "code" and not intent else ""
    named = f"<code>{escape(line[:_ENTRY])}</code>" if line else escape(intent)
    about = [
        f'<span class="badge {css_class}">{escape(remark)}</span>' if remark else "",
        _verdict(cell),
        escape(author) if (author := text(ours(cell), "author")) not in {"", "agent"} else "",
        prompt if label else "",
        duration(seconds_of(cell)),
    ]
    told = "\n".join(f"<span>{each}</span>" for each in about if each)
    return (
        f'<div class="head"><{tag} class="name" id="{anchor}-name">{number} {named}'
        f'</{tag}>\n<p class="about">{told}</p></div>'
    )


def _remark(cell: JSONObject, *, folded: bool) -> tuple[str, str]:
    """How a step ended, where that is not well, and the class for it."""
    about = ours(cell)
    outcome = text(about, "outcome")
    failed = _OUTCOMES.get(outcome, "")
    if not failed and not outcome and (has_error(cell) or "raises-exception" in tags(cell)):
        failed = "failed"
    if failed:
        return (failed if folded or not about else f"{failed}, kept: needed later"), "failed"
    if about.get("complete") is False:
        return "output incomplete", "cut"
    if about.get("truncated") is True:
        return "output cut", "cut"
    return "", "earlier" if folded else ""


def _verdict(cell: JSONObject) -> str:
    verdict = text(mapping(ours(cell), "verdict"), "verdict")
    if verdict not in VERDICTS:
        return ""
    css_class, mark, words = VERDICTS[verdict]
    return f'<span class="badge {css_class}">{mark} {words}</span>'


def _difference(cell: JSONObject) -> str:
    told = text(mapping(ours(cell), "verdict"), "difference")
    if not told.strip():
        return ""
    return (
        '<details class="difference"><summary>What differs in a fresh kernel</summary>'
        f"{text_box(told)}</details>"
    )


def _lead(writer: _Writer, cell: JSONObject) -> str:
    role = text(ours(cell), "role")
    if cell.get("cell_type") == "code":
        return _generated(role, source_of(cell)) if role in _GENERATED else ""
    return (
        f'<div class="prose event">{prose(source_of(cell), writer.anchors, pictures={}).html}</div>'
    )


def _code_and_outputs(writer: _Writer, cell: JSONObject, described: str) -> Iterator[str]:
    source = source_of(cell)
    if source.strip():
        yield _code_html(source, writer.language)
    alt = f"Picture: {described or first_line(source) or 'no description'}"
    if outputs := outputs_html(cell.get("outputs"), alt):
        yield f'<div class="outputs" role="group" aria-label="Output">\n{outputs}\n</div>'


def _code_html(source: str, language: str) -> str:
    return f'<pre class="code">\n<code>{highlighted(source, language)}</code></pre>'

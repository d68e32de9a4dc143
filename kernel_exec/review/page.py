"""A notebook as a page for reviewers: one file, without script and without network. Pure.

For each step its intent, its code and what came of it, under a head that says what ran where, how
it went and whether it holds. Works for every notebook in nbformat 4; what kernel-exec knows of its
own is read from `metadata.kernel_exec`.

Two walls keep outputs from doing anything: what they hold is escaped or sanitised (`hypertext`),
and the page's own policy lets a browser run no script, fetch nothing and use our styles only.
"""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources

from kernel_exec.content.plain import counted
from kernel_exec.jsons import JSONObject, mapping, text
from kernel_exec.notebooks.markdown import inline, one_line
from kernel_exec.notebooks.provenance import marker
from kernel_exec.notebooks.reading import (
    cells,
    errors_of,
    is_code,
    is_long,
    ours,
    role_of,
    session_of,
    source_of,
    tags,
    verdict_of,
)

from .facts import (
    VERDICTS,
    badge_html,
    code_of,
    duration,
    facts_html,
    first_line,
    link_html,
    seconds_of,
    verdict_html,
)
from .hypertext import escape, highlighted
from .opening import Opening, opening, tells
from .outputs import outputs_html, text_box
from .prose import Anchors, Heading, attached, line, prose

_STYLE = (resources.files(__package__) / "page.css").read_text("utf-8")
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
_GENERATED = {
    "requirements": "What the notebook needs to run again",
    "script-begin": "Added: lends the script its path and arguments",
    "script-end": "Added: takes them back",
}
_LEADS = {"title", "script", "script-begin"}
"""Roles of cells that belong to the code cell after them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A line of the contents; a `spare` one is for a notebook that has no others."""

    anchor: str
    words: str
    number: str = ""
    level: int = 2
    css_class: str = ""
    remark: str = ""
    spare: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A part of the page, and its lines in the contents."""

    html: str
    entries: Sequence[_Entry] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writer:
    """What the parts of one page share."""

    language: str
    name: str
    said: Opening
    anchors: Anchors = field(default_factory=Anchors)


def review(notebook: JSONObject) -> str:
    """The page, complete with its style; it shows the same wherever it is opened."""
    info = mapping(mapping(notebook, "metadata"), "language_info")
    language = text(info, "pygments_lexer") or text(info, "name") or "python"
    said = opening(notebook)
    title, name = line(inline(said.title))
    writer = _Writer(language=language, name=name, said=said)
    top = _top(writer, notebook, title)  # the first, as it also takes the first anchors
    parts = list(_parts(writer, cells(notebook)))
    entries = [entry for part in parts for entry in part.entries]
    contents = _contents([entry for entry in entries if not entry.spare] or entries)
    body = "\n".join(part.html for part in parts) or '<p class="note">There are no cells.</p>'
    session = session_of(notebook)
    mark = f"<!-- {marker(session)} -->\n" if session else ""  # above the doctype it would break it
    page = f"""<!doctype html>
{mark}<html lang="en">
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
{top}
{contents}
<main id="steps">
{body}
</main>
</body>
</html>
"""
    return page.encode("utf-8", "replace").decode("utf-8")


def _top(writer: _Writer, notebook: JSONObject, title: str) -> str:
    called = text(ours(notebook), "name")
    kicker = f"Session {called}" if called and writer.name != f"Session {called}" else "Notebook"
    return f"""<header class="top">
<p class="kicker">{escape(kicker)}</p>
<h1>{title}</h1>
{verdict_html(notebook, writer.said)}
{_finding(writer)}
{facts_html(notebook)}
</header>"""


def _finding(writer: _Writer) -> str:
    """The last note, which stands below in its own place as well."""
    said = writer.said
    if not said.finding or said.note is None:
        return ""
    html = prose(said.finding, writer.anchors, pictures={}, known={writer.name}).html
    label = f'<p class="label">Finding · {link_html(said.note)}</p>'
    return f'<div class="prose finding">{label}\n{html}</div>'


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
        f'<a href="#{entry.anchor}">{number}<bdi>{escape(words)}</bdi></a>{remark}</li>'
    )


def _parts(writer: _Writer, all_cells: Sequence[JSONObject]) -> Iterator[_Part]:
    """The parts of the page, one for each step or for each cell that is none."""
    above: list[JSONObject] = []
    for at, cell in enumerate(all_cells):
        role = role_of(cell)
        if tells(cell, writer.said):
            continue  # it is the page's head
        if role in _LEADS:
            above.append(cell)
        elif role == "folded" or (is_code(cell) and role not in _GENERATED):
            yield _step(writer, cell, above, f"cell-{at}")
            above = []
        else:
            yield from (_other(writer, each, f"cell-{at}") for each in above)
            above = []
            after = all_cells[at + 1] if at + 1 < len(all_cells) else {}
            yield _other(writer, cell, f"cell-{at}", followed_by=_titled(after)[1])
    yield from (_other(writer, each, "cell-last") for each in above)


def _other(writer: _Writer, cell: JSONObject, anchor: str, *, followed_by: str = "") -> _Part:
    """A cell that is no step: words, an install, a new kernel, what we added."""
    role, kind = role_of(cell), cell.get("cell_type")
    source = source_of(cell)
    if role in _GENERATED and kind == "code":
        return _Part(html=_generated(role, source))
    if kind != "markdown":
        label = f'<p class="label">{escape(str(kind))} cell, not run</p>'
        return _Part(html=f'<div class="raw">{label}{text_box(source)}</div>' if source else "")
    pictures = attached(cell)
    words = prose(source, writer.anchors, pictures=pictures, known={writer.name, followed_by})
    css_class = {"kernel": "prose kernel", "note": "prose", "": "prose"}.get(role, "prose event")
    entries = [_heading_entry(heading, role) for heading in words.headings]
    if not entries and role in {"note", "install", "environment"} and words.words:
        entries = [_Entry(anchor=anchor, words=words.words, css_class="quiet")]
    if entries and role == "note":
        entries[0] = replace(entries[0], number=_number(cell))
    linked = words.html or role == "note"
    html = f'<div class="{css_class}" id="{anchor}">{words.html}</div>' if linked else ""
    return _Part(html=html, entries=entries)


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


def _titled(cell: JSONObject) -> tuple[str, str]:
    """The intent of a step as HTML and as plain text."""
    intent = text(ours(cell), "intent")
    return line(inline(intent)) if intent.strip() else ("", "")


def _number(cell: JSONObject) -> str:
    number = ours(cell).get("number")
    return str(number) if isinstance(number, int) else ""


def _step(writer: _Writer, cell: JSONObject, above: Sequence[JSONObject], anchor: str) -> _Part:
    """A cell that ran, under its intent; closed where the notebook hides its failure."""
    number = _number(cell)
    intent = _titled(cell)[1]
    remark, css_class = _remark(cell)
    inside = [_lead(writer, each) for each in above if role_of(each) != "title" or not intent]
    if is_code(cell):
        inside += _code_and_outputs(writer, cell, intent or (f"step {number}" if number else ""))
    else:
        inside.append(prose(source_of(cell), writer.anchors, pictures={}).html)
    inside.append(_difference(cell))
    verdict, _, _ = VERDICTS.get(verdict_of(cell)[0], ("", "", ""))
    entry = _Entry(
        anchor=anchor,
        words=intent or first_line(code_of(cell)) or "Nothing",
        number=number,
        spare=not number,
        css_class=" ".join(filter(None, [css_class, verdict, "" if intent else "code"])),
        remark=", ".join(filter(None, [remark, "differs" if verdict == "different" else ""])),
    )
    head = _head(cell, anchor, remark, css_class)
    body = "\n".join(filter(None, inside))
    whole = (
        f'<details><summary class="head">{head}</summary>\n{body}\n</details>'
        if _is_hidden(cell)
        else f'<div class="head">{head}</div>\n{body}'
    )
    html = (
        f'<section class="step {css_class}" id="{anchor}" aria-labelledby="{anchor}-name">\n'
        f"{whole}\n</section>"
    )
    return _Part(html=html, entries=[entry])


def _is_hidden(cell: JSONObject) -> bool:
    """Whether the notebook folds a failure; code that succeeded is never hidden here."""
    hidden = mapping(mapping(cell, "metadata"), "jupyter").get("source_hidden") is True
    return hidden and "raises-exception" in tags(cell)


def _head(cell: JSONObject, anchor: str, remark: str, css_class: str) -> str:
    """The line above a step: its number and intent, how it went, how long it took."""
    step, count = _number(cell), cell.get("execution_count")
    prompt = f"In [{count}]" if isinstance(count, int) else "Cell"
    number = f'<span class="number">{f"Step {step}" if step else prompt}</span>'
    # a cell of a notebook that is not ours is no heading: its headings are in its words
    tag = "h2" if step else "span"
    named = _titled(cell)[0]
    is_closed = not is_code(cell) or _is_hidden(cell)
    if not named and is_closed and (first := first_line(code_of(cell))):
        named = f"<code>{escape(first[:_ENTRY])}</code>"
    about = [
        f'<span class="badge {css_class}">{escape(remark)}</span>' if remark else "",
        badge_html(cell),
        escape(author) if (author := text(ours(cell), "author")) not in {"", "agent"} else "",
        duration(seconds_of(cell)),
    ]
    about_html = "\n".join(f"<span>{each}</span>" for each in about if each)
    reason = f'\n<span class="reason">{_reason(cell)}</span>' if _is_hidden(cell) else ""
    return (
        f'<{tag} class="name" id="{anchor}-name">{number} <bdi>{named}</bdi></{tag}>'
        f'\n<span class="about">{about_html}</span>{reason}'
    )


def _reason(cell: JSONObject) -> str:
    """The last error of a cell in a line."""
    errors = errors_of(cell)
    words = [one_line(text(errors[-1], key)) for key in ("ename", "evalue")] if errors else []
    return escape(": ".join(filter(None, words)))


def _remark(cell: JSONObject) -> tuple[str, str]:
    """How a step ended, where that is not well, and the class for it."""
    about = ours(cell)
    outcome = text(about, "outcome")
    failed = _OUTCOMES.get(outcome, "")
    if not failed and not outcome and (errors_of(cell) or "raises-exception" in tags(cell)):
        failed = "failed"
    if failed:
        return failed, "failed"
    if about.get("complete") is False:
        return "output incomplete", "cut"
    if about.get("truncated") is True:
        return "output cut", "cut"
    return "", "" if is_code(cell) else "earlier"


def _difference(cell: JSONObject) -> str:
    _, difference = verdict_of(cell)
    if not difference.strip():
        return ""
    return (
        '<details class="difference"><summary>What differs in a fresh kernel</summary>'
        f"{text_box(difference)}</details>"
    )


def _lead(writer: _Writer, cell: JSONObject) -> str:
    role = role_of(cell)
    if is_code(cell):
        return _generated(role, source_of(cell)) if role in _GENERATED else ""
    return (
        f'<div class="prose event">{prose(source_of(cell), writer.anchors, pictures={}).html}</div>'
    )


def _code_and_outputs(writer: _Writer, cell: JSONObject, described: str) -> Iterator[str]:
    source = source_of(cell)
    if source.strip():
        code = _code_html(source, writer.language)
        yield _folded(source, code) if is_long(source) else code
    alt = f"Picture: {described or first_line(source) or 'no description'}"
    if outputs := outputs_html(cell.get("outputs"), alt):
        yield f'<div class="outputs" role="group" aria-label="Output">\n{outputs}\n</div>'


def _folded(source: str, code: str) -> str:
    """Long code behind its length and its first line."""
    lines = counted(len(source.rstrip().split("\n")), "line")
    first = f" <code>{escape(first_line(source)[:_ENTRY])}</code>"
    return f'<details class="long"><summary>{lines} of code{first}</summary>{code}</details>'


def _code_html(source: str, language: str) -> str:
    return f'<pre class="code">\n<code>{highlighted(source, language)}</code></pre>'

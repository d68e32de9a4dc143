"""A notebook as a Markdown document, for reading and for comments in reviews. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from kernel_exec.content.plain import counted
from kernel_exec.jsons import JSON, JSONObject, count, mapping, text
from kernel_exec.notebooks.markdown import fence, html, literal, picture
from kernel_exec.notebooks.outputs import is_picture
from kernel_exec.notebooks.provenance import marker
from kernel_exec.notebooks.reading import (
    cells,
    is_code,
    joined,
    ours,
    outputs_of,
    role_of,
    session_of,
    source_of,
    traceback_of,
    verdict_of,
)
from kernel_exec.review.opening import Opening, fragment, markdown, opening, tells
from kernel_exec.terminal import strip_ansi

from .budget import ENDINGS, content_of

_TEXT = 4000
"""Characters of a text output; the notebook has the rest."""

_COUNTS = {
    "executions": "execution",
    "failed": "",
    "restarts": "restart",
    "installs": "install",
}
_PICTURES = tuple(mime for mime in ENDINGS if is_picture(mime))
"""Types that are shown as pictures, the best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The document, and the pictures that it shows, by the names of their files."""

    text: str
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    """A part of the document that is a file."""

    mime: str
    content: bytes
    alt: str


def report(notebook: JSONObject, *, folder: str) -> Report:
    """What was done and what came of it; its pictures are to be in `folder`."""
    said = opening(notebook)
    parts: list[str] = [*_top(notebook, said)]
    linked = {each.index for each in (*said.differing, *said.close, said.note) if each}
    files: dict[str, bytes] = {}
    for index, cell in enumerate(cells(notebook)):
        # nobody ran what lends a script its path, and what tells of the whole is at the top
        if role_of(cell) in {"script-begin", "script-end"} or tells(cell, said):
            continue
        if index in linked:
            parts.append(f'<a id="{fragment(text(cell, "id"))}"></a>')
        for at, part in enumerate(_cell(cell)):
            if isinstance(part, _Picture):
                name = f"{text(cell, 'id') or 'cell'}-{at}.{ENDINGS[part.mime]}"
                files[name] = part.content
                parts.append(picture(f"{folder}/{name}", part.alt))
            else:
                parts.append(part)
    written = "\n\n".join(part.rstrip("\n") for part in parts if part.strip())
    return Report(text=f"{written}\n", files=files)


def _top(notebook: JSONObject, said: Opening) -> Iterator[str]:
    about = ours(notebook)
    if session := session_of(notebook):
        yield f"<!-- {marker(session)} -->"
    if not about:
        return
    interpreter = mapping(about, "interpreter")
    facts = [
        ("Environment", text(about, "environment")),
        ("Python", text(interpreter, "python")),
        ("Platform", text(interpreter, "platform")),
    ]
    lines = [f"- {name}: {literal(value)}" for name, value in facts if value]
    counts = mapping(about, "counts")
    listed = [
        counted(number, thing) if key != "failed" else f"{number:,} failed"
        for key, thing in _COUNTS.items()
        if (number := count(counts, key))
    ]
    lines += [f"- {', '.join(listed)}"] if listed else []
    lines += _rerun(mapping(about, "verification"))
    yield markdown(said, "\n".join(lines))


def _rerun(verification: JSONObject) -> list[str]:
    counts = mapping(verification, "counts")
    listed = ", ".join(f"{number} {html(name)}" for name, number in counts.items() if number)
    when = text(verification, "when")
    return [f"- Rerun: {listed}{f', {html(when)}' if when else ''}"] if listed else []


def _cell(cell: JSONObject) -> Iterator[str | _Picture]:
    if not is_code(cell):
        yield source_of(cell)
        return
    yield fence(source_of(cell), "python")
    for output in outputs_of(cell):
        yield from _output(output)
    word, difference = verdict_of(cell)
    if word not in {"", "same", "close", "not run"}:
        yield f"*Run again:* **{html(word)}**"
        if difference:
            yield fence(difference, "diff")


def _output(output: JSONObject) -> Iterator[str | _Picture]:
    match output.get("output_type"):
        case "stream":
            yield _text(joined(output.get("text")))
        case "error":
            last = f"{text(output, 'ename')}: {text(output, 'evalue')}"
            yield _text(traceback_of(output) or last)
        case _:
            yield from _display(mapping(output, "data"), mapping(output, "metadata"))


def _display(data: JSONObject, metadata: JSONObject) -> Iterator[str | _Picture]:
    for mime in _PICTURES:
        if mime in data:
            alt = text(mapping(metadata, mime), "alt") or "a picture"
            yield _Picture(mime=mime, content=content_of(mime, data[mime]), alt=alt)
            return
    if markdown := joined(data.get("text/markdown")):
        yield markdown
        return
    plain = joined(data.get("text/plain"))
    if plain:
        yield _text(plain)
    elif html_form := joined(data.get("text/html")):
        yield f"*[HTML, {counted(len(html_form), 'character')}]*"
    else:
        names: list[JSON] = list(data)
        yield f"*[{html(', '.join(map(str, names)))}]*" if names else ""


def _text(words: str) -> str:
    shown = strip_ansi(words).rstrip("\n")
    if len(shown) > _TEXT:
        left_out = counted(len(shown) - _TEXT, "character")
        half = _TEXT // 2
        shown = f"{shown[:half]}\n[{left_out} left out]\n{shown[-half:]}"
    return fence(shown, "text") if shown else ""

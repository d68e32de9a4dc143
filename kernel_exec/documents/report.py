"""A notebook as a Markdown document, for reading and for comments in reviews. Pure."""

from collections.abc import Iterator, Sequence

from kernel_exec.kernels.messages import JSON, JSONObject, mapping, text
from kernel_exec.kernels.terminal import strip_ansi
from kernel_exec.notebooks.markdown import fence, heading, html, literal
from kernel_exec.notebooks.value import cells, joined, objects, ours, session_of

from .percent import marker

_TEXT = 4000
"""Characters of a text output; the notebook has the rest."""

_PICTURES = ("image/png", "image/jpeg", "image/gif")


def report(notebook: JSONObject) -> str:
    """What was done and what came of it; pictures inline unless the notebook links them."""
    parts = [*_top(notebook)]
    for cell in cells(notebook):
        if text(ours(cell), "role") not in {"script-begin", "script-end"}:  # nobody ran these
            parts += _cell(cell)
    return "\n\n".join(part.rstrip("\n") for part in parts if part.strip()) + "\n"


def _top(notebook: JSONObject) -> Iterator[str]:
    about = ours(notebook)
    if session := session_of(notebook):
        yield f"<!-- {marker(session)} -->"
    if not about:
        return
    yield heading(f"Session {text(about, 'name')}", 1)
    interpreter = mapping(about, "interpreter")
    facts = [
        ("Environment", text(about, "environment")),
        ("Python", text(interpreter, "python")),
        ("Platform", text(interpreter, "platform")),
    ]
    lines = [f"- {name}: {literal(value)}" for name, value in facts if value]
    counts = mapping(about, "counts")
    told = [
        f"{counts.get(key)} {word}"
        for key, word in (
            ("executions", "executions"),
            ("failed", "failed"),
            ("restarts", "restarts"),
            ("installs", "installs"),
        )
        if counts.get(key)
    ]
    lines += [f"- {', '.join(told)}"] if told else []
    lines += _verdict(mapping(about, "verification"))
    yield "\n".join(lines)


def _verdict(verification: JSONObject) -> list[str]:
    if not verification:
        return []
    counts = mapping(verification, "counts")
    told = ", ".join(f"{number} {html(name)}" for name, number in counts.items() if number)
    when = text(verification, "when")
    at = f", {html(when)}" if when else ""
    return [
        f"- Run again in a fresh kernel: **{html(text(verification, 'verdict'))}** ({told}){at}"
    ]


def _cell(cell: JSONObject) -> Iterator[str]:
    source = joined(cell.get("source"))
    if cell.get("cell_type") != "code":
        yield source
        return
    yield fence(source, "python")
    for output in objects(cell.get("outputs")):
        yield from _output(output)
    verdict = mapping(ours(cell), "verdict")
    if (word := text(verdict, "verdict")) not in {"", "same", "close", "not run"}:
        difference = text(verdict, "difference")
        yield f"*Run again:* **{html(word)}**"
        if difference:
            yield fence(difference, "diff")


def _output(output: JSONObject) -> Iterator[str]:
    match output.get("output_type"):
        case "stream":
            yield _text(joined(output.get("text")))
        case "error":
            lines = output.get("traceback")
            blocks = [str(line) for line in lines] if isinstance(lines, Sequence) else []
            last = f"{text(output, 'ename')}: {text(output, 'evalue')}"
            yield _text("\n".join(blocks) or last)
        case _:
            yield from _display(mapping(output, "data"), mapping(output, "metadata"))


def _display(data: JSONObject, metadata: JSONObject) -> Iterator[str]:
    for mime in _PICTURES:
        if encoded := joined(data.get(mime)):
            alt = text(mapping(metadata, mime), "alt") or "a picture"
            words = " ".join(alt.replace("[", "(").replace("]", ")").split())
            yield f"![{words}](data:{mime};base64,{''.join(encoded.split())})"
            return
    if markdown := joined(data.get("text/markdown")):
        yield markdown
        return
    plain = joined(data.get("text/plain"))
    if plain:
        yield _text(plain)
    elif html_form := joined(data.get("text/html")):
        yield f"*[HTML, {len(html_form):,} characters]*"
    else:
        names: list[JSON] = list(data)
        yield f"*[{html(', '.join(map(str, names)))}]*" if names else ""


def _text(words: str) -> str:
    shown = strip_ansi(words).rstrip("\n")
    if len(shown) > _TEXT:
        left_out = len(shown) - _TEXT
        half = _TEXT // 2
        shown = f"{shown[:half]}\n[{left_out:,} characters left out]\n{shown[-half:]}"
    return fence(shown, "text") if shown else ""

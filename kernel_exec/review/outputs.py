"""What a cell produced, as HTML for the review page: of each output the form that says most. Pure.

Pictures are carried along, HTML is sanitised, interactive charts become a line of text. Whatever
can't be shown is named, and long text keeps its beginning and its end in sight.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from kernel_exec.content.charts import describe_chart
from kernel_exec.content.plain import counted
from kernel_exec.jsons import JSON, JSONObject, count, mapping, text
from kernel_exec.notebooks.outputs import is_picture, rest_of
from kernel_exec.notebooks.reading import joined, objects, role_of, traceback_of
from kernel_exec.terminal import carry_out

from .hypertext import coloured, escape, picture, sanitised, vector
from .prose import Anchors, prose

_LINES_SHOWN = 40
_HEAD, _TAIL = 24, 10
"""Lines before and after those that are folded."""

_MOST = 100_000
"""Characters of one text that the page holds."""

_MOST_MARKUP = 250_000
"""Characters of HTML or SVG that are shown as such."""

_LONG_LINE = 400
"""Characters from which on a line is wrapped rather than scrolled."""

_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_LOADERS = ("application/vnd.bokehjs_load.", "application/vnd.holoviews_load.")
_ACTIVE = re.compile(
    r"<\s*(script|iframe|object|embed|form|svg|canvas|video|audio)\b", re.IGNORECASE
)


def outputs_html(outputs: JSON, described: str) -> str:
    """The outputs of a cell; `described` are the words for pictures that have none."""
    parts: list[str] = []
    for name, run in groupby(objects(outputs), _stream_name):
        if name:
            written = "".join(joined(output.get("text")) for output in run)
            parts += [_stream(name, written)] if written else []
        else:
            parts += [_other(output, described) for output in run]
    return "\n".join(filter(None, parts))


def _stream_name(output: JSONObject) -> str:
    """The stream that an output is a part of, "" for all else."""
    return (text(output, "name") or "stdout") if output.get("output_type") == "stream" else ""


def _other(output: JSONObject, described: str) -> str:
    if missing := rest_of(output):
        return _rest(missing)
    if output.get("output_type") == "error":
        return _error(output)
    try:
        return _display(output, described)
    except RecursionError:  # a reader of ours went down what was nested too deep
        return '<p class="note">This output is nested too deeply to be shown.</p>'


def _stream(name: str, written: str) -> str:
    box = text_box(carry_out(written))
    label = "" if name == "stdout" else f'<p class="label">{escape(name)}</p>'
    css_class = "stream" if name == "stdout" else "stream aside"
    return f'<div class="{css_class}">{label}{box}</div>'


def _rest(missing: JSONObject) -> str:
    """Where the whole of the output above is."""
    left_out = count(missing, "left_out")
    lines = [f"{counted(left_out, 'character')} left out here."] if left_out else []
    for mime, path in mapping(missing, "files").items():
        alt = text(missing, "alt") if is_picture(mime) else ""
        what = f"“{escape(alt)}”" if alt else f"All of the {escape(mime)}" if mime else "All of it"
        lines.append(f"{what} is in <code>{escape(str(path))}</code>")
    return f'<p class="note">{"<br>".join(lines)}</p>'


def text_box(written: str) -> str:
    """Text in a box that scrolls by itself, its middle folded when there is much of it."""
    missing = len(written) - _MOST
    if missing > 0:
        begins, ends = written[: _MOST * 2 // 3].split("\n"), written[-_MOST // 3 :].split("\n")
        return _folded(begins, ends, counted(missing, "character"))
    lines = written.rstrip("\n").split("\n")
    if not any(lines):
        return ""
    return _pre(lines) if len(lines) <= _LINES_SHOWN else _folded(lines[:-_TAIL], lines[-_TAIL:])


def _folded(begins: Sequence[str], ends: Sequence[str], missing: str = "") -> str:
    """The first and the last lines, and between them the others, `missing` but for what is here."""
    note = f'<p class="note">Only in the notebook: {missing}</p>' if missing else ""
    more = _pre(begins[_HEAD:]) + note + _pre(ends[:-_TAIL])
    if len(begins) > _HEAD:
        number = counted(len(begins) - _HEAD + len(ends[:-_TAIL]), "more line")
        summary = f"{number} here, and {missing} more" if missing else number
        more = f'<details class="middle"><summary>{summary}</summary>{more}</details>'
    return f"{_pre(begins[:_HEAD])}{more}{_pre(ends[-_TAIL:])}"


def _pre(lines: Sequence[str]) -> str:
    wrap = " class=wrap" if max(map(len, lines), default=0) > _LONG_LINE else ""
    # a browser drops a line end that comes first
    return f"<pre{wrap}>\n{coloured(chr(10).join(lines))}</pre>" if lines else ""


def _error(output: JSONObject) -> str:
    name = joined(output.get("ename")) or "Error"
    value = joined(output.get("evalue"))
    shown = value if len(value) <= _LONG_LINE else f"{value[:_LONG_LINE]}…"
    traceback = traceback_of(output).strip("\n")
    head = f"<p><strong>{coloured(name)}</strong>{f': {coloured(shown)}' if shown else ''}</p>"
    if not traceback:
        return f'<div class="error">{head}</div>'
    return (
        f'<div class="error">{head}<details><summary>Traceback</summary>'
        f"{text_box(traceback)}</details></div>"
    )


def _display(output: JSONObject, described: str) -> str:
    data, metadata = mapping(output, "data"), mapping(output, "metadata")
    if role_of(output) == "late":
        return '<p class="note late">What follows came after the cell had ended.</p>'
    texts = {mime: _text_of(value) for mime, value in data.items()}
    for mime in (*_PICTURES, "image/svg+xml"):
        if mime in texts and (address := _address(mime, texts[mime])):
            return _figure(address, mapping(metadata, mime), described)
    if summary := describe_chart({**data, **{mime: form for mime, form in texts.items() if form}}):
        words = escape(summary.removeprefix("[").removesuffix("]"))
        return f'<p class="note">{words} (interactive, not drawn here)</p>'
    if any(mime.startswith(_LOADERS) for mime in data):
        return ""
    return next(filter(None, _readings(data, texts)), "") or _unseen(data)


def _address(mime: str, content: str) -> str | None:
    if mime != "image/svg+xml":
        return picture(mime, content)
    if not content.strip() or len(content) > _MOST_MARKUP:
        return None
    return vector(content.encode("utf-8", "replace"))


def _figure(address: str, metadata: JSONObject, described: str) -> str:
    alt = text(metadata, "alt")
    size = "".join(
        f' {name}="{value}"'
        for name in ("width", "height")
        if isinstance(value := metadata.get(name), int) and 0 < value < 10_000
    )
    return f'<figure><img src="{address}" alt="{escape(alt or described)}"{size}></figure>'


def _readings(data: JSONObject, texts: Mapping[str, str]) -> Iterator[str]:
    """The text forms of a display, the best first; "" for what shows nothing."""
    if markup := texts.get("text/html", ""):
        yield _markup(markup)
    if source := texts.get("text/markdown", ""):
        shown = prose(source, Anchors(), pictures={}).html
        yield f'<div class="prose">{shown}</div>' if shown.strip() else ""
    yield text_box(texts.get("text/latex", ""))
    for mime, value in data.items():
        if re.fullmatch(r"application/(?:[\w.-]+\+)?json", mime) and not mime.startswith(
            "application/vnd.jupyter."
        ):
            yield text_box(_as_json(value))
    yield text_box(texts.get("text/plain", ""))


def _text_of(value: JSON) -> str:
    """A text, or its lines; "" for other JSON."""
    lines = value if isinstance(value, Sequence) else ()
    return joined(value) if all(isinstance(line, str) for line in lines) else ""


def _as_json(value: JSON) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, indent=2)
    except (RecursionError, ValueError) as error:  # too deep, or a number of too many digits
        return f"[JSON that can't be shown: {error}]"


def _markup(markup: str) -> str:
    """HTML that does nothing, and the names of what was left out; "" when nothing is to be seen."""
    if len(markup) > _MOST_MARKUP:
        return ""
    shown = sanitised(markup)
    if not re.sub(r"<(?!img)[^>]*>", "", shown).strip():
        return ""
    active = sorted({found.lower() for found in _ACTIVE.findall(markup)})
    note = f'<p class="note">Left out of this: {", ".join(active)}</p>' if active else ""
    return f'<div class="markup">{shown}</div>{note}'


def _unseen(data: JSONObject) -> str:
    sizes = {mime: len(_text_of(value) or _as_json(value)) for mime, value in data.items() if value}
    listed = ", ".join(
        f"{escape(mime)} ({counted(size, 'character')})" for mime, size in sizes.items()
    )
    return f'<p class="note">Not shown on a page without scripts: {listed}</p>' if listed else ""

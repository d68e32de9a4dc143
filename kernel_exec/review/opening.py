"""The first screen of a notebook: what it is about, whether it holds, what was found. Pure.

One value, which the first Markdown cell, the review page and the report show alike. In Markdown the
finding stands last: it is anybody's words, and could hide what stood below it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from kernel_exec.content.plain import counted, one_line
from kernel_exec.jsons import JSON, JSONObject, mapping, text
from kernel_exec.notebooks.cells import plain_markdown
from kernel_exec.notebooks.markdown import heading, inline
from kernel_exec.notebooks.reading import cells, is_code, ours, role_of, source_of, verdict_of
from kernel_exec.verification.results import Verification, stamp

DIFFERING = {"different": "different", "new error": "new error", "fixed": "no longer fails"}
"""The verdicts on a cell for which a notebook differs, each in words."""

_ROLE = "opening"

_TITLE = 120
"""Characters of a title."""

_FINDING = 3000
"""Characters of a finding that is shown whole; a link leads to a longer one."""

_LISTED = 10
"""Cells that are listed of each kind."""

_MARKS = re.compile(r"\A(?:(?:#{1,6}|[>*+-])\s+)+")
"""What a line of Markdown may begin with."""

_HEADING = re.compile(r" {0,3}#{1,6}\s")
_TOP_HEADING = re.compile(r"\s*# ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """A cell that the first screen leads to; `index` is its place among all cells."""

    index: int
    id: str
    name: str
    intent: str = ""
    verdict: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A notebook's title, what verification found, and the last note, "" for none.

    Of the `ran` cells that ran again, those are listed that differ or are only close.
    """

    title: str
    verdict: str = ""
    reason: str = ""
    ran: int = 0
    differing: Sequence[Mention] = ()
    close: Sequence[Mention] = ()
    finding: str = ""
    note: Mention | None = None

    @property
    def sentence(self) -> str:
        """Whether the notebook holds, as plain text."""
        match self.verdict:
            case "same":
                return "Verified: a fresh kernel gave the same results."
            case "close":
                return "Verified: a fresh kernel gave the same results but for trivial differences."
            case "different":
                steps = f"{len(self.differing):,} of {counted(self.ran, 'step')}"
                verb = "differs" if len(self.differing) == 1 else "differ"
                return f"Verified: {steps} {verb} in a fresh kernel."
            case "failed":
                why = f": {self.reason}" if self.reason else ""
                return f"Verified: the notebook did not run through in a fresh kernel{why}."
            case _:
                return "Not verified: nobody has run this notebook again in a fresh kernel."

    @property
    def listed(self) -> tuple[Sequence[Mention], Sequence[Mention]]:
        """The first of those that differ and of those that are close."""
        return self.differing[:_LISTED], self.close[:_LISTED]


def opening(notebook: JSONObject) -> Opening:
    """What the first screen of `notebook` says, whoever wrote it."""
    found = mapping(ours(notebook), "verification")
    listed, title = cells(notebook), _title(notebook)
    ran = [(at, cell) for at, cell in enumerate(listed) if is_code(cell) and verdict_of(cell)[0]]
    judged = [_mention(at, cell) for at, cell in ran]
    notes = [_mention(at, cell) for at, cell in enumerate(listed) if role_of(cell) == "note"]
    return Opening(
        title=title,
        verdict=text(found, "verdict"),
        reason=_line(text(found, "reason")),
        ran=len(judged),
        differing=[each for each in judged if each.verdict in DIFFERING],
        close=[each for each in judged if each.verdict == "close"],
        finding=_finding(source_of(listed[notes[-1].index]), title) if notes else "",
        note=notes[-1] if notes else None,
    )


def opened(notebook: JSONObject, title: str = "") -> JSONObject:
    """The notebook under `title` or one of its own, with its first screen as first cell.

    One without cells stays as it is.
    """
    if not (listed := cells(notebook)):
        return notebook
    words = _line(title) or _title(notebook)
    titled = {**notebook, "metadata": {**mapping(notebook, "metadata"), "title": words}}
    first = plain_markdown(markdown(opening(titled)), cell_id=_ROLE, role=_ROLE)
    return {**titled, "cells": [first, *listed]}


def stamped(notebook: JSONObject, verification: Verification) -> JSONObject:
    """The notebook with the verdicts, also in its first screen unless somebody wrote that anew."""
    before, after = opening(notebook), stamp(notebook, verification)
    said, listed = markdown(opening(after)), after["cells"]
    told: list[JSON] = [
        {**cell, "source": said} if isinstance(cell, Mapping) and tells(cell, before) else cell
        for cell in (listed if isinstance(listed, Sequence) else ())
    ]
    return {**after, "cells": told}


def tells(cell: JSONObject, said: Opening) -> bool:
    """Whether a cell says this and no more, so that whoever shows it need not show the cell."""
    return role_of(cell) == _ROLE and not is_code(cell) and source_of(cell) == markdown(said)


def markdown(said: Opening, facts: str = "") -> str:
    """The first screen as Markdown; `facts` stand above the finding."""
    whether, _, how = said.sentence.partition(":")
    parts = [heading(said.title, 1), f"**{whether}:** {inline(how)}", *_lists(said), facts]
    if said.finding and said.note:
        parts += [f"**Finding** ({_linked(said.note)})", said.finding]
    return "\n\n".join(filter(None, parts))


def fragment(cell_id: str) -> str:
    """The anchor that JupyterLab and nbconvert give a cell."""
    return f"cell-id={quote(cell_id)}"


def _lists(said: Opening) -> Iterator[str]:
    """The cells that differ, a line each, and those that are close, in one line."""
    differing, close = said.listed
    lines = [f"- {_linked(each)}: {DIFFERING[each.verdict]}" for each in differing]
    if more := len(said.differing) - len(differing):
        lines.append(f"- and {more:,} more")
    yield "\n".join(lines)
    if close:
        more = len(said.close) - len(close)
        names = [*map(_linked, close), *([f"and {more:,} more"] if more else [])]
        yield f"Trivial differences: {', '.join(names)}"


def _linked(cell: Mention) -> str:
    """The name of a cell, which leads to it, and its intent."""
    name = inline(cell.name)
    intent = f" {inline(cell.intent)}" if cell.intent and cell.verdict in DIFFERING else ""
    return f"[{name}](#{fragment(cell.id)}){intent}" if cell.id else f"{name}{intent}"


def _mention(at: int, cell: JSONObject) -> Mention:
    number, count = ours(cell).get("number"), cell.get("execution_count")
    kind = "Step" if is_code(cell) else "Note"
    prompt = f"In [{count}]" if isinstance(count, int) else f"Cell {at + 1}"
    return Mention(
        index=at,
        id=text(cell, "id"),
        name=f"{kind} {number}" if isinstance(number, int) else prompt,
        intent=text(ours(cell), "intent").strip(),
        verdict=verdict_of(cell)[0],
    )


def _title(notebook: JSONObject) -> str:
    """What the notebook is called: by its metadata, its first words, or its session."""
    listed = cells(notebook)
    notes = [
        *(each for each in listed[:1] if not role_of(each) and _TOP_HEADING.match(source_of(each))),
        *(each for each in listed if role_of(each) == "note"),
    ]
    name = text(ours(notebook), "name")
    candidates = [
        _line(text(mapping(notebook, "metadata"), "title")),
        *(_first_words(source_of(cell)) for cell in notes if not is_code(cell)),
        *(_line(text(ours(cell), "intent")) for cell in listed),
        f"Session {name}" if name else "Untitled",
    ]
    return next(filter(None, candidates))


def _first_words(note: str) -> str:
    """The first line of Markdown that says something, without what makes it a heading."""
    lines = (_line(_MARKS.sub("", each.strip())) for each in note.splitlines())
    said = (each for each in lines if re.search(r"\w", each) and not each.startswith(("```", "<")))
    return next(said, "")


def _finding(note: str, title: str) -> str:
    """A note as the first screen shows it: without what the title says, and not very long."""
    first, _, rest = note.strip().partition("\n")
    if _first_words(first) == title and (_HEADING.match(first) or not rest):
        note = rest
    if len(note) > _FINDING:
        return f"{inline(_first_words(note))} …"
    return note.strip()


def _line(words: str) -> str:
    """Foreign words as a title of one line, in which nothing hides."""
    return one_line(" ".join(words.split()), _TITLE)

"""Markdown as HTML for the review page: CommonMark with tables, sanitised. Pure.

HTML in it is kept as far as it does nothing, so that what is folded stays folded. Formulas are
left as they are written, for it takes a script to set them.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from kernel_exec.jsons import JSONObject, mapping
from kernel_exec.notebooks.reading import joined

from .hypertext import anchor, escape, highlighted, picture, sanitised

_LONGEST = 100_000
"""Characters of one cell that are read as Markdown."""

_LONGEST_PARAGRAPH = 5_000
"""Characters of one paragraph; the parser takes the square of some."""

_MARKED = re.compile(r"[^\w\s.,:;()?/+='\"%-]|(?<![^\W_])_|_(?![^\W_])")
_FORMULA = re.compile(r"\$\$.+?\$\$|\$(?![\s$])[^$\n]*[^\s$\\]\$(?!\d)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A heading of a cell: its level from 1, its words, and its id in the page."""

    level: int
    words: str
    anchor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prose:
    """A cell's Markdown as HTML, the headings in it, and the first words of it as plain text."""

    html: str
    headings: tuple[Heading, ...] = ()
    words: str = ""


class Anchors:
    """Gives headings their ids; of several with the same words, a number to all but the first."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def take(self, words: str) -> str:
        """An id that no other heading has."""
        name = anchor(words)
        count = self._taken[name] = self._taken.get(name, 0) + 1
        return name if count == 1 else f"{name}--{count}"


def prose(
    source: str, anchors: Anchors, *, pictures: Mapping[str, str], known: Collection[str] = ()
) -> Prose:
    """`source` as a part of the page, its headings a level lower than written.

    `pictures` are the addresses of those attached to the cell. A heading that it begins with is
    left out where the page has one of the same words, which are `known`.
    """
    if len(source) > _LONGEST:
        note = f"Shown as written: Markdown is laid out up to {_LONGEST:,} characters."
        return Prose(html=f'<p class="note">{note}</p><pre>{escape(source)}</pre>')
    tokens = _PARSER.parse(source)
    if tokens and tokens[0].type == "heading_open" and _words(tokens[1]) in known:
        tokens = tokens[3:]
    headings = tuple(_headings(tokens, anchors))
    for token in tokens:
        # a style would be lost, and the page's own policy would refuse it
        if token.type in {"td_open", "th_open"} and (style := token.attrs.pop("style", None)):
            token.attrs["align"] = str(style).rpartition(":")[2]
    rendered = _PARSER.renderer.render(tokens, _PARSER.options, {})
    kept = frozenset(heading.anchor for heading in headings)
    return Prose(
        html=sanitised(rendered, anchors=kept, pictures=pictures),
        headings=headings,
        words=next((words for token in tokens if (words := _words(token))), ""),
    )


def attached(cell: JSONObject) -> Mapping[str, str]:
    """The addresses of the pictures that are attached to a cell."""
    found: dict[str, str] = {}
    for name in (attachments := mapping(cell, "attachments")):
        for mime, content in mapping(attachments, name).items():
            if mime.startswith("image/") and (address := picture(mime, joined(content))):
                found.setdefault(name, address)
    return found


def line(markdown: str) -> tuple[str, str]:
    """A line of Markdown as HTML, and its words as plain text."""
    if not _MARKED.search(markdown):  # as nearly all titles; parsing takes longer than all else
        return escape(markdown), markdown
    tokens = _PARSER.parseInline(markdown)
    html = sanitised(_PARSER.renderer.render(tokens, _PARSER.options, {}))
    return html, " ".join(map(_words, tokens))


def _headings(tokens: Sequence[Token], anchors: Anchors) -> Iterator[Heading]:
    """The headings, which get their ids, and a level that leaves the page its title."""
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            level = int(token.tag[1])
            words = _words(tokens[at + 1])
            heading = Heading(level=level, words=words, anchor=anchors.take(words))
            token.tag = tokens[at + 2].tag = f"h{min(6, level + 1)}"
            token.attrs["id"] = heading.anchor
            yield heading


def _words(token: Token) -> str:
    """The text in a line, without its marks."""
    parts = [
        " " if child.type in {"softbreak", "hardbreak"} else child.content
        for child in token.children or ()
        if child.type != "html_inline"
    ]
    return " ".join("".join(parts).split())


def _formula(state: StateInline, silent: bool) -> bool:
    """An inline rule: a formula is no Markdown."""
    found = _FORMULA.match(state.src, state.pos, state.posMax)
    if found is None:
        return False
    if not silent:
        state.push("code_inline", "code", 0).content = found[0]
    state.pos = found.end()
    return True


def _paragraphs(state: StateCore) -> None:
    """A core rule: what is in each paragraph, but for those that take too long."""
    for token in state.tokens:
        if token.type != "inline" or token.children is None:
            continue
        if len(token.content) > _LONGEST_PARAGRAPH:
            note = "[shown as written, too long to be laid out] "
            token.children.append(Token("text", "", 0, content=note + token.content))
        else:
            state.md.inline.parse(token.content, state.md, state.env, token.children)


def _fence(source: str, language: str, _: str) -> str:
    return highlighted(source, language) if language else escape(source)


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"highlight": _fence}).enable(["table", "strikethrough"])
    parser.inline.ruler.before("escape", "formula", _formula)
    parser.core.ruler.at("inline", _paragraphs)
    return parser


_PARSER = _parser()

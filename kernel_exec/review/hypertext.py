"""Foreign words as HTML that does nothing: escaped, coloured, highlighted, sanitised. Pure.

What is sanitised keeps its structure and loses all else: scripts, styles, classes, ids, and every
address but those of web pages, of mail, and of pictures that it carries along.
"""

import base64
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from html import escape as escape_html
from itertools import groupby
from operator import itemgetter
from urllib.parse import unquote

import nh3
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Name, Number, Operator, String, _TokenType

from kernel_exec.content.markup import is_too_deep, without_raw
from kernel_exec.terminal import strip_ansi

_HIDDEN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Characters that nobody sees, and those that turn the order of others around."""

_MOST_HIGHLIGHTED = 50_000
"""Characters of one source in Python that are highlighted; longer ones are data."""

_MOST_OF_OTHERS = 4_000
"""The same of other languages, for some of which a lexer takes the square of the length."""

_LANGUAGES = frozenset(
    {"bash", "c", "console", "cpp", "css", "diff", "html", "ini", "java", "javascript", "js"}
    | {"json", "julia", "latex", "python", "r", "rust", "sh", "shell", "sql", "toml", "xml", "yaml"}
)
"""Languages that are highlighted; every other lexer would only be one more to attack."""

_BLANK = re.compile(r"\s{500}")
"""A run of blanks, which a lexer may begin to read at each of them."""

_PENS = re.compile(r"(\x1b\[[0-9;:]{0,50}m)")
_TOKENS: tuple[tuple[_TokenType, str], ...] = (
    (Comment, "tc"),
    (Keyword, "tk"),
    (Operator.Word, "tk"),
    (String, "ts"),
    (Number, "tn"),
    (Name.Function, "tf"),
    (Name.Class, "tf"),
    (Name.Decorator, "td"),
)


def escape(words: str) -> str:
    """`words` without a meaning in HTML, also in an attribute; what is hidden in them is shown."""
    written = escape_html(words)
    return _HIDDEN.sub(_show, written) if _HIDDEN.search(written) else written


def _show(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else f"[U+{code:04X}]"


def coloured(written: str) -> str:
    """Text of a terminal, with its colours as classes; all other escape sequences are gone."""
    parts: list[str] = []
    pen = (False, 0)
    for part in _PENS.split(written):
        if _PENS.fullmatch(part):
            pen = _taken(pen, [int(code or 0) for code in re.split("[;:]", part[2:-1])])
        elif words := strip_ansi(part):
            bold, colour = pen
            classes = " ".join([*(["ab"] if bold else []), *([f"a{colour}"] if colour else [])])
            shown = escape(words)
            parts.append(f'<span class="{classes}">{shown}</span>' if classes else shown)
    return "".join(parts)


def _taken(pen: tuple[bool, int], codes: list[int]) -> tuple[bool, int]:
    """The pen after the codes of one sequence: bold or not, and one of six colours or none."""
    bold, colour = pen
    while codes:
        match codes:
            case [0, *rest]:
                bold, colour = False, 0
            case [1 | 22 as weight, *rest]:
                bold = weight == 1
            case [38, 5, number, *rest]:
                colour = _of_palette(number)
            case [38, 2, red, green, blue, *rest]:
                colour = _hue(red, green, blue)
            case [48, 5, _, *rest] | [48, 2, _, _, _, *rest]:
                pass
            case _:
                code, *rest = codes
                if code // 10 in {3, 9} and code % 10 != 8:
                    colour = code % 10 if code % 10 < 7 else 0
        codes = rest
    return bold, colour


def _of_palette(number: int) -> int:
    """The colour nearest to one of 256."""
    if number < 16:
        return number % 8 % 7
    red, green, blue = ((number - 16) // step % 6 * 51 for step in (36, 6, 1))
    return _hue(red, green, blue) if number < 232 else 0


def _hue(red: int, green: int, blue: int) -> int:
    middle = (max(red, green, blue) + min(red, green, blue)) / 2
    return ((red > middle) + 2 * (green > middle) + 4 * (blue > middle)) % 7


def highlighted(source: str, language: str) -> str:
    """`source` as HTML with a class for each kind of token; plain where nobody knows it."""
    magic = re.match(r"%%(\w+)[^\n]*\n", source)
    if magic and (lexer := _lexer(_CELL_MAGICS.get(magic[1], magic[1]))):
        return escape(magic[0]) + _tokens(source[magic.end() :], lexer)
    lexer = _lexer(language)
    return _tokens(source, lexer) if lexer else escape(source)


_CELL_MAGICS = {"time": "python", "timeit": "python", "capture": "python", "prun": "python"}


def _tokens(source: str, lexer: Lexer) -> str:
    most = _MOST_HIGHLIGHTED if "python" in lexer.aliases else _MOST_OF_OTHERS
    if len(source) > most or _BLANK.search(source):
        return escape(source)
    parts: list[str] = []
    named = ((_css_class(kind), words) for kind, words in lexer.get_tokens(source))
    for css_class, run in groupby(named, itemgetter(0)):
        shown = escape("".join(words for _, words in run))
        parts.append(f'<span class="{css_class}">{shown}</span>' if css_class else shown)
    return "".join(parts)


@lru_cache
def _css_class(kind: _TokenType) -> str:
    return next((css_class for above, css_class in _TOKENS if above in kind.split()), "")


@lru_cache(maxsize=64)
def _lexer(language: str) -> Lexer | None:
    name = language.lower()
    if name.startswith(("ipython", "python")):
        name = "python"
    return get_lexer_by_name(name, stripnl=False, ensurenl=False) if name in _LANGUAGES else None


# What is sanitised

_TAGS = {
    *("a", "abbr", "b", "blockquote", "br", "caption", "center", "cite", "code", "col", "colgroup"),
    *("dd", "del", "details", "dfn", "div", "dl", "dt", "em", "figcaption", "figure", "h1", "h2"),
    *("h3", "h4", "h5", "h6", "hr", "i", "img", "ins", "kbd", "li", "mark", "ol", "p", "pre", "q"),
    *("s", "samp", "small", "span", "strike", "strong", "sub", "summary", "sup", "table", "tbody"),
    *("td", "tfoot", "th", "thead", "tr", "tt", "u", "ul", "var", "wbr"),
}
_SILENT = {
    *("audio", "canvas", "embed", "head", "iframe", "math", "noembed", "noframes", "noscript"),
    *("object", "option", "script", "select", "style", "svg", "template", "textarea", "title"),
    *("video", "xmp", "plaintext"),
}
"""Tags that go with what is in them."""

_CELL = {"align", "colspan", "rowspan", "scope", "valign"}
_ATTRIBUTES = {
    "*": {"dir", "lang"},
    "a": {"href", "title"},
    "abbr": {"title"},
    "details": {"open"},
    "img": {"alt", "height", "src", "width"},
    "ol": {"start"},
    "td": _CELL,
    "th": _CELL,
    **{f"h{level}": {"id"} for level in range(1, 7)},
}
_NUMBERS = {"colspan": 3, "height": 4, "rowspan": 3, "start": 9, "width": 4}
"""Attributes that are whole numbers of so many digits."""

_LINK = re.compile(r"(?:https?://|mailto:)\S", re.IGNORECASE)
_PICTURE = re.compile(r"data:(image/[a-z+.-]{1,20});base64,([A-Za-z0-9+/=\s]+)$")
_IMG = re.compile(r'<img((?:\s[\w-]+="[^"]*")*)>')
_BEGINS = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
}


def sanitised(
    markup: str, *, anchors: frozenset[str] = frozenset(), pictures: Mapping[str, str] | None = None
) -> str:
    """HTML that shows what `markup` shows, and does nothing.

    `anchors` are the ids that headings may keep, `pictures` the addresses of those attached.
    """
    whole = without_raw(markup)
    if is_too_deep(whole):
        return f"<pre>{escape(whole)}</pre>"
    clean = nh3.clean(
        whole,
        tags=_TAGS,
        clean_content_tags=_SILENT,
        attributes=_ATTRIBUTES,
        attribute_filter=_keeper(anchors, pictures or {}),
        allowed_classes={"span": {css_class for _, css_class in _TOKENS}},
        link_rel="noopener noreferrer nofollow",
        url_schemes={"attachment", "data", "http", "https", "mailto"},
    )
    return _IMG.sub(_described, clean)


def _keeper(
    anchors: frozenset[str], pictures: Mapping[str, str]
) -> Callable[[str, str, str], str | None]:
    """What becomes of an attribute's value; None takes the attribute away."""

    def keep(tag: str, name: str, value: str) -> str | None:
        if name in _NUMBERS:
            return value if value.isdecimal() and len(value) <= _NUMBERS[name] else None
        if name == "id":
            return value if value in anchors else None
        if name == "href":
            return f"#{anchor(unquote(value[1:]))}" if value[:1] == "#" else _web_page(value)
        if name == "src":
            return _carried(value, pictures)
        return value

    return keep


def _web_page(address: str) -> str | None:
    return address if _LINK.match(address) else None


def _carried(address: str, pictures: Mapping[str, str]) -> str | None:
    """The address of a picture that is in the page itself."""
    if address.startswith("attachment:"):
        return pictures.get(unquote(address.removeprefix("attachment:")))
    found = _PICTURE.match(address)
    return picture(found[1], found[2]) if found else None


def anchor(heading: str) -> str:
    """The id of a heading with these words."""
    words = re.sub(r"[^\w\s-]", "", heading.lower()).split()
    return f"s-{'-'.join(words)[:80]}"


def _described(found: re.Match[str]) -> str:
    """A picture with words for who can't see it, or those words where it is not in the page."""
    attributes = found[1]
    alt = re.search(r'\salt="([^"]*)"', attributes)
    if ' src="' not in attributes:
        words = f": {alt[1]}" if alt and alt[1] else ""
        return f"<em>[picture that is not in the notebook{words}]</em>"
    return found[0] if alt else f'<img{attributes} alt="Picture without a description">'


def picture(mime: str, data: str) -> str | None:
    """The address of a picture from its base64, or None for what is none."""
    compact = "".join(data.split())
    try:
        content = base64.b64decode(compact, validate=True)
    except ValueError:  # no base64, or not even ASCII
        return None
    if mime == "image/svg+xml":
        return vector(content)
    # a browser looks at the content, too, but shows nothing where it does not fit
    fits = content.startswith(_BEGINS.get(mime, ()))
    return f"data:{mime};base64,{compact}" if fits else None


def vector(drawing: bytes) -> str:
    """The address of an SVG as a picture: so it runs no script and fetches nothing."""
    return f"data:image/svg+xml;base64,{base64.b64encode(drawing).decode()}"

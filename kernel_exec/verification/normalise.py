"""When two texts say the same, and when they say almost the same. Pure.

`settled` takes out what never means anything: addresses (numbered in order, so that one object
stays one), names of temporary files, colours, where a warning came from. `alike` then allows what
differs between two good runs: times, numbers by `TOLERANCE`, the order in sets. All patterns take
time linear in the text.

Identifiers that a library makes up mean nothing but which parts belong together, so `renamed` names
each by its place: two documents that differ only in such names are equal, and two whose parts are
joined otherwise are not. What a reader sees stays as it is, also when it looks like an identifier.
"""

import base64
import binascii
import datetime as dt
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from kernel_exec.jsons import JSON
from kernel_exec.notebooks.reading import writable
from kernel_exec.terminal import carry_out, strip_ansi

TOLERANCE = 1e-6
"""Relative difference of numbers that are close; whole numbers count something and are exact."""

_LONGEST = 4_000_000
"""Characters of a text that is looked into; what is longer is the same or it is not."""

_DEEPEST = 20
"""Braces within braces, in a text whose sets are put in order."""

_NEARBY = 60
"""Minutes between two looks at the clock while one cell runs."""

_RANDOM = 8
"""Characters that `tempfile` adds to a name, of which at least half differ between two names."""

_TEMPORARY = r"(?:/private)?/(?:tmp|var/tmp|var/folders/\w+/\w+/T)/|[A-Za-z]:\\[^\s\"'<>]*\\Temp\\"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """When and where the second text was made: `moment` has a time zone; None for any and none.

    What it says of these may differ from what the first text says; other dates and times of day
    are data. A `listing` may have grown.
    """

    moment: dt.datetime | None = None
    process: int | None = None
    listing: bool = False


ANY_RERUN = Rerun()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mask:
    """What is replaced wherever it stands, in texts that have the `needle`."""

    needle: str
    pattern: re.Pattern[str]
    replacement: str


def _mask(needle: str, pattern: str, replacement: str) -> _Mask:
    return _Mask(needle=needle, pattern=re.compile(pattern), replacement=replacement)


_MASKS = (
    _mask("started ", r"(?<=, started )(daemon )?\d{5,}", r"\1…"),
    # a cell's code goes by the name of its stored script, by one that ipykernel made, or neither
    _mask(
        ".py",
        r"(?<![^\s\"'<>|=(])[^\s\"'<>|=(]*(?:ipykernel_\d+[/\\]\d+|_[0-9a-f]{8})\.py\b",
        "<cell>",
    ),
    _mask("ipython-input-", r"<ipython-input-[^>\n]*>", "<cell>"),
    _mask("In", r"\b(Cell In|In) ?\[\d+\]", r"\1[…]"),
    _mask("Out", r"\bOut ?\[\d+\]", "Out[…]"),
    _mask("tmp", rf"({_TEMPORARY})tmp[a-z0-9_]{{6,12}}", r"\1tmp…"),
    _mask("Warning: ", r"(?m)^[^\n]*?:\d+: (?=\w*Warning: )", ""),
    # IPython's advice after SystemExit, which our kernels leave out
    _mask("To exit: use", r"(?m)^UserWarning: To exit: use [^\n]*(?:\n {2}[^\n]*)?\n?", ""),
    _mask("Warning: ", r"(?m)^(\w*Warning: [^\n]*)\n {2}[^\n]*", r"\1"),
)

_ADDRESS = re.compile(r"(?<=\bat )0x[0-9a-fA-F]{4,16}\b")
_PLACE = re.compile(r"0x…\d+")

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*"
_MONTH = rf"(?:{'|'.join(_MONTHS)})[a-z]*"
_CLOCK = r"\d{1,3}:\d\d(?::\d\d(?:[.,]\d+)?)?"
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?[jJ]?"
_UNIT = (
    r"(?:[nµμum]?s|secs?|seconds?|mins?|minutes?|hrs?|hours?|h"
    r"|[kKMGT]?i?B/s|(?:it|rows|steps|examples|samples)/s|s/(?:it|step)|ms/step)(?![\w/])"
)
_LASTING = rf"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?[ ]?{_UNIT}"
_TOKEN = re.compile(
    rf"(?P<date>(?<![\w.])(?:\d{{4}}[-/]\d\d[-/]\d\d|\d\d[-/.]\d\d[-/.]\d{{4}})"
    rf"(?:[T ]{_CLOCK}(?:Z|[-+]\d\d:?\d\d)?)?(?!\w)"
    rf"|\b(?:{_DAY},? )?(?:{_MONTH} +\d{{1,2}},?|\d{{1,2}} {_MONTH},?)(?: \d{{4}})?"
    rf"(?: {_CLOCK})?(?: [A-Z]{{3,4}})?(?: \d{{4}})?(?!\w)"
    rf"|\bdatetime\.date(?:time)?\([\d, ]+\))"
    rf"|(?P<bar>(?<=\[){_CLOCK}<{_CLOCK})"
    rf"|(?P<clock>(?<![\w.:]){_CLOCK}(?![\w:])|\bdatetime\.time\([\d, ]+\))"
    rf"|(?P<lasting>(?<![\w.]){_LASTING}(?: {_LASTING})*"
    rf"|(?<![\w.,])[\d,]+ loops? each"
    rf"|\b(?i:(?:elapsed|took|duration|runtime|seconds)[ :=(]{{1,4}}|time ?[:=] ?)"
    rf"(?:{_LASTING}(?: {_LASTING})*|{_NUMBER}(?![\w.:])))"
    rf"|(?P<uuid>\b[0-9a-f]{{8}}-(?:[0-9a-f]{{4}}-){{3}}[0-9a-f]{{12}}\b)"
    rf"|(?P<process>\b(?i:pid|process id)\b[ :=]{{1,3}}\d+)"
    rf"|(?P<pointer>\b0x(?:7[0-9a-f]|5[56])[0-9a-f]{{10}}\b)"
    rf"|(?P<temporary>(?:{_TEMPORARY})[^\s/\\'\"<>,;:)\]]+)"
    rf"|(?P<file>\bst_(?:[amc]time(?:_ns)?|ino)=\d+)"
    rf"|(?P<epoch>(?<![\w.])1[4-9]\d{{8}}\.\d+(?![\w.]))"
    rf"|(?P<number>(?<![\w.]){_NUMBER}(?!\w|\.\d))"
)
_WHOLE = re.compile(r"[-+]?\d+[jJ]?")
_RULES = re.compile(r"([-=_─━═])\1+")
_BESIDE = re.compile(r" ?([\[\](){}|]) ?")
"""Columns are as wide as their widest number."""
_SPACES = re.compile(r"\s+")


def settled(text: str) -> str:
    """`text` without what never means anything."""
    shown = strip_ansi(carry_out(text)) if "\x1b" in text or "\r" in text or "\b" in text else text
    for mask in _MASKS:
        if mask.needle in shown:
            shown = mask.pattern.sub(mask.replacement, shown)
    if "at 0x" in shown:
        places: dict[str, str] = {}
        shown = _ADDRESS.sub(lambda at: places.setdefault(at[0], f"0x…{len(places) + 1}"), shown)
    return "\n".join(line.rstrip() for line in shown.rstrip().split("\n"))


def settled_json(value: JSON) -> str:
    """A value as text that is equal for equal values, whatever the order of its keys."""
    return settled(json.dumps(writable(value), ensure_ascii=False, sort_keys=True))


def alike(before: str, after: str, rerun: Rerun = ANY_RERUN) -> bool:
    """Whether two settled texts differ only as two good runs do; `after` is of the `rerun`."""
    if before == after:
        return True
    if max(len(before), len(after)) > _LONGEST:
        return False
    ours, theirs = (list(_pieces(_loose(text))) for text in (before, after))
    return len(ours) == len(theirs) and all(
        _pair_alike(one, other, rerun) for one, other in zip(ours, theirs, strict=True)
    )


def _loose(text: str) -> str:
    placeless = _PLACE.sub("0x…", text)  # a place in memory may be used again, or not
    narrow = _RULES.sub(r"\1", _SPACES.sub(" ", placeless).strip())
    return _in_order(_BESIDE.sub(r"\1", narrow))


def _in_order(text: str) -> str:
    """`text` with the elements of what braces enclose in the order of the alphabet."""
    parts = re.split(r"([{}])", text)
    depths = accumulate({"{": 1, "}": -1}.get(part, 0) for part in parts)
    if len(parts) == 1 or max(depths) > _DEEPEST:
        return text
    open_: list[list[str]] = [[]]
    for part in parts:
        if part == "{":
            open_.append([])
        elif part == "}" and len(open_) > 1:
            inside = "".join(open_.pop())
            open_[-1].append("{" + ",".join(sorted(_elements(inside))) + "}")
        else:
            open_[-1].append(part)
    return "{".join("".join(each) for each in open_)


def _elements(inside: str) -> list[str]:
    """What commas separate, outside of brackets."""
    found: list[list[str]] = [[]]
    depth = 0
    for part in re.split(r"([()\[\]{},])", inside):
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(part, 0)
        if part == "," and depth <= 0:
            found.append([])
        else:
            found[-1].append(part)
    return ["".join(parts).strip() for parts in found]


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """The text as pairs of kind and words; "" is the kind of what means what it says."""
    end = 0
    for token in _TOKEN.finditer(text):
        if token.start() > end:
            yield "", text[end : token.start()]
        yield token.lastgroup or "", token[0]
        end = token.end()
    if end < len(text):
        yield "", text[end:]


def _pair_alike(one: tuple[str, str], other: tuple[str, str], rerun: Rerun) -> bool:
    (kind, words), (other_kind, other_words) = one, other
    if one == other:
        return True
    return kind == other_kind and kind in _ALIKE and _ALIKE[kind](words, other_words, rerun)


def _always(_: str, __: str, ___: Rerun) -> bool:
    return True


def _numbers_alike(one: str, other: str, rerun: Rerun) -> bool:
    if _WHOLE.fullmatch(one) or _WHOLE.fullmatch(other):
        return one.isdecimal() and rerun.process is not None and other == str(rerun.process)
    if (one[-1] in "jJ") != (other[-1] in "jJ"):
        return False
    return math.isclose(float(one.rstrip("jJ")), float(other.rstrip("jJ")), rel_tol=TOLERANCE)


def _dates_alike(_: str, other: str, rerun: Rerun) -> bool:
    return rerun.moment is None or _is_of(other, rerun.moment.date())


def _is_of(words: str, today: dt.date) -> bool:
    """True when a date is that of `today` or the day beside it, as in another time zone."""
    parts: Sequence[str] = re.findall(r"\d+|[A-Z][a-z]{2}", words)
    numbers = {int(part) for part in parts if part.isdecimal() and len(part) <= 4}
    for days in (-1, 0, 1):
        day = dt.date.fromordinal(max(1, min(today.toordinal() + days, dt.date.max.toordinal())))
        month = day.month in numbers or _MONTHS[day.month - 1] in parts
        year = day.year in numbers or not any(number > 31 for number in numbers)
        if month and year and day.day in numbers:
            return True
    return False


def _clocks_alike(one: str, other: str, rerun: Rerun) -> bool:
    """True for durations below an hour, and when `other` is about the time of the rerun."""
    if (moment := rerun.moment) is None:
        return True
    ours, theirs = ([int(part) for part in re.findall(r"\d+", clock)[:2]] for clock in (one, other))
    if ours[0] == theirs[0] == 0:
        return True
    minutes = theirs[0] * 60 + theirs[-1]
    nearby = (moment, moment.astimezone(dt.UTC))
    apart = [abs(minutes - each.hour * 60 - each.minute) for each in nearby]
    return any(min(far, 24 * 60 - far) <= _NEARBY for far in apart)


def _names_alike(one: str, other: str, _: Rerun) -> bool:
    """True for two names that differ in what `tempfile` made up."""
    at = [index for index, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]]
    return len(one) == len(other) and len(at) >= _RANDOM // 2 and at[-1] - at[0] < _RANDOM


_ALIKE: Mapping[str, Callable[[str, str, Rerun], bool]] = {
    "bar": _always,
    "clock": _clocks_alike,
    "date": _dates_alike,
    "epoch": _always,
    "file": _always,
    "lasting": _always,
    "number": _numbers_alike,
    "pointer": _always,
    "process": _always,
    "temporary": _names_alike,
    "uuid": _always,
}
"""For each kind of token, whether two of them that differ are alike; "" has none."""


# Identifiers that a library makes up for a page or a drawing, and dates of its creation

_QUOTE = r"(?:\\?[\"']|&(?:quot|#34|#39|#x27);)?"
_DECLARED = re.compile(
    rf"(?:(?<![A-Za-z])(?:doc|element|model_|root[_-]|div_)?ids?{_QUOTE}\s?[=:]\s?\[?\s?{_QUOTE}"
    r"|\b(?:var|let|const)\s"
    r"|\#(?![0-9a-fA-F]{3,8}(?![\w-])))"  # what is no colour is a reference
    r"([\w:.-]{1,200})"
)
_MADE_UP = (
    r"[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}"  # plotly, bokeh, xarray
    r"|(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,64}"  # altair, folium
    r"|(?:image|[hmp])[0-9a-f]{10}|C[0-9a-f]+_[0-9a-f]+_[0-9a-f]{10}"  # matplotlib
    r"|el\d{6,}[0-9a-f]*|\d{12,}"  # a moment, or a place in memory
    r"|T_[0-9a-f]{5}"  # pandas
    r"|sk-(?:container|estimator)-id-\d+"
    r"|p\d{4,}"  # bokeh
    r"|i?[A-Z]{16,}"  # shap
)
_NAME, _TABLE_NAME = (
    re.compile(rf"(?:(?<![0-9A-Za-z])(?:{pattern})|(?<=[g-z])[0-9a-f]{{32}})(?![0-9A-Za-z])")
    for pattern in (_MADE_UP, rf"{_MADE_UP}|[a-z]{{10}}")
)
_TABLE = "gt_table"
"""A class of the tables whose identifiers are ten letters, as many a word is."""

_TAGS = re.compile(r"(<[^<>]*>)")
_UNSEEN = re.compile(r"<(/?)(style|script)\b", re.IGNORECASE)
_CREATED = re.compile(r"(?<=<dc:date>)[^<]*")
_CREATED_PDF = re.compile(
    rb"/(?:CreationDate|ModDate)\s?\([^()]*\)|/ID\s?\[[^\[\]]*\]|<xmp:\w+Date>[^<]*"
)


def renamed(text: str, *, markup: bool) -> str:
    """`text` with made-up identifiers named in order; of `markup` a part is text to be read."""
    if markup and "<dc:date>" in text:
        text = _CREATED.sub("…", text)
    token = _TABLE_NAME if _TABLE in text else _NAME
    declared = {
        made_up for value in set(_DECLARED.findall(text)) for made_up in token.findall(value)
    }
    if not declared:
        return text
    names: dict[str, str] = {}

    def name(found: re.Match[str]) -> str:
        word = found[0]
        return names.setdefault(word, f"…{len(names) + 1}") if word in declared else word

    parts = _parts(text) if markup else [(text, False)]
    return "".join(part if is_read else token.sub(name, part) for part, is_read in parts)


def _parts(markup: str) -> Iterator[tuple[str, bool]]:
    """Tags and what stands between them, each with whether it is read by a person."""
    unseen = ""
    for part in _TAGS.split(markup):
        tag = _UNSEEN.match(part)
        if tag and not unseen and not tag[1]:
            unseen = tag[2].lower()
        elif tag and tag[1] and tag[2].lower() == unseen:
            unseen = ""
        yield part, not unseen and not part.startswith("<")


def undated(pdf: str) -> str:
    """A PDF in base64 without the date of its creation."""
    try:
        content = base64.b64decode(pdf)
    except (binascii.Error, ValueError):
        return pdf
    return base64.b64encode(_CREATED_PDF.sub(b"", content)).decode("ascii")

"""JSON with comments, edited as text: all but one value stays as it is, to the byte. Pure.

Comments and trailing commas are blanked, which moves nothing, so that Python's own parser finds
where a value begins and ends.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from kernel_exec.jsons import JSON, JSONObject

_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_COMMENT = re.compile(rf"{_STRING}|//[^\n]*|/\*.*?\*/", re.DOTALL)
_TRAILING_COMMA = re.compile(rf"{_STRING}|,(?=[ \t\r\n]*[}}\]])", re.DOTALL)
_BLANK = re.compile(r"[ \t\r\n]*")
_INDENTED = re.compile(r'\n([ \t]+)["{\[]')
_END_OF_LINE = re.compile(r"[ \t]*(?://[^\n]*?)?(?=\r?\n)")
_DECODER = json.JSONDecoder()


class LayoutError(ValueError):
    """Raised when what is on a path is no object, or is there twice, so that nothing is edited."""


class _Document(NamedTuple):
    text: str
    bare: str
    """Without comments."""
    plain: str
    """Also without trailing commas."""


class _Member(NamedTuple):
    key: str
    start: int
    value: int
    end: int


def parse(text: str) -> JSONObject:
    """The object of the document, an empty one where there is none."""
    return _value(_read(text).plain)


def put(text: str, path: Sequence[str], fields: Mapping[str, JSON]) -> str:
    """The text with these members in the object at `path`; those that it has besides stay."""
    if not _has(text, path):
        return _with_value(text, path, dict(fields))
    for key, value in fields.items():
        text = _with_value(text, (*path, key), value)
    return text


def drop(text: str, path: Sequence[str]) -> str:
    """The text without the member at `path`, and without the comma that it needed."""
    document = _read(text)
    opening, member = _find(document.plain, path)
    before = [each for each in _members(document.plain, opening) if each.end < member.start]
    return _without(document, opening, before[-1].end if before else None, member)


def rename(text: str, path: Sequence[str], name: str) -> str:
    """The text in which the member at `path` has another name."""
    _, member = _find(_read(text).plain, path)
    end = _DECODER.raw_decode(text, member.start)[1]
    return text[: member.start] + json.dumps(name, ensure_ascii=False) + text[end:]


def _read(text: str) -> _Document:
    """The document, once it is known to be one."""
    with suppress(ValueError):
        _value(text)
        return _Document(text, text, text)
    bare = _blanked(_COMMENT, text)
    document = _Document(text, bare, _blanked(_TRAILING_COMMA, bare))
    _value(document.plain)
    return document


def _blanked(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(
        lambda found: found[0] if found[0][0] == '"' else re.sub(r"[^\r\n]", " ", found[0]), text
    )


def _value(plain: str) -> JSONObject:
    if not plain.strip(" \t\r\n"):
        return {}
    try:
        value: JSON = json.loads(plain)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, Mapping):
        raise ValueError("it is not an object")
    return value


def _blanks(plain: str, at: int) -> int:
    """The first place from `at` on that is no white space."""
    found = _BLANK.match(plain, at)
    return found.end() if found else at


def _members(plain: str, opening: int) -> Iterator[_Member]:
    """The members of the object that opens there; the text is known to be sound."""
    at = _blanks(plain, opening + 1)
    while plain[at] != "}":
        key, end = _DECODER.raw_decode(plain, at)
        value = _blanks(plain, _blanks(plain, end) + 1)
        _, finish = _DECODER.raw_decode(plain, value)
        yield _Member(key, at, value, finish)
        at = _blanks(plain, finish)
        if plain[at] == ",":
            at = _blanks(plain, at + 1)


def _one(plain: str, opening: int, key: str, path: Sequence[str]) -> _Member | None:
    if plain[opening : opening + 1] != "{":
        raise LayoutError(f"{_named(path[:-1])} is not an object")
    found = [each for each in _members(plain, opening) if each.key == key]
    if len(found) > 1:
        raise LayoutError(f"{_named(path)} occurs twice")
    return found[0] if found else None


def _find(plain: str, path: Sequence[str]) -> tuple[int, _Member]:
    """Where the object begins that has the member at `path`, and the member."""
    opening = _blanks(plain, 0)
    for depth, key in enumerate(path[:-1]):
        opening = _only(plain, opening, key, path[: depth + 1]).value
    return opening, _only(plain, opening, path[-1], path)


def _only(plain: str, opening: int, key: str, path: Sequence[str]) -> _Member:
    if (member := _one(plain, opening, key, path)) is None:
        raise LayoutError(f"{_named(path)} is missing")
    return member


def _named(path: Sequence[str]) -> str:
    return f"`{'.'.join(path)}`" if path else "its value"


def _has(text: str, path: Sequence[str]) -> bool:
    value: JSON = parse(text)
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return False
        value = value[key]
    return True


def _with_value(text: str, path: Sequence[str], value: JSON) -> str:
    document = _read(text)
    plain = document.plain
    if not plain.strip():
        for key in reversed(path):
            value = {key: value}
        gap = "" if not text or text.endswith("\n") else _newline(text)
        return text + gap + _rendered(document, value, "") + _newline(text)
    at, end = _blanks(plain, 0), len(plain)
    for depth, key in enumerate(path):
        member = _one(plain, at, key, path[: depth + 1])
        if member is None:
            for each in reversed(path[depth + 1 :]):
                value = {each: value}
            return _with_member(document, at, key, value)
        at, end = member.value, member.end
    if json.loads(plain[at:end]) == value:
        return text
    return text[:at] + _rendered(document, value, _indent(text, at)) + text[end:]


def _with_member(document: _Document, opening: int, key: str, value: JSON) -> str:
    """The text with a first member more in an object.

    The first, since no comma and no comment of another member is touched then.
    """
    text, plain = document.text, document.plain
    after, first = opening + 1, _blanks(plain, opening + 1)
    name = f"{json.dumps(key, ensure_ascii=False)}: "
    newline, indent = _newline(text), _indent(text, opening)
    inner = indent + _unit(text)
    is_empty = plain[first] == "}"
    if end := _END_OF_LINE.match(text, after):
        if not is_empty and text[(line := text.rindex("\n", 0, first) + 1) : first].isspace():
            inner = text[line:first]
        member = f"{newline}{inner}{name}{_rendered(document, value, inner)}"
        return text[: end.end()] + member + ("" if is_empty else ",") + text[end.end() :]
    if not is_empty:
        return f"{text[:first]}{name}{json.dumps(value, ensure_ascii=False)}, {text[first:]}"
    member = f"{newline}{inner}{name}{_rendered(document, value, inner)}{newline}{indent}"
    return text[:after].rstrip(" ") + text[after:first].rstrip() + member + text[first:]


def _without(document: _Document, opening: int, previous: int | None, member: _Member) -> str:
    text, bare = document.text, document.bare
    start, end = member.start, member.end
    line = re.compile(r"\r?\n[ \t]*\Z").search(text, max(text.rfind("\n", 0, start) - 1, 0), start)
    if line:
        start = line.start()
    after = _blanks(bare, end)
    if bare[after] == ",":
        rest = text[after + 1 :]
        return text[:start] + (rest if line else rest.lstrip(" \t"))
    if previous is not None:
        comma = bare.index(",", previous)
        start = start if line else comma + 1
        return text[:comma] + text[comma + 1 : start] + text[end:]
    if not (text[opening + 1 : start] + text[end:after]).strip():
        return text[: opening + 1] + text[after:]
    return text[:start] + text[end:]


def _rendered(document: _Document, value: JSON, indent: str) -> str:
    rendered = json.dumps(value, indent=_unit(document.text), ensure_ascii=False)
    return rendered.replace("\n", _newline(document.text) + indent)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _unit(text: str) -> str:
    found = _INDENTED.search(text)
    return found[1] if found else "  "


def _indent(text: str, at: int) -> str:
    """How the line is indented in which `at` stands."""
    found = re.compile(r"[ \t]*").match(text, text.rfind("\n", 0, at) + 1)
    return found[0] if found else ""

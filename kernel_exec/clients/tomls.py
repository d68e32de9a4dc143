"""TOML, edited as text: all but one table stays as it is, to the byte. Pure.

A table is found by its headers, and is written as one. What is laid out in another way, such as
with dotted keys, comes out wrong or broken, so whoever edits compares the result with what it
should be.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence

_HEADER = re.compile(r"(?m)^[ \t]*\[[^\n]*")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def parse(text: str) -> Mapping[str, object]:
    """The table of the document."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def put(text: str, path: Sequence[str], fields: Mapping[str, object]) -> str:
    """The text with these keys in the table at `path`; those that it has besides stay."""
    table: object = parse(text)
    for key in path:
        table = table.get(key, {}) if isinstance(table, Mapping) else {}
    before = table if isinstance(table, Mapping) else {}
    wanted = {**before, **fields}
    if before == wanted:
        return text
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = [f"[{'.'.join(map(_key, path))}]"]
    lines += [f"{_key(key)} = {_value(value)}" for key, value in wanted.items()]
    block = "".join(f"{line}{newline}" for line in lines)
    blocks = list(_blocks(text, path))
    if blocks:
        (start, end), *others = blocks
        for begin, finish in reversed(others):
            text = text[: _gap(text, begin)] + text[finish:]
        return text[:start] + block + text[end:]
    gap = "" if not text else newline if text.endswith("\n") else 2 * newline
    return text + gap + block


def drop(text: str, path: Sequence[str]) -> str:
    """The text without the table at `path`, and without the empty line in front of it."""
    for start, end in reversed(list(_blocks(text, path))):
        text = text[: _gap(text, start)] + text[end:]
    return text


def rename(text: str, path: Sequence[str], name: str) -> str:
    """The text in which the table at `path` has another name, and so have those below it.

    Comments behind their headers are lost.
    """
    for start, _ in reversed(list(_blocks(text, path))):
        header = _LINE.findall(text, start)[0].rstrip()
        keys = ".".join(map(_key, [*path[:-1], name, *_path(header)[len(path) :]]))
        text = f"{text[:start]}[{keys}]{text[start + len(header) :]}"
    return text


def _blocks(text: str, path: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where the table at `path` and those below it are; comments behind them belong to others."""
    headers = list(_HEADER.finditer(text))
    ends = [header.start() for header in headers[1:]] + [len(text)]
    for header, end in zip(headers, ends, strict=False):
        if _path(header[0])[: len(path)] == tuple(path):
            lines = _LINE.findall(text, header.start(), end)
            while not lines[-1].strip() or lines[-1].lstrip().startswith("#"):
                lines.pop()
            yield header.start(), header.start() + sum(map(len, lines))


def _path(header: str) -> tuple[str, ...]:
    """The keys in a header; none where a line only looks like one."""
    try:
        value: object = tomllib.loads(header.rstrip("\r"))
    except ValueError:
        return ()
    keys: list[str] = []
    while isinstance(value, Mapping) and value:
        ((key, value),) = value.items()
        keys.append(key)
    return tuple(keys)


def _gap(text: str, start: int) -> int:
    """Where the empty line begins that is in front of a table, if there is one."""
    empty = re.compile(r"(?<=\n)\r?\n\Z").search(text, max(start - 3, 0), start)
    return empty.start() if empty else start


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _value(key)


def _value(value: object) -> str:
    match value:
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case bool():
            return str(value).lower()
        case list():
            return f"[{', '.join(map(_value, value))}]"
        case Mapping():
            pairs = ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items())
            return f"{{ {pairs} }}" if pairs else "{}"
        case _:
            return str(value)

"""Tool results: text for whoever reads them, and fields for programs.

The fields are in `_meta`, which no host shows: structured content displaces text in some hosts, and
is shown beside it by others, so that a model would miss the lines or pay twice.
"""

import json
from collections.abc import Iterator, Mapping

from mcp_types import CallToolResult, ImageContent, TextContent
from pydantic import BaseModel

from kernel_exec.content.items import ITEM_BUDGET, cut
from kernel_exec.content.plain import clean, escaped, one_line
from kernel_exec.jsons import JSON, JSONObject

RESULT_LIMIT = 900_000
"""Bytes of one result on the wire; the smallest host breaks at a million."""


def texts(*blocks: str) -> CallToolResult:
    """Blocks of text, each ending in a newline."""
    return CallToolResult(
        content=[TextContent(text=block.removesuffix("\n") + "\n") for block in blocks if block]
    )


def structured(
    fields: JSONObject, text: str = "", *, exact: JSONObject | None = None
) -> CallToolResult:
    """Fields, and `text` about them or else a line for each that says something.

    The texts in `exact`, which are fields as well, stay what they are.
    """
    shown = clean(text or "\n".join(_lines(fields))).removesuffix("\n")
    meta = {"kernel-exec": {**_safe_object(fields), **(exact or {})}}
    return CallToolResult(content=[TextContent(text=f"{shown}\n")], _meta=meta)


def with_fields(result: CallToolResult, fields: JSONObject) -> CallToolResult:
    """An execution's result with its fields, and these."""
    both = {**(result.meta or {}).get("kernel-exec", {}), **_safe_object(fields)}
    return result.model_copy(update={"meta": {**(result.meta or {}), "kernel-exec": both}})


def failed(message: str) -> CallToolResult:
    """A misuse or a breakdown, with the way out, for the model to read."""
    shown = cut(clean(message), ITEM_BUDGET, lambda _: "the message is too long")
    return CallToolResult(
        content=[TextContent(text=f"{shown}\n")],
        _meta={"kernel-exec": {"status": "error", "error": shown}},
        is_error=True,
    )


def bounded(result: CallToolResult) -> CallToolResult:
    """Leave pictures out of a result that would break its host, the largest first, then text."""
    if _size(result) <= RESULT_LIMIT:
        return result
    content = list(result.content)
    order = [(not isinstance(block, ImageContent), -_size(block)) for block in content]
    for at in sorted(range(len(content)), key=order.__getitem__):
        dropped = _size(content[at])
        content[at] = TextContent(text=f"[left out: {dropped:,} bytes; see the notebook]\n")
        smaller = result.model_copy(update={"content": content})
        if _size(smaller) <= RESULT_LIMIT:
            return smaller
    return failed("the result is too large to send: ask for less, with a pattern or fewer names")


def _lines(fields: Mapping[str, JSON], indent: str = "") -> Iterator[str]:
    """A line for each field that says something; what has parts is one line, or one a part."""
    for key, value in fields.items():
        if value in (None, "", (), [], {}) or (key, value) == ("status", "success"):
            continue
        name = f"{indent}{one_line(key)}"
        if isinstance(value, dict) and any(isinstance(each, _PARTED) for each in value.values()):
            yield f"{name}:"
            yield from _lines(value, f"{indent}  ")
        elif isinstance(value, (list, tuple)) and isinstance(value[0], dict):
            yield f"{name}:"
            yield from (f"{indent}  {_phrase(each)}" for each in value)
        else:
            yield f"{name}: {_phrase(value)}"


_PARTED = (dict, list, tuple)


def _phrase(value: JSON) -> str:
    """A value within a line."""
    if isinstance(value, dict):
        parts = [(key, each) for key, each in value.items() if each not in (None, "", [], {})]
        return ", ".join(f"{one_line(key)} {_phrase(each)}" for key, each in parts)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_phrase, value))
    if isinstance(value, str):
        return escaped(value).replace("\r", r"\r").replace("\n", r"\n")
    return json.dumps(value)


def _size(part: BaseModel) -> int:
    """Bytes on the wire."""
    return len(part.model_dump_json(by_alias=True, exclude_none=True).encode())


def _safe_object(fields: JSONObject) -> dict[str, JSON]:
    return {str(_safe(key)): _safe(each) for key, each in fields.items()}


def _safe(value: JSON) -> JSON:
    """`value` with texts that every host can show."""
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, dict):
        return _safe_object(value)
    if isinstance(value, (list, tuple)):
        return [_safe(each) for each in value]
    return value

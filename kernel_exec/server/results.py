"""Tool results: text for whoever reads them, and fields for programs.

Where a result has fields, some hosts show them in place of the text: what the text says is in the
fields, and they are few.
"""

from collections.abc import Iterable

from mcp_types import CallToolResult, ImageContent, TextContent
from pydantic import BaseModel

from kernel_exec.content.items import ITEM_BUDGET, cut
from kernel_exec.content.plain import clean, escaped
from kernel_exec.jsons import JSON, JSONObject

RESULT_LIMIT = 900_000
"""Bytes of one result on the wire; the smallest host breaks at a million."""


def texts(*blocks: str) -> CallToolResult:
    """Blocks of text, each ending in a newline."""
    return CallToolResult(
        content=[TextContent(text=block.removesuffix("\n") + "\n") for block in blocks if block]
    )


def structured(
    fields: JSONObject, lines: Iterable[str], exact: JSONObject | None = None
) -> CallToolResult:
    """Lines, and fields that say the same; those in `exact` are texts that stay as they are."""
    return CallToolResult(
        content=[TextContent(text=clean("".join(f"{line}\n" for line in lines)))],
        structured_content={**_safe_object(fields), **(exact or {})},
    )


def with_fields(result: CallToolResult, fields: JSONObject) -> CallToolResult:
    """An execution's result and fields, the last of which is all of its text."""
    output = "".join(block.text for block in result.content if isinstance(block, TextContent))
    safe = _safe_object({**fields, "output": output})
    return result.model_copy(update={"structured_content": safe})


def failed(message: str) -> CallToolResult:
    """A misuse or a breakdown, with the way out, for the model to read."""
    shown = cut(clean(message), ITEM_BUDGET, lambda _: "the message is too long")
    return CallToolResult(
        content=[TextContent(text=f"{shown}\n")],
        structured_content={"status": "error", "error": shown},
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

"""Tool results in the two forms that we use: blocks of text, or fields."""

import json

from mcp_types import CallToolResult, TextContent

from kernel_exec.content.items import ITEM_BUDGET, cut
from kernel_exec.content.plain import clean, escaped
from kernel_exec.kernels.messages import JSON, JSONObject


def texts(*blocks: str) -> CallToolResult:
    """Blocks of text, each ending in a newline."""
    return CallToolResult(
        content=[TextContent(text=block.removesuffix("\n") + "\n") for block in blocks if block]
    )


def structured(fields: JSONObject) -> CallToolResult:
    """Fields, and the same as text for hosts that show no others."""
    safe = _safe(fields)
    assert isinstance(safe, dict)
    written = json.dumps(safe, ensure_ascii=False, indent=1)
    return CallToolResult(content=[TextContent(text=f"{written}\n")], structured_content=safe)


def failed(message: str) -> CallToolResult:
    """A misuse or a breakdown, with the way out, for the model to read."""
    shown = cut(clean(message), ITEM_BUDGET, lambda _: "the message is too long")
    return CallToolResult(content=[TextContent(text=f"{shown}\n")], is_error=True)


def _safe(value: JSON) -> JSON:
    """`value` with texts that every host can show."""
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, dict):
        return {str(_safe(key)): _safe(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_safe(each) for each in value]
    return value

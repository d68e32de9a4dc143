"""JSON as others send it: the types, and fields taken from an object that may lack them."""

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

JSON: TypeAlias = bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"] | None
JSONObject: TypeAlias = Mapping[str, JSON]


def object_in(written: str | bytes) -> dict[str, JSON]:
    """The object in a text, an empty one where the text is broken or holds something else."""
    try:
        value = json.loads(written)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def text(content: JSONObject, key: str) -> str:
    """The string at `key`, or "" where the sender left it out or sent something else."""
    value = content.get(key)
    return value if isinstance(value, str) else ""


def mapping(content: JSONObject, key: str) -> JSONObject:
    """The object at `key`, or an empty one."""
    value = content.get(key)
    return value if isinstance(value, Mapping) else {}


def items(content: JSONObject, key: str) -> Sequence[JSON]:
    """What is in the list at `key`, or nothing."""
    value = content.get(key)
    return value if isinstance(value, (list, tuple)) else ()


def count(content: JSONObject, key: str) -> int | None:
    """The whole number at `key`, or None where there is none that counts from 0."""
    value = content.get(key)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return None

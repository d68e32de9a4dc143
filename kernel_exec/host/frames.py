"""JSON-RPC messages as lines, leniently read: what asks for an answer gets one. Pure.

The SDK's own reader drops a line that it can't read, so that a client which sends half a surrogate
pair (cut emoji do it) would wait for its answer for ever. What is no request, and could have been
one, is refused as JSON-RPC 2.0 says: by its id, and with none where it can't be told.
"""

import json
import math
import re
from dataclasses import dataclass

import mcp_types as types
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from .wire import TooLong

_NO_REQUEST = "not a JSON-RPC 2.0 request"
_NO_ID = "its id is neither a string nor an integer"
_DIGITS = 4000
"""Digits of an integer; Python converts 4,300, in a time that grows with their square."""

_SHORT = rb'"(?:jsonrpc|method)"\s*:\s*"[^"\\]{0,100}"'
_ID = rb'"id"\s*:\s*(?P<id>-?\d{1,30}|"(?:[^"\\]|\\.){0,200}")'
_ID_FIRST = re.compile(rb"\s*\{\s*(?:" + _SHORT + rb"\s*,\s*){0,2}" + _ID + rb"\s*,")
_ID_LAST = re.compile(rb",\s*" + _ID + rb"\s*(?:,\s*" + _SHORT + rb"\s*){0,2}\}\s*\Z")
"""The id of a message, where it is the outermost object that holds it beyond doubt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What to answer to a line that is no message."""

    answer: types.JSONRPCError


def decode(line: bytes | TooLong) -> types.JSONRPCMessage | Refusal | None:
    """The message in a line; None for what nobody waits for an answer to."""
    if isinstance(line, TooLong):
        return _too_long(line)
    if not line.strip():
        return None
    try:
        message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError:
        pass
    else:
        if not isinstance(message, types.JSONRPCNotification):
            return message
    try:
        # a byte that is not UTF-8 becomes half a surrogate pair, which is refused by its argument
        written = line.decode("utf-8-sig", "surrogateescape")
        read = json.loads(written, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        return _refused(None, types.PARSE_ERROR, f"not JSON: {error}")
    try:
        message = types.jsonrpc_message_adapter.validate_python(read, by_name=False)
    except ValidationError as error:
        return _refusal(read, error)
    # the SDK takes a request whose id is none for a notification
    if isinstance(message, types.JSONRPCNotification) and read.get("id") is not None:
        return _without_id(read["id"])
    return message


def encode(message: types.JSONRPCMessage) -> bytes:
    """`message` as a line, without its end; what UTF-8 can't express is escaped."""
    try:
        written = message.model_dump_json(by_alias=True, exclude_unset=True)
    except PydanticSerializationError:
        return json.dumps(message.model_dump(by_alias=True, exclude_unset=True)).encode("ascii")
    return written.encode()


def probed(request: types.JSONRPCRequest) -> str:
    """The version that a well-formed `server/discover` asks for; "" for every other request."""
    meta = (request.params or {}).get("_meta")
    if request.method != "server/discover" or not isinstance(meta, dict):
        return ""
    version = meta.get(types.PROTOCOL_VERSION_META_KEY)
    capabilities = meta.get(types.CLIENT_CAPABILITIES_META_KEY)
    is_known = version in MODERN_PROTOCOL_VERSIONS and isinstance(capabilities, dict)
    return str(version) if is_known else ""


def _refusal(read: object, error: ValidationError) -> Refusal | None:
    if not isinstance(read, dict):
        return _refused(None, types.INVALID_REQUEST, f"{_NO_REQUEST}: it is not an object")
    given = read.get("id")
    if "result" in read or "error" in read or ("method" in read and given is None):
        return None  # an answer to nothing we asked, or a notification
    if not isinstance(given, int | str) or isinstance(given, bool):
        return _without_id(given)
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"][1:])
    return _refused(given, types.INVALID_REQUEST, f"{_NO_REQUEST}: {place}: {problem['msg']}")


def _integer(digits: str) -> int | float:
    """An integer; one that is far too large for any argument becomes infinite."""
    return int(digits) if len(digits) <= _DIGITS else float(digits)


def _without_id(given: object) -> Refusal:
    if given in (math.inf, -math.inf):  # what `_integer` makes of too many digits
        return _refused(None, types.PARSE_ERROR, "not JSON that can be read: its id is too large")
    return _refused(None, types.INVALID_REQUEST, f"{_NO_REQUEST}: {_NO_ID}")


def _too_long(line: TooLong) -> Refusal:
    found = _ID_FIRST.match(line.begins) or _ID_LAST.search(line.ends)
    try:
        given = json.loads(found["id"]) if found else None
    except ValueError:
        given = None
    what = f"a request of {line.size:,} bytes is too long: at most {line.limit:,} are accepted"
    return _refused(given, types.INVALID_REQUEST, f"{what}; put data into files")


def _refused(request_id: types.RequestId | None, code: int, message: str) -> Refusal:
    error = types.ErrorData(code=code, message=message)
    return Refusal(answer=types.JSONRPCError(jsonrpc="2.0", id=request_id, error=error))

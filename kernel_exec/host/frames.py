"""JSON-RPC messages as lines, leniently read: what has an id is answered, whatever is wrong. Pure.

The SDK's own reader refuses a line that holds half a surrogate pair, so that a client which sends
one (cut emoji do it) would wait for its answer for ever.
"""

import json
from dataclasses import dataclass

import mcp_types as types
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What to answer to a message that is none, when it has an id."""

    answer: types.JSONRPCError


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A well-formed `server/discover`."""

    id: types.RequestId
    version: str


def decode(line: bytes) -> types.JSONRPCMessage | Refusal | None:
    """The message in a line; None for what can't even be answered."""
    try:
        return types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError:
        pass
    try:
        read = json.loads(line)
    except (ValueError, RecursionError):
        return None
    try:
        return types.jsonrpc_message_adapter.validate_python(read, by_name=False)
    except ValidationError as error:
        return _refusal(read, error)


def encode(message: types.JSONRPCMessage) -> bytes:
    """`message` as a line, without its end; what UTF-8 can't express is escaped."""
    try:
        written = message.model_dump_json(by_alias=True, exclude_unset=True)
    except PydanticSerializationError:
        return json.dumps(message.model_dump(by_alias=True, exclude_unset=True)).encode("ascii")
    return written.encode()


def probed(message: types.JSONRPCMessage) -> Probe | None:
    """The probe that a message is; None for every other one."""
    if not isinstance(message, types.JSONRPCRequest) or message.method != "server/discover":
        return None
    meta = (message.params or {}).get("_meta")
    if not isinstance(meta, dict):
        return None
    version = meta.get(types.PROTOCOL_VERSION_META_KEY)
    capabilities = meta.get(types.CLIENT_CAPABILITIES_META_KEY)
    if version not in MODERN_PROTOCOL_VERSIONS or not isinstance(capabilities, dict):
        return None
    return Probe(id=message.id, version=version)


def _refusal(read: object, error: ValidationError) -> Refusal | None:
    if not isinstance(read, dict) or "method" not in read:
        return None
    request_id = read.get("id")
    if not isinstance(request_id, int | str):
        return None
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"][1:])
    return Refusal(
        answer=types.JSONRPCError(
            jsonrpc="2.0",
            id=request_id,
            error=types.ErrorData(
                code=types.INVALID_REQUEST,
                message=f"not a JSON-RPC 2.0 request: {place}: {problem['msg']}",
            ),
        )
    )

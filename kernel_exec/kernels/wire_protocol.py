"""Requests and messages as the frames that travel between us and one kernel.

Source: "The Wire Protocol" of the Jupyter messaging protocol 5.3. A kernel runs foreign code, so
anything may come. What has a wrong signature is nobody's message. What is signed and yet can't be
read becomes an output that says so, in its place.
"""

import hmac
import json
from collections.abc import Sequence
from typing import Any

from jupyter_client.session import DELIM, Session

from kernel_exec.jsons import JSON, JSONObject, text

from .messages import UNREADABLE, Channel, Message, Outgoing

_DEEPEST = 250
"""Levels of lists and objects that are taken in: whoever handles them recurses."""

_DIGITS = 4000
"""Digits of a number that is read as one; Python itself refuses more than 4,300."""

_decode = json.JSONDecoder(parse_constant=str).decode
"""Made once: `json.loads` with arguments makes a decoder each time."""


class ForgedError(ValueError):
    """Raised when frames do not have the signature of the kernel's key."""


class _UnreadableError(ValueError):
    """Raised when a signed part is not JSON that can be handled; its text says why."""


class Frames:
    """Packs and signs what one kernel is sent, checks and reads what it sends."""

    def __init__(self, key: bytes) -> None:
        """`key` is the one in the kernel's connection file."""
        self._key = key
        self._session = Session(key=key, username="kernel-exec", pack=_pack)
        self.identity = self._session.bsession

    def pack(self, outgoing: Outgoing) -> list[bytes]:
        """The frames of a request."""
        header = self._session.msg_header(outgoing.msg_type)
        header["msg_id"] = outgoing.msg_id
        message = self._session.msg(
            outgoing.msg_type,
            content=dict(outgoing.content),
            header=header,
            metadata=dict(outgoing.metadata),
        )
        return self._session.serialize(message)

    def unpack(self, channel: Channel, frames: Sequence[bytes]) -> list[Message]:
        """The message in `frames`, and before it an output about what can't be read of it.

        Raises:
            ForgedError: The signature is wrong, or there is none.
        """
        parts = self._signed_parts(frames)
        size = sum(map(len, frames))
        try:
            header, parent = _read(parts[0]), _read(parts[1])
        except _UnreadableError as error:
            return [_report("a message", size, error)]
        metadata: JSONObject = {}
        content: JSONObject = {"status": UNREADABLE}
        fault: _UnreadableError | None = None
        try:
            metadata, content = _read(parts[2]), _read(parts[3])
        except _UnreadableError as error:
            fault = error
        message = Message(
            channel=channel,
            msg_type=text(header, "msg_type"),
            content=content,
            parent_id=text(parent, "msg_id"),
            metadata=metadata,
            date=text(header, "date"),
            size=size,
        )
        if fault is None:
            return [message]
        note = _report(f"a message ({message.msg_type})", size, fault, message)
        return [note] if channel is Channel.IOPUB else [note, message]

    def _signed_parts(self, frames: Sequence[bytes]) -> Sequence[bytes]:
        if DELIM not in frames:
            raise ForgedError("no message")
        signature, *parts = frames[list(frames).index(DELIM) + 1 :] or [b""]
        if len(parts) < 4 or not hmac.compare_digest(signature, self._sign(parts[:4])):
            raise ForgedError("a wrong signature")
        return parts

    def _sign(self, parts: Sequence[bytes]) -> bytes:
        """As a session does, in one step instead of eight."""
        return hmac.digest(self._key, b"".join(parts), "sha256").hex().encode("ascii")


def _pack(value: object) -> bytes:
    """One part of a request; half a surrogate pair is escaped, as JSON can, and dates are text."""
    return json.dumps(value, default=str).encode("ascii")


def _read(part: bytes) -> JSONObject:
    """One part of a message; what is no object is an empty one."""
    try:
        value = _parse(part)
    except RecursionError:
        raise _UnreadableError("its JSON is nested too deep") from None
    except ValueError as error:
        raise _UnreadableError(f"it is not JSON ({error})") from None
    if part.count(b"[") + part.count(b"{") > _DEEPEST and _is_deep(value):
        raise _UnreadableError(f"its JSON is nested deeper than {_DEEPEST} levels")
    return value if isinstance(value, dict) else {}


def _parse(part: bytes) -> JSON:
    try:
        value: JSON = _decode(part.decode("utf-8", "surrogatepass"))
    except ValueError:  # a byte that is not UTF-8, or a number that Python refuses
        lenient = part.decode("utf-8", "replace")
        value = json.loads(lenient, parse_constant=str, parse_int=_whole)
    return value


def _whole(digits: str) -> JSON:
    return int(digits) if len(digits) <= _DIGITS else digits


def _is_deep(value: JSON) -> bool:
    level: list[Any] = [value]  # of dicts and lists, as `json` makes them
    for _ in range(_DEEPEST):
        level = [
            each
            for container in level
            for each in (container.values() if isinstance(container, dict) else container)
            if isinstance(each, (dict, list))
        ]
        if not level:
            return False
    return True


def _report(what: str, size: int, error: Exception, message: Message | None = None) -> Message:
    """An output that stands for what can't be read, with the same parent."""
    note = f"[kernel-exec] {what} of {size:,} bytes can't be read: {error}\n"
    return Message(
        channel=Channel.IOPUB,
        msg_type="stream",
        content={"name": "stderr", "text": note},
        parent_id="" if message is None else message.parent_id,
        metadata={},
        date="" if message is None else message.date,
        size=size,
    )

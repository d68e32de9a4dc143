"""What stands before MCP over HTTP: the gate, bounds on what is sent, and a word on our health."""

from typing import Final

import anyio
from mcp_types import INVALID_REQUEST
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .rules import HEALTH, Gate, Refusal

BODY_LIMIT: Final = 4_194_304
"""Bytes of one request; data belongs into files."""

_TOO_LARGE = Refusal(
    status=413, message=f"a request has at most {BODY_LIMIT:,} bytes; put data into files"
)

_BODY_SECONDS = 30.0
"""For all of a body: far more than a slow line needs, far less than who only wants to occupy us."""


class Guard:
    """Lets through what `gate` lets in, with a body that has come whole."""

    def __init__(self, gate: Gate, inside: ASGIApp) -> None:
        """`inside` gets the rest."""
        self._gate = gate
        self._inside = inside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        refusal = self._gate.refusal(scope["method"], scope["path"], scope["headers"])
        if refusal is not None:
            await refuse(refusal, scope, receive, send)
        elif scope["path"] == HEALTH:
            await JSONResponse({"status": "ok"})(scope, receive, send)
        elif isinstance(body := await _body(scope, receive), Refusal):
            await refuse(body, scope, receive, send)
        elif body is not None:
            await self._inside(scope, _again(body, receive), send)


async def refuse(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a status, and the reason as an error of JSON-RPC that belongs to no request."""
    error = {"code": INVALID_REQUEST, "message": refusal.message}
    response = JSONResponse(
        {"jsonrpc": "2.0", "id": None, "error": error},
        status_code=refusal.status,
        headers=refusal.headers,
    )
    await response(scope, receive, send)


async def _body(scope: Scope, receive: Receive) -> bytes | Refusal | None:
    """All that was sent with a request; None when its client left before that."""
    body = bytearray()
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if int(declared) > BODY_LIMIT:
        return _TOO_LARGE
    with anyio.move_on_after(_BODY_SECONDS):
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if len(body) > BODY_LIMIT:
                return _TOO_LARGE
            if not message.get("more_body", False):
                return bytes(body)
    return Refusal(
        status=408,
        message=f"the request did not come whole within {_BODY_SECONDS:g} s",
        headers={"connection": "close"},
    )


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive`, with a body before it that has come already."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def received() -> Message:
        return waiting.pop() if waiting else await receive()

    return received

"""The door: who has the key is let in, with a body that is not too large, and everybody is counted."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alpaca_lora.inference.serve.refusal import Refused

OPEN_PATH = "/health"
"""The one path that needs no key."""


class Door:
    """Stands before the app; reads a body whole before anything looks at it.

    Args:
        key: what clients must send as a bearer token; empty where none is asked for.
        max_bytes: the largest body.
        count: called with route and status of each request.
    """

    def __init__(self, app: ASGIApp, key: str, max_bytes: int, count: Callable[[str, int], None]) -> None:
        self._app = app
        self._key = key.encode()
        self._max_bytes = max_bytes
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, await self._let_in(scope, receive), noting)
        except Refused as error:
            await JSONResponse(error.body, error.status, error.headers)(scope, receive, noting)
        finally:
            self._count(getattr(scope.get("route"), "path", "none"), status)

    async def _let_in(self, scope: Scope, receive: Receive) -> Receive:
        """Check key and size; give what the app reads the body from."""
        headers = Headers(scope=scope)
        if self._key and scope["path"] != OPEN_PATH:
            scheme, _, key = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(key.strip().encode("latin-1"), self._key):
                raise Refused(401, "the API key is missing or wrong", code="invalid_api_key", WWW_Authenticate="Bearer")
        declared, body, more = headers.get("content-length", ""), bytearray(), True
        is_large = declared.isdigit() and int(declared) > self._max_bytes
        while more and not is_large:
            message = await receive()
            body += message.get("body", b"")
            more, is_large = message.get("more_body", False), len(body) > self._max_bytes
        if is_large:
            raise Refused(413, f"the body is larger than {self._max_bytes} bytes", code="body_too_large")
        pending: list[Message] = [{"type": "http.request", "body": bytes(body)}]

        async def replaying() -> Message:
            return pending.pop() if pending else await receive()

        return replaying

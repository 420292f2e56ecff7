"""The page of a review and the one address it sends marks to, for this machine's browser only."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from alpaca_lora.data.audit.marks import Mark, Verdict, add_mark, load_marks, view_of
from alpaca_lora.data.audit.rows import Table
from alpaca_lora.errors import UserError

_MAX_BODY = 1024 * 1024
_THIS_MACHINE = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.IGNORECASE)
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # the page's own policy says the rest
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Review:
    """A data set and its marks, which are kept in their file only: what is shown is what is written.

    Args:
        path: file of the marks, which may not exist yet.
        page: gives the page with the marks as it shows them: {"row": {"mark", "edit"}}.
    """

    def __init__(self, table: Table, path: Path, page: Callable[[Mapping[str, Any]], str]) -> None:
        self.table = table
        self.path = path
        self._page = page

    def marks(self) -> dict[int, Mark]:
        """Read the marks as they are now."""
        return load_marks(self.path, self.table) if self.path.exists() else {}

    def page(self) -> str:
        """Give the page with the marks as they are now."""
        return self._page({str(row): self._shown(row, mark) for row, mark in self.marks().items()})

    def add(self, row: int, mark: Verdict | None, edit: Mapping[str, str] | None) -> int:
        """Write a mark down, in turn with other writers; give how many rows are marked then."""
        return len(add_mark(self.path, self.table, row, mark, edit))

    def _shown(self, row: int, mark: Mark) -> dict[str, Any]:
        """Name the new texts of the last turn as the page does."""
        places = view_of(self.table, row).turns[-1].places
        edit = {name: mark.edit[path] for name, path in places.items() if path in mark.edit}
        return {"mark": mark.mark, **({"edit": edit} if edit else {})}


class _Sent(BaseModel):
    """What the page sends."""

    model_config = ConfigDict(extra="forbid", strict=True)
    row: int
    mark: Verdict | None
    edit: dict[str, str] | None = None


def create_app(review: Review) -> Starlette:
    """Make the app: `GET /` is the page, `POST /marks` takes one mark; all else is refused."""

    async def page(_: Request) -> Response:
        return HTMLResponse(await asyncio.to_thread(review.page))

    async def marks(request: Request) -> Response:
        try:
            sent = _Sent.model_validate_json(await _body(request))
        except ValidationError as error:
            first = error.errors()[0]
            raise HTTPException(400, ": ".join((*map(str, first["loc"]), first["msg"]))) from error
        return JSONResponse({"marks": await asyncio.to_thread(review.add, sent.row, sent.mark, sent.edit)})

    return Starlette(
        routes=[Route("/", page), Route("/marks", marks, methods=["POST"])],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=_let_in)],
        exception_handlers={UserError: _user_error, HTTPException: _http_error},
    )


async def _let_in(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse what another site's page could send; who sends it, a browser tells truly.

    The name in Host is the one the browser looked up, so that a foreign name that leads here (DNS rebinding) is seen.
    The port is free: it is another one behind `ssh -L`.
    """
    host = request.headers.get("host", "")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not _THIS_MACHINE.fullmatch(host):
        response = _error(403, "this page is for this machine: open it at 127.0.0.1 or localhost")
    elif request.headers.get("origin", f"http://{host}").lower() != f"http://{host}".lower():
        response = _error(403, "another page sent this")
    elif request.method == "POST" and kind != "application/json":
        response = _error(415, "marks are sent as application/json")
    else:
        response = await call_next(request)
    response.headers.update(_HEADERS)
    return response


async def _body(request: Request) -> bytes:
    """Read a body, and not more of it than any mark needs."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BODY:
            raise HTTPException(413, f"a mark is at most {_MAX_BODY // 1024} KiB")
    return bytes(body)


def _error(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)


async def _user_error(_: Request, error: Exception) -> Response:
    """Tell the page what is wrong; that a disk is full or may not be written to is not the page's fault."""
    assert isinstance(error, UserError)
    return _error(500 if isinstance(error.__cause__, OSError) else 400, error.what)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, error.detail)

"""An answer on its way from the engine to a client: whole, or as server-sent events while it grows."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from alpaca_lora.errors import UserError
from alpaca_lora.inference.engine import Engine, Event, Finished, Request, Ticket
from alpaca_lora.inference.serve.refusal import Refused

_LOG = logging.getLogger(__name__)
_TEXT = "\0"
"""Stands for the text where a chunk is prepared."""


class Growing:
    """One answer; its events are brought from the engine's thread into this event loop.

    Args:
        in_pieces: whether every piece is waited for, or only the end: waking the loop costs more than all the rest.
    """

    def __init__(self, engine: Engine, request: Request, *, in_pieces: bool) -> None:
        self._events: deque[Event] = deque()
        self._has_come = asyncio.Event()
        loop = asyncio.get_running_loop()

        def deliver(event: Event) -> None:
            self._events.append(event)
            if in_pieces or not isinstance(event, str):
                loop.call_soon_threadsafe(self._has_come.set)

        self.ticket: Ticket = engine.ask(request, deliver)

    async def next(self) -> tuple[str, Finished | Exception | None]:
        """Wait for what is waited for; give all the text that is there, and how it ended if it has."""
        await self._has_come.wait()
        self._has_come.clear()
        text, end = "", None
        while self._events:
            event = self._events.popleft()
            if isinstance(event, str):
                text += event
            else:
                end = event
        return text, end


@asynccontextmanager
async def cancelled_without_client(receive: Receive, ticket: Ticket) -> AsyncGenerator[asyncio.Task[None]]:
    """Cancel the answer when its client goes away, which ends the task that is given, and when the block is left."""

    async def wait_for_end() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        ticket.cancel()

    watching = asyncio.create_task(wait_for_end())
    try:
        yield watching
    finally:
        watching.cancel()
        ticket.cancel()


@dataclass(frozen=True)
class Form:
    """How an answer is written down: as a chat's message, or as the continuation of a text.

    Attributes:
        asks: the parameter that holds what is asked.
        id: what its id begins with.
        whole: name of the object that holds it all.
        chunk: name of the object that holds a piece.
        choice: gives a text as the whole answer.
        piece: gives a text as a piece of it, nothing as its end.
        begin: the piece before any text.
    """

    asks: str
    id: str
    whole: str
    chunk: str
    choice: Callable[[str], dict[str, Any]]
    piece: Callable[[str], dict[str, Any]]
    begin: dict[str, Any] | None


CHAT = Form(
    "messages", "chatcmpl-", "chat.completion", "chat.completion.chunk",
    lambda text: {"message": {"role": "assistant", "content": text, "refusal": None}},
    lambda text: {"delta": {"content": text} if text else {}},
    {"delta": {"role": "assistant", "content": ""}},
)  # fmt: skip
TEXT = Form(
    "prompt", "cmpl-", "text_completion", "text_completion",
    lambda text: {"text": text}, lambda text: {"text": text}, None,
)  # fmt: skip


class Reply:
    """One answer on its way to its client.

    Args:
        model: what the client called the one that answers.
        fingerprint: what stands for this server's setup.
        count: called once with how the answer ended.
    """

    def __init__(
        self, form: Form, growing: Growing, model: str, fingerprint: str, count: Callable[[Finished | Exception], None]
    ) -> None:
        self._form = form
        self._growing = growing
        self._count = count
        self._head = {
            "id": form.id + uuid4().hex,
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": fingerprint,
        }

    async def whole(self, receive: Receive) -> Response:
        """Wait for the answer and give it in one piece; raise `Refused` where it does not come to its end."""
        text, end = "", None
        async with cancelled_without_client(receive, self._growing.ticket) as watching:
            while end is None:
                piece, end = await self._growing.next()
                text += piece
            is_gone = watching.done()
        self._count(end)
        finished = self._checked(end, 499 if is_gone else 503)
        choice = {"index": 0, **self._form.choice(text), "logprobs": None, "finish_reason": finished.reason}
        body = {**self._head, "object": self._form.whole, "choices": [choice], "usage": _usage(finished)}
        return JSONResponse(body)

    def stream(self, *, with_usage: bool) -> Response:
        """Give the answer as events: pieces as they grow, how it ended, the counts if wanted, `[DONE]`."""
        return _EventStream(self._events(with_usage), self._growing.ticket)

    async def _events(self, with_usage: bool) -> AsyncIterator[str]:
        usage = {"usage": None} if with_usage else {}

        def chunk(piece: dict[str, Any], reason: str | None = None) -> str:
            choice = {"index": 0, **piece, "logprobs": None, "finish_reason": reason}
            return _event({**self._head, "object": self._form.chunk, "choices": [choice], **usage})

        # All but the text is the same in every chunk: it is written once, not once a token.
        before, after = chunk(self._form.piece(_TEXT)).split(_encode(_TEXT))
        if self._form.begin:
            yield chunk(self._form.begin)
        end = None
        while end is None:
            text, end = await self._growing.next()
            if text:
                yield before + _encode(text) + after
        self._count(end)
        try:
            finished = self._checked(end, 503)
        except Refused as error:
            yield _event(error.body)
            return
        last = chunk(self._form.piece(""), finished.reason)
        if with_usage:
            last += _event({**self._head, "object": self._form.chunk, "choices": [], "usage": _usage(finished)})
        yield last + "data: [DONE]\n\n"

    def _checked(self, end: Finished | Exception, cancelled_status: int) -> Finished:
        """Give how the answer ended; raise `Refused` for an error, and for an end before the end."""
        if isinstance(end, UserError):  # an adapter that cannot be loaded
            _LOG.error("%s: %s", self._head["id"], end)
            raise Refused(503, end.what, param="model", code="model_unavailable")
        if isinstance(end, Exception):
            _LOG.error("%s ended with an error: %s", self._head["id"], end)
            raise Refused(500, f"the engine failed; the server's log tells more of {self._head['id']}")
        if end.reason == "cancelled":
            raise Refused(cancelled_status, "the answer was stopped: the server ends", code="cancelled")
        return end


class _EventStream(StreamingResponse):
    """Server-sent events, passed on at once by proxies too; without its client the answer is cancelled."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str], ticket: Ticket) -> None:
        super().__init__(events, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._ticket = ticket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with cancelled_without_client(receive, self._ticket):
            await self.stream_response(send)


def _usage(finished: Finished) -> dict[str, Any]:
    return {
        "prompt_tokens": finished.prompt_tokens,
        "completion_tokens": finished.tokens,
        "total_tokens": finished.prompt_tokens + finished.tokens,
        "prompt_tokens_details": {"cached_tokens": finished.reused_tokens},
    }


def _encode(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _event(value: object) -> str:
    return f"data: {_encode(value)}\n\n"

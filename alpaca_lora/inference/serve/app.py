"""The routes of OpenAI's API over an engine."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from alpaca_lora import __version__
from alpaca_lora.errors import UserError
from alpaca_lora.inference import engine as engines
from alpaca_lora.inference.models import BASE, Prompts
from alpaca_lora.inference.serve.access import Door
from alpaca_lora.inference.serve.answered import ChatAnswered, Health, ModelList, ModelShown, TextAnswered
from alpaca_lora.inference.serve.answers import CHAT, TEXT, Form, Growing, Reply
from alpaca_lora.inference.serve.asked import Asked, ChatAsked, TextAsked
from alpaca_lora.inference.serve.metrics import Metrics
from alpaca_lora.inference.serve.refusal import ErrorBody, Refused
from alpaca_lora.inference.settings import SamplingConfig, ServeConfig

_RETRY_SECONDS = "1"
_EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
"""A server-sent event, as OpenAPI describes one; its data is JSON of OpenAI's chunks, an error, or [DONE]."""


def create_app(prompts: Prompts, engine: engines.Engine, config: ServeConfig, key: str) -> FastAPI:
    """Make the app; `key` is what clients must send, empty where none is asked for."""
    metrics = Metrics(engine)
    routes = _Routes(prompts, engine, config, metrics)
    app = _App(title="alpaca-lora", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    app.add_middleware(Door, key=key, max_bytes=config.max_body_kib * 1024, count=metrics.count_request)
    app.add_api_route("/health", routes.health, response_model=Health)
    # The door checks the key; this says so in the description.
    security = [Security(HTTPBearer(auto_error=False))] if key else []
    api = APIRouter(dependencies=security, responses=_errors(401) if key else None)
    api.add_api_route("/v1/models", routes.models, response_model=ModelList)
    api.add_api_route("/v1/models/{model:path}", routes.model, response_model=ModelShown, responses=_errors(404))
    text: dict[int | str, Any] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
    api.add_api_route("/metrics", routes.metrics, response_class=Response, responses=text)
    for path, ask, answered in (
        ("/v1/chat/completions", routes.chat, ChatAnswered),
        ("/v1/completions", routes.complete, TextAnswered),
    ):
        stream = {"text/event-stream": {"itemSchema": _EVENT}}
        responses = {200: {"model": answered, "content": stream}, **_errors(400, 404, 413, 429, 500, 503)}
        api.add_api_route(path, ask, methods=["POST"], responses=responses, response_model=None)
    app.include_router(api)
    return app


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Describe the routes; what FastAPI answers with 422 by itself is a 400 here, as OpenAI has it."""
        description = super().openapi()
        for path in description["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        return description


class _Routes:
    """What each route does."""

    def __init__(self, prompts: Prompts, engine: engines.Engine, config: ServeConfig, metrics: Metrics) -> None:
        self._prompts = prompts
        self._engine = engine
        self._config = config
        self._metrics = metrics
        self._started = int(time.time())
        setup = f"{__version__} {prompts.base_name} {config}"
        self._fingerprint = f"fp_{hashlib.sha256(setup.encode()).hexdigest()[:10]}"
        self._encoding = asyncio.Lock()
        self._to_encode = 0

    async def health(self) -> Health:
        """Tell that the server answers; needs no key."""
        return Health()

    async def metrics(self) -> Response:
        """Give what was counted, for Prometheus."""
        return Response(self._metrics.text(), media_type=CONTENT_TYPE_LATEST)

    def models(self) -> ModelList:
        """List all that can be asked, adapters that were written since the start included."""
        self._prompts.refresh()
        return ModelList(data=[shown for name in self._engine.names if (shown := self._shown(name))])

    def model(self, model: str) -> ModelShown:
        """Show one of them."""
        self._check(model)
        shown = self._shown(model)
        if shown is None:
            raise _unknown(model)
        return shown

    async def chat(self, asked: ChatAsked, request: Request) -> Response:
        """Answer a conversation in the prompt format that the adapter was trained with."""
        system, turns = asked.conversation()

        def encode(sampling: SamplingConfig) -> engines.Request:
            return self._prompts.request(asked.model, turns, sampling, system=system, stop=asked.stops)

        return await self._answer(CHAT, asked, encode, request)

    async def complete(self, asked: TextAsked, request: Request) -> Response:
        """Go on with a text as it is."""

        def encode(sampling: SamplingConfig) -> engines.Request:
            return self._prompts.raw_request(asked.model, asked.text, sampling, stop=asked.stops)

        return await self._answer(TEXT, asked, encode, request)

    async def _answer(
        self, form: Form, asked: Asked, encode: Callable[[SamplingConfig], engines.Request], request: Request
    ) -> Response:
        sampling = asked.sampling(self._config)
        if self._to_encode >= self._config.limits.slots + self._config.limits.queue:
            raise Refused(429, "too many requests", code="queue_full", Retry_After=_RETRY_SECONDS)
        self._to_encode += 1
        try:
            async with self._encoding:  # a long text takes a second: the streams go on, other texts wait
                wanted = await asyncio.to_thread(self._encoded, asked.model, encode, sampling)
        finally:
            self._to_encode -= 1
        try:
            growing = Growing(self._engine, wanted, in_pieces=bool(asked.stream))
        except engines.Busy as error:
            raise Refused(429, error.what, code="queue_full", Retry_After=_RETRY_SECONDS) from error
        except engines.Closing as error:
            raise Refused(503, error.what, code="cancelled") from error
        except UserError as error:
            raise Refused(400, error.what, param=form.asks, code="context_length_exceeded") from error
        reply = Reply(form, growing, asked.model, self._fingerprint, self._metrics.count_answer)
        if asked.stream:
            return reply.stream(with_usage=asked.with_usage)
        return await reply.whole(request.receive)

    def _encoded(
        self, model: str, encode: Callable[[SamplingConfig], engines.Request], sampling: SamplingConfig
    ) -> engines.Request:
        self._check(model)
        try:
            return encode(sampling)
        except UserError as error:
            raise Refused(400, error.what) from error

    def _check(self, model: str) -> None:
        if model not in self._engine.names:
            self._prompts.refresh()
        if model not in self._engine.names:
            raise _unknown(model)

    def _shown(self, name: str) -> ModelShown | None:
        """Describe one that can answer; None for a checkpoint that its run has removed since."""
        if name == BASE:
            return ModelShown(id=name, created=self._started)
        try:
            written = (self._prompts.folders[name] / "adapter_config.json").stat().st_mtime
        except OSError:
            return None
        return ModelShown(id=name, created=int(written))


# --- errors ------------------------------------------------------------------------------------------------------


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorBody, "description": HTTPStatus(status).phrase} for status in statuses}


def _unknown(model: str) -> Refused:
    message = f"there is no model {model!r} here; GET /v1/models lists them"
    return Refused(404, message, param="model", code="model_not_found")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return JSONResponse(error.body, error.status, error.headers)


async def _wrong_body(request: Request, error: Exception) -> Response:
    """Say what the first wrong parameter is, as OpenAI does for its own."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = [str(part) for part in first["loc"][1:]]
    param = place[0] if place and first["type"] != "json_invalid" else None
    message = f"{'.'.join(place)}: {first['msg']}" if param else f"the body: {first['msg']}"
    if first["type"] == "extra_forbidden":
        message = f"Unrecognized request argument supplied: {'.'.join(place)}"
    elif param is None and "json" not in request.headers.get("content-type", ""):
        message = "the body must be JSON, sent with Content-Type: application/json"
    return await _refused(request, Refused(400, message, param=param))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(Refused(error.status_code, str(error.detail)).body, error.status_code, error.headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    return await _refused(request, Refused(500, "the server failed; its log tells more"))


_HANDLERS = {
    Refused: _refused,
    RequestValidationError: _wrong_body,
    HTTPException: _http_error,
    Exception: _unexpected,
}

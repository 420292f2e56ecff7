"""Answers on their way: whole characters, clients that go away, engines that fail, a queue that is full."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from tiny_models import chain_model, write_base
from waiting import WAIT_SECONDS, until

from alpaca_lora.config import ModelConfig
from alpaca_lora.inference.engine import Event, Request, Ticket
from alpaca_lora.inference.models import Models, Prompts
from alpaca_lora.inference.settings import AdaptersConfig, QueueConfig
from alpaca_lora.inference.torch_engine import TorchEngine
from alpaca_lora.model.tokenizer import load_tokenizer

TEXT = "cat你😀"
LONG = {"model": "base", "prompt": "the", "max_tokens": 100_000}


def _models(folder: Path, *tokens: str) -> Models:
    """Load a model that says these tokens, and then says them again."""
    write_base(folder, hidden_size=400, max_position_embeddings=10**6)
    tokenizer, _ = load_tokenizer(folder)
    ids = [tokenizer.convert_tokens_to_ids(token) for token in tokens]
    chain_model(ids, max_position_embeddings=10**6).save_pretrained(folder)
    return Models(ModelConfig(base_model=str(folder), device="cpu", dtype="float32"), AdaptersConfig())


@pytest.fixture(scope="module")
def speaking(serve: Any, tmp_path_factory: pytest.TempPathFactory) -> Generator[openai.OpenAI]:
    """A server that answers TEXT, its characters split over tokens, and ends."""
    pieces = [f"<0x{byte:02X}>" for byte in TEXT.removeprefix("cat").encode()]
    models = _models(tmp_path_factory.mktemp("speaking") / "base", "▁cat", *pieces, "</s>")
    with (
        serve(models, TorchEngine(models, QueueConfig())) as served,
        openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def endless(serve: Any, tmp_path_factory: pytest.TempPathFactory) -> Generator[Any]:
    """A server with one slot and one place to wait, which answers for ever."""
    models = _models(tmp_path_factory.mktemp("endless") / "base", "▁cat", "▁mat")
    engine = TorchEngine(models, QueueConfig(slots=1, queue=1))
    with serve(models, engine, max_answer_tokens=100_000, max_body_kib=1) as served:
        yield served


def _ask(url: str, **body: Any) -> socket.socket:
    """Send a question over a bare socket."""
    content = json.dumps(LONG | body).encode()
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=WAIT_SECONDS)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    connection.sendall(head.encode() + f"Content-Length: {len(content)}\r\n\r\n".encode() + content)
    return connection


def test_characters_come_whole(speaking: openai.OpenAI) -> None:
    plain = speaking.completions.create(model="base", prompt="the", temperature=0)
    assert plain.choices[0].text == TEXT
    assert plain.choices[0].finish_reason == "stop"
    chunks = speaking.completions.create(model="base", prompt="the", temperature=0, stream=True)
    pieces = [chunk.choices[0].text for chunk in chunks]
    assert "".join(pieces) == TEXT
    assert set(pieces) <= {"cat", "你", "😀", "cat你", "你😀", TEXT, ""}  # a chunk holds what has come


def test_a_stream_is_what_the_standard_says(speaking: openai.OpenAI) -> None:
    body = {"model": "base", "messages": [{"role": "user", "content": "the"}], "stream": True, "temperature": 0}
    reply = httpx.post(f"{speaking.base_url}chat/completions", json=body, trust_env=False)
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (reply.headers["cache-control"], reply.headers["x-accel-buffering"]) == ("no-cache", "no")
    events = reply.content.decode("utf-8", errors="strict").split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert deltas[-1] == {}
    assert "".join(delta.get("content", "") for delta in deltas) == TEXT
    assert all("usage" not in chunk for chunk in chunks)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_frees_its_slot(stream: bool, endless: Any) -> None:
    connection = _ask(endless.url, stream=stream)
    until(lambda: endless.engine.active == 1)
    if stream:
        assert b"200 OK" in connection.recv(1000)
    connection.close()
    until(lambda: endless.engine.active == 0)


def test_a_client_that_goes_away_leaves_the_queue(endless: Any) -> None:
    first = _ask(endless.url, stream=True)
    until(lambda: endless.engine.active == 1)
    second = _ask(endless.url)
    until(lambda: endless.engine.waiting == 1)
    second.close()
    until(lambda: endless.engine.waiting == 0)
    assert endless.engine.active == 1
    first.close()
    until(lambda: endless.engine.active == 0)
    text = httpx.get(f"{endless.url}/metrics", trust_env=False).text
    assert 'alpaca_lora_answers_total{end="cancelled"}' in text


def test_a_full_queue_is_said(endless: Any) -> None:
    connections = [_ask(endless.url, stream=True)]
    until(lambda: endless.engine.active == 1)
    connections.append(_ask(endless.url))
    until(lambda: endless.engine.waiting == 1)
    reply = httpx.post(f"{endless.url}/v1/completions", json=LONG, trust_env=False)
    assert reply.status_code == 429
    assert reply.headers["retry-after"] == "1"
    error = reply.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("rate_limit_error", None, "queue_full")
    for connection in connections:
        connection.close()
    until(lambda: endless.engine.active == 0)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_over_the_limit_is_refused(is_chunked: bool, endless: Any) -> None:
    def post(size: int) -> httpx.Response:
        content = b"x" * size
        body: Any = (content[place : place + 100] for place in range(0, size, 100)) if is_chunked else content
        return httpx.post(
            f"{endless.url}/v1/completions", content=body, headers={"Content-Type": "application/json"}, trust_env=False
        )

    assert post(1024).status_code == 400  # it is let in, and is no JSON
    refused = post(1025)
    assert refused.status_code == 413
    assert refused.json()["error"]["code"] == "body_too_large"


def test_a_body_that_says_it_is_too_large_is_not_waited_for(endless: Any) -> None:
    host, port = endless.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=WAIT_SECONDS) as connection:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1025\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


# --- an engine that fails ----------------------------------------------------------------------------------------


class Failing:
    """An engine that gives up after a word."""

    names: tuple[str, ...] = ("base",)
    waiting = active = 0

    def ask(self, request: Request, deliver: Callable[[Event], None]) -> Ticket:
        deliver("some")
        deliver(RuntimeError("the card has melted"))
        return Ticket(request, deliver)

    def close(self) -> None: ...


def test_an_engines_error_is_told_and_logged(serve: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    prompts = Prompts(ModelConfig(base_model=str(write_base(tmp_path / "base"))), AdaptersConfig())
    with (
        caplog.at_level(logging.ERROR),
        serve(prompts, Failing()) as served,
        openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client,
    ):
        with pytest.raises(openai.InternalServerError, match="the engine failed"):
            client.completions.create(model="base", prompt="a")
        texts: list[str] = []
        with pytest.raises(openai.APIError, match="the engine failed") as failed:
            texts += [part.choices[0].text for part in client.completions.create(model="base", prompt="a", stream=True)]
        assert "melted" not in str(failed.value)
    assert caplog.text.count("the card has melted") == 2

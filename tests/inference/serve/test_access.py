"""Who is let in: the key, and the paths that need it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import httpx
import pytest

PATHS = ["/v1/models", "/v1/models/base", "/metrics", "/openapi.json", "/nothing"]


@pytest.fixture(scope="module")
def http(server: Any) -> Generator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False) as http:
        yield http


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "header", [None, b"", b"Bearer", b"Bearer sesam", b"Basic sesame", b"sesame", b"Bearer \xe9sesame"]
)
def test_without_the_key_nothing_is_told(path: str, header: bytes | None, http: httpx.Client) -> None:
    reply = http.get(path, headers=[] if header is None else [(b"Authorization", header)])
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("path", PATHS)
def test_with_the_key_it_is(path: str, http: httpx.Client) -> None:
    reply = http.get(path, headers={"Authorization": "bearer sesame"})
    assert reply.status_code == (404 if path == "/nothing" else 200)


def test_the_key_is_asked_for_before_the_body_is_looked_at(http: httpx.Client) -> None:
    assert http.post("/v1/completions", content=b"x" * 2_000_000).status_code == 401


def test_health_needs_no_key(http: httpx.Client) -> None:
    reply = http.get("/health")
    assert (reply.status_code, reply.json()) == (200, {"status": "ok"})

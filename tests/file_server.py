"""A web server on the loopback interface that holds one file and misbehaves as told."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Source:
    """What the server gives, and what it was asked.

    Attributes:
        cuts: after how many bytes each of the next answers breaks; None for a whole one, "reset" for a hard end.
        statuses: HTTP errors with which the next requests are answered.
        heeds: `range` and `if_range`: whether it looks at these headers; `length`: whether it says the length.
    """

    body: bytes
    etag: str = '"one"'
    cuts: list[int | str | None] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    heeds: frozenset[str] = frozenset({"range", "if_range", "length"})
    asked: list[str] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    source: Source

    def do_GET(self) -> None:
        source, asked = self.source, self.headers.get("Range") or ""
        source.asked.append(asked)
        if self.path == "/moved":
            self._head(302, {"Location": "/data.json", "Content-Length": "0"})
            return
        if source.statuses:
            self._head(source.statuses.pop(0), {"Content-Length": "0"})
            return
        same = "if_range" not in source.heeds or self.headers.get("If-Range") == source.etag
        start = int(asked[6:-1]) if asked and "range" in source.heeds and same else 0
        size = len(source.body)
        if start >= size:
            self._head(416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"})
            return
        body = source.body[start:]
        headers = {"ETag": source.etag} if source.etag else {}
        headers |= {"Content-Length": str(len(body))} if "length" in source.heeds else {}
        headers |= {"Content-Range": f"bytes {start}-{size - 1}/{size}"} if start else {}
        self._head(206 if start else 200, headers)
        cut = source.cuts.pop(0) if source.cuts else None
        if cut == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.wfile.write(body[:100])
        else:
            self.wfile.write(body[:cut])  # pyright: ignore[reportArgumentType]

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's word
        """Keep the output clean."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def shutdown_request(self, request: Any) -> None:
        request.close()  # without an orderly goodbye, which would come before a reset


@contextmanager
def serving_file(body: bytes) -> Generator[Source]:
    """Serve a file as `/data.json`, any other page but `/moved` too, until the block ends."""
    held = Source(body)
    server = Server(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"source": held}))
    held.url = f"http://127.0.0.1:{server.server_port}/data.json"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

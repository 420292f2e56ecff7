"""A stand-in for the Hub on the loopback interface: as much of its HTTP API as downloading a repository needs.

`hub_uploads` adds what uploading needs.

Small files are served by `resolve` itself; weights and Parquet answer with a redirect to another host, as the Hub's
large files do. Written from the Hub's documented API, it knows nothing of the code under test.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

_API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+))?/?(.*)")
_RESOLVE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
LARGE = (".safetensors", ".bin", ".parquet")


@dataclass
class Repo:
    """One repository at one commit, reached as `main`, by the commit, or under `tags`.

    Attributes:
        access: `open`; `gated` shows the listing but no file; `private` looks as if it did not exist.
        moved_to: id it was renamed to; every request is redirected there.
        token: what opens a gated or private repository.
    """

    files: dict[str, bytes]
    access: str = "open"
    moved_to: str = ""
    tags: tuple[str, ...] = ()
    token: str = "hf_let_me_in"

    def __post_init__(self) -> None:
        self.files.setdefault(".gitattributes", b"")

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Give each file's hash under which the Hub knows it: sha256 of large files, sha1 of others."""
        return {
            name: (hashlib.sha256 if name.endswith(LARGE) else hashlib.sha1)(content).hexdigest()
            for name, content in self.files.items()
        }

    @cached_property
    def commit(self) -> str:
        """Give 40 hex digits that stand for the content."""
        return hashlib.sha1(repr(sorted(self.hashes.items())).encode()).hexdigest()

    @property
    def entries(self) -> list[dict[str, Any]]:
        """Give the files as the Hub's API lists them."""
        entries: list[dict[str, Any]] = []
        for name, content in self.files.items():
            size, oid = len(content), self.hashes[name]
            large = {"lfs": {"oid": oid, "size": size, "pointerSize": 134}} if name.endswith(LARGE) else {}
            entries.append({"type": "file", "path": name, "size": size, "oid": oid[:40]} | large)
        return entries


@dataclass
class Hub:
    """What the server holds and what it was asked.

    Attributes:
        repos: keyed by `models/OWNER/NAME` or `datasets/OWNER/NAME`.
        cuts: file name -> after how many bytes each of its next downloads breaks.
        resets: file name -> how many of its next downloads end in a reset of the connection.
        status: answer every request with this HTTP status, where not 0.
        requests: (method, path, Range header) in order of arrival.
    """

    repos: dict[str, Repo]
    cuts: dict[str, list[int]] = field(default_factory=dict)
    resets: dict[str, int] = field(default_factory=dict)
    status: int = 0
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    url: str = ""

    def downloads(self, name: str) -> list[str]:
        """Give the Range header ("" for the whole) of each download of a file, large or small."""
        return [span for method, path, span in self.requests if method == "GET" and path.endswith(f"/{name}")]


AnyHub = TypeVar("AnyHub", bound=Hub)


@contextmanager
def running_hub(repos: dict[str, Repo]) -> Generator[Hub]:
    """Serve repositories until the block ends."""
    with serving(Hub(repos), Handler) as hub:
        yield hub


@contextmanager
def serving(hub: AnyHub, handler: type[Handler]) -> Generator[AnyHub]:
    """Serve what a hub holds until the block ends; `handler` answers the requests."""
    server = _Server(("127.0.0.1", 0), type("BoundHandler", (handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def shutdown_request(self, request: Any) -> None:
        request.close()  # without the orderly goodbye of the base class, which would come before a reset


class Refusal(Exception):
    """Answer with this HTTP status and the Hub's error headers."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class Handler(BaseHTTPRequestHandler):
    """Answers what a download asks; `answer_page` is where a subclass adds to it."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's word
        """Keep the test's output clean; `Hub.requests` holds what came in."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.requests.append((self.command, path, self.headers.get("Range") or ""))
        try:
            if self.hub.status:
                raise Refusal(self.hub.status, "", "the Hub is not well")
            self.answer_page(path, body)
        except Refusal as refusal:
            headers = {"X-Error-Message": refusal.message}
            self.send(refusal.status, b"", headers | ({"X-Error-Code": refusal.code} if refusal.code else {}))

    def answer_page(self, path: str, body: bytes) -> None:
        """Answer a request, or raise `Refusal`."""
        if path.startswith("/large/"):
            self._send_file(path, self._large_file(path), {})
        elif match := _API.fullmatch(path):
            self._answer_api(match, parse_qs(body.decode()))
        elif match := _RESOLVE.fullmatch(path):
            self._resolve(match)
        else:
            raise Refusal(404, "", f"no such page: {path}")

    def _repo(self, kind: str, repo_id: str, revision: str, *, files: bool) -> Repo | None:
        """Find an open repository; None after it was answered with a redirect to its new name."""
        repo, token = self.hub.repos.get(f"{kind}/{repo_id}"), (self.headers.get("Authorization") or "")[7:]
        if repo and repo.moved_to:
            self.send(307, b"", {"Location": self.path.replace(repo_id, repo.moved_to)})
            return None
        if token and token not in {known.token for known in self.hub.repos.values()}:
            raise Refusal(401, "", "Invalid credentials in Authorization header")
        if repo is None or (repo.access == "private" and token != repo.token):
            raise Refusal(404 if token else 401, "RepoNotFound", "Repository not found")
        if files and repo.access == "gated" and token != repo.token:
            raise Refusal(403 if token else 401, "GatedRepo", f"Access to model {repo_id} is restricted")
        if revision not in ("main", repo.commit, *repo.tags):
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repo

    def _answer_api(self, match: re.Match[str], form: dict[str, list[str]]) -> None:
        kind, repo_id, what, revision, folder = match.groups()
        repo = self._repo(kind, repo_id, revision or "main", files=False)
        if repo is None:
            return
        if what == "tree":
            answer: Any = [entry for entry in repo.entries if entry["path"].startswith(folder)]
        elif what == "paths-info":
            answer = [entry for entry in repo.entries if entry["path"] in form.get("paths", [])]
        else:
            siblings = [{"rfilename": name} for name in repo.files]
            answer = {"id": repo_id, "sha": repo.commit, "siblings": siblings, "tags": []}
            answer["private"] = repo.access == "private"
        self.send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _resolve(self, match: re.Match[str]) -> None:
        dataset, repo_id, revision, name = match.groups()
        repo = self._repo("datasets" if dataset else "models", repo_id, revision, files=True)
        if repo is None:
            return
        commit = {"X-Repo-Commit": repo.commit}
        if name not in repo.files:
            self.send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"} | commit)
            return
        content, etag = repo.files[name], repo.hashes[name]
        if name.endswith(LARGE):
            where = f"http://localhost:{self.hub.url.rsplit(':', 1)[-1]}/large/{etag}/{name}"
            headers = {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(content)), "Location": where}
            self.send(302, b"", headers | commit)
        else:
            self._send_file(name, content, {"ETag": f'"{etag}"'} | commit)

    def _large_file(self, path: str) -> bytes:
        _, _, wanted, name = path.split("/", 3)
        return next(repo.files[name] for repo in self.hub.repos.values() if repo.hashes.get(name) == wanted)

    def _send_file(self, path: str, content: bytes, headers: dict[str, str]) -> None:
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(span[1]) if span else 0
        if span:
            headers |= {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        body, name = content[start:], path.rsplit("/", 1)[-1]
        cuts = self.hub.cuts.get(name) if self.command == "GET" else None
        sent = cuts.pop(0) if cuts else None
        if self.command == "GET" and self.hub.resets.get(name):
            self.hub.resets[name] -= 1
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sent = 0
        self.send(206 if span else 200, body, headers | {"Accept-Ranges": "bytes"}, sent=sent)

    def send(self, status: int, body: bytes, headers: dict[str, str], *, sent: int | None = None) -> None:
        """Send an answer, or only its first `sent` bytes and then hang up."""
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])
        if sent is not None:
            self.close_connection = True

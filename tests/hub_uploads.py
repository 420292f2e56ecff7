"""The part of the stand-in Hub that takes uploads: accounts, new repositories, git-LFS by one PUT, commits.

Written from the Hub's documented API, it knows nothing of the code under test. Xet is not spoken here: clients need
HF_HUB_DISABLE_XET=1, since with hf_xet installed they use it without asking the Hub.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml
from hub_server import LARGE, Handler, Hub, Refusal, Repo, serving

TOKEN = Repo({}).token
_UPLOAD = re.compile(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main")
_BATCH = re.compile(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch")
_FRONT_MATTER = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)


class Commit(NamedTuple):
    """A commit that arrived: each file's name with `lfs` or `regular`, the way its bytes came."""

    repo_id: str
    ways: dict[str, str]


@dataclass
class UploadHub(Hub):
    """A Hub with one user, whose token is `TOKEN`.

    Attributes:
        whoami: what it tells of that user and the token.
        writable: namespaces in which repositories may be made and changed.
        failing: end of a path -> HTTP status that requests to such paths are answered with.
        objects: large files that arrived, by sha256.
        commits: in order of arrival.
    """

    whoami: dict[str, Any] = field(default_factory=lambda: account())
    writable: set[str] = field(default_factory=lambda: {"me", "lab"})
    failing: dict[str, int] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)


def account(role: str = "write", **token: Any) -> dict[str, Any]:
    """Give the answer to `whoami`: user `me`, who writes in `lab` and reads in `readers`."""
    orgs = [
        {"type": "org", "name": "lab", "roleInOrg": "write"},
        {"type": "org", "name": "readers", "roleInOrg": "read"},
    ]
    access = {"displayName": "laptop", "role": role} | token
    return {"type": "user", "name": "me", "orgs": orgs, "auth": {"type": "access_token", "accessToken": access}}


def fine_grained(**permissions: list[str]) -> dict[str, Any]:
    """Give the answer to `whoami` for a fine-grained token: namespace -> what it may do there."""
    scopes = [{"entity": {"type": "user", "name": name}, "permissions": may} for name, may in permissions.items()]
    return account("fineGrained", fineGrained={"global": [], "scoped": scopes})


@contextmanager
def running_upload_hub() -> Generator[UploadHub]:
    """Serve an empty Hub until the block ends."""
    with serving(UploadHub({}), UploadHandler) as hub:
        yield hub


class UploadHandler(Handler):
    """Answers what uploads ask, and leaves the rest to the handler of downloads."""

    hub: UploadHub

    def answer_page(self, path: str, body: bytes) -> None:
        """Answer a request, or raise `Refusal`."""
        for end, status in self.hub.failing.items():
            if path.endswith(end):
                raise Refusal(status, "", "out of order")
        if path.startswith("/lfs/") and self.command == "PUT":  # like a presigned link, it needs no token
            if hashlib.sha256(body).hexdigest() != path[5:]:
                raise Refusal(400, "", "the bytes have another sha256")
            self.hub.objects[path[5:]] = body
            self.send(200, b"", {})
        elif path == "/lfs/verify":
            sent = json.loads(body)
            if len(self.hub.objects.get(sent["oid"], b"")) != sent["size"]:
                raise Refusal(404, "", "the object did not arrive")
            self._send_json({"message": "ok"})
        elif path == "/api/whoami-v2":
            self._require_token()
            self._send_json(self.hub.whoami)
        elif path == "/api/validate-yaml":
            self._validate(json.loads(body)["content"])
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif match := _BATCH.fullmatch(path):
            self._writable_repo(match[1])
            self._send_json(
                {"transfer": "basic", "objects": [self._batched(one) for one in json.loads(body)["objects"]]}
            )
        elif match := _UPLOAD.fullmatch(path):
            repo = self._writable_repo(match[1])
            if match[2] == "preupload":
                self._send_json({"files": [self._mode(file, repo) for file in json.loads(body)["files"]]})
            else:
                self._commit(match[1], repo, [json.loads(line) for line in body.splitlines()])
        else:
            super().answer_page(path, body)

    def _send_json(self, answer: dict[str, Any], status: int = 200) -> None:
        self.send(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _require_token(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Refusal(401, "", "Invalid credentials in Authorization header")

    def _require_namespace(self, owner: str) -> None:
        self._require_token()
        if owner not in self.hub.writable:
            raise Refusal(403, "", f"You don't have the rights to write under the namespace {owner}")

    def _writable_repo(self, repo_id: str) -> Repo:
        self._require_namespace(repo_id.split("/")[0])
        if f"models/{repo_id}" not in self.hub.repos:
            raise Refusal(404, "RepoNotFound", "Repository not found")
        return self.hub.repos[f"models/{repo_id}"]

    def _validate(self, readme: str) -> None:
        front = _FRONT_MATTER.match(readme)
        try:
            is_mapping = front is not None and isinstance(yaml.safe_load(front[1]), dict)
        except yaml.YAMLError as error:
            self._send_json({"errors": [{"message": str(error)}], "warnings": []}, 400)
            return
        self._send_json(
            {"errors": [], "warnings": [] if is_mapping else [{"message": "empty or missing yaml metadata"}]}
        )

    def _create(self, wanted: dict[str, Any]) -> None:
        owner = wanted["organization"] or self.hub.whoami["name"]
        repo_id = f"{owner}/{wanted['name']}"
        self._require_namespace(owner)
        is_new = f"models/{repo_id}" not in self.hub.repos
        if is_new:
            access = "private" if wanted.get("visibility") == "private" else "open"
            self.hub.repos[f"models/{repo_id}"] = Repo({}, access=access)
        self._send_json({"url": f"{self.hub.url}/{repo_id}"}, 200 if is_new else 409)

    def _mode(self, file: dict[str, Any], repo: Repo) -> dict[str, Any]:
        mode = "lfs" if file["path"].endswith(LARGE) else "regular"
        answer = {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
        if file["path"] not in repo.files:
            return answer
        content = repo.files[file["path"]]
        as_blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return answer | {"oid": hashlib.sha256(content).hexdigest() if mode == "lfs" else as_blob}

    def _batched(self, wanted: dict[str, Any]) -> dict[str, Any]:
        answer = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] in self.hub.objects:
            return answer
        links = {"upload": f"{self.hub.url}/lfs/{wanted['oid']}", "verify": f"{self.hub.url}/lfs/verify"}
        return answer | {"actions": {name: {"href": link} for name, link in links.items()}}

    def _commit(self, repo_id: str, repo: Repo, lines: list[dict[str, Any]]) -> None:
        files, ways = dict(repo.files), {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]], ways[value["path"]] = base64.b64decode(value["content"]), "regular"
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    raise Refusal(400, "", f"{value['path']} was not uploaded")
                files[value["path"]], ways[value["path"]] = self.hub.objects[value["oid"]], "lfs"
        changed = Repo(files, access=repo.access)
        self.hub.repos[f"models/{repo_id}"] = changed
        self.hub.commits.append(Commit(repo_id, ways))
        url = f"{self.hub.url}/{repo_id}/commit/{changed.commit}"
        self._send_json({"success": True, "commitOid": changed.commit, "commitUrl": url})

"""Exports pushed to a stand-in of the Hub and fetched again; whatever forbids it is told before, or with what is safe.

As in `test_hub`, the calls run in processes of their own, since the Hub's client reads its environment when imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server import running_hub
from hub_uploads import TOKEN, Commit, UploadHub, account, fine_grained, running_upload_hub
from safetensors.torch import save_file

ROOT = Path(__file__).parents[2]
README = "---\nlibrary_name: transformers\n---\n# A model\n"

CALLS = """
import ipaddress, json, sys
from pathlib import Path

def forbid_network(event, args):
    if event == "socket.connect" and not ipaddress.ip_address(args[1][0]).is_loopback:
        raise SystemExit(f"connects to {args[1]}")
    if event == "socket.getaddrinfo" and args[0] not in ("localhost", "127.0.0.1"):
        raise SystemExit(f"asks for the address of {args[0]}")

sys.addaudithook(forbid_network)
from rich.console import Console
from alpaca_lora import hub
from alpaca_lora.errors import UserError
from alpaca_lora.export import push

console = Console(file=sys.stderr, width=40)

def interrupted(*arguments, **options):
    from huggingface_hub import HfApi
    def stop(*arguments, **options):
        raise KeyboardInterrupt
    HfApi.create_commit = stop
    return push.push_folder(*arguments, **options)

for name, *arguments in json.load(sys.stdin):
    try:
        if name in ("push_folder", "interrupted"):
            call = interrupted if name == "interrupted" else push.push_folder
            answer = call(Path(arguments[0]), arguments[1], console=console)
        else:
            answer = getattr(push if name == "check_push" else hub, name)(*arguments)
    except UserError as error:
        answer = str(error)
    print(json.dumps(answer, default=str))
"""


@dataclass
class Client:
    """A user's machine with its own cache, and the Hub it asks."""

    url: str
    cache: Path
    printed: str = ""

    def run(self, *calls: tuple[str | None, ...], **environment: str) -> list[Any]:
        """Give what each call returned, or the text of its `UserError`; fail on a traceback."""
        done = subprocess.run(
            [sys.executable, "-c", CALLS],
            input=json.dumps(calls),
            env={**os.environ, "HF_ENDPOINT": self.url, "HF_HOME": str(self.cache), "HF_HUB_OFFLINE": "0"}
            | {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_TOKEN": TOKEN}
            | {"PYTHONPATH": str(ROOT)}
            | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        self.printed = done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "my model"  # the blank asks for quotes in a command
    folder.mkdir()
    for shard in (1, 2):
        save_file({f"weight.{shard}": torch.randn(64, 64)}, folder / f"model-0000{shard}-of-00002.safetensors")
    texts = {
        "config.json": '{"model_type": "llama"}',
        "model.safetensors.index.json": "{}",
        "tokenizer.json": '{"version": "1.0"}',
        "chat_template.jinja": "{{ messages }}",
        "verification.json": '{"verified": true}',
        "README.md": README,
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    save_file({"lora_A.weight": torch.randn(4, 64)}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}', encoding="utf-8")
    (folder / "run.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.fixture
def hub() -> Generator[UploadHub]:
    with running_upload_hub() as hub:
        yield hub


@pytest.fixture
def client(hub: UploadHub, tmp_path: Path) -> Client:
    return Client(hub.url, tmp_path / "cache")


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sent(hub: UploadHub, repo_id: str) -> dict[str, bytes]:
    return {name: content for name, content in hub.repos[f"models/{repo_id}"].files.items() if name != ".gitattributes"}


def safe_and_repeatable(said: str, repo_id: str, folder: Path) -> bool:
    quoted = f"'{folder}'" if " " in str(folder) else str(folder)
    return f"the export is safe in {folder}\n" in said and f"hf upload {repo_id} {quoted} --private" in said


# --- what works --------------------------------------------------------------------------------------------------


def test_a_pushed_model_comes_back_as_it_was(hub: UploadHub, client: Client, model: Path) -> None:
    repo_id = "lab/my-model"
    allowed, url, snapshot = client.run(
        ("check_push", repo_id), ("push_folder", str(model), repo_id), ("fetch_model", repo_id, None)
    )
    repo = hub.repos[f"models/{repo_id}"]
    assert allowed is None
    assert sent(hub, repo_id) == bytes_of(model)
    assert hub.commits == [
        Commit(repo_id, {name: "lfs" if name.endswith(".safetensors") else "regular" for name in bytes_of(model)})
    ]
    assert repo.access == "private"
    assert url == f"{hub.url}/{repo_id}/commit/{repo.commit}"
    assert f"pushed  {repo_id} (private, {len(bytes_of(model))} files): {url}" in client.printed
    assert bytes_of(Path(snapshot[0])) | {"README.md": README.encode()} == bytes_of(model)  # a model comes without it


def test_a_pushed_adapter_comes_back_as_it_was(hub: UploadHub, client: Client, adapter: Path) -> None:
    _, snapshot = client.run(("push_folder", str(adapter), "me/adapter"), ("fetch_adapter", "me/adapter"))
    assert bytes_of(Path(snapshot[0])) == sent(hub, "me/adapter") == bytes_of(adapter)
    assert [commit.ways["adapter_model.safetensors"] for commit in hub.commits] == ["lfs"]


def test_a_second_push_sends_what_changed_and_keeps_the_visibility(
    hub: UploadHub, client: Client, adapter: Path, tmp_path: Path
) -> None:
    client.run(("push_folder", str(adapter), "me/adapter"))
    hub.repos["models/me/adapter"].access = "open"
    changed = tmp_path / "changed"
    changed.mkdir()
    for name, content in bytes_of(adapter).items():
        (changed / name).write_bytes(content + b" " if name == "run.json" else content)
    client.run(("push_folder", str(changed), "me/adapter"))
    assert sent(hub, "me/adapter") == bytes_of(changed)
    assert hub.commits[1:] == [Commit("me/adapter", {"run.json": "regular"})]
    assert hub.repos["models/me/adapter"].access == "open"
    assert "me/adapter (public, " in client.printed


@pytest.mark.parametrize("permissions", [{"lab": ["repo.content.read", "repo.write"]}, {"lab/x": ["repo.write"]}])
def test_a_fine_grained_token_needs_the_right_to_write_there(
    hub: UploadHub, client: Client, permissions: dict[str, list[str]]
) -> None:
    hub.whoami = fine_grained(**permissions)
    allowed, said = client.run(("check_push", "lab/x"), ("check_push", "me/x"))
    assert allowed is None
    assert "the fine-grained token of me may not write to me/x" in said
    assert "give it write access to the repositories of me" in said


# --- what cannot work is told before anything long is done -------------------------------------------------------


def test_ids_tokens_and_namespaces_are_checked_before(hub: UploadHub, client: Client) -> None:
    ill_formed = ["my model", "model", "a/b/c", "https://huggingface.co/me/x", "me/x--y"]
    repo_ids = [*ill_formed, "stranger/x", "readers/x", "ME/x", "lab/x"]
    answers = dict(zip(repo_ids, client.run(*(("check_push", repo_id) for repo_id in repo_ids)), strict=True))
    for repo_id in ill_formed:
        assert f"'{repo_id}' is no id of a repository on the Hub\n  why: " in answers[repo_id]
        assert "--push_to_hub OWNER/NAME" in answers[repo_id]
    assert "it lacks the owner" in answers["model"]
    assert "me may not write to stranger/x: that is another user or organisation" in answers["stranger/x"]
    assert "give --push_to_hub a name of me or lab, such as me/x" in answers["stranger/x"]
    assert "me may not write to readers/x: your role there only reads" in answers["readers/x"]
    assert (answers["ME/x"], answers["lab/x"]) == (None, None)
    assert {path for _, path, _ in hub.requests} == {"/api/whoami-v2"}
    assert hub.repos == {}


def test_without_a_token_or_offline_the_hub_is_not_asked(hub: UploadHub, client: Client) -> None:
    (no_token,) = client.run(("check_push", "me/x"), HF_TOKEN="")
    assert "nothing can be uploaded to me/x: this machine has no token for the Hub" in no_token
    assert "fix: hf auth login, with a token of the type Write" in no_token
    (offline,) = client.run(("check_push", "me/x"), HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE forbids it\n  fix: run it with HF_HUB_OFFLINE=0" in offline
    assert hub.requests == []


def test_a_token_that_only_reads_is_refused(hub: UploadHub, client: Client) -> None:
    hub.whoami = account("read")
    (said,) = client.run(("check_push", "me/x"))
    assert "nothing can be uploaded to me/x: the token laptop of me may only read\n  fix: hf auth login" in said


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_not_valid_is_refused(hub: UploadHub, client: Client, status: int) -> None:
    if status == 403:
        hub.failing["/whoami-v2"] = 403
    (said,) = client.run(("check_push", "me/x"), HF_TOKEN=TOKEN if status == 403 else "hf_expired")
    assert "the Hub refuses your access token, so nothing can be uploaded to me/x\n  why: " in said
    assert "hf auth login" in said


def test_a_hub_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    with running_hub({}) as gone:
        pass
    (said,) = Client(gone.url, tmp_path).run(("check_push", "me/x"))
    assert "the Hub did not say whether you may write to me/x" in said
    assert "Connection refused" in said


# --- what fails later says where the export is -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "status", "reason"),
    [
        ("/repos/create", 500, "500"),
        ("/commit/main", 500, "500"),
        ("/objects/batch", 400, "out of order (HTTP status 400)"),
    ],
)
def test_an_upload_that_fails_leaves_the_export_and_says_how_to_repeat(
    hub: UploadHub, client: Client, model: Path, step: str, status: int, reason: str
) -> None:
    before = bytes_of(model)
    hub.failing[step] = status
    (said,) = client.run(("push_folder", str(model), "me/x"))
    first, *_ = said.splitlines()
    assert first.startswith("the upload to me/x failed: ")
    assert reason in first
    assert safe_and_repeatable(said, "me/x", model)
    assert (bytes_of(model), hub.commits) == (before, [])
    hub.failing.clear()
    client.run(("push_folder", str(model), "me/x"))
    assert sent(hub, "me/x") == before


def test_a_refused_upload_says_where_the_export_is(hub: UploadHub, client: Client, model: Path) -> None:
    hub.writable.clear()
    (said,) = client.run(("push_folder", str(model), "me/x"))
    assert "the Hub refuses the upload to me/x" in said
    assert "why: You don't have the rights to write under the namespace me" in said
    assert "fix: hf auth login" in said
    assert safe_and_repeatable(said, "me/x", model)
    assert hub.repos == {}


def test_an_interrupted_upload_says_where_the_export_is(hub: UploadHub, client: Client, model: Path) -> None:
    (said,) = client.run(("interrupted", str(model), "me/x"))
    assert "the upload to me/x was interrupted" in said
    assert safe_and_repeatable(said, "me/x", model)
    assert hub.commits == []


def test_weights_of_two_exports_are_not_mixed(hub: UploadHub, client: Client, model: Path, adapter: Path) -> None:
    _, said = client.run(("push_folder", str(adapter), "me/x"), ("push_folder", str(model), "me/x"))
    assert "me/x holds weights that are not of this export: adapter_config.json, adapter_model.safetensors\n" in said
    assert "hf repos delete-files me/x adapter_config.json adapter_model.safetensors, then hf upload me/x" in said
    assert safe_and_repeatable(said, "me/x", model)
    assert sent(hub, "me/x") == bytes_of(adapter)

"""Base, adapter and data set by Hub id, against a stand-in of the Hub: each way works or ends in one clear error.

The Hub's clients read where the Hub is, where the cache lies and whether they are offline once, when imported. So the
calls run in processes of their own, several in one because the import is most of the time.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub, Repo, running_hub

from alpaca_lora.errors import UserError
from alpaca_lora.hub import read_hub_rows

ROOT = Path(__file__).parents[1]
ROWS = [{"instruction": f"Say {n}.", "input": "", "output": f"{n}"} for n in range(3)]
WEIGHTS = bytes(range(256)) * (13 << 12)  # 13 MiB: the client keeps what arrived in pieces of 10 MiB

CALLS = """
import ipaddress, json, sys

def forbid_network(event, args):
    if event == "socket.connect" and not ipaddress.ip_address(args[1][0]).is_loopback:
        raise SystemExit(f"connects to {args[1]}")
    if event == "socket.getaddrinfo" and args[0] not in ("localhost", "127.0.0.1"):
        raise SystemExit(f"asks for the address of {args[0]}")

sys.addaudithook(forbid_network)
from alpaca_lora import hub
from alpaca_lora.errors import UserError
for name, *arguments in json.load(sys.stdin):
    try:
        answer = getattr(hub, name)(*arguments)
    except UserError as error:
        answer = str(error)
    print(json.dumps(answer, default=str))
"""


@dataclass
class Client:
    """A user's machine with its own cache, and the Hub it asks."""

    hub: Hub
    cache: Path

    def run(self, *calls: tuple[str | None, ...], **environment: str) -> list[Any]:
        """Give what each call of `alpaca_lora.hub` returned, or the text of its `UserError`; fail on a traceback."""
        done = subprocess.run(
            [sys.executable, "-c", CALLS],
            input=json.dumps(calls),
            env={**os.environ, "HF_ENDPOINT": self.hub.url, "HF_HOME": str(self.cache), "HF_HUB_OFFLINE": "0"}
            | {"PYTHONPATH": str(ROOT)}
            | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


def parquet_of(rows: list[dict[str, str]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


CONFIG = {"config.json": b'{"model_type": "llama"}', "tokenizer.model": b"pieces"}
ADAPTER = {"adapter_config.json": b'{"peft_type": "LORA"}', "README.md": b"An adapter.\n"}
LISTED = json.dumps(ROWS).encode()
TWO_PARTS = b"---\nconfigs:\n- {config_name: en, data_files: en.json}\n- {config_name: zh, data_files: zh.json}\n---\n"


def repositories() -> dict[str, Repo]:
    other_formats = {"consolidated.safetensors": b"again", "original/params.json": b"{}", "onnx/model.json": b"{}"}
    base = Repo(CONFIG | {"model.safetensors": WEIGHTS, "pytorch_model.bin": b"pickle"} | other_formats, tags=("v1",))
    return {
        "models/lab/base": base,
        "models/lab/old-name": Repo({}, moved_to="lab/base"),
        "models/lab/pickled": Repo(CONFIG | {"pytorch_model-00001-of-00001.bin": b"pickle", "train.py": b""}),
        "models/lab/broken": Repo(CONFIG | {"model-00001-of-00001.safetensors": b"weights"}),
        "models/lab/private": Repo(CONFIG | {"model.safetensors": b"weights"}, access="private"),
        "models/lab/gated": Repo(CONFIG | {"model.safetensors": b"weights"}, access="gated"),
        "models/lab/adapter": Repo(ADAPTER | {"adapter_model.safetensors": b"new", "adapter_model.bin": b"old"}),
        "models/lab/adapter-2023": Repo(ADAPTER | {"adapter_model.bin": b"old", "checkpoint-9/optimizer.bin": b"x"}),
        "datasets/lab/rows": Repo({"rows.json": LISTED, "README.md": b"Rows.\n"}),
        "datasets/lab/old-rows": Repo({}, moved_to="lab/rows"),
        "datasets/lab/table": Repo({"data/train-0.parquet": parquet_of(ROWS), "data/test-0.parquet": parquet_of(ROWS)}),
        "datasets/lab/tests-only": Repo({"test.json": LISTED}),
        "datasets/lab/two-parts": Repo({"en.json": LISTED, "zh.json": LISTED, "README.md": TWO_PARTS}),
        "datasets/lab/broken": Repo({"rows.json": b'[{"instruction": "a"'}),
        "datasets/lab/pictures": Repo({"a.png": b"png"}),
        "datasets/lab/private": Repo({"rows.json": LISTED}, access="private"),
        "datasets/lab/gated": Repo({"rows.json": LISTED}, access="gated"),
    }


MODEL_CALLS = {
    "base": ("fetch_model", "lab/base", None),
    "tagged": ("fetch_model", "lab/base", "v1"),
    "renamed": ("fetch_model", "lab/old-name", None),
    "pickled": ("fetch_model", "lab/pickled", None),
    "broken off": ("fetch_model", "lab/broken", None),
    "second try": ("fetch_model", "lab/broken", None),
    "missing": ("fetch_model", "lab/nothing", None),
    "private": ("fetch_model", "lab/private", None),
    "gated": ("fetch_model", "lab/gated", None),
    "no revision": ("fetch_model", "lab/base", "v2"),
    "no id": ("fetch_model", "my model", None),
    "adapter as base": ("fetch_model", "lab/adapter", None),
    "adapter": ("fetch_adapter", "lab/adapter"),
    "old adapter": ("fetch_adapter", "lab/adapter-2023"),
    "missing adapter": ("fetch_adapter", "lab/nothing"),
    "base as adapter": ("fetch_adapter", "lab/base"),
}
_DATA_SETS = "rows old-rows table tests-only two-parts pictures"
DATA_CALLS = {name: ("read_hub_rows", f"lab/{name}") for name in _DATA_SETS.split()} | {
    f"{name} data": ("read_hub_rows", f"lab/{name}") for name in ("broken", "private", "gated", "missing")
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Generator[Client]:
    with running_hub(repositories()) as hub:
        hub.cuts["model.safetensors"] = [12 << 20]
        hub.resets["model-00001-of-00001.safetensors"] = 1
        yield Client(hub, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def online(client: Client) -> dict[str, Any]:
    """Give the answer to every call above, made in this order on a machine whose cache is empty at first."""
    calls = MODEL_CALLS | DATA_CALLS
    return dict(zip(calls, client.run(*calls.values()), strict=True))


def files_of(snapshot: list[str]) -> dict[str, bytes]:
    folder = Path(snapshot[0])
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- what works --------------------------------------------------------------------------------------------------


def test_a_base_model_arrives_without_pickles_and_other_formats(online: dict[str, Any], client: Client) -> None:
    assert files_of(online["base"]) == CONFIG | {"model.safetensors": WEIGHTS}
    assert client.hub.downloads("pytorch_model.bin") == []


def test_the_commit_of_a_base_model_is_told(online: dict[str, Any], client: Client) -> None:
    commit = client.hub.repos["models/lab/base"].commit
    assert [online[name][1] for name in ("base", "tagged", "renamed")] == [commit] * 3


def test_a_renamed_base_model_is_followed(online: dict[str, Any]) -> None:
    assert files_of(online["renamed"]) == files_of(online["base"])


def test_a_cut_connection_is_taken_up_where_it_broke(online: dict[str, Any], client: Client) -> None:
    whole, rest, *others = client.hub.downloads("model.safetensors")
    assert (whole, rest) == ("", f"bytes={10 << 20}-")
    assert others == [""]  # under the old name the Hub's files are another repository's


def test_after_a_broken_connection_a_second_try_fetches_only_what_lacks(online: dict[str, Any], client: Client) -> None:
    assert "lab/broken could not be fetched" in online["broken off"]
    assert "run the same command again" in online["broken off"]
    assert files_of(online["second try"]) == CONFIG | {"model-00001-of-00001.safetensors": b"weights"}
    asked = [path for method, path, _ in client.hub.requests if method == "GET" and path.startswith("/lab/broken/")]
    assert len(asked) == len(CONFIG)


def test_pickled_weights_are_fetched_where_nothing_else_is(online: dict[str, Any]) -> None:
    assert sorted(files_of(online["pickled"])) == sorted([*CONFIG, "pytorch_model-00001-of-00001.bin", "train.py"])


def test_adapters_arrive_as_safetensors_or_else_pickled(online: dict[str, Any], client: Client) -> None:
    assert sorted(files_of(online["adapter"])) == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    assert sorted(files_of(online["old adapter"])) == ["README.md", "adapter_config.json", "adapter_model.bin"]
    assert online["adapter"][1] == client.hub.repos["models/lab/adapter"].commit
    assert len(client.hub.downloads("adapter_model.bin")) == 1


@pytest.mark.parametrize("name", ["rows", "old-rows", "table"])
def test_a_data_set_gives_the_rows_of_its_train_split(online: dict[str, Any], name: str) -> None:
    assert online[name] == ROWS


# --- what cannot work is told ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("missing", ["no model lab/nothing on the Hub", "--base_model", "hf auth login"]),
        ("private", ["lab/private", "private", "hf auth login"]),
        ("gated", ["lab/gated is gated", "accept", "hf auth login"]),
        ("no revision", ["lab/base has no revision v2", "--base_revision"]),
        ("no id", ["'my model' is neither a local path nor a Hub id", "OWNER/NAME"]),
        ("adapter as base", ["lab/adapter is no base model", "--adapter"]),
        ("missing adapter", ["no adapter lab/nothing on the Hub", "name given to --adapter"]),
        ("base as adapter", ["lab/base is no adapter", "adapter_config.json", "--base_model"]),
        ("missing data", ["no data set lab/missing on the Hub", "--data_path", "hf auth login"]),
        ("private data", ["no data set lab/private on the Hub", "private", "hf auth login"]),
        ("gated data", ["lab/gated is gated", "accept", "hf auth login"]),
        ("tests-only", ["lab/tests-only has no train split, only test", "hf download lab/tests-only"]),
        ("two-parts", ["lab/two-parts has 2 parts", "en, zh", "hf download lab/two-parts"]),
        ("broken data", ["data set lab/broken could not be read", "--data_path"]),
        ("pictures", ["lab/pictures holds no JSON, CSV or Parquet file", "--data_path"]),
    ],
)
def test_errors_name_the_repository_the_cause_and_the_fix(online: dict[str, Any], call: str, said: list[str]) -> None:
    assert isinstance(online[call], str), online[call]
    assert [words for words in said if words not in online[call]] == []
    assert "\n  fix: " in online[call]


def test_a_data_set_without_the_package_for_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"lab/rows needs the package datasets[^$]*pip install 'alpaca-lora\[data\]'"):
        read_hub_rows("lab/rows")


def test_no_file_is_fetched_of_a_data_set_that_is_refused(online: dict[str, Any], client: Client) -> None:
    assert client.hub.downloads("en.json") == []


def test_a_token_opens_what_is_private_or_gated(client: Client, tmp_path: Path) -> None:
    calls = [MODEL_CALLS["private"], MODEL_CALLS["gated"]]
    for snapshot in Client(client.hub, tmp_path).run(*calls, HF_TOKEN=Repo({}).token):
        assert files_of(snapshot) == CONFIG | {"model.safetensors": b"weights"}


def test_a_token_that_is_not_valid_is_told(client: Client, tmp_path: Path) -> None:
    (said,) = Client(client.hub, tmp_path).run(MODEL_CALLS["base"], HF_TOKEN="hf_expired")
    assert "the Hub refuses your access token for lab/base" in said
    assert "unset HF_TOKEN" in said


# --- without the Hub ---------------------------------------------------------------------------------------------

CACHED = [MODEL_CALLS["base"], MODEL_CALLS["old adapter"], DATA_CALLS["rows"]]
NOT_CACHED = [MODEL_CALLS["missing"], MODEL_CALLS["missing adapter"], DATA_CALLS["missing data"]]


def test_offline_the_cache_is_used(online: dict[str, Any], client: Client) -> None:
    before = len(client.hub.requests)
    answers = client.run(*CACHED, *NOT_CACHED, HF_HUB_OFFLINE="1")
    assert answers[:3] == [online["base"], online["old adapter"], ROWS]
    for call, said in zip(NOT_CACHED, answers[3:], strict=True):
        assert f"{call[1]} is not in the local cache" in said
        assert "HF_HUB_OFFLINE=0" in said
    assert len(client.hub.requests) == before


def test_where_the_hub_is_down_the_cache_is_used(online: dict[str, Any], client: Client) -> None:
    with running_hub({}) as gone:
        pass
    base, adapter, *answers = Client(gone, client.cache).run(*CACHED[:2], *NOT_CACHED)
    assert [base, adapter] == [online["base"], online["old adapter"]]
    for call, said in zip(NOT_CACHED, answers, strict=True):
        assert f"{call[1]} could not be fetched" in said
        assert "Connection refused" in said
        assert "the Hub cannot be reached" in said


def test_where_the_hub_is_ill_the_cache_is_used(online: dict[str, Any], client: Client) -> None:
    with running_hub({}) as ill:
        ill.status = 503
        base, missing = Client(ill, client.cache).run(MODEL_CALLS["base"], MODEL_CALLS["missing"])
    assert base == online["base"]
    assert "lab/nothing could not be fetched" in missing
    assert "503" in missing


def test_an_incomplete_cache_is_no_model(client: Client, tmp_path: Path) -> None:
    """Here a file is taken out of the cache, as after a first download that broke off."""
    machine = Client(client.hub, tmp_path)
    (snapshot,) = machine.run(MODEL_CALLS["pickled"])
    (Path(snapshot[0]) / "config.json").unlink()
    (said,) = machine.run(MODEL_CALLS["pickled"], HF_HUB_OFFLINE="1")
    assert "lab/pickled is not in the local cache, or not all of it" in said

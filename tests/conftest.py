"""What every test gets: no network, a cache of its own, one thread, fixed seeds; and a tiny random Llama."""

from __future__ import annotations

import atexit
import ipaddress
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

# Read once, at import, by huggingface_hub and torch: so set before any test module is imported. Subprocesses inherit.
_HF_HOME = tempfile.mkdtemp(prefix="alpaca-lora-tests-")
atexit.register(shutil.rmtree, _HF_HOME, ignore_errors=True)
for _name in list(os.environ):
    if _name.lower().endswith("_proxy") or _name.startswith(("HF_", "WANDB_", "TRANSFORMERS_")):
        del os.environ[_name]
for _name in ("BASE_MODEL", "WORLD_SIZE", "RANK", "LOCAL_RANK"):
    os.environ.pop(_name, None)
os.environ.update(
    HF_HOME=_HF_HOME,
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    NO_PROXY="*",
    OMP_NUM_THREADS="1",  # matrices this small gain nothing from two
    OMP_WAIT_POLICY="PASSIVE",  # llama.cpp takes a thread for each core, which must not spin where others work
    MPLBACKEND="Agg",
)

# A shell that starts the tests in the background lets them ignore Ctrl-C, and every program they start inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

EMBEDDED_BASE = Path(__file__).parents[1] / "alpaca_lora" / "assets" / "alpaca-tiny"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_items:
        import torch

        if not torch.cuda.is_available():
            for item in gpu_items:
                item.add_marker(pytest.mark.skip(reason="no CUDA card"))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that reaches beyond this machine, even where the code under test swallows exceptions."""
    connect, connect_ex, resolve = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        _require_loopback(self.family, address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        _require_loopback(self.family, address)
        return connect_ex(self, address)

    def guarded_resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        _require_loopback(socket.AF_INET, (host,))
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_resolve)


def _require_loopback(family: int, address: Any) -> None:
    if family not in (socket.AF_INET, socket.AF_INET6):
        return
    host = address[0].decode() if isinstance(address[0], bytes) else address[0]
    if host in (None, "", "localhost"):
        return
    try:
        if ipaddress.ip_address(host).is_loopback:
            return
    except ValueError:
        pass
    pytest.fail(f"the test opened a connection to {host}")  # a BaseException: no `except Exception` hides it


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a Llama with random weights and the embedded base's tokenizer: 2 layers, 64 wide, 4 heads on 2."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny-llama")
    embedded = json.loads((EMBEDDED_BASE / "config.json").read_text(encoding="utf-8"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=embedded["vocab_size"],
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=1024,
                **{key: embedded.get(key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")},
            )
        )
    model.save_pretrained(folder)
    for path in EMBEDDED_BASE.iterdir():
        if path.name.startswith(("tokenizer", "special_tokens", "added_tokens", "chat_template")):
            shutil.copy(path, folder)
    return folder

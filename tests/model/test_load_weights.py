"""More of loading a base model: its weights, arithmetic and fingerprint."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import fill_adapter, tiny_model, write_base
from transformers import AutoModelForCausalLM

from alpaca_lora.config import LoraConfig, ModelConfig
from alpaca_lora.errors import UserError
from alpaca_lora.model import load
from alpaca_lora.model.load import (
    base_fingerprint,
    find_base,
    load_base_model,
    load_model_config,
)
from alpaca_lora.model.lora import adapter_tensors, attach_adapter, load_adapter, reload_error, save_adapter

IDS = torch.arange(5, 25)[None]
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    """A copy of the base, to be spoilt."""
    shutil.copytree(base, tmp_path / "copy")
    return tmp_path / "copy"


def _load(folder: Path, **settings: Any) -> Any:
    config = ModelConfig(base_model=str(folder), **{"device": "cpu", "dtype": "float32"} | settings)
    return load_base_model(config, find_base(config))


@torch.no_grad()
def _logits(model: Any) -> torch.Tensor:
    return model(input_ids=IDS, use_cache=False).logits.float()


# --- finding -----------------------------------------------------------------------------------------------------


def _as_pickle(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def _in_shards(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    tiny_model().save_pretrained(folder, max_shard_size="100KB")


def _lose_a_shard(folder: Path) -> None:
    _in_shards(folder)
    next(folder.glob("model-00002-*")).unlink()


def _spoil_pickle(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(b"junk" * 100)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), "no file named model.safetensors"),
        (lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:5000]), "SafetensorError"),
        (_lose_a_shard, "model-00002-of-"),
        (_spoil_pickle, "the weights cannot be loaded"),
    ],
)
def test_weights_that_cannot_be_read_are_refused(copy: Path, spoil: Callable[[Path], Any], message: str) -> None:
    spoil(copy)
    with pytest.raises(UserError) as error:
        _load(copy)
    assert str(error.value).startswith("the weights cannot be loaded")
    assert message in str(error.value)
    assert "fix: give another --base_model" in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a valid JSON file"),
        ("[]", "model_type"),
        ('{"model_type": "nope"}', "does not recognize this architecture"),
        ('{"model_type": "llama", "hidden_size": "x"}', "expected int, got str"),
        ('{"model_type": "x", "auto_map": {"AutoConfig": "a.B"}}', "it brings Python code of its own\n"),
    ],
)
def test_a_config_that_cannot_be_used_is_refused(copy: Path, content: str, message: str) -> None:
    (copy / "config.json").write_text(content, encoding="utf-8")
    config = ModelConfig(base_model=str(copy))
    with pytest.raises(UserError) as error:
        load_model_config(config, find_base(config))
    assert str(error.value).startswith("the model's config cannot be used")
    assert message in str(error.value)
    assert str(copy / "config.json") in str(error.value)


def test_code_of_a_model_is_run_only_when_asked_for(copy: Path) -> None:
    settings = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    auto_map = {"AutoConfig": "mine.MineConfig", "AutoModelForCausalLM": "mine.MineForCausalLM"}
    (copy / "config.json").write_text(json.dumps(settings | {"model_type": "mine", "auto_map": auto_map}))
    (copy / "mine.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class MineConfig(LlamaConfig):\n    model_type = 'mine'\n"
        "class MineForCausalLM(LlamaForCausalLM):\n    config_class = MineConfig\n"
    )
    with pytest.raises(UserError, match="fix: --trust_remote_code"):
        _load(copy)
    model = _load(copy, trust_remote_code=True)
    assert type(model).__name__ == "MineForCausalLM"
    assert torch.equal(_logits(model), _logits(tiny_model()))


def test_a_model_that_is_no_language_model_is_refused(copy: Path) -> None:
    (copy / "config.json").write_text('{"model_type": "t5"}', encoding="utf-8")
    with pytest.raises(UserError) as error:
        _load(copy)
    assert "T5Config" in str(error.value)
    assert len(str(error.value)) < 800  # transformers lists all 200 classes


# --- fingerprint -------------------------------------------------------------------------------------------------


def _fingerprint(folder: Path) -> str:
    return base_fingerprint(find_base(ModelConfig(base_model=str(folder))))


def test_a_copy_has_the_same_fingerprint(base: Path, copy: Path) -> None:
    assert _fingerprint(copy) == _fingerprint(base)


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
def test_any_changed_byte_changes_the_fingerprint(copy: Path, name: str) -> None:
    before, content = _fingerprint(copy), bytearray((copy / name).read_bytes())
    for place in (0, len(content) // 2, len(content) - 1):
        changed = content.copy()
        changed[place] ^= 1
        (copy / name).write_bytes(changed)
        assert _fingerprint(copy) != before


def test_the_fingerprint_tells_pickles_and_shards_apart(copy: Path) -> None:
    found = {_fingerprint(copy)}
    _as_pickle(copy)
    found.add(_fingerprint(copy))
    (copy / "pytorch_model.bin").rename(copy / "pytorch_model-00001-of-00001.bin")
    found.add(_fingerprint(copy))
    assert len(found) == 3


# --- quantisation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_quantisation_without_its_package_says_what_to_install(
    base: Path, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(load, "find_spec", lambda name: None if name == "bitsandbytes" else found(name))
    with pytest.raises(UserError, match=r"(?s)needs bitsandbytes.*fix: pip install 'alpaca-lora\[quant\]'"):
        _load(base, quantization=kind)


def _weights(layer: Any) -> torch.Tensor:
    """Undo bitsandbytes' quantisation of one layer."""
    import bitsandbytes

    if isinstance(layer, bitsandbytes.nn.Linear4bit):
        return bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    state = layer.weight if layer.weight.CB is not None else layer.state
    return state.CB.float() * state.SCB[:, None] / 127


def _gradients(model: Any) -> dict[str, torch.Tensor]:
    model.train()
    model(input_ids=IDS, labels=IDS, use_cache=False).loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")
@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_a_quantised_base_trains_right_after_an_evaluation(kind: Any, tmp_path: Path) -> None:
    """On CPUs with AVX512-BF16 an evaluation once left the weights in an order that training misread."""
    pytest.importorskip("bitsandbytes")
    folder = write_base(tmp_path / "base", hidden_size=128, head_dim=32, intermediate_size=192)
    model = attach_adapter(_load(folder, quantization=kind), LoraConfig(lora_r=4), seed=0)
    fill_adapter(model)
    assert "4bit" in type(model.get_base_model().model.layers[0].mlp.up_proj.base_layer).__name__ or kind == "int8"
    assert not any(getattr(module, "support_avx512bf16_for_cpu", False) for module in model.modules())
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.eval()
    _logits(model)
    found = _gradients(model)
    for name, module in model.get_base_model().named_modules():
        if hasattr(module, "base_layer"):
            plain.get_submodule(name).weight.data = _weights(module.base_layer)
    reference = attach_adapter(plain, LoraConfig(lora_r=4), seed=0)
    fill_adapter(reference)
    expected = _gradients(reference)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        similarity = torch.nn.functional.cosine_similarity(gradient.flatten(), expected[name].flatten(), 0)
        assert similarity > 0.9999, name  # int8 rounds each layer's input to 8 bits
    save_adapter(model, tmp_path / "adapter", base_name=str(folder), base_revision=None)
    assert reload_error(model, tmp_path / "adapter", IDS) == 0
    again = load_adapter(_load(folder, quantization=kind), tmp_path / "adapter", "again").eval()
    assert torch.equal(_logits(again), _logits(model.eval()))
    assert len(adapter_tensors(again)) == len(found)

"""More of adapters: folders that are refused, old ones that load, several at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import BLOCKS, fill_adapter, tiny_model, write_adapter

from alpaca_lora.config import LoraConfig
from alpaca_lora.errors import UserError
from alpaca_lora.model.lora import (
    adapter_tensors,
    attach_adapter,
    load_adapter,
    load_weights,
    read_adapter_config,
    reload_error,
    save_adapter,
    select_adapter,
)

IDS = torch.arange(5, 25)[None]
# As `alpaca-lora` of March 2023 wrote it, with the PEFT of those days.
CONFIG_OF_2023 = {
    "base_model_name_or_path": "decapoda-research/llama-7b-hf",
    "bias": "none",
    "enable_lora": None,
    "fan_in_fan_out": False,
    "inference_mode": True,
    "lora_alpha": 16,
    "lora_dropout": 0.05,
    "merge_weights": False,
    "modules_to_save": None,
    "peft_type": "LORA",
    "r": 16,
    "target_modules": ["q_proj", "v_proj"],
    "task_type": "CAUSAL_LM",
}


@torch.no_grad()
def _logits(model: Any) -> torch.Tensor:
    return model(input_ids=IDS, use_cache=False).logits


def _attached(seed: int = 0, **lora: Any) -> Any:
    return attach_adapter(tiny_model(), LoraConfig(**lora), seed=seed)


def _trained(seed: int = 0, **lora: Any) -> Any:
    model = _attached(seed, **lora)
    fill_adapter(model, seed)
    return model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Folder of an adapter on all layers of `tiny_model()`."""
    return write_adapter(tmp_path / "saved", tiny_model(), "someone/model", lora_r=4)


# --- attaching ---------------------------------------------------------------------------------------------------


def test_one_changed_weight_is_an_error(tmp_path: Path) -> None:
    model = _trained()
    save_adapter(model, tmp_path, base_name="someone/model", base_revision=None)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    name = sorted(tensors)[0]
    tensors[name][0, 0] += 0.01
    save_file(tensors, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
    assert 0 < reload_error(model, tmp_path, IDS) < 1


def test_logits_that_are_no_numbers_are_an_error(tmp_path: Path) -> None:
    model = _trained()
    save_adapter(model, tmp_path, base_name="someone/model", base_revision=None)
    model.get_output_embeddings().weight.data[3] = torch.nan
    assert reload_error(model, tmp_path, IDS) == torch.inf


def test_weights_return_into_an_attached_adapter(saved: Path) -> None:
    model = _attached(lora_r=4, seed=9)
    load_weights(model, saved)
    expected = load_file(saved / "adapter_model.safetensors")
    found = adapter_tensors(model)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("lora", [{"lora_r": 8}, {"lora_r": 4, "lora_target_modules": ("q_proj",)}])
def test_weights_of_another_shape_do_not_return(lora: dict[str, Any], saved: Path) -> None:
    model = _attached(**lora)
    before = {name: tensor.clone() for name, tensor in adapter_tensors(model).items()}
    with pytest.raises(UserError, match="do not fit the adapter to be trained"):
        load_weights(model, saved)
    assert all(torch.equal(tensor, before[name]) for name, tensor in adapter_tensors(model).items())


# --- loading for use ---------------------------------------------------------------------------------------------


def test_a_loaded_adapter_answers_as_the_trained_one_and_is_frozen(saved: Path) -> None:
    model = load_adapter(tiny_model(), saved, "mine").eval()
    assert torch.equal(_logits(model), _logits(peft.PeftModel.from_pretrained(tiny_model(), saved)))
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_switching_gives_exactly_each_adapters_logits_and_the_bases(tmp_path: Path) -> None:
    # names that PEFT itself takes for a part of its parameters' names, or for several
    folders = {"lora": {"lora_r": 4}, "a.b": {"lora_r": 8, "lora_target_modules": ("q_proj",)}, "a": {"use_dora": True}}
    expected = {None: _logits(tiny_model())}
    model = tiny_model()
    for seed, (name, lora) in enumerate(folders.items(), start=1):
        folder = write_adapter(tmp_path / name, tiny_model(), "someone/model", seed, **lora)
        expected[name] = _logits(peft.PeftModel.from_pretrained(tiny_model(), folder))
        model = load_adapter(model, folder, name).eval()
        assert torch.equal(_logits(model), expected[name])
    assert len({tuple(logits[0, -1, :3].tolist()) for logits in expected.values()}) == 4
    for name in ("a.b", None, "lora", "a", None, "a.b"):
        select_adapter(model, name)
        assert torch.equal(_logits(model), expected[name]), name
        assert not any(parameter.requires_grad for parameter in model.parameters())


def _adapter_of_2023(folder: Path) -> dict[str, torch.Tensor]:
    folder.mkdir()
    torch.manual_seed(3)
    widths = {"q_proj": 64, "v_proj": 32}
    tensors = {
        f"base_model.model.model.layers.{block}.self_attn.{layer}.lora_{matrix}.weight": 0.1 * torch.randn(shape)
        for block in range(BLOCKS)
        for layer, width in widths.items()
        for matrix, shape in (("A", (16, 64)), ("B", (width, 16)))
    }
    torch.save(tensors, folder / "adapter_model.bin")
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG_OF_2023), encoding="utf-8")
    return tensors


def test_an_adapter_of_2023_loads(tmp_path: Path) -> None:
    tensors = _adapter_of_2023(tmp_path / "old")
    by_hand = tiny_model()
    for name in [name for name in tensors if ".lora_A." in name]:
        layer = by_hand.get_submodule(name.removeprefix("base_model.model.").removesuffix(".lora_A.weight"))
        layer.weight.data += tensors[name.replace("lora_A", "lora_B")] @ tensors[name]  # alpha 16 / rank 16
    model = load_adapter(tiny_model(), tmp_path / "old", "old").eval()
    torch.testing.assert_close(_logits(model), _logits(by_hand), rtol=1e-4, atol=1e-4)  # sums in another order
    assert not torch.allclose(_logits(model), _logits(tiny_model()), atol=0.1)


class _Malicious:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.victim,)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    _adapter_of_2023(tmp_path / "old")
    torch.save({"x": _Malicious(tmp_path / "victim")}, tmp_path / "old" / "adapter_model.bin")
    with pytest.raises(UserError, match=r"(?s)cannot be read.*holds more than plain tensors"):
        load_adapter(tiny_model(), tmp_path / "old", "old")
    assert not (tmp_path / "victim").exists()


# --- folders that are no adapter for this base -------------------------------------------------------------------


def _refusal(base: Any, folder: Path) -> str:
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    with pytest.raises(UserError) as error:
        load_adapter(base, folder, "mine")
    after = base.state_dict()
    assert before.keys() == after.keys(), "the base was wrapped"
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())
    return str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"num_hidden_layers": 1},
            "14 of the adapter's 28 matrices do not fit this base model: it has no linear layer",
        ),
        ({"num_key_value_heads": 4}, "lora_B of model.layers.0.self_attn.k_proj is [32, 4], expected [64, 4]"),
        ({"intermediate_size": 128}, "it was trained on someone/model"),
    ],
)
def test_an_adapter_of_another_base_is_refused(changes: dict[str, Any], message: str, saved: Path) -> None:
    assert message in _refusal(tiny_model(**changes), saved)


def _edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def test_a_rank_other_than_the_configs_is_refused(saved: Path) -> None:
    _edit_config(saved, r=5)
    assert "is [4, 96], expected [5, 96]" in _refusal(tiny_model(), saved)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "config is not JSON"),
        ("[]", "peft_type is None, only 'LORA'"),
        ('{"peft_type": "IA3"}', "peft_type is 'IA3', only 'LORA'"),
    ],
)
def test_a_config_that_is_no_loras_is_refused(content: str, message: str, saved: Path) -> None:
    (saved / "adapter_config.json").write_text(content, encoding="utf-8")
    assert message in _refusal(tiny_model(), saved)


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)no adapter_config\.json.*--adapter"):
        read_adapter_config(tmp_path)


def test_a_folder_without_weights_is_refused(saved: Path) -> None:
    (saved / "adapter_model.safetensors").unlink()
    assert "holds no adapter_model.safetensors or adapter_model.bin" in _refusal(tiny_model(), saved)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_an_empty_adapter_is_refused(suffix: str, saved: Path) -> None:
    (saved / "adapter_model.safetensors").unlink()
    if suffix == "bin":
        torch.save({}, saved / "adapter_model.bin")  # the 443 bytes that many a run of 2023 ended in
    else:
        save_file({}, saved / "adapter_model.safetensors")
    assert "holds no LoRA matrices (0 tensors)" in _refusal(tiny_model(), saved)


def test_broken_weights_are_refused(saved: Path) -> None:
    path = saved / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:2000])
    assert "weights cannot be read: SafetensorError" in _refusal(tiny_model(), saved)


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}])
def test_a_pickle_of_something_else_is_refused(content: Any, saved: Path) -> None:
    (saved / "adapter_model.safetensors").unlink()
    torch.save(content, saved / "adapter_model.bin")
    assert "expected names and their tensors" in _refusal(tiny_model(), saved)


def test_a_config_and_weights_of_different_runs_are_refused(saved: Path, tmp_path: Path) -> None:
    few = write_adapter(tmp_path / "few", tiny_model(), "someone/model", lora_r=4, lora_target_modules=("q_proj",))
    shutil.copy(few / "adapter_config.json", saved)
    with pytest.raises(UserError, match="24 matrices are in one only"):
        load_adapter(tiny_model(), saved, "more weights than layers")
    shutil.copy(few / "adapter_model.safetensors", saved)
    _edit_config(saved, target_modules=["q_proj", "v_proj"])
    with pytest.raises(UserError, match="4 matrices are in one only"):
        load_adapter(tiny_model(), saved, "fewer weights than layers")


def test_what_peft_refuses_is_said(saved: Path) -> None:
    _edit_config(saved, rank_pattern={"q_proj": 5})
    with pytest.raises(UserError, match=r"(?s)the adapter cannot be loaded: .*size mismatch"):
        load_adapter(tiny_model(), saved, "mine")

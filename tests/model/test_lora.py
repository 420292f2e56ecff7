"""The adapter: attached to four families, checked, saved, read by stock PEFT, and every bad folder refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from tiny_models import BLOCKS, FAMILIES, LINEAR_LAYERS, fill_adapter, tiny_model

from alpaca_lora.config import LoraConfig
from alpaca_lora.errors import UserError
from alpaca_lora.model.lora import (
    adapter_tensors,
    attach_adapter,
    check_trained,
    reload_error,
    save_adapter,
)

IDS = torch.arange(5, 25)[None]


# As `alpaca-lora` of March 2023 wrote it, with the PEFT of those days.
@torch.no_grad()
def _logits(model: Any) -> torch.Tensor:
    return model(input_ids=IDS, use_cache=False).logits


def _attached(seed: int = 0, **lora: Any) -> Any:
    return attach_adapter(tiny_model(), LoraConfig(**lora), seed=seed)


def _trained(seed: int = 0, **lora: Any) -> Any:
    model = _attached(seed, **lora)
    fill_adapter(model, seed)
    return model


def _matrix(model: Any, name: str) -> torch.Tensor:
    return adapter_tensors(model)[f"base_model.model.model.layers.0.self_attn.q_proj.{name}.weight"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fresh_adapter_on_all_linear_layers_changes_no_bit(family: str) -> None:
    base = tiny_model(family)
    before = _logits(base)
    model = attach_adapter(base, LoraConfig(), seed=0)
    assert torch.equal(_logits(model), before)
    assert len(adapter_tensors(model)) == 2 * BLOCKS * LINEAR_LAYERS
    assert not hasattr(model.get_output_embeddings(), "lora_A")
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trainable
    assert all(".lora_A." in name or ".lora_B." in name for name in trainable)


def test_the_head_is_left_out_where_it_is_the_embedding() -> None:
    model = attach_adapter(tiny_model("gemma2", tie_word_embeddings=True), LoraConfig(), seed=0)
    assert len(adapter_tensors(model)) == 2 * BLOCKS * LINEAR_LAYERS


def test_the_adapter_is_float32_on_a_bfloat16_base() -> None:
    model = attach_adapter(tiny_model().to(torch.bfloat16), LoraConfig(), seed=0)
    assert {tensor.dtype for tensor in adapter_tensors(model).values()} == {torch.float32}
    assert _logits(model).dtype == torch.bfloat16


@pytest.mark.parametrize(("lora", "scaling"), [({}, 2.0), ({"use_rslora": True}, 8.0), ({"lora_alpha": 8}, 0.5)])
def test_the_adapter_adds_scaling_times_b_a(lora: dict[str, Any], scaling: float) -> None:
    model = _trained(**lora)  # rank 16, alpha 32
    tensors = adapter_tensors(model)
    by_hand = tiny_model()
    for name in [name for name in tensors if ".lora_A." in name]:
        layer = by_hand.get_submodule(name.removeprefix("base_model.model.").removesuffix(".lora_A.weight"))
        layer.weight.data += scaling * tensors[name.replace("lora_A", "lora_B")] @ tensors[name]
    torch.testing.assert_close(_logits(model), _logits(by_hand), rtol=1e-4, atol=1e-4)  # sums in another order
    assert not torch.allclose(_logits(model), _logits(tiny_model()), atol=0.1)


def test_rank_and_targets_decide_the_matrices() -> None:
    tensors = adapter_tensors(_attached(lora_r=3, lora_target_modules=("q_proj", "down_proj")))
    assert len(tensors) == 2 * BLOCKS * 2
    shapes = {name.split(".", 5)[-1]: list(tensor.shape) for name, tensor in tensors.items() if ".layers.1." in name}
    assert shapes == {
        "self_attn.q_proj.lora_A.weight": [3, 64],
        "self_attn.q_proj.lora_B.weight": [64, 3],
        "mlp.down_proj.lora_A.weight": [3, 96],
        "mlp.down_proj.lora_B.weight": [64, 3],
    }


def test_dropout_acts_in_training_only() -> None:
    without, dropping = _trained(), _trained(lora_dropout=0.5)
    assert torch.equal(_logits(dropping.eval()), _logits(without.eval()))
    assert not torch.equal(_logits(dropping.train()), _logits(without.train()))


def test_dora_learns_magnitudes_too() -> None:
    model = _attached(use_dora=True)
    magnitudes = [name for name in adapter_tensors(model) if "lora_magnitude_vector" in name]
    assert len(magnitudes) == BLOCKS * LINEAR_LAYERS
    torch.testing.assert_close(_logits(model), _logits(tiny_model()), rtol=1e-4, atol=1e-4)  # norms round
    fill_adapter(model)
    check_trained(model)
    assert not torch.allclose(_logits(model), _logits(_trained()), atol=1e-2)


@pytest.mark.parametrize("start", ["gaussian", "orthogonal"])
def test_each_initialisation_starts_elsewhere_and_changes_no_answer(start: Any) -> None:
    model = _attached(init_lora_weights=start)
    assert not torch.equal(_matrix(model, "lora_A"), _matrix(_attached(), "lora_A"))
    torch.testing.assert_close(_logits(model), _logits(tiny_model()), rtol=1e-5, atol=1e-5)


def test_the_seed_decides_the_start() -> None:
    assert torch.equal(_matrix(_attached(1), "lora_A"), _matrix(_attached(1), "lora_A"))
    assert not torch.equal(_matrix(_attached(1), "lora_A"), _matrix(_attached(2), "lora_A"))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (("q_prj",), "no layer 'q_prj' to adapt; did you mean 'q_proj'?"),
        (("q_proj", "lm_head"), "choose from all-linear, down_proj, gate_proj, k_proj, o_proj, q_proj"),
        (("proj",), "no layer 'proj'"),
        (("all-linear", "q_proj"), "all-linear already names every layer"),
    ],
)
def test_targets_the_model_lacks_are_refused(targets: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError) as error:
        _attached(lora_target_modules=targets)
    assert message in str(error.value)
    assert "--lora_target_modules" in str(error.value)


# --- checking ----------------------------------------------------------------------------------------------------


def test_a_trained_adapter_passes_the_check() -> None:
    check_trained(_trained())


def test_an_untrained_adapter_is_refused() -> None:
    with pytest.raises(UserError, match="14 of 14 adapted layers were not trained"):
        check_trained(_attached())


def test_one_untrained_layer_is_named() -> None:
    model = _trained()
    _matrix(model, "lora_B").zero_()
    with pytest.raises(UserError, match=r"(?s)1 of 14 adapted layers.*layers\.0\.self_attn\.q_proj\.lora_B"):
        check_trained(model)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_an_adapter_that_is_not_finite_is_refused(value: float) -> None:
    model = _trained()
    _matrix(model, "lora_A")[0, 0] = value
    with pytest.raises(UserError, match=r"(?s)1 of 28 adapter tensors hold NaN or infinity.*q_proj\.lora_A"):
        check_trained(model)


def test_an_adapter_with_a_missing_matrix_is_refused() -> None:
    model = _trained()
    del model.base_model.model.model.layers[0].mlp.up_proj.lora_B["default"]
    with pytest.raises(UserError, match="27 matrices for 14 adapted layers, expected 2 each"):
        check_trained(model)


# --- saving and reloading ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_stock_peft_reads_what_was_saved_to_the_last_bit(family: str, tmp_path: Path) -> None:
    model = attach_adapter(tiny_model(family), LoraConfig(), seed=0)
    fill_adapter(model)
    save_adapter(model, tmp_path, base_name="someone/model", base_revision="abc123")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert (tmp_path / "adapter_model.safetensors").stat().st_mode & 0o777 == 0o644
    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["base_model_name_or_path"], config["revision"]) == ("someone/model", "abc123")
    stock = peft.PeftModel.from_pretrained(tiny_model(family), tmp_path)
    assert torch.equal(_logits(stock), _logits(model.eval()))


def test_reloading_gives_no_error_and_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model = _trained(lora_dropout=0.5).train()
    save_adapter(model, tmp_path, base_name="someone/model", base_revision=None)
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert reload_error(model, tmp_path, IDS) == 0
    assert model.training
    assert model.active_adapter == "default"
    assert list(model.peft_config) == ["default"]
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == trainable

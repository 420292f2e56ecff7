"""What an adapter adds to each weight is what PEFT's own merge adds; one that cannot be merged whole is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import BLOCKS, LINEAR_LAYERS, tiny_model, write_base

from alpaca_lora.errors import UserError
from alpaca_lora.export.adapter import read_adapter
from alpaca_lora.export.merge import open_merged

Tensors = dict[str, torch.Tensor]
FIRST = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("models") / "base")


def _train(folder: Path, **lora: Any) -> Path:
    """Let PEFT attach and save an adapter on the base, every trained tensor moved away from where it began."""
    settings = {"r": 4, "lora_alpha": 10, "target_modules": ["q_proj", "down_proj"]} | lora
    model: Any = peft.get_peft_model(tiny_model(), peft.LoraConfig(task_type="CAUSAL_LM", **settings))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    model.save_pretrained(folder, save_embedding_layers=False)
    return folder


# --- the same as PEFT --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lora", "changed"),
    [
        ({}, 2 * BLOCKS),
        ({"target_modules": "all-linear"}, LINEAR_LAYERS * BLOCKS),
        ({"use_rslora": True}, 2 * BLOCKS),
        (
            {
                "rank_pattern": {"q_proj": 2, "layers.1.mlp.down_proj": 7},
                "alpha_pattern": {"q_proj": 3, "^model.layers.0.mlp.down_proj": 5},
            },
            2 * BLOCKS,
        ),
        ({"use_rslora": True, "rank_pattern": {"layers.0.self_attn.q_proj": 2}}, 2 * BLOCKS),
        ({"use_dora": True}, 2 * BLOCKS),
        ({"use_dora": True, "use_rslora": True}, 2 * BLOCKS),
        ({"target_modules": ["embed_tokens", "v_proj"]}, 1 + BLOCKS),
        ({"target_modules": ["embed_tokens"]}, 1),
        ({"target_modules": ["lm_head", "v_proj"]}, 1 + BLOCKS),
        ({"modules_to_save": ["lm_head", "norm"]}, 2 + 4 * BLOCKS),  # PEFT takes every module that ends in norm
        ({"modules_to_save": ["embed_tokens"], "use_dora": True}, 1 + 2 * BLOCKS),
    ],
    ids=lambda value: "-".join(f"{key}" for key in value) or "plain" if isinstance(value, dict) else "",
)
def test_merged_weights_are_pefts(base: Path, tmp_path: Path, lora: dict[str, Any], changed: int) -> None:
    folder = _train(tmp_path / "adapter", **lora)
    expected = peft.PeftModel.from_pretrained(tiny_model(), str(folder)).merge_and_unload().state_dict()
    merged, untouched = open_merged(base, read_adapter(folder)), tiny_model().state_dict()
    assert merged.shapes.keys() == expected.keys()
    assert len(merged.changed) == changed
    for name, wanted in expected.items():
        found = merged.read(name, torch.float32)
        assert torch.equal(found, untouched[name]) == (name not in merged.changed), name
        if name in merged.changed:
            # PEFT rounds s * B A before it adds W, here both are one operation: a step or two of float32 (1.2e-7) of
            # values that are below 1, of a whole row's length with DoRA.
            torch.testing.assert_close(found, wanted, rtol=3e-7, atol=3e-7, msg=name)
        else:
            assert torch.equal(found, wanted), name


def test_what_was_trained_whole_has_its_very_bits(base: Path, tmp_path: Path) -> None:
    folder = _train(tmp_path / "adapter", modules_to_save=["lm_head", "norm"])
    saved = load_file(folder / "adapter_model.safetensors")
    merged = open_merged(base, read_adapter(folder))
    assert torch.equal(merged.read("lm_head.weight"), saved["base_model.model.lm_head.weight"])
    assert torch.equal(merged.read("model.norm.weight"), saved["base_model.model.model.norm.weight"])


def test_the_sum_is_float32_and_cast_once(base: Path, tmp_path: Path) -> None:
    folder = _train(tmp_path / "adapter")
    name = "model.layers.0.self_attn.q_proj.weight"
    layer = read_adapter(folder).layers[name]
    weight = tiny_model().state_dict()[name].bfloat16()
    by_hand = weight.double() + 10 / 4 * (layer.up.double() @ layer.down.double())
    found = layer.merge(weight)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), by_hand, rtol=0, atol=3e-7)  # float32's steps; bfloat16's are 4e-3
    cast = open_merged(base, read_adapter(folder)).read(name, torch.bfloat16)
    assert torch.equal(cast, layer.merge(tiny_model().state_dict()[name]).bfloat16())


def test_a_scaling_is_worked_by_hand(tmp_path: Path) -> None:
    folder = _train(tmp_path / "adapter", lora_alpha=6, alpha_pattern={"layers.1.self_attn.q_proj": 8})
    scalings = {name: layer.scaling for name, layer in read_adapter(folder).layers.items()}
    assert scalings == {
        "model.layers.0.self_attn.q_proj.weight": 1.5,
        "model.layers.0.mlp.down_proj.weight": 1.5,
        "model.layers.1.self_attn.q_proj.weight": 2.0,
        "model.layers.1.mlp.down_proj.weight": 1.5,
    }
    rank_stabilised = read_adapter(_train(tmp_path / "stabilised", lora_alpha=6, use_rslora=True)).layers.values()
    assert {layer.scaling for layer in rank_stabilised} == {3.0}  # 6 / sqrt(4)


# --- refusals ----------------------------------------------------------------------------------------------------


def _spoil(folder: Path, change: Callable[[Tensors], object]) -> Path:
    tensors = load_file(folder / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def _zero_up(tensors: Tensors) -> None:
    for name, tensor in tensors.items():
        if ".lora_B." in name:
            tensor.zero_()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors[f"{FIRST}.lora_A.weight"].view(-1)[5:6].fill_(torch.nan), "1 of 8 adapter tensors"),
        (lambda tensors: tensors[f"{FIRST}.lora_B.weight"].fill_(torch.inf), "hold NaN or infinity"),
        (_zero_up, "the adapter changes nothing: every B of its 4 layers is zero"),
        (lambda tensors: tensors.clear(), "changes nothing: every B of its 0 layers"),
        (lambda tensors: tensors.pop(f"{FIRST}.lora_B.weight"), "layers.0.self_attn.q_proj has no lora_B"),
        (lambda tensors: tensors.pop(f"{FIRST}.lora_A.weight"), "layers.0.self_attn.q_proj has no lora_A"),
        (
            lambda tensors: tensors.update({f"{FIRST}.lora_B.weight": torch.ones(64, 3)}),
            "the matrices of model.layers.0.self_attn.q_proj do not fit",
        ),
        (
            lambda tensors: tensors.update(
                {f"{FIRST}.lora_A.weight": torch.ones(3, 64), f"{FIRST}.lora_B.weight": torch.ones(64, 3)}
            ),
            "do not fit",
        ),
    ],
)
def test_an_adapter_that_is_not_whole_is_refused(
    tmp_path: Path, change: Callable[[Tensors], object], message: str
) -> None:
    folder = _spoil(_train(tmp_path / "adapter"), change)
    with pytest.raises(UserError) as raised:
        read_adapter(folder)
    assert message in raised.value.what
    assert str(folder) in raised.value.where
    assert raised.value.fix


def test_one_layer_of_zeros_is_no_reason_to_refuse(tmp_path: Path) -> None:
    folder = _spoil(_train(tmp_path / "adapter"), lambda tensors: tensors[f"{FIRST}.lora_B.weight"].zero_())
    assert not read_adapter(folder).layers["model.layers.0.self_attn.q_proj.weight"].up.any()


def test_dora_without_a_magnitude_is_refused(tmp_path: Path) -> None:
    folder = _train(tmp_path / "adapter", use_dora=True)
    _spoil(folder, lambda tensors: tensors.pop(f"{FIRST}.lora_magnitude_vector"))
    with pytest.raises(UserError, match="q_proj has no lora_magnitude_vector"):
        read_adapter(folder)


def test_a_magnitude_that_fits_no_row_is_refused(tmp_path: Path) -> None:
    folder = _train(tmp_path / "adapter", use_dora=True)
    _spoil(folder, lambda tensors: tensors.update({f"{FIRST}.lora_magnitude_vector": torch.ones(1)}))
    with pytest.raises(UserError, match=r"(?s)q_proj.*do not fit"):
        read_adapter(folder)


def test_dora_on_an_embedding_is_refused(tmp_path: Path) -> None:
    folder = _train(tmp_path / "adapter", target_modules=["embed_tokens"], use_dora=True)
    with pytest.raises(UserError, match=r"DoRA on the embedding model\.embed_tokens cannot be merged"):
        read_adapter(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bias", "all"),
        ("lora_bias", True),
        ("fan_in_fan_out", True),
        ("trainable_token_indices", [3, 4]),
        ("layer_replication", [[0, 2], [1, 2]]),
        ("target_parameters", ["experts.weight"]),
        ("alora_invocation_tokens", [5, 6]),
        ("kasa_config", {"beta": 1e-4}),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "olora"),
    ],
)
def test_settings_that_a_merge_cannot_honour_are_refused(tmp_path: Path, name: str, value: Any) -> None:
    folder = _train(tmp_path / "adapter")
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {name: value}), encoding="utf-8")
    with pytest.raises(UserError, match="cannot be merged here") as raised:
        read_adapter(folder)
    assert f"{name} = {value!r}" in raised.value.what
    assert raised.value.where == str(path)


def test_the_record_of_a_run_is_read_and_a_broken_one_refused(tmp_path: Path) -> None:
    folder = _train(tmp_path / "adapter")
    assert read_adapter(folder).base_fingerprint == ""
    (folder / "state.json").write_text(json.dumps({"identity": {"base_fingerprint": "of a checkpoint"}}))
    assert read_adapter(folder).base_fingerprint == "of a checkpoint"
    (folder / "run.json").write_text(json.dumps({"base_fingerprint": "of a run", "settings": {"quantization": "nf4"}}))
    assert (read_adapter(folder).base_fingerprint, read_adapter(folder).quantization) == ("of a run", "nf4")
    (folder / "run.json").write_text("[]")  # another program's
    assert read_adapter(folder).record == {}
    (folder / "run.json").write_text("{")
    with pytest.raises(UserError, match="the record is not JSON"):
        read_adapter(folder)

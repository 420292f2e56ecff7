"""Whole runs with the engine's settings: what may change the adapter, and what may not."""

from __future__ import annotations

import io
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from tiny_models import write_base

from alpaca_lora.config import DataConfig, FinetuneConfig, LoraConfig, ModelConfig, RunConfig, TrainConfig
from alpaca_lora.errors import UserError
from alpaca_lora.training.run import finetune
from alpaca_lora.training.runlog import read_log


@pytest.fixture
def config(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FinetuneConfig:
    monkeypatch.setenv("ALPACA_LORA_CACHE", str(tmp_path / "cache"))
    rng = random.Random(2)
    words = ["red", "blue", "cat", "dog", "river", "stone"]
    rows = [
        {
            "instruction": "Say " + " ".join(rng.choices(words, k=5)),
            "input": "",
            "output": " ".join(rng.choices(words, k=4)),
        }
        for _ in range(40)
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    return FinetuneConfig(
        data=DataConfig(data_path=str(tmp_path / "rows.json")),
        model=ModelConfig(base_model=str(tiny_llama), dtype="float32", device="cpu"),
        lora=LoraConfig(lora_r=4),
        train=TrainConfig(batch_size=8, max_steps=4, learning_rate=5e-3, val_set_size=4),
        run=RunConfig(output_dir=str(tmp_path / "out"), logging_steps=1, save_steps=2),
    )


def run(config: FinetuneConfig, name: str, **train: Any) -> tuple[Path, str]:
    """Run under a name with changed settings; give the folder and what was printed."""
    folder = Path(config.run.output_dir).with_name(name)
    changed = replace(config, train=replace(config.train, **train), run=replace(config.run, output_dir=str(folder)))
    text = io.StringIO()
    finetune(changed, Console(file=text, width=200))
    return folder, text.getvalue()


def largest_difference(one: Path, two: Path) -> float:
    first, second = (load_file(folder / "adapter_model.safetensors") for folder in (one, two))
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def _computed(folder: Path) -> int:
    return [record["computed_tokens"] for record in read_log(folder) if "loss" in record][-1]


def test_packings_train_the_same_adapter_and_the_plan_knew_their_cost(config: FinetuneConfig) -> None:
    shared, told = run(config, "shared")
    plain, _ = run(config, "plain", packing="plain")
    padded, _ = run(config, "none", packing="none")
    assert largest_difference(shared, padded) < 1e-5  # four steps of AdamW on float32 rounding
    assert largest_difference(plain, padded) < 1e-5
    computed = [_computed(folder) for folder in (shared, plain, padded)]
    assert computed[0] < computed[1] < computed[2]
    assert f"{computed[0]:,} tokens computed" in told
    record = json.loads((shared / "run.json").read_text())
    assert record["tokens_computed"] == computed[0]
    assert record["settings"]["packing"] == "shared_prefix"


def test_checkpointed_layers_change_no_bit_and_may_change_on_resume(config: FinetuneConfig) -> None:
    kept, _ = run(config, "kept", activation_checkpointing="none")
    again, told = run(config, "again", activation_checkpointing="full")
    assert "activations of all layers are computed twice" in told
    assert largest_difference(kept, again) == 0
    resumed = replace(config, run=replace(config.run, resume_from_checkpoint=str(again / "checkpoint-2")))
    folder, _ = run(resumed, "resumed", activation_checkpointing="every_2")
    assert largest_difference(kept, folder) == 0
    with pytest.raises(UserError, match="packing"):
        run(resumed, "refused", packing="none")


def test_a_model_that_mixes_rows_up_is_trained_without_packs(
    config: FinetuneConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    padded, _ = run(config, "none", packing="none")

    def leaky(module: Any, query: Any, key: Any, value: Any, mask: Any, *, scaling: float, **_: Any) -> Any:
        """Attend over the whole pack, as if no row had an end."""
        attend = torch.nn.functional.scaled_dot_product_attention
        return attend(query, key, value, is_causal=True, scale=scaling, enable_gqa=True).transpose(1, 2), None

    monkeypatch.setattr("alpaca_lora.model.attention.pack_attention", leaky)
    fallen, told = run(config, "fallen")
    assert "--packing shared_prefix does not fit LlamaForCausalLM" in told
    assert "going on with none" in told
    assert largest_difference(fallen, padded) == 0


def test_a_model_whose_attention_is_capped_is_planned_and_trained_without_packs(
    config: FinetuneConfig, tmp_path: Path
) -> None:
    """Gemma 2 caps its attention's scores, which packs do not compute: told with the plan, before the weights."""
    base = write_base(tmp_path / "gemma2", "gemma2")
    capped = replace(config, model=replace(config.model, base_model=str(base)))
    folder, told = run(capped, "capped")
    assert told.index("--packing shared_prefix does not fit Gemma2ForCausalLM") < told.index("memory  ")
    padded, _ = run(capped, "capped-none", packing="none")
    assert largest_difference(folder, padded) == 0


def test_a_setting_without_effect_is_named(config: FinetuneConfig) -> None:
    _, told = run(config, "packed", micro_batch_size=2)
    assert "--micro_batch_size 2 has no effect with --packing shared_prefix" in told
    _, told = run(config, "padded", packing="none", tokens_per_pack=128)
    assert "--tokens_per_pack 128 has no effect with --packing none" in told

"""The plan's arithmetic against the model it speaks of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

from alpaca_lora.config import FinetuneConfig, LoraConfig, ModelConfig, TrainConfig
from alpaca_lora.data.tokens import Ledger, TokenTable
from alpaca_lora.model.lora import attach_adapter
from alpaca_lora.training.loop import micro_batches
from alpaca_lora.training.loss import TargetNats
from alpaca_lora.training.plan import Plan, advise, make_plan, padded_tokens
from alpaca_lora.training.schedule import rows_of_step, total_steps

GIB = 2**30


def make_table(n_rows: int = 30) -> TokenTable:
    rng = np.random.default_rng(1)
    lengths = rng.integers(20, 60, n_rows)
    ids = rng.integers(3, 256, lengths.sum()).astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    mask = np.concatenate([np.arange(n) >= n // 2 for n in lengths])
    return TokenTable(ids, mask, starts, np.arange(n_rows), Ledger(), "")


def deep_llama() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=256, hidden_size=64, intermediate_size=160, num_hidden_layers=6, num_attention_heads=4,
        num_key_value_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip


CONFIG = FinetuneConfig(
    model=ModelConfig(dtype="float32", device="cpu"),
    lora=LoraConfig(lora_r=4),
    train=TrainConfig(batch_size=8, micro_batch_size=4, num_epochs=2),
)


@pytest.mark.parametrize("lora", [LoraConfig(lora_r=4), LoraConfig(lora_r=8, lora_target_modules=("q_proj", "v_proj"))])
def test_parameters_and_activations_are_those_of_the_whole_model(lora: LoraConfig) -> None:
    config, table, shape = replace(CONFIG, lora=lora), make_table(), deep_llama()
    rows = np.arange(len(table))
    plan = make_plan(config, shape, table, rows, 0)

    model: Any = attach_adapter(AutoModelForCausalLM.from_config(shape).requires_grad_(False), lora, seed=0)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    everything = sum(p.numel() for p in model.parameters())
    assert plan.trained_parameters == trained
    assert plan.parameters == everything - trained
    assert plan.weights_gib == pytest.approx(4 * (everything - trained) / GIB)
    assert plan.adapter_gib == pytest.approx(16 * trained / GIB)
    assert plan.steps == total_steps(len(rows), config.train)

    batches = [
        batch
        for step in range(plan.steps)
        for batch in micro_batches(table, rows[rows_of_step(len(rows), 8, config.train.seed, step)], 4)
    ]
    widest = max(batches, key=lambda batch: batch[0].numel())
    # Attention's saved tensors and the trained half of the tokens make it not quite linear in the tokens: 5 %.
    assert plan.activations_gib * GIB == pytest.approx(saved_bytes(model, *widest), rel=0.05)
    assert plan.padded_tokens == sum(input_ids.numel() for input_ids, _ in batches)


def saved_bytes(model: Any, input_ids: torch.Tensor, labels: torch.Tensor) -> int:
    """Count what autograd keeps during a forward pass of the real model, each storage once, without the weights."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = TargetNats(model)(input_ids, labels)
    total = sum(size for pointer, size in kept.items() if pointer not in weights)
    loss.backward()
    return total


def test_sampled_padding_is_close_to_the_whole_count() -> None:
    lengths = np.random.default_rng(3).integers(10, 300, 2000)
    config = replace(CONFIG, train=TrainConfig(batch_size=16, micro_batch_size=4, num_epochs=3))
    steps = total_steps(len(lengths), config.train)
    exact = 0
    for step in range(steps):
        ordered = np.sort(lengths[rows_of_step(len(lengths), 16, config.train.seed, step)])
        exact += sum(4 * int(ordered[first : first + 4].max()) for first in range(0, 16, 4))
    estimated, widest = padded_tokens(lengths, config, steps)
    assert estimated == pytest.approx(exact, rel=0.02)  # 64 of 375 steps: the mean's own error is below 1 %
    assert widest <= 4 * 299


PLAN = Plan(
    steps=10, parameters=7_000_000_000, trained_parameters=40_000_000, weights_gib=13.0, adapter_gib=0.6,
    activations_gib=8.0, logits_gib=0.4, runtime_gib=0.6, free_gib=24.0, seconds=100.0, padded_tokens=1000, advice="",
)  # fmt: skip


@pytest.mark.parametrize(("free", "advice"), [
    (24.0, ""),
    (18.7, "--micro_batch_size 2 would"),  # 18.7 - 14.2 fixed = 4.5, at 2.1 a row
    (10.0, "--micro_batch_size 2 --quantization nf4"),  # 10 - 1.2 - 3.4 in 4 bits = 5.4, at 2.1 a row
    (5.0, "smaller base"),
])  # fmt: skip
def test_advice_names_the_first_change_that_fits(free: float, advice: str) -> None:
    found = advise(replace(PLAN, free_gib=free), CONFIG)
    assert advice in found
    assert bool(found) == bool(advice)


def test_lines_show_the_arithmetic() -> None:
    lines = "\n".join(PLAN.lines())
    assert PLAN.total_gib == pytest.approx(22.6)
    for text in ("22.60 GiB", "24.0 GiB are free", "7,000,000,000", "40,000,000 x 16 bytes", "1 min 40 s", "10 steps"):
        assert text in lines
    assert "only 5.0 GiB" in "\n".join(replace(PLAN, free_gib=5.0).lines())


def test_a_plan_of_a_model_whose_layers_differ_in_kind() -> None:
    """Gemma 2 names each layer's kind of attention; the probe's models must be cut with it."""
    shape = AutoConfig.for_model(
        "gemma2", vocab_size=256, hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    plan = make_plan(CONFIG, shape, make_table(), np.arange(30), 0)
    assert plan.activations_gib > 0
    assert plan.seconds > 0


def test_quantised_weights_are_counted_in_their_bits(tmp_path: Path) -> None:
    shape, table = deep_llama(), make_table()
    plain = make_plan(CONFIG, shape, table, np.arange(30), 0)
    nf4 = make_plan(
        replace(CONFIG, model=ModelConfig(quantization="nf4", dtype="float32")), shape, table, np.arange(30), 0
    )
    linear = 6 * (64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 160)
    assert (plain.weights_gib - nf4.weights_gib) * GIB == pytest.approx(linear * (4 - 0.516), rel=1e-3)

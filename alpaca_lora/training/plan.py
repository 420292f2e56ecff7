"""Memory and time before the run, from the model's config, the data's lengths, and two small measurements.

A 7B plan needs neither its weights nor its memory: `probe` measures what one layer costs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from alpaca_lora.config import FinetuneConfig, Packing
from alpaca_lora.data.tokens import TokenTable
from alpaca_lora.model.device import free_memory_gib, peak_memory_gib, pick_device, pick_dtype
from alpaca_lora.model.lora import linear_names
from alpaca_lora.training.batches import Batch, make_batches, prepare_step
from alpaca_lora.training.loss import CHUNK_TOKENS
from alpaca_lora.training.pack_check import choose_packing
from alpaca_lora.training.probe import make_shallow, measure
from alpaca_lora.training.runlog import format_seconds
from alpaca_lora.training.schedule import rows_of_step, total_steps

_GIB = 2**30
_PROBE_TOKENS = 512
_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
_QUANTIZED_BYTES = {"int8": 1.02, "nf4": 0.516}
"""Bytes a quantised weight: its bits and the scales of its blocks (nf4 with double quantisation: 4.127 bits)."""
_CUDA_CONTEXT_GIB = 0.6


@dataclass(frozen=True)
class Plan:
    """What a run will need. Memory in GiB at its peak, on the device that trains."""

    steps: int
    parameters: int
    trained_parameters: int
    weights_gib: float
    adapter_gib: float
    """Adapter, its gradients and AdamW's two moments, 16 bytes a trained parameter."""
    activations_gib: float
    logits_gib: float
    runtime_gib: float
    """Libraries and the process itself; on CUDA the context."""
    free_gib: float
    seconds: float
    tokens: int
    """Of the rows trained, each time they are."""
    computed_tokens: int
    """Tokens computed in training: padding included, a shared prefix once a pack."""
    checkpoint_every: int
    """Every how many layers one gives up its activations and is computed again; 0 for none."""
    packing: Packing
    """The one asked for, or less where this kind of model cannot do it."""
    notes: list[str]
    """Why it is less."""
    advice: str
    """What to change when it does not fit; empty when it does."""

    @property
    def total_gib(self) -> float:
        """Sum of the parts."""
        return self.weights_gib + self.adapter_gib + self.activations_gib + self.logits_gib + self.runtime_gib

    def lines(self) -> list[str]:
        """Say the plan with its arithmetic."""
        fits = self.total_gib <= self.free_gib
        room = f"{self.free_gib:.1f} GiB are free" if fits else f"only {self.free_gib:.1f} GiB are free"
        weights = f"weights {self.weights_gib:.2f} ({self.parameters:,} parameters)"
        adapter = f"adapter, gradients, optimiser {self.adapter_gib:.2f} ({self.trained_parameters:,} x 16 bytes)"
        activations = f"activations {self.activations_gib:.2f} + logits {self.logits_gib:.2f}"
        share = self.computed_tokens / max(1, self.tokens)
        computed = f"{self.computed_tokens:,} tokens computed, {share:.2f} for each of {self.tokens:,}"
        lines = [
            *(f"note    {note}" for note in self.notes),
            f"memory  {self.total_gib:.2f} GiB at the peak; {room}",
            f"        = {weights}",
            f"        + {adapter}",
            f"        + {activations} + libraries {self.runtime_gib:.2f}",
            f"time    {format_seconds(self.seconds)} for {self.steps:,} steps; {computed}",
        ]
        if self.checkpoint_every:
            lines.insert(-1, f"        activations of {describe_checkpoints(self.checkpoint_every)} are computed twice")
        return lines + ([f"advice  {self.advice}"] if self.advice else [])


def make_plan(
    config: FinetuneConfig, model_config: Any, table: TokenTable, train_rows: np.ndarray, n_held: int
) -> Plan:
    """Predict peak memory and time of a run.

    Args:
        model_config: the base's transformers config.
        table: tokens of all rows.
        train_rows: int64 indices into the table that are trained on.
        n_held: rows held out for evaluation.
    """
    before_gib = _resident_gib()
    device = pick_device(config.model.device)
    dtype = pick_dtype(config.model.dtype, device)
    free_gib = free_memory_gib(device) + (0 if device.type == "cuda" else before_gib)
    shallow = make_shallow(config, model_config, 1, device, dtype)
    packing, notes = choose_packing(shallow, table, config.train.packing)
    config = replace(config, train=replace(config.train, packing=packing))
    with torch.device("meta"):
        causal_lm = AutoModelForCausalLM.from_config(model_config)
    parameters, trained = sum(p.numel() for p in causal_lm.parameters()), _adapter_size(causal_lm, config)
    steps = total_steps(len(train_rows), config.train)
    work = measure_work(table, train_rows, config, steps)
    probe_batch = _probe_batch(table, train_rows, config)
    one = measure(shallow, probe_batch, device, dtype)
    del shallow  # a card need not hold both
    layer = measure(make_shallow(config, model_config, 2, device, dtype), probe_batch, device, dtype) - one
    rest = one - layer
    text = model_config.get_text_config()
    layers, vocabulary = text.num_hidden_layers, text.vocab_size
    by_tokens, by_targets = _scales(probe_batch, work.computed_tokens, work.target_tokens)
    train_seconds = layers * layer.seconds * by_tokens + rest.seconds * by_targets
    evaluations = (steps // config.run.eval_steps if config.run.eval_steps else 0) + 1
    held_share = n_held * evaluations / max(1, steps * config.train.batch_size)
    widest, widest_targets = _scales(probe_batch, work.widest_tokens, work.widest_targets)
    plan = Plan(
        steps=steps,
        parameters=parameters,
        trained_parameters=trained,
        weights_gib=_weights_gib(causal_lm, config, str(dtype).removeprefix("torch.")),
        adapter_gib=16 * trained / _GIB,
        activations_gib=(layers * layer.saved_bytes * widest + rest.saved_bytes * widest_targets) / _GIB,
        logits_gib=3 * 4 * min(CHUNK_TOKENS, work.widest_targets) * vocabulary / _GIB,
        runtime_gib=_CUDA_CONTEXT_GIB if device.type == "cuda" else before_gib,
        free_gib=free_gib,
        seconds=train_seconds * (1 + held_share / 2) + (layers * layer.update_seconds + rest.update_seconds) * steps,
        tokens=work.tokens,
        computed_tokens=work.computed_tokens,
        checkpoint_every=0,
        packing=packing,
        notes=notes,
        advice="",
    )
    width = text.hidden_size * dtype.itemsize * work.widest_tokens / _GIB
    again = layers * layer.forward_seconds * by_tokens
    plan = choose_checkpoints(plan, config, layers, layer.saved_bytes * widest / _GIB, width, again)
    return replace(plan, advice=advise(plan, config))


@dataclass(frozen=True)
class Work:
    """Tokens and targets of a whole run, and of the widest batch."""

    tokens: int
    computed_tokens: int
    target_tokens: int
    widest_tokens: int
    widest_targets: int


def measure_work(table: TokenTable, train_rows: np.ndarray, config: FinetuneConfig, steps: int) -> Work:
    """Make the batches of up to 64 steps spread over the run's real order, and scale the counts to all steps."""
    train = config.train
    sampled = np.unique(np.linspace(0, steps - 1, min(steps, 64)).astype(int))
    works = [prepare_step(table, train_rows, train, int(step)) for step in sampled]
    batches = [batch for work in works for batch in work.batches]
    factor = steps / len(sampled)
    return Work(
        tokens=round(factor * sum(work.n_tokens for work in works)),
        computed_tokens=round(factor * sum(work.computed_tokens for work in works)),
        target_tokens=round(factor * sum(len(batch.target_ids) for batch in batches)),
        widest_tokens=max(int(table.lengths[train_rows].max()), *(batch.input_ids.numel() for batch in batches)),
        widest_targets=max(len(batch.target_ids) for batch in batches),
    )


def _probe_batch(table: TokenTable, train_rows: np.ndarray, config: FinetuneConfig) -> Batch:
    """Make one batch of a first few rows, about `_PROBE_TOKENS` tokens."""
    rows = train_rows[rows_of_step(len(train_rows), config.train.batch_size, config.train.seed, 0)]
    within = np.searchsorted(np.cumsum(table.lengths[rows]), _PROBE_TOKENS)
    limit = config.train.micro_batch_size if config.train.packing == "none" else len(rows)
    chosen = rows[: max(1, min(int(within), limit))]
    settings = replace(
        config.train, micro_batch_size=len(chosen), tokens_per_pack=max(_PROBE_TOKENS, int(table.lengths[chosen].sum()))
    )
    return make_batches(table, chosen, settings)[0]


def _scales(batch: Batch, tokens: int, targets: int) -> tuple[float, float]:
    """Give how often a batch's tokens and targets go into these."""
    return tokens / batch.input_ids.numel(), targets / max(1, len(batch.target_ids))


def choose_checkpoints(
    plan: Plan, config: FinetuneConfig, layers: int, layer_gib: float, width_gib: float, again_seconds: float
) -> Plan:
    """Apply `--activation_checkpointing`; `auto` takes the fewest layers that make the run fit.

    A checkpointed layer keeps its input only and is computed again in the backward pass, one at a time.

    Args:
        layer_gib: activations of one layer for the widest batch.
        width_gib: hidden states of the widest batch.
        again_seconds: all layers' forward passes of the whole run.
    """
    wanted = config.train.activation_checkpointing
    choices = {"auto": (0, 4, 2, 1), "none": (0,), "full": (1,)}.get(wanted) or (int(wanted.removeprefix("every_")),)
    chosen = plan
    for every in choices:
        again = math.ceil(layers / every) if every else 0
        saved = again * (layer_gib - width_gib) - (layer_gib if again else 0)
        chosen = replace(
            plan,
            checkpoint_every=every,
            activations_gib=plan.activations_gib - max(0.0, saved),
            seconds=plan.seconds + again_seconds * again / layers,
        )
        if chosen.total_gib <= chosen.free_gib:
            break
    return chosen


def describe_checkpoints(every: int) -> str:
    """Say which layers are checkpointed."""
    return "all layers" if every == 1 else f"every {every}. layer"


def _adapter_size(causal_lm: Any, config: FinetuneConfig) -> int:
    wanted = config.lora.lora_target_modules
    layers = dict(causal_lm.named_modules())
    chosen = [
        layers[name]
        for name in linear_names(causal_lm)
        if wanted == ("all-linear",) or any(name == target or name.endswith("." + target) for target in wanted)
    ]
    extra = sum(layer.out_features for layer in chosen) if config.lora.use_dora else 0
    return extra + config.lora.lora_r * sum(layer.in_features + layer.out_features for layer in chosen)


def _weights_gib(causal_lm: Any, config: FinetuneConfig, dtype: str) -> float:
    total = sum(p.numel() for p in causal_lm.parameters())
    if config.model.quantization == "none":
        return total * _BYTES[dtype] / _GIB
    layers = dict(causal_lm.named_modules())
    linear = sum(layers[name].weight.numel() for name in linear_names(causal_lm))
    return (linear * _QUANTIZED_BYTES[config.model.quantization] + (total - linear) * _BYTES[dtype]) / _GIB


def _resident_gib() -> float:
    return peak_memory_gib(torch.device("cpu"))


def advise(plan: Plan, config: FinetuneConfig) -> str:
    """Name the first change that makes the run fit: smaller packs or micro-batches, then nf4, then both."""
    if plan.total_gib <= plan.free_gib:
        return ""
    train = config.train
    flag, now, least = ("micro_batch_size", train.micro_batch_size, 1)
    if train.packing != "none":
        flag, now, least = ("tokens_per_pack", train.tokens_per_pack, 64)
    each = (plan.activations_gib + plan.logits_gib) / now
    fixed = plan.adapter_gib + plan.runtime_gib
    nf4_gib = plan.parameters * _QUANTIZED_BYTES["nf4"] / _GIB
    for flags, weights in (("", plan.weights_gib), (" --quantization nf4", nf4_gib)):
        fitting = int((plan.free_gib - fixed - weights) / each) // least * least if each else 0
        if fitting >= least:
            return f"does not fit; --{flag} {min(fitting, now)}{flags} would"
    return f"does not fit, not even in 4 bits with --{flag} {least}: take a smaller base model or a larger machine"

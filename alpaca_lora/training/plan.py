"""Memory and time before the run, from the model's config, the data's lengths, and two small measurements.

A model of one layer and one of two, with the real widths and random weights, are trained for a moment on this machine;
their difference is what a layer costs, so a 7B plan needs neither its weights nor its memory.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from alpaca_lora.config import FinetuneConfig
from alpaca_lora.data.tokens import TokenTable
from alpaca_lora.model.device import free_memory_gib, peak_memory_gib, pick_device, pick_dtype
from alpaca_lora.model.lora import attach_adapter, linear_names
from alpaca_lora.training.loss import CHUNK_TOKENS, IGNORED, TargetNats
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
    padded_tokens: int
    """Tokens computed in training, padding included."""
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
        lines = [
            f"memory  {self.total_gib:.2f} GiB at the peak; {room}",
            f"        = {weights}",
            f"        + {adapter}",
            f"        + {activations} + libraries {self.runtime_gib:.2f}",
            f"time    {format_seconds(self.seconds)} for {self.steps:,} steps, {self.padded_tokens:,} tokens",
        ]
        return lines + ([f"advice  {self.advice}"] if self.advice else [])


@dataclass(frozen=True)
class Probe:
    """Cost of a model of a given depth at the probe's shape."""

    micro_batch_seconds: float
    step_seconds: float
    saved_bytes: float
    tokens: int


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
    with torch.device("meta"):
        causal_lm = AutoModelForCausalLM.from_config(model_config)
    parameters, trained = sum(p.numel() for p in causal_lm.parameters()), _adapter_size(causal_lm, config)
    steps = total_steps(len(train_rows), config.train)
    padded, widest = padded_tokens(table.lengths[train_rows], config, steps)
    layers = _text_config(model_config).num_hidden_layers
    rows = min(config.train.micro_batch_size, len(train_rows))
    length = int(min(max(8, padded / max(1, steps * config.train.batch_size)), _PROBE_TOKENS / min(rows, 8)))
    one, two = (_probe(config, model_config, depth, min(rows, 8), length, device, dtype) for depth in (1, 2))

    def whole(cost: Callable[[Probe], float]) -> float:
        return cost(one) + (layers - 1) * max(0.0, cost(two) - cost(one))

    train_seconds = whole(lambda probe: probe.micro_batch_seconds) * padded / one.tokens
    update_seconds = whole(lambda probe: probe.step_seconds) * steps
    evaluations = (steps // config.run.eval_steps if config.run.eval_steps else 0) + 1
    held_tokens = n_held * table.lengths.mean() if len(table) else 0
    eval_seconds = train_seconds / max(1, padded) * held_tokens * evaluations / 3
    vocabulary = _text_config(model_config).vocab_size
    activation_bytes = whole(lambda probe: probe.saved_bytes) * widest / one.tokens
    plan = Plan(
        steps=steps,
        parameters=parameters,
        trained_parameters=trained,
        weights_gib=_weights_gib(causal_lm, config, str(dtype).removeprefix("torch.")),
        adapter_gib=16 * trained / _GIB,
        activations_gib=activation_bytes / _GIB,
        logits_gib=3 * 4 * min(CHUNK_TOKENS, widest) * vocabulary / _GIB,
        runtime_gib=_CUDA_CONTEXT_GIB if device.type == "cuda" else before_gib,
        free_gib=free_memory_gib(device) + (0 if device.type == "cuda" else before_gib),
        seconds=train_seconds + update_seconds + eval_seconds,
        padded_tokens=padded,
        advice="",
    )
    return replace(plan, advice=advise(plan, config))


def padded_tokens(lengths: np.ndarray, config: FinetuneConfig, steps: int) -> tuple[int, int]:
    """Count the tokens of all steps with padding, and of the widest micro-batch; from up to 64 steps of the real order.

    Args:
        lengths: int64 (rows trained on), tokens.
    """
    train = config.train
    sampled = np.unique(np.linspace(0, steps - 1, min(steps, 64)).astype(int))
    total, widest = 0, 0
    for step in sampled:
        ordered = np.sort(lengths[rows_of_step(len(lengths), train.batch_size, train.seed, int(step))])
        for first in range(0, len(ordered), train.micro_batch_size):
            chunk = ordered[first : first + train.micro_batch_size]
            total += len(chunk) * int(chunk[-1])
            widest = max(widest, len(chunk) * int(chunk[-1]))
    widest = max(widest, int(lengths.max()))
    return round(total * steps / len(sampled)), widest


def _text_config(model_config: Any) -> Any:
    return model_config.get_text_config()


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


def _probe(
    config: FinetuneConfig,
    model_config: Any,
    depth: int,
    rows: int,
    length: int,
    device: torch.device,
    dtype: torch.dtype,
) -> Probe:
    """Train a random model of `depth` layers for a moment; time it and count the bytes kept for the backward pass."""
    shallow = copy.deepcopy(model_config)
    text = _text_config(shallow)
    text.num_hidden_layers = depth
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:depth]
    base = AutoModelForCausalLM.from_config(shallow, dtype=dtype).to(device).requires_grad_(False)
    short_names = tuple(dict.fromkeys(name.rsplit(".", 1)[-1] for name in config.lora.lora_target_modules))
    lora = replace(config.lora, lora_target_modules=short_names)  # a layer named in full may be deeper than the probe
    nats: nn.Module = TargetNats(attach_adapter(base, lora, seed=0)).train()
    trained = [parameter for parameter in nats.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=device.type in ("cpu", "cuda"))
    input_ids = torch.randint(0, text.vocab_size, (rows, length), device=device)
    labels = input_ids.clone()
    labels[:, : length // 2] = IGNORED
    autocast = torch.autocast(device.type, dtype, enabled=dtype != torch.float32)

    def micro_batch() -> None:
        with autocast:
            loss = nats(input_ids, labels)
        loss.backward()

    saved = _saved_bytes(micro_batch, {tensor.untyped_storage().data_ptr() for tensor in nats.parameters()})
    micro_batch_seconds = _seconds(micro_batch, device)
    return Probe(micro_batch_seconds, _seconds(optimizer.step, device), saved, rows * length)


def _saved_bytes(run: Callable[[], None], weights: set[int]) -> float:
    """Count the bytes autograd keeps for the backward pass, each storage once, weights left out."""
    storages: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return float(sum(storages.values()))


def _seconds(run: Callable[[], Any], device: torch.device) -> float:
    """Give the median time of a call after one to warm up: 3 to 15 calls, about half a second."""
    run()
    taken: list[float] = []
    while len(taken) < 3 or (sum(taken) < 0.5 and len(taken) < 15):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _resident_gib() -> float:
    return peak_memory_gib(torch.device("cpu"))


def advise(plan: Plan, config: FinetuneConfig) -> str:
    """Name the first change that makes the run fit: smaller micro-batches, then nf4, then both."""
    if plan.total_gib <= plan.free_gib:
        return ""
    per_row = (plan.activations_gib + plan.logits_gib) / config.train.micro_batch_size
    fixed = plan.adapter_gib + plan.runtime_gib
    nf4_gib = plan.parameters * _QUANTIZED_BYTES["nf4"] / _GIB
    for flags, weights in (("", plan.weights_gib), (" --quantization nf4", nf4_gib)):
        rows = int((plan.free_gib - fixed - weights) / per_row) if per_row else 0
        if rows >= 1:
            return f"does not fit; --micro_batch_size {min(rows, config.train.micro_batch_size)}{flags} would"
    return "does not fit, not even in 4 bits with one row at a time: take a smaller base model or a larger machine"

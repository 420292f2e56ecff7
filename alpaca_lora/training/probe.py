"""What a layer costs: models of one and two layers, with the real widths, are trained for a moment on this machine."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from alpaca_lora.config import FinetuneConfig
from alpaca_lora.model.attention import attending_packs
from alpaca_lora.model.device import half_precision
from alpaca_lora.model.lora import attach_adapter
from alpaca_lora.training.batches import Batch
from alpaca_lora.training.loss import TargetNats, base_of


@dataclass(frozen=True)
class Cost:
    """Of one batch through a part of a model.

    Attributes:
        seconds: forward and backward.
        forward_seconds: forward alone, what checkpointing a layer adds.
        update_seconds: AdamW's step.
        saved_bytes: kept between forward and backward, weights left out.
    """

    seconds: float
    forward_seconds: float
    update_seconds: float
    saved_bytes: float

    def __sub__(self, other: Cost) -> Cost:
        return Cost(
            max(0.0, self.seconds - other.seconds),
            max(0.0, self.forward_seconds - other.forward_seconds),
            max(0.0, self.update_seconds - other.update_seconds),
            max(0.0, self.saved_bytes - other.saved_bytes),
        )


def make_shallow(
    config: FinetuneConfig, model_config: Any, depth: int, device: torch.device, dtype: torch.dtype
) -> Any:
    """Make the first `depth` layers of a model with random weights, its adapter attached."""
    shallow = copy.deepcopy(model_config)
    text = shallow.get_text_config()
    text.num_hidden_layers = depth
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:depth]
    base = AutoModelForCausalLM.from_config(shallow, dtype=dtype).to(device).requires_grad_(False)
    short_names = tuple(dict.fromkeys(name.rsplit(".", 1)[-1] for name in config.lora.lora_target_modules))
    lora = replace(config.lora, lora_target_modules=short_names)  # a layer named in full may be deeper than these
    return attach_adapter(base, lora, seed=0)


def measure(model: Any, batch: Batch, device: torch.device, dtype: torch.dtype) -> Cost:
    """Train a model for a moment; time it and count the bytes kept for the backward pass."""
    batch = batch.to(device)
    base, nats = base_of(model), TargetNats(model).train()
    trained = [parameter for parameter in nats.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=device.type in ("cpu", "cuda"))
    autocast = half_precision(device, dtype)

    def forward() -> torch.Tensor:
        with autocast:
            return nats(batch)

    with attending_packs(base) if batch.pack is not None else nullcontext():
        saved = _saved_bytes(
            lambda: forward().backward(), {tensor.untyped_storage().data_ptr() for tensor in nats.parameters()}
        )
        seconds = _seconds(lambda: forward().backward(), device)
        with torch.no_grad():
            forward_seconds = _seconds(forward, device)
    return Cost(seconds, forward_seconds, _seconds(optimizer.step, device), saved)


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

"""The step of one token, compiled, over keys and values that stay where they are in memory."""

from __future__ import annotations

from typing import Any

import torch

from alpaca_lora.errors import UserError
from alpaca_lora.inference.generate import context_length

_LONGEST = 4096
"""Tokens a static cache has room for, where the model can read as many: its memory is taken at the start."""


class CompiledStep:
    """Decoding without the time between kernels: on CUDA the whole step is one recorded graph (torch.compile).

    A graph belongs to the addresses it was recorded with, so each answer borrows one of a few static caches. What was
    computed before is copied in. An answer that does not fit, or finds none free, is computed uncompiled.

    Attributes:
        step: takes what the model takes, one token at a time.

    Raises `UserError` for models with sliding windows: their static caches count in Python, so every token would be
    traced anew.
    """

    def __init__(self, model: Any, slots: int, *, mode: str | None = "reduce-overhead", backend: str = "inductor"):
        from transformers import StaticCache

        self.length = min(context_length(model) or _LONGEST, _LONGEST)
        self._free = [StaticCache(config=model.config, max_cache_len=self.length) for _ in range(slots)]
        if any(getattr(layer, "is_sliding", False) for layer in self._free[0].layers):
            raise UserError("--compile_step: this model's attention has sliding windows", fix="leave it out")
        self.step: Any = torch.compile(model, mode=mode, backend=backend, fullgraph=True, dynamic=False)

    @torch.inference_mode()
    def borrow(self, model: Any, begun: Any, tokens: int) -> Any:
        """Give a static cache that holds what `begun` holds, or None where `tokens` in all do not fit or none is free.

        Args:
            begun: dynamic cache of the prompt's first tokens, empty where nothing is known.
        """
        if tokens > self.length or not self._free:
            return None
        cache = self._free.pop()
        cache.reset()
        for index, layer in enumerate(begun.layers):
            if layer.is_initialized:
                cache.update(layer.keys, layer.values, index)
        return cache

    def give_back(self, cache: Any) -> None:
        """Take a borrowed cache back for the next answer."""
        self._free.append(cache)


def check_compilable(adapters: int, *, merged: bool, device: torch.device) -> None:
    """Refuse to compile what would be compiled anew at each switch, or not run as a graph."""
    if device.type != "cuda":
        raise UserError(f"--compile_step: the model is on {device.type}", fix="it is for CUDA cards; leave it out here")
    if adapters and not merged:
        raise UserError(
            "--compile_step: each switch of the adapter would compile the model anew",
            fix="--merge_adapter with one --adapter, or no adapter",
        )

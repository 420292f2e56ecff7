"""The only definition of the loss: summed next-token nats over target tokens, with logits only where there is one."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from alpaca_lora.training.batches import Batch

CHUNK_TOKENS = 512
"""Targets whose logits are held at once; 512 x 32,000 pieces are 0.06 GiB in float32."""


class TargetNats(nn.Module):
    """Sum the next-token loss of a causal language model over the target tokens of a batch.

    The trainer divides the sums of all batches and ranks by the targets of the whole optimiser step, so the loss does
    not depend on how a step is cut up. Padded rows are padded on the right, where causal attention keeps padding out of
    every real token without a mask.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        """Return the summed loss, float32 (), nats; float64 where the model computes in it."""
        causal_lm = base_of(self.model)
        return target_nats(causal_lm, target_hidden(causal_lm, batch), batch.target_ids, batch.weights)


def base_of(model: Any) -> Any:
    """Give the transformers model inside a PEFT wrapper, adapter layers included, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def target_hidden(causal_lm: Any, batch: Batch) -> Tensor:
    """Give the last hidden state at the position before each target, float (targets, width)."""
    packed = {} if batch.pack is None else {"position_ids": batch.position_ids, "pack": batch.pack}
    hidden = causal_lm.get_decoder()(input_ids=batch.input_ids, use_cache=False, **packed).last_hidden_state
    return hidden.flatten(0, 1)[batch.predicted_at]


def target_nats(causal_lm: Any, hidden: Tensor, target_ids: Tensor, weights: Tensor) -> Tensor:
    """Sum -weight * log p(target), never holding the logits of more than `CHUNK_TOKENS` positions.

    The head is frozen, so the gradient with respect to `hidden` is all that a chunk's logits are needed for: it is
    computed with them, and they are neither kept nor computed again (as in Liger's fused kernel, arXiv 2410.10989).

    Args:
        causal_lm: the model whose output projection is used.
        hidden: float (targets, width), last hidden state at the position before each target.
        target_ids: int64 (targets).
        weights: float32 (targets), rows that train the target.
    """
    return cast(Tensor, _ChunkedNats.apply(causal_lm, hidden, target_ids, weights))


class _ChunkedNats(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, causal_lm: Any, hidden: Tensor, target_ids: Tensor, weights: Tensor) -> Tensor:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        total = hidden.new_zeros((), dtype=wide)
        needs_gradient = ctx.needs_input_grad[1]
        gradient = torch.empty_like(hidden) if needs_gradient else None
        for first in range(0, len(hidden), CHUNK_TOKENS):
            chunk = slice(first, first + CHUNK_TOKENS)
            with torch.set_grad_enabled(needs_gradient):
                inputs = hidden[chunk].detach().requires_grad_(needs_gradient)
                logits = project(causal_lm, inputs).to(wide)
                each = cross_entropy(logits, target_ids[chunk], reduction="none")
                nats = (each * weights[chunk].to(wide)).sum()  # not a dot product, which autocast would round
            total += nats.detach()
            if gradient is not None:
                (gradient[chunk],) = torch.autograd.grad(nats, inputs)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[None, Tensor | None, None, None]:
        (gradient,) = ctx.saved_tensors
        return None, (gradient.to(outputs[0].dtype) * outputs[0]).to(gradient.dtype), None, None


def project(causal_lm: Any, hidden: Tensor) -> Tensor:
    """Turn hidden states into logits exactly as the model's own forward does.

    Beyond the output matrix some families scale (Cohere `logit_scale`, Granite `logits_scaling`) or cap (Gemma 2
    `final_logit_softcapping`, arXiv 2408.00118) their logits; `projection_error` compares with the model itself.
    """
    config = causal_lm.config
    logits = causal_lm.get_output_embeddings()(hidden)
    if scale := getattr(config, "logit_scale", None):
        logits = logits * scale
    if divisor := getattr(config, "logits_scaling", None):
        logits = logits / divisor
    if cap := getattr(config, "final_logit_softcapping", None):
        logits = torch.tanh(logits / cap) * cap
    return logits


@torch.no_grad()
def projection_error(model: Any, input_ids: Tensor) -> float:
    """Give the largest difference between our logits and the model's own, relative to their largest magnitude.

    Args:
        input_ids: int64 (1, tokens), a short text.
    """
    causal_lm = base_of(model)
    own = causal_lm(input_ids=input_ids, use_cache=False).logits.float()
    ours = project(causal_lm, causal_lm.get_decoder()(input_ids=input_ids, use_cache=False).last_hidden_state).float()
    return float((own - ours).abs().max() / own.abs().max().clamp(min=1e-6))

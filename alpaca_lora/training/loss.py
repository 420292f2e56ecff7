"""The only definition of the loss: summed next-token nats over target tokens, with logits only where there is one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

IGNORED = -100
"""Label of a token that is not trained."""

CHUNK_TOKENS = 1024
"""Targets whose logits are held at once; 1024 x 32,000 pieces are 0.12 GiB in float32."""


class TargetNats(nn.Module):
    """Sum the next-token loss of a causal language model over the target tokens of padded rows.

    The trainer divides the sums of all micro-batches and ranks by the targets of the whole optimiser step, so the loss
    does not depend on how a step is cut up. Rows are padded on the right, where causal attention keeps padding
    out of every real token without a mask.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, labels: Tensor) -> Tensor:
        """Return the summed loss.

        Args:
            input_ids: int64 (rows, tokens), right-padded token ids.
            labels: int64 (rows, tokens), the same ids where trained, -100 elsewhere. `labels[:, t]` is predicted from
                the tokens before t, so the first column never counts.

        Returns:
            float32 (), nats.
        """
        causal_lm = base_of(self.model)
        hidden = causal_lm.get_decoder()(input_ids=input_ids, use_cache=False).last_hidden_state
        targets = labels[:, 1:]
        where = targets != IGNORED
        return target_nats(causal_lm, hidden[:, :-1][where], targets[where])


def base_of(model: Any) -> Any:
    """Give the transformers model inside a PEFT wrapper, adapter layers included, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def target_nats(causal_lm: Any, hidden: Tensor, targets: Tensor) -> Tensor:
    """Sum -log p(target) in float32, never holding the logits of more than `CHUNK_TOKENS` positions.

    Args:
        causal_lm: the model whose output projection is used.
        hidden: float (targets, width), last hidden state at the position before each target.
        targets: int64 (targets), token ids.
    """
    if len(targets) <= CHUNK_TOKENS:
        return _chunk_nats(causal_lm, hidden, targets)
    total = hidden.new_zeros((), dtype=torch.float32)
    for rows, ids in zip(hidden.split(CHUNK_TOKENS), targets.split(CHUNK_TOKENS), strict=True):
        total = total + checkpoint(_chunk_nats, causal_lm, rows, ids, use_reentrant=False)
    return total


def _chunk_nats(causal_lm: Any, hidden: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(project(causal_lm, hidden).float(), targets, reduction="sum")


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

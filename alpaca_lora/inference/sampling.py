"""Which token comes next: temperature, the likeliest k, the nucleus, and the draw."""

from __future__ import annotations

import torch
from torch import Tensor

from alpaca_lora.inference.settings import SamplingConfig

_COLDEST = 1e-6
"""Logits divided by less overflow; the likeliest token is drawn long before."""


def choose_tokens(logits: Tensor, sampling: SamplingConfig, generator: torch.Generator | None) -> Tensor:
    """Pick the next token of each row; temperature 0 takes the likeliest.

    Args:
        logits: float (rows, vocabulary).

    Returns:
        int64 (rows).
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    scores, tokens = allowed_scores(logits, sampling)
    drawn = torch.multinomial(scores.softmax(-1), 1, generator=generator)
    return tokens.gather(-1, drawn)[:, 0]


def allowed_scores(scores: Tensor, sampling: SamplingConfig) -> tuple[Tensor, Tensor]:
    """Sort each row's scores, likeliest first, and set those that may not be drawn to minus infinity.

    Temperature first, then the `top_k` likeliest, then the smallest set of likeliest tokens whose probabilities reach
    `top_p` (nucleus sampling, arXiv 1904.09751). Temperature 0 leaves all as they are.

    Args:
        scores: float (rows, vocabulary), logits or log-probabilities.

    Returns:
        float32 (rows, vocabulary) scores and int64 (rows, vocabulary) their tokens.
    """
    temperature = max(sampling.temperature, _COLDEST) if sampling.temperature else 1.0
    ranked, tokens = (scores.float() / temperature).sort(-1, descending=True)
    if sampling.temperature == 0:
        return ranked, tokens
    if sampling.top_k:
        ranked[:, sampling.top_k :] = -torch.inf
    probabilities = ranked.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    beyond = before >= sampling.top_p
    beyond[:, 0] = False  # a top_p that float32 takes for 0 leaves the likeliest all the same
    ranked[beyond] = -torch.inf
    return ranked, tokens

"""Which rows a step trains on and how fast it learns: pure functions of the seed and the step."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from alpaca_lora.config import TrainConfig


def total_steps(n_rows: int, train: TrainConfig) -> int:
    """Count the optimiser steps: enough for `num_epochs` passes, at most `max_steps`."""
    steps = max(1, math.ceil(train.num_epochs * n_rows / train.batch_size - 1e-9))
    return steps if train.max_steps is None else min(steps, train.max_steps)


def rows_of_step(n_rows: int, batch_size: int, seed: int, step: int) -> NDArray[np.int64]:
    """Give the `batch_size` row indices of a 0-based step.

    The epochs' seeded permutations follow one another without a gap, so every step has exactly `batch_size` rows and a
    run resumed at any step sees what it would have seen.
    """
    first = step * batch_size
    epochs = range(first // n_rows, (first + batch_size - 1) // n_rows + 1)
    order = np.concatenate([np.random.default_rng([seed, epoch]).permutation(n_rows) for epoch in epochs])
    offset = first - epochs.start * n_rows
    return order[offset : offset + batch_size]


def warmup_count(train: TrainConfig, steps: int) -> int:
    """Give the warm-up in steps; `warmup_steps` below 1 is a share of all steps."""
    return math.ceil(train.warmup_steps * steps) if train.warmup_steps < 1 else round(train.warmup_steps)


def learning_rate(train: TrainConfig, step: int, steps: int) -> float:
    """Give the learning rate of a 0-based step.

    Warm-up rises to the peak at step `w` as (step + 1) / (w + 1): unlike `transformers`' step / w it wastes no first
    step at rate 0. After it: cosine (arXiv 1608.03983) or linear to 0 at the last step's end, or constant.
    """
    warmup = warmup_count(train, steps)
    if step < warmup:
        return train.learning_rate * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, steps - warmup)
    if train.lr_schedule == "cosine":
        return train.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
    if train.lr_schedule == "linear":
        return train.learning_rate * (1 - progress)
    return train.learning_rate


def random_seed(seed: int, step: int, rank: int) -> int:
    """Give the torch seed of a step's dropout: nothing about random state needs to be saved to resume exactly."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1)

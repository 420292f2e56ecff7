"""Rows of a step to tensors: packs, or padded micro-batches, prepared while the step before is computed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alpaca_lora.config import TrainConfig
from alpaca_lora.data.packing import pack_rows
from alpaca_lora.data.tokens import TokenRow, TokenTable
from alpaca_lora.model.attention import PackLayout
from alpaca_lora.model.device import has_flash_attention
from alpaca_lora.training.schedule import rows_of_step


@dataclass(frozen=True)
class Batch:
    """What one forward pass computes: a pack, or padded rows.

    Attributes:
        input_ids: int64 (rows, tokens); a pack is one row, others are right-padded with 0.
        position_ids: int64 (1, tokens) for a pack, None for rows that all begin at 0.
        pack: who sees whom in a pack, None for padded rows.
        predicted_at: int64 (targets), index into the flattened tokens of what predicts each target.
        target_ids: int64 (targets).
        weights: float32 (targets), how many rows train each target.
    """

    input_ids: Tensor
    position_ids: Tensor | None
    pack: PackLayout | None
    predicted_at: Tensor
    target_ids: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> Batch:
        """Give the batch on a device; to a card the copy does not wait."""
        if device.type == "cpu":
            return self

        def move(tensor: Tensor) -> Tensor:
            pinned = tensor.pin_memory() if device.type == "cuda" else tensor
            return pinned.to(device, non_blocking=True)

        return Batch(
            input_ids=move(self.input_ids),
            position_ids=None if self.position_ids is None else move(self.position_ids),
            pack=self.pack.to_card(move) if self.pack is not None and has_flash_attention(device) else self.pack,
            predicted_at=move(self.predicted_at),
            target_ids=move(self.target_ids),
            weights=move(self.weights),
        )


@dataclass(frozen=True)
class StepWork:
    """One rank's share of an optimiser step.

    Attributes:
        step: 0-based.
        rows: int64 (batch size), indices into the table of the rows of all ranks.
        batches: what this rank computes.
        n_targets, n_tokens: of the rows of all ranks, before anything is shared or padded.
        computed_tokens: of this rank's batches, padding included.
    """

    step: int
    rows: NDArray[np.int64]
    batches: list[Batch]
    n_targets: int
    n_tokens: int
    computed_tokens: int


def prepare_step(
    table: TokenTable, train_rows: NDArray[np.int64], settings: TrainConfig, step: int, *, rank: int = 0, ranks: int = 1
) -> StepWork:
    """Choose the rows of a step and make one rank's batches of them."""
    rows = train_rows[rows_of_step(len(train_rows), settings.batch_size, settings.seed, step)]
    batches = make_batches(table, rows, settings, rank=rank, ranks=ranks)
    computed = sum(batch.input_ids.numel() for batch in batches)
    return StepWork(step, rows, batches, table.count_targets(rows), int(table.lengths[rows].sum()), computed)


def make_batches(
    table: TokenTable, rows: NDArray[np.int64], settings: TrainConfig, *, rank: int = 0, ranks: int = 1
) -> list[Batch]:
    """Give what one rank computes of a step's rows.

    Args:
        rows: int64 (rows of the step, all ranks), indices into the table.
    """
    if settings.packing == "none":
        return padded_batches([table[int(row)] for row in rows[rank::ranks]], settings.micro_batch_size)
    return packed_batches(
        [table[int(row)] for row in rows],
        settings.tokens_per_pack,
        share_prefix=settings.packing == "shared_prefix",
        rank=rank,
        ranks=ranks,
    )


def packed_batches(
    rows: Sequence[TokenRow], tokens_per_pack: int, *, share_prefix: bool, rank: int = 0, ranks: int = 1
) -> list[Batch]:
    """Pack rows; one batch a pack."""
    return [
        Batch(
            input_ids=torch.from_numpy(pack.input_ids)[None],
            position_ids=torch.from_numpy(pack.position_ids)[None],
            pack=PackLayout(pack.spans),
            predicted_at=torch.from_numpy(pack.predicted_at),
            target_ids=torch.from_numpy(pack.target_ids),
            weights=torch.from_numpy(pack.weights),
        )
        for pack in pack_rows(rows, tokens_per_pack, share_prefix=share_prefix, rank=rank, ranks=ranks)
    ]


def padded_batches(rows: Sequence[TokenRow], size: int) -> list[Batch]:
    """Pad rows of like length together, `size` a batch."""
    by_length = sorted(rows, key=lambda row: len(row.input_ids))
    return [_pad(by_length[first : first + size]) for first in range(0, len(by_length), size)]


def _pad(rows: Sequence[TokenRow]) -> Batch:
    input_ids = np.zeros((len(rows), max(len(row.input_ids) for row in rows)), dtype=np.int64)
    is_target = np.zeros_like(input_ids, dtype=bool)
    for number, row in enumerate(rows):
        input_ids[number, : len(row.input_ids)] = row.input_ids
        is_target[number, : len(row.input_ids)] = row.is_target
    is_target[:, 0] = False  # predicted from nothing
    at = torch.from_numpy(np.flatnonzero(is_target))
    ids = torch.from_numpy(input_ids)
    return Batch(ids, None, None, at - 1, ids.flatten()[at], torch.ones(len(at)))


def prepared_ahead(make: Callable[[int], StepWork], steps: range) -> Generator[StepWork]:
    """Yield the work of each step; that of the next is made in a thread meanwhile."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming = [pool.submit(make, step) for step in steps[:1]]
        for step in steps:
            work = coming.pop().result()
            if step + 1 in steps:
                coming.append(pool.submit(make, step + 1))
            yield work

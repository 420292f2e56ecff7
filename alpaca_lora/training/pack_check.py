"""Does this model compute packed rows as it computes them alone? Tried once before training, whatever its name."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alpaca_lora.config import Packing
from alpaca_lora.data.packing import pack_rows
from alpaca_lora.data.tokens import TokenRow, TokenTable
from alpaca_lora.model.attention import attending_packs
from alpaca_lora.training.batches import packed_batches, padded_batches
from alpaca_lora.training.loss import base_of, target_hidden

_COMMON_TOKENS, _OWN_TOKENS = 12, 24
_PACK_TOKENS = 1024
_LESS: dict[Packing, Packing] = {"shared_prefix": "plain", "plain": "none"}


def choose_packing(model: Any, table: TokenTable, wanted: Packing) -> tuple[Packing, list[str]]:
    """Give the packing to use, and what to tell the user where it is less than what was wanted.

    `shared_prefix` falls back to `plain`, and that to `none`, where the model's hidden states of packed rows are not
    those of separate rows: its kind of attention, or of position, cannot be told who sees whom.
    """
    rows, notes, packing = _rows_with_common_prefix(table), [], wanted
    while packing != "none":
        found = packing_error(model, rows, share_prefix=packing == "shared_prefix")
        if found is None:
            break
        name = type(base_of(model)).__name__
        notes.append(f"--packing {packing} does not fit {name} ({found}); going on with {_LESS[packing]}")
        packing = _LESS[packing]
    return packing, notes


def _rows_with_common_prefix(table: TokenTable) -> list[TokenRow]:
    """Cut three rows out of the data's tokens that begin alike and go on differently."""
    pieces = np.resize(table.input_ids, _COMMON_TOKENS + 3 * _OWN_TOKENS)
    common, own = pieces[:_COMMON_TOKENS], pieces[_COMMON_TOKENS:].reshape(3, _OWN_TOKENS)
    rows = [np.concatenate([common, tokens[number:]]) for number, tokens in enumerate(own)]
    return [TokenRow(row, np.arange(len(row)) > _COMMON_TOKENS, number) for number, row in enumerate(rows)]


@torch.no_grad()
def packing_error(model: Any, rows: list[TokenRow], *, share_prefix: bool) -> str | None:
    """Say how a pack's hidden states differ from those of the rows computed one by one; None where they do not."""
    causal_lm, was_training = base_of(model), model.training
    model.eval()
    order = np.concatenate([pack.rows for pack in pack_rows(rows, _PACK_TOKENS, share_prefix=share_prefix)])
    try:
        alone = _hidden(causal_lm, [batch for row in order for batch in padded_batches([rows[row]], 1)])
        with attending_packs(causal_lm):
            packed = _hidden(causal_lm, packed_batches(rows, _PACK_TOKENS, share_prefix=share_prefix))
    except Exception as error:  # what a foreign architecture raises is its own
        return f"{type(error).__name__}: {str(error)[:100]}"
    finally:
        model.train(was_training)
    difference = float((alone - packed).abs().mean() / alone.abs().mean())
    # Rounding differs by less; a token that sees one too many, or one too few, by far more.
    allowed = 1e-4 if causal_lm.dtype in (torch.float32, torch.float64) else 0.05
    return None if difference < allowed else f"hidden states differ by {difference:.1%}"


def _hidden(causal_lm: Any, batches: list[Any]) -> Tensor:
    with torch.autocast(causal_lm.device.type, causal_lm.dtype) if causal_lm.dtype.itemsize == 2 else nullcontext():
        return torch.cat([target_hidden(causal_lm, batch.to(causal_lm.device)).float() for batch in batches])

"""Does this model compute packed rows as it computes them alone? Tried before training, on three short rows."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from alpaca_lora.config import Packing
from alpaca_lora.data.packing import pack_rows
from alpaca_lora.data.tokens import TokenRow, TokenTable
from alpaca_lora.model.attention import attending_packs
from alpaca_lora.model.device import half_precision
from alpaca_lora.training.batches import Batch, packed_batches, padded_batches
from alpaca_lora.training.loss import base_of, target_hidden

PACKINGS: tuple[Packing, ...] = get_args(Packing)
"""From the one that computes least to the one that every model can do."""

_COMMON_TOKENS, _OWN_TOKENS = 12, 24


def choose_packing(model: Any, table: TokenTable, wanted: Packing) -> tuple[Packing, list[str]]:
    """Give the packing to use, and what to tell the user where it is less than what was wanted.

    `shared_prefix` falls back to `plain`, and that to `none`, where the model's hidden states of packed rows are not
    those of separate rows: its kind of attention, or of position, cannot be told who sees whom.
    """
    rows, notes = _rows_with_common_prefix(table, _window(model)), []
    name = type(base_of(model)).__name__
    for packing, less in pairwise(PACKINGS):
        if PACKINGS.index(packing) < PACKINGS.index(wanted):
            continue
        fault = packing_fault(model, rows, share_prefix=packing == "shared_prefix")
        if fault is None:
            return packing, notes
        notes.append(f"--packing {packing} does not fit {name} ({fault}); going on with {less}")
    return "none", notes


def _window(model: Any) -> int:
    """Give the fewest tokens that a token of this model may see by its config; 0 for no limit."""
    text = base_of(model).config.get_text_config()
    limits = [getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min((limit for limit in limits if limit), default=0)


def _rows_with_common_prefix(table: TokenTable, window: int) -> list[TokenRow]:
    """Make three rows of the data's tokens that begin alike and go on differently, past the window if any row does."""
    own_tokens = _OWN_TOKENS + (window if 0 < window < int(table.lengths.max()) else 0)
    rng, pool = np.random.default_rng(0), np.unique(table.input_ids)
    common = rng.choice(pool, _COMMON_TOKENS)
    own = rng.choice(pool, (3, own_tokens))
    own[:, 0] = np.resize(pool, 3)
    rows = [np.concatenate([common, tokens[: own_tokens - number]]) for number, tokens in enumerate(own)]
    return [TokenRow(row, np.arange(len(row)) > _COMMON_TOKENS, number) for number, row in enumerate(rows)]


@torch.no_grad()
def packing_fault(model: Any, rows: list[TokenRow], *, share_prefix: bool) -> str | None:
    """Say how a pack's hidden states differ from those of the rows computed one by one; None where they do not.

    Two comparisons, as half precision rounds by about what one token more or less changes: with the rows alone, and,
    after the first row's own tokens were changed, with the other rows' states from before, which need no rounding.
    """
    causal_lm, was_training = base_of(model), model.training
    if getattr(causal_lm.config, "attention_dropout", 0):
        return "it has attention dropout"
    model.eval()
    tokens = sum(len(row.input_ids) for row in rows)
    (pack,) = pack_rows(rows, tokens, share_prefix=share_prefix)
    others = slice(int(rows[pack.rows[0]].is_target.sum()), None)
    try:
        alone = _hidden(causal_lm, [batch for row in pack.rows for batch in padded_batches([rows[row]], 1)])
        with attending_packs(causal_lm):
            (batch,) = packed_batches(rows, tokens, share_prefix=share_prefix)
            packed = _hidden(causal_lm, [batch])
            first = next(span for span in pack.spans if span.prefix_length or not share_prefix)
            other_ids = batch.input_ids.clone()
            own = slice(first.start + first.length - _OWN_TOKENS // 2, first.start + first.length)
            other_ids[:, own] = (other_ids[:, own] + 1) % causal_lm.get_input_embeddings().weight.shape[0]
            changed = _hidden(causal_lm, [replace(batch, input_ids=other_ids)])
        from_alone, from_before = _difference(packed, alone), _difference(changed[others], packed[others])
    except Exception as error:  # what a foreign architecture raises is its own
        return f"{type(error).__name__}: {str(error)[:100]}"
    finally:
        model.train(was_training)
    is_exact = causal_lm.dtype.itemsize > 2 and not getattr(causal_lm, "is_quantized", False)
    if not from_alone < (1e-4 if is_exact else 0.03):
        return f"hidden states differ by {from_alone:.1e} from separate rows"
    if not from_before < (1e-6 if is_exact else 0.01):
        return f"hidden states differ by {from_before:.1e} when another row changes"
    return None


def _difference(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().mean() / expected.abs().mean())


def _hidden(causal_lm: Any, batches: list[Batch]) -> Tensor:
    with half_precision(causal_lm.device, causal_lm.dtype):
        return torch.cat([target_hidden(causal_lm, batch.to(causal_lm.device)).float() for batch in batches])

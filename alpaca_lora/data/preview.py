"""Show what is trained: rows with their trained tokens coloured, and what became of all rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from alpaca_lora.config import DataConfig
from alpaca_lora.data.tokens import Ledger, TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_TRAINED = "black on green3"
_CONTEXT = "dim"


def row_text(row: TokenRow, tokenizer: PreTrainedTokenizerFast) -> Text:
    """Render a row: trained stretches coloured and between ⟦ ⟧, which also shows where there is no colour."""
    text = Text()
    ids, mask = row.input_ids.tolist(), row.is_target.tolist()
    first = 0
    while first < len(ids):
        last = first
        while last < len(ids) and mask[last] == mask[first]:
            last += 1
        piece = str(tokenizer.decode(ids[first:last], skip_special_tokens=False))
        text.append(f"⟦{piece}⟧" if mask[first] else piece, style=_TRAINED if mask[first] else _CONTEXT)
        first = last
    return text


def ledger_lines(ledger: Ledger, data: DataConfig) -> list[str]:
    """Say what was read, kept, cut and dropped, and why; nothing is left out because it is zero."""
    share = 100 * ledger.target_tokens / max(1, ledger.tokens)
    policy = "dropped" if data.truncation == "drop" else "cut"
    cut = f"{ledger.rows_cut:,} rows, {ledger.tokens_lost:,} tokens lost, {ledger.answers_lost_whole:,} whole answers"
    dropped = f"{ledger.rows_unreadable:,} unreadable, {ledger.rows_too_long:,} too long"
    return [
        f"data    {data.data_path}: {ledger.rows_read:,} rows read, {ledger.rows_kept:,} kept",
        f"tokens  {ledger.tokens:,}, of which {ledger.target_tokens:,} are trained ({share:.1f} %)",
        f"cut-off {data.cutoff_len} tokens, longer rows are {policy}; the longest has {ledger.longest_row:,}",
        f"cut     {cut}, {ledger.eos_lost:,} rows without their end-of-sequence",
        f"dropped {dropped}, {ledger.rows_without_target:,} with no token left to train",
        f"empty   {ledger.empty_answers:,} rows kept that have no answer text and teach only to stop",
    ]

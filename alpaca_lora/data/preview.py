"""Show what is trained: rows with their trained tokens coloured, and what became of all rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from rich.text import Text

from alpaca_lora.config import DataConfig
from alpaca_lora.data.audit.counts import CleanLog
from alpaca_lora.data.tokens import Ledger, TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_TRAINED = "black on green3"
_CONTEXT = "dim"
_VISIBLE_CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}


def row_text(row: TokenRow, tokenizer: PreTrainedTokenizerFast) -> Text:
    """Render a row as it stands: trained stretches coloured and between ⟦ ⟧, which also shows without colour.

    Control characters other than tabs and line breaks are shown by their signs, as ␍ for a carriage return.
    """
    text = Text()
    trained = False
    for piece, is_target in _pieces(row, tokenizer):
        if is_target != trained:
            text.append("⟧" if trained else "⟦", style=_TRAINED)
            trained = is_target
        text.append(piece.translate(_VISIBLE_CONTROLS), style=_TRAINED if trained else _CONTEXT)
    return text.append("⟧", style=_TRAINED) if trained else text


def _pieces(row: TokenRow, tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[str, bool]]:
    """Yield stretches of text, each wholly trained or wholly not.

    LLaMA's decoder takes the space off the start of whatever it decodes, and every text and every section after a
    special token has one more than was written. So each stretch is decoded after a token that keeps its space, and
    the one too many is taken off.
    """
    eos = str(tokenizer.eos_token)

    def decode(ids: Sequence[int]) -> str:
        after_eos = [cast(int, tokenizer.eos_token_id), *ids]
        text = tokenizer.decode(after_eos, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return str(text).removeprefix(eos)

    def adds_space(text: str) -> bool:
        return decode(tokenizer.encode(text, add_special_tokens=False)).endswith(" a")

    at_start, after_special = adds_space("a"), adds_space(f"{eos}a")
    added = tokenizer.added_tokens_decoder.items()
    specials = [index for index, token in added if token.special and index != tokenizer.unk_token_id]
    is_special, is_target = np.isin(row.input_ids, specials), row.is_target
    borders = np.flatnonzero((is_target[1:] != is_target[:-1]) | is_special[1:] | is_special[:-1]) + 1
    first = 0
    for stretch in np.split(row.input_ids, borders):
        text = decode(stretch.tolist())
        is_first = first == 0 or (first == 1 and is_special[0])
        if not is_special[first] and (at_start if is_first else after_special and is_special[first - 1]):
            text = text.removeprefix(" ")
        yield text, bool(is_target[first])
        first += len(stretch)


def clean_lines(cleaning: CleanLog | None) -> list[str]:
    """Say what `--clean` did."""
    return [f"clean   {cleaning.counts}"] if cleaning else []


def ledger_lines(ledger: Ledger, data: DataConfig, cleaning: CleanLog | None = None) -> list[str]:
    """Say what was cleaned, read, kept, cut and dropped, and why; nothing is left out because it is zero."""
    name = f"{data.data_path}, cleaned" if cleaning else data.data_path
    share = 100 * ledger.target_tokens / max(1, ledger.tokens)
    policy = "dropped" if data.truncation == "drop" else "cut"
    cut = f"{ledger.rows_cut:,} rows, {ledger.tokens_lost:,} tokens lost, {ledger.answers_lost_whole:,} whole answers"
    dropped = f"{ledger.rows_unreadable:,} unreadable, {ledger.rows_too_long:,} too long"
    return [
        *clean_lines(cleaning),
        f"data    {name}: {ledger.rows_read:,} rows read, {ledger.rows_kept:,} kept",
        f"tokens  {ledger.tokens:,}, of which {ledger.target_tokens:,} are trained ({share:.1f} %)",
        f"cut-off {data.cutoff_len} tokens, longer rows are {policy}; the longest has {ledger.longest_row:,}",
        f"cut     {cut}, {ledger.eos_lost:,} rows without their end-of-sequence",
        f"dropped {dropped}, {ledger.rows_without_target:,} with no token left to train",
        f"empty   {ledger.empty_answers:,} rows kept with an answer of no text, which teaches to stop at once",
    ]

"""Whether a file is in English, as some rules look for English words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from alpaca_lora.data.audit.rows import RowView

_WORD = re.compile(r"[^\W\d_]+")
# fmt: off
_FUNCTION_WORDS = frozenset((
    "the", "of", "and", "to", "a", "in", "is", "that", "for", "it", "with", "as", "on", "are", "this", "be", "by", "an",
    "or", "from",
))
# fmt: on
_ROWS_LOOKED_AT = 1000
_ENGLISH_SHARE = 0.15
"""Of the words in English text about 0.3 are function words; in other Latin-script languages under 0.1."""


def is_english(rows: Sequence[RowView]) -> bool:
    """Say whether the file is in English, by the share of English function words among all words of some rows."""
    step = max(1, len(rows) // _ROWS_LOOKED_AT)
    words = ours = 0
    for row in rows[::step]:
        for turn in row.turns:
            for word in _WORD.findall(f"{turn.instruction} {turn.output[:500]}"):
                words += 1 if word.isascii() else len(word)  # a run of Chinese is many words
                ours += word.lower() in _FUNCTION_WORDS
    return ours >= _ENGLISH_SHARE * words

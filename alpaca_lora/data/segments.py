"""The pieces that a row's text is made of, and which of a tokenizer's tokens act in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a row's text.

    `is_target`: its tokens are trained. `is_markup`: it comes from a template, so special tokens written in it are
    special; elsewhere they are plain text.
    """

    text: str
    is_target: bool = False
    is_markup: bool = False


def adds_bos(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Say whether the tokenizer itself begins a text with BOS."""
    return tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


def special_pattern(tokenizer: PreTrainedTokenizerFast) -> re.Pattern[str]:
    """Match the tokens that act wherever markup writes them, with the spaces around that some of them swallow.

    The one group that matches is the token itself. `all_special_tokens` names only some of them.
    """
    tokens = [token for token in tokenizer.added_tokens_decoder.values() if token.special]
    tokens.sort(key=lambda token: len(token.content), reverse=True)
    parts = [
        (r"\s*" if token.lstrip else "") + f"({re.escape(token.content)})" + (r"\s*" if token.rstrip else "")
        for token in tokens
    ]
    return re.compile("|".join(parts) or r"(?!)")


def markup_segments(text: str, special: re.Pattern[str], *, is_target: bool = False) -> Iterator[Segment]:
    """Split a template's text at its special tokens: they act; what is between them is plain, as users' text is."""
    position = 0
    for match in special.finditer(text):
        if match.start() > position:
            yield Segment(text[position : match.start()], is_target)
        yield Segment(match[match.lastindex or 0], is_target, is_markup=True)
        position = match.end()
    if position < len(text):
        yield Segment(text[position:], is_target)

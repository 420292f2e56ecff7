"""The heads that prompts have in common, computed once: their keys and values are kept and handed to later prompts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import torch

from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.examples import Turn
from alpaca_lora.data.prompts import Prompt
from alpaca_lora.data.tokens import encode_segments

_PROBE = "\ue000"
"""A character of private use: no instruction that people write begins with it."""


def encode_with_heads(
    encoder: TextEncoder, prompt: Prompt, turns: Sequence[Turn], system: str = ""
) -> tuple[list[int], list[int]]:
    """Encode a conversation whose last answer is to come; say after how many tokens each of its heads ends.

    A head is all that stands before a turn's instruction: the template's own beginning, then that and the first turn
    with its answer, and so on. Another question shares the first with this one, the next turn of this conversation
    shares them all.
    """
    others = [replace(turn, instruction=_PROBE) for turn in turns]
    asked = [prompt.render(questions, system, open_ended=True) for questions in (turns, others)]
    (_, pieces), (_, other_pieces) = encode_segments(encoder, asked)
    ids, heads = list[int](), list[int]()
    for piece, other in zip(pieces, other_pieces, strict=True):
        shared = shared_length(piece, other)
        if shared < max(len(piece), len(other)) and len(ids) + shared > (heads[-1] if heads else 0):
            heads.append(len(ids) + shared)
        ids += piece.tolist()
    return ids, [head for head in heads if head < len(ids)]


def shared_length(one: Sequence[int], other: Sequence[int]) -> int:
    """Count the tokens that two prompts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


class PromptCache:
    """Keys and values of heads, the least lately used given up first when they hold more than `limit_mib`.

    Head after head is always computed apart, known or not, so that an answer does not depend on what was asked before
    it, to the last bit.
    """

    def __init__(self, limit_mib: int = 256) -> None:
        self._limit = limit_mib * 2**20
        self._kept: OrderedDict[tuple[str, tuple[int, ...]], Any] = OrderedDict()
        self.held_bytes = 0

    @torch.inference_mode()
    def begin(self, model: Any, owner: str, ids: Sequence[int], heads: Sequence[int]) -> tuple[Any, int]:
        """Give the keys and values up to the last head's end, and how many of its tokens were not computed now.

        Args:
            owner: what else they depend on: the name of the adapter that computes.
            ids: token ids of the prompt, BOS included.
            heads: ends of its heads, in tokens, growing and below `len(ids)`.
        """
        from transformers import DynamicCache

        keys = [(owner, tuple(ids[:head])) for head in heads]
        known = next((place for place in reversed(range(len(keys))) if keys[place] in self._kept), -1)
        for key in keys[: known + 1]:
            if key in self._kept:
                self._kept.move_to_end(key)
        done = heads[known] if known >= 0 else 0
        cache: Any = _copied(self._kept[keys[known]]) if known >= 0 else DynamicCache(config=model.config)
        reused = done
        for key in keys[known + 1 :]:
            head = key[1]
            cache = model(
                input_ids=torch.tensor([head[done:]], device=model.device), past_key_values=cache, use_cache=True,
                logits_to_keep=1, position_ids=torch.arange(done, len(head), device=model.device)[None],
            ).past_key_values  # fmt: skip
            done = len(head)
            self._keep(key, _copied(cache))
        return cache, reused

    def _keep(self, key: tuple[str, tuple[int, ...]], cache: Any) -> None:
        if _size(cache) > self._limit:
            return  # it would drive out all others and then itself
        self._kept[key] = cache
        self.held_bytes += _size(cache)
        while self.held_bytes > self._limit:
            self.held_bytes -= _size(self._kept.popitem(last=False)[1])


def _copied(cache: Any) -> Any:
    """Copy a cache without its tensors: growing makes new ones and leaves these as they are."""
    other = copy(cache)
    other.layers = [copy(layer) for layer in cache.layers]
    return other


def _size(cache: Any) -> int:
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers if layer.is_initialized)

"""Attention over packs with shared prefixes, registered through transformers' public interface.

Each span of a pack sees its prefix and, causally, itself: only those pairs are computed. On CUDA in half precision one
variable-length flash call does all spans, with the prefix's keys and values gathered in front of each; elsewhere each
span is a call of its own, so no mask ever covers more than one row.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from alpaca_lora.data.packing import Span

IMPLEMENTATION = "shared_prefix_packs"
"""Name under which transformers finds this attention."""

_HARMLESS = {"position_ids", "use_cache", "is_causal", "output_attentions", "output_hidden_states", "return_dict"}
"""What models pass along that does not change attention over a pack."""


class Variable(NamedTuple):
    """What variable-length flash attention asks for.

    Attributes:
        gather: int64 (keys), for each span its prefix's tokens, then its own.
        queries, keys: int32 (spans + 1), cumulative lengths.
        longest_query, longest_key: in tokens.
    """

    gather: Tensor
    queries: Tensor
    keys: Tensor
    longest_query: int
    longest_key: int


@dataclass(frozen=True)
class PackLayout:
    """What attention must know of a pack: who sees whom."""

    spans: Sequence[Span]
    variable: Variable | None = None
    """On a card only."""
    _masks: dict[tuple[int, int, int], Tensor] = field(default_factory=dict)

    def mask(self, span: Span, window: int, device: torch.device) -> Tensor:
        """Bool (own tokens, prefix + own tokens): which keys a span's queries see, at most `window` back."""
        key = (span.length, span.prefix_length, window)
        if key not in self._masks:
            full = torch.ones(span.length, span.prefix_length + span.length, dtype=torch.bool, device=device)
            self._masks[key] = full.tril(span.prefix_length).triu(span.prefix_length - window + 1)
        return self._masks[key]

    def to_card(self, move: Callable[[Tensor], Tensor]) -> PackLayout:
        """Add what flash attention needs, moved as the rest of the batch is."""
        filled = [span for span in self.spans if span.length]
        gather = [
            torch.arange(first, first + length)
            for span in filled
            for first, length in ((span.prefix_start, span.prefix_length), (span.start, span.length))
        ]
        queries = [span.length for span in filled]
        keys = [span.prefix_length + span.length for span in filled]
        seen, asked = (torch.tensor([0, *accumulate(lengths)], dtype=torch.int32) for lengths in (keys, queries))
        variable = Variable(move(torch.cat(gather)), move(asked), move(seen), max(queries), max(keys))
        return PackLayout(self.spans, variable)


def pack_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    pack: PackLayout,
    scaling: float | None = None,
    sliding_window: int | None = None,
    dropout: float = 0.0,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Attend within the spans of a pack and to their prefixes.

    Args:
        query: float (1, heads, tokens, head width).
        key, value: float (1, key heads, tokens, head width); key heads divide heads (arXiv 2305.13245).
        attention_mask: not used, the layout says it all.
        sliding_window: keys a query sees, itself included; None for all.

    Returns:
        float (1, tokens, heads, head width), and None in place of the attention weights.

    Raises `ValueError` for what changes the weights and is not computed here: dropout, a cap, sinks, biases.
    """
    unknown = [name for name, value in settings.items() if value is not None and name not in _HARMLESS]
    if dropout or unknown:
        raise ValueError(f"packs know no {' and '.join(unknown) or 'attention dropout'}")
    fits_flash = query.dtype in (torch.bfloat16, torch.float16) and query.shape[-1] % 8 == 0 and query.shape[-1] <= 256
    if pack.variable is not None and fits_flash:
        return _flash_attention(query, key, value, pack.variable, scaling, sliding_window), None
    lengths = [span.length for span in pack.spans]
    keys, values = key.split(lengths, dim=2), value.split(lengths, dim=2)
    number_at = {span.start: number for number, span in enumerate(pack.spans) if span.length}
    outputs: list[Tensor] = []
    for number, (span, queries) in enumerate(zip(pack.spans, query.split(lengths, dim=2), strict=True)):
        if not span.length:
            continue
        seen = keys[number], values[number]
        if span.prefix_length:
            prefix = number_at[span.prefix_start]
            seen = torch.cat((keys[prefix], seen[0]), dim=2), torch.cat((values[prefix], seen[1]), dim=2)
        window = sliding_window or span.prefix_length + span.length
        is_causal = not span.prefix_length and window >= span.length
        output = scaled_dot_product_attention(
            queries,
            *seen,
            attn_mask=None if is_causal else pack.mask(span, window, query.device),
            is_causal=is_causal,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        outputs.append(output)
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def _flash_attention(
    query: Tensor, key: Tensor, value: Tensor, variable: Variable, scaling: float | None, sliding_window: int | None
) -> Tensor:
    """Compute all spans in one call; a shorter query is aligned with the end of its keys (arXiv 2307.08691)."""
    output = varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1)[variable.gather],
        value[0].transpose(0, 1)[variable.gather],
        variable.queries,
        variable.keys,
        variable.longest_query,
        variable.longest_key,
        scale=scaling,
        window_size=(-1 if sliding_window is None else sliding_window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return cast(Tensor, output).unsqueeze(0)


@contextmanager
def attending_packs(causal_lm: Any) -> Generator[None]:
    """Make a transformers model attend by the `pack` given to its forward pass, until the context ends.

    No mask function is registered beside it: for such an attention transformers makes no mask, and on a card does not
    wait to see whether the positions are those of a pack.
    """
    AttentionInterface.register(IMPLEMENTATION, pack_attention)
    before = causal_lm.config._attn_implementation
    causal_lm.set_attn_implementation(IMPLEMENTATION)
    try:
        yield
    finally:
        causal_lm.set_attn_implementation(before)

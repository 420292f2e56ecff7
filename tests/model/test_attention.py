"""Attention over packs against the dense mask it replaces, and its place in transformers."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import tiny_model
from torch.nn.functional import scaled_dot_product_attention
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from alpaca_lora.data.packing import Pack, pack_rows
from alpaca_lora.data.tokens import TokenRow
from alpaca_lora.model.attention import IMPLEMENTATION, PackLayout, attending_packs, pack_attention


def make_pack(share_prefix: bool = True) -> Pack:
    rng = np.random.default_rng(0)
    heads = [rng.integers(3, 99, 7).tolist(), rng.integers(3, 99, 11).tolist()]
    rows = [heads[number % 2] + rng.integers(3, 99, 4 + 3 * number).tolist() for number in range(5)] + [heads[0]]
    tokens = [TokenRow(np.array(ids, dtype=np.int32), np.arange(len(ids)) > 4, 0) for ids in rows]
    (pack,) = pack_rows(tokens, 1000, share_prefix=share_prefix)
    return pack


def random_pack(seed: int, share_prefix: bool) -> Pack:
    """Rows that branch off each other at random places."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(3, 99, 20).tolist()]
    while len(rows) < 12:
        other = rows[rng.integers(len(rows))]
        rows.append(other[: rng.integers(1, len(other))] + rng.integers(3, 99, rng.integers(1, 25)).tolist())
    tokens = [TokenRow(np.array(ids, dtype=np.int32), np.arange(len(ids)) > 0, 0) for ids in rows]
    (pack,) = pack_rows(tokens, 1000, share_prefix=share_prefix)
    return pack


def dense_mask(pack: Pack, window: int | None) -> torch.Tensor:
    """Bool (tokens, tokens), made token by token: a key in the query's span or prefix, not later, not too far back."""
    mask = torch.zeros(len(pack.input_ids), len(pack.input_ids), dtype=torch.bool)
    for span in pack.spans:
        for query in range(span.start, span.start + span.length):
            own = range(span.start, query + 1)
            prefix = range(span.prefix_start, span.prefix_start + span.prefix_length)
            for key in (*prefix, *own):
                back = pack.position_ids[query] - pack.position_ids[key]
                mask[query, key] = window is None or bool(back < window)
    return mask


@pytest.mark.parametrize("window", [None, 5, 12, 1000])
@pytest.mark.parametrize("key_heads", [4, 2, 1])
def test_equals_a_dense_mask_with_its_gradients(window: int | None, key_heads: int) -> None:
    pack = make_pack()
    torch.manual_seed(1)
    shape = (1, len(pack.input_ids), 4, 8)
    query, key, value = (
        torch.randn((*shape[:2], heads, 8), dtype=torch.float64).transpose(1, 2).requires_grad_()
        for heads in (4, key_heads, key_heads)
    )
    weight = torch.randn(shape, dtype=torch.float64)
    ours, none = pack_attention(
        None, query, key, value, None, pack=PackLayout(pack.spans), scaling=0.3, sliding_window=window
    )
    assert none is None
    found = torch.autograd.grad((ours * weight).sum(), (query, key, value))
    dense = scaled_dot_product_attention(
        query, key, value, attn_mask=dense_mask(pack, window), scale=0.3, enable_gqa=True
    ).transpose(1, 2)
    expected = torch.autograd.grad((dense * weight).sum(), (query, key, value))
    torch.testing.assert_close(ours, dense, rtol=0, atol=1e-12)
    for mine, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, reference, rtol=0, atol=1e-12)


def test_variable_length_arguments_gather_prefix_and_own_tokens() -> None:
    """By hand: a prefix of 2, then rows of 1 and 3 own tokens."""
    rows = [TokenRow(np.array(ids, dtype=np.int32), np.arange(len(ids)) > 0, 0) for ids in ([1, 2, 3], [1, 2, 4, 5, 6])]
    (pack,) = pack_rows(rows, 100, share_prefix=True)
    variable = PackLayout(pack.spans).to_card(lambda tensor: tensor).variable
    assert variable is not None
    gather, queries, keys, longest_query, longest_key = variable
    assert gather.tolist() == [0, 1, 0, 1, 2, 3, 4, 0, 1, 5]
    assert queries.tolist() == [0, 2, 5, 6]
    assert keys.tolist() == [0, 2, 7, 10]
    assert (longest_query, longest_key) == (3, 5)


def hidden(model: Any, pack: Pack) -> torch.Tensor:
    with attending_packs(model), torch.no_grad():
        return model.get_decoder()(
            input_ids=torch.from_numpy(pack.input_ids)[None], position_ids=torch.from_numpy(pack.position_ids)[None],
            pack=PackLayout(pack.spans), use_cache=False,
        ).last_hidden_state[0]  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share_prefix", [True, False])
def test_no_row_sees_another_rows_tokens(share_prefix: bool, seed: int) -> None:
    """Change the own tokens of one row: the hidden states, and so the logits, of all others keep every bit."""
    model, pack = tiny_model(), random_pack(seed, share_prefix)
    before = hidden(model, pack)
    for span in pack.spans:
        if not span.length or any(other.prefix_length and other.prefix_start == span.start for other in pack.spans):
            continue  # a prefix belongs to several rows
        own = slice(span.start, span.start + span.length)
        pack.input_ids[own] += 100
        after = hidden(model, pack)
        pack.input_ids[own] -= 100
        changed = (after != before).any(dim=-1)
        assert changed[own].all()
        assert not changed[: own.start].any()
        assert not changed[own.stop :].any()


def test_the_models_own_attention_comes_back() -> None:
    model = tiny_model()
    before = model.config._attn_implementation
    with suppress(ZeroDivisionError), attending_packs(model):
        assert model.config._attn_implementation == IMPLEMENTATION
        raise ZeroDivisionError
    assert model.config._attn_implementation == before
    assert IMPLEMENTATION in ALL_ATTENTION_FUNCTIONS
    assert IMPLEMENTATION not in ALL_MASK_ATTENTION_FUNCTIONS  # so that none is made, and nothing waits for a card


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("window", [None, 5])
def test_flash_attention_equals_the_spans_one_by_one(dtype: torch.dtype, window: int | None) -> None:
    pack = make_pack()
    torch.manual_seed(1)
    tensors = [torch.randn(1, heads, len(pack.input_ids), 64, dtype=dtype) for heads in (4, 2, 2)]
    layout = PackLayout(pack.spans).to_card(lambda tensor: tensor.cuda())
    inputs = [tensor.cuda().requires_grad_() for tensor in tensors]
    flash, _ = pack_attention(None, *inputs, None, pack=layout, sliding_window=window)
    reference = [tensor.double().requires_grad_() for tensor in tensors]
    exact, _ = pack_attention(None, *reference, None, pack=PackLayout(pack.spans), sliding_window=window)
    # One rounding of outputs and gradients of the size of one: 2^-8 in bfloat16.
    torch.testing.assert_close(flash.double().cpu(), exact, rtol=0, atol=2e-2)
    for mine, expected in zip(
        torch.autograd.grad(flash.float().square().sum(), inputs),
        torch.autograd.grad(exact.square().sum(), reference),
        strict=True,
    ):
        torch.testing.assert_close(mine.double().cpu(), expected, rtol=5e-2, atol=1e-1)

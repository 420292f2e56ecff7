"""Packs hold every target once, share what can be shared, waste nothing, and are dealt evenly."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from alpaca_lora.config import DataConfig
from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.examples import Example
from alpaca_lora.data.packing import Pack, group_by_prefix, pack_rows
from alpaca_lora.data.prompts import load_prompt
from alpaca_lora.data.tokens import TokenRow, tokenize_examples


def row(ids: list[int], trained_from: int = 0, number: int = 0) -> TokenRow:
    return TokenRow(np.array(ids, dtype=np.int32), np.arange(len(ids)) >= trained_from, number)


def random_rows(rng: np.random.Generator, n_rows: int) -> list[TokenRow]:
    """Rows that branch off each other at random places, some equal, some cut short, with random targets."""
    rows: list[list[int]] = [rng.integers(3, 9, rng.integers(1, 40)).tolist()]
    while len(rows) < n_rows:
        other = rows[rng.integers(len(rows))]
        kept = other[: rng.integers(0, len(other) + 1)]
        rows.append((kept + rng.integers(3, 9, rng.integers(0, 30)).tolist()) or [3])
    return [
        TokenRow(np.array(ids, dtype=np.int32), rng.random(len(ids)) < 0.6, number) for number, ids in enumerate(rows)
    ]


def sees(pack: Pack, at: int) -> list[int]:
    """Tokens of a pack that the token at a place sees, itself included, in order."""
    span = next(span for span in pack.spans if span.start <= at < span.start + span.length)
    prefix = pack.input_ids[span.prefix_start : span.prefix_start + span.prefix_length]
    return [*prefix.tolist(), *pack.input_ids[span.start : at + 1].tolist()]


@pytest.mark.parametrize("share_prefix", [True, False])
@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("tokens_per_pack", [16, 64, 200])
def test_each_target_is_trained_once_behind_its_own_rows_tokens(
    share_prefix: bool, ranks: int, tokens_per_pack: int
) -> None:
    """The multiset of (tokens seen, target) over all packs is the rows' own, whatever they were packed into."""
    for seed in range(25):
        rng = np.random.default_rng(seed)
        rows = random_rows(rng, int(rng.integers(ranks, 40)))
        expected: Counter[tuple[int, ...]] = Counter()
        for one in rows:
            ids = one.input_ids.tolist()
            expected.update(tuple(ids[: at + 1]) for at in range(1, len(ids)) if one.is_target[at])
        found: Counter[tuple[int, ...]] = Counter()
        held: list[int] = []
        for rank in range(ranks):
            packs = pack_rows(rows, tokens_per_pack, share_prefix=share_prefix, rank=rank, ranks=ranks)
            assert packs
            for pack in packs:
                held += pack.rows.tolist()
                assert len(pack.input_ids) <= tokens_per_pack or len(pack.rows) == 1
                assert sum(span.length for span in pack.spans) == len(pack.input_ids) == len(pack.position_ids)
                for at, target, weight in zip(pack.predicted_at, pack.target_ids, pack.weights, strict=True):
                    seen = sees(pack, int(at))
                    assert pack.position_ids[at] == len(seen) - 1
                    found[(*seen, int(target))] += int(weight)
        assert sorted(held) == list(range(len(rows)))
        assert found == expected


def test_two_heads_are_stored_once_each() -> None:
    """By hand: heads of 4 and 3 tokens, tails of 2: 4 + 2 x 2 and 3 + 3 x 2 tokens instead of 12 and 15."""
    first, second = [1, 10, 11, 12], [1, 20, 21]
    rows = [row([*first, 30, 31], 4), row([*second, 32, 33], 3), row([*first, 34, 35], 4), row([*second, 36, 37], 3)]
    rows.append(row([*second, 38, 39], 3))
    (pack,) = pack_rows(rows, 64, share_prefix=True)
    assert pack.input_ids.tolist() == [*second, 32, 33, 36, 37, 38, 39, *first, 30, 31, 34, 35]
    assert pack.position_ids.tolist() == [0, 1, 2, 3, 4, 3, 4, 3, 4, 0, 1, 2, 3, 4, 5, 4, 5]
    assert [tuple(span) for span in pack.spans] == [
        (0, 3, 0, 0), (3, 2, 0, 3), (5, 2, 0, 3), (7, 2, 0, 3), (9, 4, 0, 0), (13, 2, 9, 4), (15, 2, 9, 4)
    ]  # fmt: skip
    assert pack.predicted_at.tolist() == [2, 3, 2, 5, 2, 7, 12, 13, 12, 15]
    assert pack.target_ids.tolist() == [32, 33, 36, 37, 38, 39, 30, 31, 34, 35]
    assert set(pack.weights.tolist()) == {1.0}
    assert pack.rows.tolist() == [1, 3, 4, 0, 2]


def test_targets_inside_a_prefix_count_once_for_each_row() -> None:
    rows = [row([1, 5, 6, 7]), row([1, 5, 6, 8]), row([1, 5, 6], trained_from=2)]
    (pack,) = pack_rows(rows, 64, share_prefix=True)
    trained = dict(
        zip(zip(pack.predicted_at.tolist(), pack.target_ids.tolist(), strict=True), pack.weights, strict=True)
    )
    assert trained == {(0, 5): 2, (1, 6): 3, (2, 7): 1, (2, 8): 1}


def test_deeper_sharing_wins_where_it_saves_more() -> None:
    """Three questions on each of two documents: the documents (9 tokens) save more than the system prompt (3)."""
    system, documents = [1, 2, 3], ([4] * 6, [5] * 6)
    rows = [[*system, *document, 10 + number] for document in documents for number in range(3)]
    groups = group_by_prefix([np.array(ids, dtype=np.int32) for ids in rows], range(6), 1000)
    assert sorted((sorted(members), prefix) for members, prefix in groups) == [([0, 1, 2], 9), ([3, 4, 5], 9)]
    rows = [[*system, 4, number] for number in (6, 7)] + [[*system, number] for number in range(10, 20)]
    groups = group_by_prefix([np.array(ids, dtype=np.int32) for ids in rows], range(12), 1000)
    assert [(len(members), prefix) for members, prefix in groups] == [(12, 3)]


def test_a_row_longer_than_a_pack_is_a_pack_of_its_own() -> None:
    rows = [row(list(range(1, 101))), row(list(range(1, 20))), row(list(range(1, 18)))]
    packs = pack_rows(rows, 64, share_prefix=True)
    assert sorted(pack.rows.tolist() for pack in packs) == [[0], [1, 2]]


def test_equal_rows_are_computed_once() -> None:
    (pack,) = pack_rows([row([1, 5, 6, 7], 2)] * 5, 64, share_prefix=True)
    assert pack.input_ids.tolist() == [1, 5, 6, 7]
    assert pack.weights.tolist() == [5, 5]


def test_plain_packs_share_nothing() -> None:
    (pack,) = pack_rows([row([1, 5, 6, 7], 2)] * 5, 64, share_prefix=False)
    assert pack.input_ids.tolist() == [1, 5, 6, 7] * 5


def test_packs_are_a_pure_function_of_the_rows() -> None:
    rows = random_rows(np.random.default_rng(5), 60)
    for ranks in (1, 2):
        first, second = (pack_rows(rows, 100, share_prefix=True, rank=ranks - 1, ranks=ranks) for _ in range(2))
        for one, two in zip(first, second, strict=True):
            assert one.spans == two.spans
            assert np.array_equal(one.input_ids, two.input_ids)
            assert np.array_equal(one.rows, two.rows)


def alpaca_like(rng: np.random.Generator, n_rows: int) -> list[TokenRow]:
    """Rows with one of two heads, and lengths distributed about as the Stanford data's (log-normal, mean 128)."""
    heads = [[1, *range(10, 38)], [1, *range(40, 78)]]
    rows = []
    for number in range(n_rows):
        tail = rng.integers(100, 30000, int(np.clip(rng.lognormal(4.3, 0.65), 10, 480))).tolist()
        rows.append(row(heads[int(rng.random() < 0.4)] + tail, 50, number))
    return rows


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_ranks_compute_the_same_number_of_tokens_within_three_percent(ranks: int) -> None:
    rng = np.random.default_rng(7)
    for _ in range(30):
        rows = alpaca_like(rng, 128)
        computed = [
            sum(len(pack.input_ids) for pack in pack_rows(rows, 2048, share_prefix=True, rank=rank, ranks=ranks))
            for rank in range(ranks)
        ]
        assert max(computed) - min(computed) <= 0.03 * max(computed)


def test_the_stanford_data_costs_three_quarters_of_its_tokens(
    real_llama: PreTrainedTokenizerFast, real_rows: list[Example]
) -> None:
    """The bar is 0.76 of the real tokens; plain packing computes each once."""
    prompt, data = load_prompt("alpaca", real_llama), DataConfig(cutoff_len=512)
    table = tokenize_examples(real_rows[:1280], prompt, TextEncoder(real_llama), data)
    steps = [[table[number] for number in range(first, first + 128)] for first in range(0, 1280, 128)]
    for share_prefix, most in ((True, 0.76), (False, 1.0)):
        packs = [pack for step in steps for pack in pack_rows(step, 2048, share_prefix=share_prefix)]
        assert sum(len(pack.input_ids) for pack in packs) <= most * int(table.lengths.sum())


def test_no_rank_stays_without_rows() -> None:
    """Equal rows cost nothing beside each other; still every rank must take part in the step."""
    for ids in ([list(range(1, 1001)), list(range(2, 102)), list(range(2, 102))], [[5, 6, 7]] * 4):
        rows = [row(one) for one in ids]
        held = [pack_rows(rows, 2048, share_prefix=True, rank=rank, ranks=len(rows)) for rank in range(len(rows))]
        assert all(len(packs) == 1 and len(packs[0].rows) == 1 for packs in held)

"""The comparison's numbers, worked by hand: KL divergence, near ties, unknown scores, token ids and chat templates."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from alpaca_lora.errors import UserError
from alpaca_lora.export.compare import Comparison, Limits, compare, kl_divergence
from alpaca_lora.export.probes import Probe

NAN, INF = math.nan, math.inf
STRICT, WIDE = Limits(1e-5, 1e-6, 0.1), Limits(INF, INF, 0.1)


@dataclass
class HandMade:
    """A program whose answers are given."""

    scores: Tensor
    gives_logits: bool = True
    ids: list[int] | None = field(default_factory=lambda: [1, 5])
    text: str | None = "<s>Hello"
    count: int | None = 2
    name: str = "hand-made"

    def tokenize(self, text: str, *, plain: bool) -> list[int] | None:
        assert text == "Hello"
        return self.ids

    def chat_text(self, instruction: str) -> str | None:
        return self.text

    def chat_tokens(self, instruction: str) -> int | None:
        return self.count

    def follow(self, ids: Sequence[int], answer: Sequence[int]) -> Tensor:
        return self.scores


def _log(*rows: Sequence[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def _probe(logits: Tensor, **changes: Any) -> Probe:
    settings = {"question": ("Hello", ""), "plain": False, "can_be_text": True} | changes
    answer = logits.argmax(-1).tolist()
    return Probe("hello", text="Hello", ids=[1, 5], answer=answer, logits=logits, **settings)


def _compare(reader: Any, probe: Probe, limits: Limits = STRICT) -> Comparison:
    return compare(reader, [probe], "the trained model", limits, Console(quiet=True))


def _score(logits: Tensor, found: Tensor, *, gives_logits: bool = True, limits: Limits = WIDE) -> Any:
    (result,) = _compare(HandMade(found, gives_logits), _probe(logits), limits).results
    return result


# --- KL divergence -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "q", "expected"),
    [
        ([0.5, 0.25, 0.25], [0.5, 0.25, 0.25], 0),
        ([0.5, 0.25, 0.25], [0.25, 0.5, 0.25], 0.25 * math.log(2)),
        ([0.5, 0.25, 0.25], [0.25, NAN, NAN], 0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75)),
        ([0.5, 0.25, 0.25], [0.5, NAN, NAN], 0),
        ([0.5, 0.25, 0.25], [NAN, NAN, NAN], INF),
        ([0.5, 0.25, 0.25], [0.5, 0.5, NAN], 0.25 * math.log(0.5) + 0.25 * math.log(0.25 / 1e-6)),
        ([0.5, 0.25, 0.25], [0.5, 0.5, 0], INF),
    ],
)
def test_kl_divergence(p: list[float], q: list[float], expected: float) -> None:
    found = kl_divergence(_log(p), _log(q), ~_log(q).isnan())
    assert found.tolist() == pytest.approx([expected], abs=1e-12)  # float64


def test_the_unknown_as_one_outcome_only_lowers_it() -> None:
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(50, 20, generator=generator, dtype=torch.float64).log_softmax(-1) for _ in range(2))
    known = torch.rand(50, 20, generator=generator) < 0.7
    whole, part = kl_divergence(p, q, torch.ones_like(known)), kl_divergence(p, q.where(known, NAN), known)
    assert (part <= whole + 1e-12).all()  # float64
    assert (part >= 0).all()
    torch.testing.assert_close(whole, (p.exp() * (p - q)).sum(-1))


def test_mean_and_largest_over_the_tokens() -> None:
    p = _log([0.5, 0.25, 0.25], [0.5, 0.25, 0.25]).float()
    result = _score(p, _log([0.25, 0.5, 0.25], [0.5, 0.25, 0.25]).float())
    assert (result.kl, result.kl_max) == pytest.approx((0.125 * math.log(2), 0.25 * math.log(2)), abs=1e-7)  # float32


# --- likeliest tokens --------------------------------------------------------------------------------------------


def test_near_ties_and_wrong_tokens() -> None:
    logits = torch.tensor([[2.0, 1.95, 0.0], [2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
    found = torch.tensor([[1.95, 2.0, 0.0], [1.0, 2.0, 0.0], [5.0, 1.0, 0.0]])
    result = _score(logits, found)
    (tie,), (wrong,) = result.near_ties, result.wrong
    assert (tie.position, tie.expected, tie.found) == (0, 0, 1)
    assert tie.gap == pytest.approx(0.05, abs=1e-6)  # float32
    assert (wrong.position, wrong.expected, wrong.found) == (1, 0, 1)
    assert wrong.gap == pytest.approx(1.0, abs=1e-6)
    faults = _compare(HandMade(found), _probe(logits), WIDE).faults
    assert faults == [
        "against the trained model, hello: 1 of 3 tokens differ, the first at 1, where 0 was 1 nats likelier than 1"
    ]


def test_the_limit_of_a_tie_is_the_limits() -> None:
    logits, found = torch.tensor([[2.0, 1.5]]), torch.tensor([[1.5, 2.0]])
    assert len(_score(logits, found, limits=Limits(INF, INF, 0.49)).wrong) == 1
    assert len(_score(logits, found, limits=Limits(INF, INF, 0.51)).near_ties) == 1


# --- scores ------------------------------------------------------------------------------------------------------


def test_a_logits_difference_is_a_share_of_the_largest() -> None:
    logits = torch.tensor([[-20.0, 10.0, 5.0], [0.25, 0.5, 0.0]])
    assert _score(logits, logits + torch.tensor([[0, 0, 2.0], [0, 0, 0]])).difference == pytest.approx(2 / 20)
    assert _score(logits, logits + torch.tensor([[0, 0, 0], [0, 0, 0.25]])).difference == pytest.approx(0.25)  # of 1
    shifted = _score(logits, logits + 3)
    assert shifted.difference == pytest.approx(3)  # a shift of all changes no probability, but is no rounding either
    assert shifted.kl == pytest.approx(0, abs=1e-7)


def test_log_probabilities_are_compared_as_such() -> None:
    logits = torch.tensor([[4.0, 3.0, 0.0]])
    exact = logits.log_softmax(-1)
    same = _score(logits, exact, gives_logits=False)
    assert (same.near_ties, same.wrong) == ([], [])
    assert same.difference <= 1e-7  # float32's step at 4, as a share of the largest logit
    off = exact + torch.tensor([[0, 0.2, 0]])
    assert _score(logits, off, gives_logits=False).difference == pytest.approx(0.05, abs=1e-6)  # 0.2 of 4


def test_unknown_scores_are_left_out_where_a_program_gives_some_alone() -> None:
    logits = torch.tensor([[4.0, 3.0, 0.0]])
    found = logits.log_softmax(-1).where(torch.tensor([True, True, False]), NAN)
    result = _score(logits, found, gives_logits=False)
    assert result.difference <= 1e-7
    assert result.kl == pytest.approx(0, abs=1e-7)
    assert (result.near_ties, result.wrong) == ([], [])


def test_a_logit_that_is_no_number_is_a_fault() -> None:
    logits = torch.tensor([[4.0, 3.0, 0.0]])
    comparison = _compare(HandMade(torch.tensor([[4.0, 3.0, NAN]])), _probe(logits))
    assert any("a score differs by inf" in fault for fault in comparison.faults)
    assert any("KL divergence is inf" in fault for fault in comparison.faults)
    (result,) = json.loads(json.dumps(comparison.record(), allow_nan=False))["results"]
    assert (result["difference"], result["kl"]) == (None, None)


def test_scores_where_all_are_unknown_are_a_fault() -> None:
    logits = torch.tensor([[4.0, 3.0], [4.0, 3.0]])
    found = torch.tensor([[NAN, NAN], [NAN, NAN]])
    comparison = _compare(HandMade(found, gives_logits=False), _probe(logits), Limits(INF, 0.5, INF))
    assert comparison.faults == ["against the trained model, hello: the KL divergence is inf nats a token"]
    assert comparison.results[0].difference == INF


def test_infinite_limits_are_kept_as_none() -> None:
    record = _compare(HandMade(torch.ones(1, 3)), _probe(torch.ones(1, 3)), Limits(INF, 0.5, INF)).record()
    assert record["limits"] == {"difference": None, "kl": 0.5, "tie": None}


# --- texts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reader", "same_ids", "same_chat"),
    [
        ({}, True, True),
        ({"ids": [5]}, False, True),
        ({"ids": [1, 1, 5]}, False, True),
        ({"ids": None}, None, True),
        ({"text": "Hello"}, True, True),  # BOS is the tokenizer's there
        ({"text": "<s>Hallo"}, True, False),
        ({"text": ""}, True, False),
        ({"count": 3}, True, False),  # BOS twice
        ({"text": None}, True, True),
        ({"text": None, "count": None}, True, None),
    ],
)
def test_ids_and_chat(reader: dict[str, Any], same_ids: bool | None, same_chat: bool | None) -> None:
    logits = torch.tensor([[4.0, 3.0]])
    comparison = _compare(HandMade(logits, **reader), _probe(logits))
    (result,) = comparison.results
    assert (result.same_ids, result.same_chat) == (same_ids, same_chat)
    assert len(comparison.faults) == (same_ids is False) + (same_chat is False)


@pytest.mark.parametrize(
    ("probe", "same_ids", "same_chat"),
    [
        ({"can_be_text": False}, None, False),
        ({"plain": True}, False, None),
        ({"question": ("Hello", "input")}, False, None),
    ],
)
def test_what_a_question_cannot_tell_is_not_asked(
    probe: dict[str, Any], same_ids: bool | None, same_chat: bool | None
) -> None:
    logits = torch.tensor([[4.0, 3.0]])
    (result,) = _compare(HandMade(logits, ids=[], text="", count=0), _probe(logits, **probe)).results
    assert (result.same_ids, result.same_chat) == (same_ids, same_chat)


def test_another_vocabulary_is_refused() -> None:
    with pytest.raises(UserError, match="the export has 4 vocabulary entries, the trained model 3"):
        _compare(HandMade(torch.ones(1, 4)), _probe(torch.ones(1, 3)))


def test_progress_is_shown_on_a_terminal_only() -> None:
    shown = io.StringIO()
    compare(HandMade(torch.ones(1, 3)), [_probe(torch.ones(1, 3))], "x", WIDE, Console(file=shown))
    assert shown.getvalue() == ""

"""Generation against transformers' own, token by token; the draw against its warpers; the text as it streams."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from tiny_models import FAMILIES, tiny_model, write_base
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from alpaca_lora.errors import UserError
from alpaca_lora.inference.generate import (
    Answer,
    context_length,
    generate_ids,
    stop_ids,
    stream_text,
)
from alpaca_lora.inference.sampling import choose_tokens
from alpaca_lora.inference.settings import SamplingConfig
from alpaca_lora.model.tokenizer import load_tokenizer

PROMPTS = [[1, 300, 301, 302, 303, 304, 305, 306, 307, 308, 309], [1, 310, 311, 312], [1, 290, 280, 270, 260, 299]]
NONE: frozenset[int] = frozenset()
NEW_TOKENS = 24


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_tokenizer(write_base(tmp_path_factory.mktemp("models") / "base"))[0]


@pytest.fixture(scope="module")
def llama() -> Any:
    return tiny_model()


def _ids(model: Any, prompts: Any, stops: frozenset[int] = NONE, **sampling: Any) -> list[list[int]]:
    """Collect each row's tokens."""
    rows: list[list[int]] = [[] for _ in prompts]
    for tokens in generate_ids(model, prompts, SamplingConfig(**{"max_new_tokens": NEW_TOKENS} | sampling), stops):
        for row, token in zip(rows, tokens, strict=True):
            row += [] if token is None else [token]
    return rows


def _ids_of_transformers(model: Any, prompts: Any, eos: list[int] | None = None) -> list[list[int]]:
    longest = max(map(len, prompts))
    model.generation_config.eos_token_id = eos
    found = model.generate(
        torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts]),
        attention_mask=torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]),
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
    )
    return [row[longest:] for row in found.tolist()]


# --- greedy ------------------------------------------------------------------------------------------------------

# a window of 8 is left behind by the longest prompt already, and by every answer
KINDS = [(family, {}) for family in FAMILIES] + [("mistral", {"sliding_window": 8}), ("gemma2", {"sliding_window": 8})]


@pytest.mark.parametrize(("family", "changes"), KINDS)
def test_greedy_tokens_are_transformers_own(family: str, changes: dict[str, int]) -> None:
    model = tiny_model(family, **changes)
    for prompt in PROMPTS:
        assert _ids(model, [prompt]) == _ids_of_transformers(model, [prompt])
    assert _ids(model, PROMPTS) == _ids_of_transformers(model, PROMPTS)


def test_a_sliding_window_changes_the_answer() -> None:
    assert _ids(tiny_model("mistral", sliding_window=8), PROMPTS) != _ids(tiny_model("mistral"), PROMPTS)


@pytest.mark.parametrize(("family", "changes"), KINDS)
def test_a_row_of_a_batch_is_answered_as_alone(family: str, changes: dict[str, int]) -> None:
    model = tiny_model(family, **changes)
    assert _ids(model, PROMPTS) == [_ids(model, [prompt])[0] for prompt in PROMPTS]


def test_greedy_is_the_same_whatever_the_seed(llama: Any) -> None:
    assert _ids(llama, PROMPTS, seed=1) == _ids(llama, PROMPTS, seed=2)


# --- where answers end -------------------------------------------------------------------------------------------


def test_rows_end_at_the_stop_ids_as_in_transformers(llama: Any) -> None:
    free = _ids(llama, PROMPTS)
    stops = [free[0][5], free[1][2]]
    found = _ids(llama, PROMPTS, frozenset(stops))
    assert len(set(map(len, found))) > 1
    expected = _ids_of_transformers(llama, PROMPTS, stops)
    for row, wanted, whole in zip(found, expected, free, strict=True):
        assert row == whole[: len(row)]
        ends = len(row) < NEW_TOKENS
        assert (wanted[len(row)] in stops) == ends if ends else row == wanted


def test_generation_ends_with_its_last_row(llama: Any) -> None:
    free = _ids(llama, PROMPTS[:2])
    stops = frozenset([free[0][0], free[1][1]])
    steps = list(generate_ids(llama, PROMPTS[:2], SamplingConfig(), stops))
    assert steps[0][0] is None
    assert len(steps) <= 2
    assert set(steps[-1]) == {None}


@pytest.mark.parametrize(
    ("configured", "expected"), [(None, {2}), (2, {2}), (7, {2, 7}), ([7, 9], {2, 7, 9}), ([], {2})]
)
def test_the_models_extra_end_ids_count(tokenizer: Any, configured: Any, expected: set[int]) -> None:
    model = tiny_model()
    model.generation_config.eos_token_id = configured
    assert stop_ids(model, tokenizer) == expected


def test_the_prompts_own_end_token_counts_where_it_is_special(tokenizer: Any) -> None:
    model = tiny_model()
    assert stop_ids(model, tokenizer, "<unk>") == {0, 2}
    assert stop_ids(model, tokenizer, "cat") == stop_ids(model, tokenizer, "</s>") == {2}


def test_a_prompt_that_fills_the_context_is_refused() -> None:
    model = tiny_model(max_position_embeddings=12)
    assert context_length(model) == 12
    with pytest.raises(UserError, match=r"(?s)the prompt has 12 tokens, the model reads at most 12.*/reset"):
        _ids(model, [[1, *range(300, 311)]])


def test_an_answer_ends_where_the_context_does(tokenizer: Any) -> None:
    model = tiny_model(max_position_embeddings=12)
    answer = Answer()
    "".join(stream_text(model, tokenizer, PROMPTS[1], SamplingConfig(), answer))
    assert answer.finished == "length" or len(answer.ids) < 8
    assert _ids(model, [PROMPTS[1]]) == [_ids(tiny_model(), [PROMPTS[1]])[0][:8]]


# --- drawing -----------------------------------------------------------------------------------------------------

DRAWS = 20_000
SETTINGS = [
    {"temperature": 1.0},
    {"temperature": 0.5},
    {"temperature": 2.0, "top_k": 3},
    {"temperature": 1.0, "top_p": 0.7},
    {"temperature": 1.5, "top_p": 0.9, "top_k": 6},
    {"temperature": 1.0, "top_p": 0.01},
    {"temperature": 1.0, "top_k": 10_000},
]


def _shares(logits: torch.Tensor, **settings: Any) -> dict[int, float]:
    """Draw many times; give each drawn token's share."""
    generator = torch.Generator().manual_seed(0)
    drawn = choose_tokens(logits.expand(DRAWS, -1), SamplingConfig(**settings), generator)
    return {token: count / DRAWS for token, count in Counter(drawn.tolist()).items()}


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_draw_has_the_probabilities_of_transformers_warpers(settings: dict[str, Any]) -> None:
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(1)) * 2
    scores = TemperatureLogitsWarper(settings["temperature"])(None, logits)
    if "top_k" in settings:
        scores = TopKLogitsWarper(settings["top_k"])(None, scores)
    if "top_p" in settings:
        scores = TopPLogitsWarper(settings["top_p"])(None, scores)
    expected = {token: share for token, share in enumerate(scores.softmax(-1)[0].tolist()) if share}
    found = _shares(logits, **settings)
    assert found.keys() <= expected.keys()
    for token, share in expected.items():  # five standard deviations of a share over 20,000 draws
        assert abs(found.get(token, 0) - share) < 5 * math.sqrt(share / DRAWS) + 1e-9, token


def test_the_nucleus_worked_by_hand() -> None:
    logits = torch.tensor([0.1, 0.5, 0.15, 0.25]).log()[None]
    assert _shares(logits, temperature=1.0, top_p=0.74).keys() == {1, 3}  # 0.5 falls short, 0.5 + 0.25 reaches it
    assert _shares(logits, temperature=1.0, top_p=0.76).keys() == {1, 2, 3}
    assert _shares(logits, temperature=1.0, top_p=0.4).keys() == {1}
    assert _shares(logits, temperature=1.0, top_k=2).keys() == {1, 3}
    # of the two likeliest, 2/3 and 1/3, the first alone reaches 0.6
    assert _shares(logits, temperature=1.0, top_k=2, top_p=0.6).keys() == {1}
    assert choose_tokens(logits, SamplingConfig(), None).tolist() == [1]

"""Exact match: worked by hand, and measured on a model whose one answer is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_models import chain_model, write_base

from alpaca_lora.data.examples import Example, Turn
from alpaca_lora.data.prompts import ChatPrompt, load_prompt
from alpaca_lora.evaluation.exact_match import ExactMatch, exact_match
from alpaca_lora.model.tokenizer import load_tokenizer

ANSWER = "the cat"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("models") / "base"
    return load_tokenizer(write_base(folder))[0]


def _speaker(tokenizer: Any, end: int) -> Any:
    ids = tokenizer(ANSWER, add_special_tokens=False)["input_ids"]
    return chain_model(
        [*ids, end, tokenizer("mat", add_special_tokens=False)["input_ids"][0]], max_position_embeddings=4096
    )


def test_white_space_around_an_answer_is_no_mistake_and_all_else_is() -> None:
    found = ExactMatch([" Paris\n", "paris", "Paris.", "", "a  b"], ["Paris", "Paris", "Paris", "", "a b"])
    assert found.right == [True, False, False, True, False]
    assert found.share == 2 / 5


def test_no_questions_no_share() -> None:
    assert ExactMatch([], []).share == 0


def test_a_model_is_measured_on_each_examples_last_question(tokenizer: Any) -> None:
    examples = [
        Example((Turn("what is two", "", ANSWER),), "", 0),
        Example((Turn("what is two", "plus three", "the mat"),), "", 1),
        Example((Turn("what is", "", "no matter"), Turn("and", "", f" {ANSWER}")), "you sat", 2),
    ]
    model = _speaker(tokenizer, tokenizer.eos_token_id)
    found = exact_match(model, tokenizer, load_prompt("alpaca_short", tokenizer), examples, max_new_tokens=8)
    assert found.answers == [ANSWER] * 3
    assert found.expected == [ANSWER, "the mat", f" {ANSWER}"]
    assert found.share == 2 / 3


def test_an_answer_cut_short_is_wrong(tokenizer: Any) -> None:
    examples = [Example((Turn("what is two", "", ANSWER),), "", 0)]
    model = _speaker(tokenizer, tokenizer.eos_token_id)
    found = exact_match(model, tokenizer, load_prompt("alpaca_short", tokenizer), examples, max_new_tokens=1)
    assert (found.answers, found.share) == (["the"], 0)


def test_an_answer_ends_at_the_chat_templates_own_end(tmp_path: Path) -> None:
    """Training teaches the end-of-turn token, which is not the tokenizer's EOS."""
    tokenizer, _ = load_tokenizer(write_base(tmp_path / "base"))
    tokenizer.add_special_tokens({"extra_special_tokens": ["<unk>"]})
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message['content'] }}"
        "{% if message['role'] == 'assistant' %}<unk>{% else %} now{% endif %}{% endfor %}"
    )
    examples = [Example((Turn("what is two", "", ANSWER),), "", 0)]
    model = _speaker(tokenizer, tokenizer.convert_tokens_to_ids("<unk>"))
    found = exact_match(model, tokenizer, ChatPrompt(tokenizer), examples, max_new_tokens=8)
    assert found.answers == [ANSWER]

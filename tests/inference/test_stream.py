"""More of generation: stops, streams and limits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import VOCABULARY, chain_model, tiny_model, write_base

from alpaca_lora.inference.generate import Answer, answer_prompts, generate_ids, stream_text
from alpaca_lora.inference.sampling import choose_tokens
from alpaca_lora.inference.settings import SamplingConfig
from alpaca_lora.inference.text import decode_answer, text_pieces
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


def test_the_draw_leaves_the_logits_as_they_were() -> None:
    logits = torch.randn(3, 12)
    before = logits.clone()
    choose_tokens(logits, SamplingConfig(temperature=1.0, top_k=2, top_p=0.5), torch.Generator().manual_seed(0))
    assert torch.equal(logits, before)


@pytest.mark.parametrize(
    "changed", [{"temperature": 0.3}, {"top_p": 0.2}, {"top_k": 2}, {"seed": 1}, {"max_new_tokens": 5}]
)
def test_every_sampling_setting_has_an_effect_and_every_answer_is_repeatable(
    changed: dict[str, Any], llama: Any
) -> None:
    settings = {"temperature": 2.0, "top_p": 0.99, "top_k": 200, "seed": 0}
    usual = _ids(llama, PROMPTS, **settings)
    assert usual == _ids(llama, PROMPTS, **settings)
    found = _ids(llama, PROMPTS, **settings | changed)
    assert found != usual
    assert found == _ids(llama, PROMPTS, **settings | changed)


def test_only_the_length_is_cut_by_max_new_tokens(llama: Any) -> None:
    assert _ids(llama, PROMPTS, max_new_tokens=5) == [row[:5] for row in _ids(llama, PROMPTS)]


def test_one_likeliest_token_is_greedy(llama: Any) -> None:
    assert _ids(llama, PROMPTS, temperature=3.0, top_k=1) == _ids(llama, PROMPTS)


def test_drawing_is_independent_of_torchs_own_generator(llama: Any) -> None:
    torch.manual_seed(1)
    first = _ids(llama, PROMPTS, temperature=1.0)
    torch.manual_seed(2)
    assert _ids(llama, PROMPTS, temperature=1.0) == first


# --- text --------------------------------------------------------------------------------------------------------

TEXTS = [
    "the cat sat on a mat",
    " two  spaces   three\n\nlines\t",
    "你好，世界。这是一个测试",
    "naïve café 🙂👩‍👩‍👧 ok 🇫🇷",
    "�",
    "",
    "  ",
]


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_are_whole_characters_and_join_to_the_text(text: str, tokenizer: Any) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = list(text_pieces(tokenizer, ids))
    assert "".join(pieces) == tokenizer.decode(ids, skip_special_tokens=True) == text
    assert all(piece and (piece == "�" or "�" not in piece) for piece in pieces)
    assert decode_answer(tokenizer, ids) == text


def test_a_character_comes_as_soon_as_its_last_byte_does(tokenizer: Any) -> None:
    ids = tokenizer("a好🙂", add_special_tokens=False)["input_ids"]
    assert len(ids) == 1 + 3 + 4
    given_out: list[str] = []
    consumed = []
    for piece in text_pieces(tokenizer, (consumed.append(token) or token for token in ids)):
        given_out.append(f"{piece} after {len(consumed)}")
    assert given_out == ["a after 1", "好 after 4", "🙂 after 8"]


def test_broken_bytes_do_not_take_back_what_was_shown(tokenizer: Any) -> None:
    good, cat = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("a好", "cat"))
    broken = [*good, good[1], *cat]  # a first byte, and then no second one
    assert list(text_pieces(tokenizer, broken)) == ["a", "好", "� cat"]
    assert list(text_pieces(tokenizer, broken[:5])) == ["a", "好", "�"]


@pytest.mark.parametrize("seed", range(10))
def test_any_tokens_stream_to_the_answer_in_growing_text(seed: int, llama: Any, tokenizer: Any) -> None:
    """A flat draw over a vocabulary of mostly bytes: hardly a row of them is UTF-8."""
    sampling = SamplingConfig(temperature=5.0, seed=seed, max_new_tokens=60)
    answer = Answer()
    pieces = list(stream_text(llama, tokenizer, PROMPTS[0], sampling, answer))
    assert all(pieces)
    assert "".join(pieces) == decode_answer(tokenizer, answer.ids)
    "".join(pieces).encode("utf-8")
    assert answer_prompts(llama, tokenizer, [PROMPTS[0]], sampling) == ["".join(pieces)]


def test_special_tokens_are_not_shown(tokenizer: Any) -> None:
    cat = tokenizer("the cat", add_special_tokens=False)["input_ids"]
    assert (
        decode_answer(tokenizer, [*cat, 1, *tokenizer("now", add_special_tokens=False)["input_ids"]]) == "the cat now"
    )


def test_a_model_that_says_a_sentence_is_heard_to_the_letter(tokenizer: Any) -> None:
    """No echo of the prompt, no end-of-sequence, bytes of a character in one piece."""
    text = "the cat 你🙂"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    model = chain_model([*ids, tokenizer.eos_token_id])
    answer = Answer()
    prompt = [1, 1, 1]
    pieces = list(stream_text(model, tokenizer, prompt, SamplingConfig(), answer))
    assert "".join(pieces) == text
    assert pieces[-2:] == ["你", "🙂"]
    assert (answer.ids, answer.finished) == (ids, "stop")
    short = Answer()
    assert "".join(stream_text(model, tokenizer, prompt, SamplingConfig(max_new_tokens=2), short)) == tokenizer.decode(
        ids[:2]
    )
    assert short.finished == "length"


# --- many --------------------------------------------------------------------------------------------------------


def test_many_prompts_are_answered_in_their_order(llama: Any, tokenizer: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 12, (70,), generator=generator).tolist()  # more than one batch
    prompts = [[1, *torch.randint(259, VOCABULARY, (n,), generator=generator).tolist()] for n in lengths]
    sampling = SamplingConfig(max_new_tokens=4)
    expected = ["".join(stream_text(llama, tokenizer, prompt, sampling)) for prompt in prompts]
    assert len(set(expected)) > 30
    assert answer_prompts(llama, tokenizer, prompts, sampling) == expected


def test_no_prompts_no_answers(llama: Any, tokenizer: Any) -> None:
    assert answer_prompts(llama, tokenizer, [], SamplingConfig()) == []

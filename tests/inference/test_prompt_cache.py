"""Heads of prompts: where they end, that they are computed once, and that no answer shows whether they were known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from tiny_models import tiny_model, write_base

from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.examples import Turn
from alpaca_lora.data.prompts import load_prompt
from alpaca_lora.data.tokens import encode_prompt
from alpaca_lora.inference.generate import Answer, answer_steps
from alpaca_lora.inference.prompt_cache import PromptCache, encode_with_heads
from alpaca_lora.inference.settings import SamplingConfig
from alpaca_lora.model.tokenizer import load_tokenizer

KINDS: list[tuple[str, dict[str, int]]] = [("llama", {}), ("mistral", {"sliding_window": 8}), ("qwen2", {})]
PROMPT = [1, *range(300, 330)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_tokenizer(write_base(tmp_path_factory.mktemp("models") / "base"))[0]


class Counting:
    """A model that counts the tokens it computes."""

    def __init__(self, model: Any) -> None:
        self.model, self.tokens = model, 0
        self.config, self.device, self.generation_config = model.config, model.device, model.generation_config

    def __call__(self, input_ids: torch.Tensor, **more: Any) -> Any:
        self.tokens += input_ids.numel()
        return self.model(input_ids=input_ids, **more)


def _answer(model: Any, tokenizer: Any, ids: Sequence[int], heads: Sequence[int], cache: PromptCache | None) -> Answer:
    answer = Answer()
    begin = (lambda: cache.begin(model, "base", ids, heads)[0]) if cache else None
    list(answer_steps(model, tokenizer, ids, SamplingConfig(max_new_tokens=12), answer, begin=begin))
    return answer


# --- where heads end ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", ["alpaca", "alpaca_short", "vigogne"])
@pytest.mark.parametrize("system", ["", "Be brief."])
def test_a_head_is_what_stands_before_an_instruction(template: str, system: str, tokenizer: Any) -> None:
    encoder, prompt = TextEncoder(tokenizer), load_prompt(template, tokenizer)
    turns = [Turn("the cat", "", "sat"), Turn("and the dog", "a mat", "ran"), Turn("now", "", "")]
    ids, heads = encode_with_heads(encoder, prompt, turns, system)
    assert ids == encode_prompt(encoder, prompt, turns, system)
    assert len(heads) == 3
    for number, head in enumerate(heads):
        text = tokenizer.decode(ids[:head])
        assert text.endswith(":\n")
        assert text.count("</s>") == number
        assert tokenizer.decode(ids[head:]).lstrip().startswith(turns[number].instruction)


def test_the_next_turn_of_a_conversation_shares_all_heads(tokenizer: Any) -> None:
    encoder, prompt = TextEncoder(tokenizer), load_prompt("alpaca", tokenizer)
    turns = [Turn("the cat", "", "sat"), Turn("and the dog", "", "ran")]
    first, first_heads = encode_with_heads(encoder, prompt, turns)
    more, more_heads = encode_with_heads(encoder, prompt, [*turns, Turn("now", "", "")])
    assert more_heads[:2] == first_heads
    assert more[: more_heads[1]] == first[: first_heads[1]]


def test_an_instruction_of_the_probes_own_character_is_encoded_right(tokenizer: Any) -> None:
    encoder, prompt = TextEncoder(tokenizer), load_prompt("alpaca", tokenizer)
    turns = [Turn("\ue000", "", "")]
    ids, heads = encode_with_heads(encoder, prompt, turns)
    assert ids == encode_prompt(encoder, prompt, turns)
    assert all(0 < head < len(ids) for head in heads)


# --- what is computed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "changes"), KINDS)
def test_logits_on_a_head_are_those_of_the_whole_prompt(family: str, changes: dict[str, int]) -> None:
    """Within the rounding of float32: the head is multiplied apart."""
    model = tiny_model(family, **changes)
    with torch.no_grad():
        whole = model(torch.tensor([PROMPT])).logits[0, -1]
        cache, _ = PromptCache().begin(model, "base", PROMPT, [7, 20])
        rest = torch.tensor([PROMPT[20:]])
        found = model(rest, past_key_values=cache, position_ids=torch.arange(20, len(PROMPT))[None]).logits[0, -1]
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("family", "changes"), KINDS)
def test_answers_are_the_same_bits_whether_heads_are_known_or_not(
    family: str, changes: dict[str, int], tokenizer: Any
) -> None:
    model = Counting(tiny_model(family, **changes))
    other = [*PROMPT[:20], 270, 271, 272]
    alone = [_answer(model, tokenizer, ids, [7, 20], PromptCache()).ids for ids in (PROMPT, other)]
    shared, before = PromptCache(), model.tokens
    first = _answer(model, tokenizer, PROMPT, [7, 20], shared)
    assert model.tokens - before == len(PROMPT) + len(first.ids) - (first.finished == "length")
    before = model.tokens
    second = _answer(model, tokenizer, other, [7, 20], shared)
    assert model.tokens - before == 3 + len(second.ids) - (second.finished == "length")
    assert [first.ids, second.ids] == alone
    assert _answer(model, tokenizer, PROMPT, [7, 20], shared).ids == alone[0]  # growing an answer changed no head


def test_heads_of_another_adapter_are_not_taken() -> None:
    model, cache = tiny_model(), PromptCache()
    assert [cache.begin(model, owner, PROMPT, [7, 20])[1] for owner in ("one", "two", "one")] == [0, 0, 20]


def test_the_longest_known_head_is_taken_and_the_rest_computed() -> None:
    model, cache = Counting(tiny_model()), PromptCache()
    cache.begin(model, "base", PROMPT, [7])
    before = model.tokens
    begun, reused = cache.begin(model, "base", PROMPT, [7, 20])
    assert (begun.get_seq_length(), reused, model.tokens - before) == (20, 7, 13)
    assert cache.begin(model, "base", [*PROMPT[:7], 5, 6], [7, 8])[1] == 7
    assert cache.begin(model, "base", [1, 2, 3], [2])[1] == 0


def test_the_least_lately_used_head_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    config = model.config
    head_dim = config.hidden_size // config.num_attention_heads
    token_bytes = 2 * config.num_hidden_layers * config.num_key_value_heads * head_dim * 4
    cache = PromptCache(limit_mib=1)
    room = 2**20 // token_bytes
    monkeypatch.setattr(model.config, "max_position_embeddings", 10**6)
    size = room // 3
    prompts = [[token, *([300] * size)] for token in (1, 2, 3, 4)]
    for prompt in prompts[:3]:
        cache.begin(model, "base", prompt, [size])
    assert cache.held_bytes == 3 * size * token_bytes <= 2**20
    assert cache.begin(model, "base", prompts[0], [size])[1] == size
    cache.begin(model, "base", prompts[3], [size])
    assert [cache.begin(model, "base", prompts[number], [size])[1] for number in (0, 2, 3)] == [size] * 3
    assert cache.begin(model, "base", prompts[1], [size])[1] == 0
    cache.begin(model, "base", [5, *([300] * (room + 1))], [room + 1])  # too large to be kept, and drives out nothing
    assert cache.begin(model, "base", prompts[1], [size])[1] == size

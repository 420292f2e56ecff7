"""Beam search against transformers' own, with ends on the way and without; drawn beams by what must hold of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import tiny_model

from alpaca_lora.inference.beams import beam_steps
from alpaca_lora.inference.prompt_cache import PromptCache
from alpaca_lora.inference.settings import SamplingConfig

PROMPTS = [[1, 300, 301, 302, 303, 304, 305], [1, 310, 311, 312], [1, 290, 280, 270, 260, 299]]
NEW_TOKENS = 16


def _beams(model: Any, prompt: list[int], stops: list[int], begun: Any = None, **sampling: Any) -> list[int]:
    settings = SamplingConfig(**{"max_new_tokens": NEW_TOKENS} | sampling)
    *growing, found = beam_steps(model, prompt, settings, frozenset(stops), NEW_TOKENS, begun)
    assert all(step == [] for step in growing)
    return [token for token in found if token is not None]


def _transformers(model: Any, prompt: list[int], stops: list[int], beams: int) -> list[int]:
    model.generation_config.eos_token_id = stops or None
    found = model.generate(
        torch.tensor([prompt]), do_sample=False, num_beams=beams, max_new_tokens=NEW_TOKENS, pad_token_id=0
    )
    answer = found[0, len(prompt) :].tolist()
    ends = [place for place, token in enumerate(answer) if token in stops]
    return answer[: ends[0]] if ends else answer


@pytest.mark.parametrize("beams", [2, 4])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_without_ends_the_answer_is_transformers_own(beams: int, prompt: list[int]) -> None:
    model = tiny_model()
    assert _beams(model, prompt, [], num_beams=beams) == _transformers(model, prompt, [], beams)


@pytest.mark.parametrize("beams", [2, 3, 4])
@pytest.mark.parametrize("seed", range(6))
def test_answers_that_end_on_the_way_are_transformers_own(beams: int, seed: int) -> None:
    """The ends are tokens that likely beams hold: some answers end soon, some late, some not at all."""
    model = tiny_model()
    generator = torch.Generator().manual_seed(seed)
    prompt = [1, *torch.randint(259, 400, (6,), generator=generator).tolist()]
    free = _transformers(model, prompt, [], beams)
    with torch.no_grad():
        rare = model(torch.tensor([prompt])).logits[0, -1].topk(6).indices.tolist()
    for stops in ([free[3]], [free[8], free[1]], [rare[seed]], rare[3:]):
        assert _beams(model, prompt, stops, num_beams=beams) == _transformers(model, prompt, stops, beams), stops


def test_the_likeliest_of_two_tokens_worked_by_hand() -> None:
    """First tokens 0.6 and 0.4; after the first all is even, after the second one token is sure: 0.4 beats 0.6 / 3."""

    class Two(torch.nn.Module):
        """Answer by a table of the last token."""

        device = torch.device("cpu")

        def forward(self, input_ids: torch.Tensor, past_key_values: Any, **_: Any) -> Any:
            table = {0: [0.0, 0.6, 0.4, 0.0], 1: [1 / 3, 1 / 3, 1 / 3, 0.0], 2: [0.0, 0.0, 0.0, 1.0]}
            logits = torch.tensor([[table[int(token)]] for token in input_ids[:, -1]]).log()

            class Cache:
                def batch_select_indices(self, indices: torch.Tensor) -> None:
                    del indices

            return type("Output", (), {"logits": logits, "past_key_values": Cache()})()

    settings = SamplingConfig(num_beams=2)
    *_, found = beam_steps(Two(), [0], settings, frozenset(), 2)
    assert found == [2, 3]
    *_, greedy = beam_steps(Two(), [0], SamplingConfig(num_beams=1), frozenset(), 2)
    assert greedy[0] == 1


def test_drawn_beams_are_repeatable_and_follow_the_settings() -> None:
    model, prompt = tiny_model(), PROMPTS[0]
    usual = _beams(model, prompt, [], num_beams=3, temperature=2.0, seed=1)
    assert usual == _beams(model, prompt, [], num_beams=3, temperature=2.0, seed=1)
    assert usual != _beams(model, prompt, [], num_beams=3, temperature=2.0, seed=2)
    assert usual != _beams(model, prompt, [], num_beams=3)
    assert len({tuple(_beams(model, prompt, [], num_beams=3, temperature=2.0, top_k=1, seed=s)) for s in range(3)}) == 1


def test_a_begun_prompt_gives_the_same_beams() -> None:
    model, prompt = tiny_model(), PROMPTS[0]
    cache, reused = PromptCache().begin(model, "base", prompt, [3, 5])
    assert (cache.get_seq_length(), reused) == (5, 0)
    assert _beams(model, prompt, [], cache, num_beams=4) == _beams(model, prompt, [], num_beams=4)

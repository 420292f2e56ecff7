"""The compiled step over a static cache: the same tokens as the model itself."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from tiny_models import tiny_model

from alpaca_lora.errors import UserError
from alpaca_lora.inference.compiled import CompiledStep, check_compilable
from alpaca_lora.inference.generate import generate_ids
from alpaca_lora.inference.prompt_cache import PromptCache
from alpaca_lora.inference.settings import SamplingConfig

PROMPTS = [[1, *range(300, 330)], [1, *range(300, 320), 270, 271]]
HEADS = [7, 20]
NEW = SamplingConfig(max_new_tokens=12)


def _ids(model: Any, prompt: list[int], begun: Any = None, step: Any = None) -> list[int]:
    return [token for (token,) in generate_ids(model, [prompt], NEW, frozenset(), begun, step) if token is not None]


def _check(model: Any, compiled: CompiledStep) -> None:
    heads = PromptCache()
    for prompt in [*PROMPTS, PROMPTS[0]]:
        begun, _ = heads.begin(model, "base", prompt, HEADS)
        cache = compiled.borrow(model, begun, len(prompt) + 12)
        assert int(cache.get_seq_length()) == 20
        assert compiled.borrow(model, begun, len(prompt) + 12) is None  # the only one is taken
        assert _ids(model, prompt, cache, compiled.step) == _ids(model, prompt)
        compiled.give_back(cache)


def test_the_traced_step_over_a_static_cache_gives_the_models_tokens() -> None:
    """Traced whole, and run as it is: the compiler behind it takes half a minute on a CPU."""
    model = tiny_model()
    _check(model, CompiledStep(model, 1, mode=None, backend="eager"))


def test_sliding_windows_are_refused() -> None:
    with pytest.raises(UserError, match="sliding windows"):
        CompiledStep(tiny_model("mistral", sliding_window=64), 1, mode=None, backend="eager")


@pytest.mark.gpu
def test_the_compiled_step_gives_the_models_tokens() -> None:
    model = tiny_model().to("cuda")
    _check(model, CompiledStep(model, 1))


def test_what_does_not_fit_is_not_compiled() -> None:
    model = tiny_model(max_position_embeddings=64)
    compiled = CompiledStep(model, 1, mode=None, backend="eager")
    begun, _ = PromptCache().begin(model, "base", PROMPTS[0], HEADS)
    assert compiled.length == 64
    assert compiled.borrow(model, begun, 65) is None
    assert compiled.borrow(model, begun, 64) is not None


@pytest.mark.parametrize(
    ("adapters", "merged", "device", "expected"),
    [(0, False, "cpu", "the model is on cpu"), (2, False, "cuda", "each switch of the adapter")],
)
def test_what_cannot_be_compiled_is_refused(adapters: int, merged: bool, device: str, expected: str) -> None:
    with pytest.raises(UserError, match=re.escape(expected)):
        check_compilable(adapters, merged=merged, device=torch.device(device))


def test_a_merged_adapter_can_be_compiled() -> None:
    check_compilable(1, merged=True, device=torch.device("cuda"))

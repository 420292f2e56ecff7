"""Exact match: the share of questions whose greedy answer is the expected text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.examples import Example
from alpaca_lora.data.prompts import Prompt, end_token
from alpaca_lora.data.tokens import encode_prompt
from alpaca_lora.inference.generate import answer_prompts
from alpaca_lora.inference.settings import SamplingConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class ExactMatch:
    """Answers and how many of them are right, white space around them aside."""

    answers: list[str]
    expected: list[str]

    @property
    def right(self) -> list[bool]:
        """Whether each answer equals the expected one."""
        return [found.strip() == wanted.strip() for found, wanted in zip(self.answers, self.expected, strict=True)]

    @property
    def share(self) -> float:
        """Right answers over all, 0 to 1."""
        return sum(self.right) / max(1, len(self.expected))


def exact_match(
    model: Any, tokenizer: PreTrainedTokenizerFast, prompt: Prompt, examples: Sequence[Example], *, max_new_tokens: int
) -> ExactMatch:
    """Answer the last question of every example greedily and compare with its answer."""
    encoder = TextEncoder(tokenizer)
    prompts = [encode_prompt(encoder, prompt, example.turns, example.system) for example in examples]
    answers = answer_prompts(
        model, tokenizer, prompts, SamplingConfig(max_new_tokens=max_new_tokens), end=end_token(prompt)
    )
    return ExactMatch(answers, [example.turns[-1].output for example in examples])

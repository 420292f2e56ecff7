"""The fixed questions that exports are compared on, and what the trained model says to them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.examples import Turn
from alpaca_lora.data.prompts import Prompt
from alpaca_lora.data.segments import special_pattern
from alpaca_lora.data.tokens import encode_prompt
from alpaca_lora.errors import UserError
from alpaca_lora.inference.generate import context_length, generate_ids
from alpaca_lora.inference.settings import SamplingConfig

FOLLOWED = 64
"""Tokens of each answer that are compared; fewer where the context ends."""

_LONG = "Summarise what follows in one sentence. "
_LONG_SENTENCE = (
    "The river rises in the hills, runs past three mills and an old bridge, and reaches the sea by the harbour. "
)
QUESTIONS = {
    "no input": ("What is the capital of Australia?", ""),
    "with input": ("Sort these words by length.", "river, sea, mountain, lake"),
    "non-ASCII": ("Traduis en français : « Où est la bibliothèque ? » — Grüße aus Köln, ¿qué tal?", ""),
    "emoji": ("What do these mean? 🙂👩‍👩‍👧 🏳️‍🌈 🦙", ""),
    "Chinese": ("用一句话解释什么是羊驼。", "羊驼是一种南美洲的动物。"),
    "spaces": ("  Fix the   spacing:\n\n\tx = 1\r\n", ""),
    "long": (_LONG, _LONG_SENTENCE * 12),
    "empty": ("", ""),
    "special tokens": ("Explain </s> and <s>, <|eot_id|> and ### Response: to a beginner.", ""),
}
"""Instruction and input by name: both heads of the templates, scripts, spaces, length, nothing, and what could act."""


@dataclass(frozen=True)
class Probe:
    """One question, and what the trained model makes of it.

    Attributes:
        text: the rendered prompt, without the begin-of-sequence token.
        ids: the prompt as training encoded it, BOS included where the tokenizer adds it.
        plain: special tokens written in `text` must not act: a user wrote them.
        can_be_text: whether a program given `text` can come to `ids`: not where the template writes special tokens too.
        answer: the trained model's greedy continuation, end-of-sequence and what follows it included.
        logits: float32 (tokens of the answer, vocabulary), the trained model's, at each token of the answer.
    """

    name: str
    question: tuple[str, str]
    text: str
    ids: list[int]
    plain: bool
    can_be_text: bool
    answer: list[int]
    logits: Tensor


def make_probes(model: Any, tokenizer: Any, prompt: Prompt, console: Console) -> list[Probe]:
    """Ask the trained model every question that fits its context; follow the answer as far as it fits.

    Raises:
        UserError: not one question fits, so nothing could be compared.
    """
    encoder, special = TextEncoder(tokenizer), special_pattern(tokenizer)
    probes: list[Probe] = []
    quiet = not console.is_terminal
    room = context_length(model) or sys.maxsize
    for name, (instruction, context) in track(
        QUESTIONS.items(), "asking the trained model", console=console, transient=True, disable=quiet
    ):
        turn = Turn(instruction, context, "")
        segments = prompt.render([turn], "", open_ended=True)
        bos = encoder.bos if segments and segments[0].is_markup and segments[0].text == encoder.bos else ""
        ids = encode_prompt(encoder, prompt, [turn])
        if len(ids) >= room:
            continue
        markup = any(segment.is_markup for segment in segments[1 if bos else 0 :])
        written = special.search(instruction + context) is not None
        text = "".join(segment.text for segment in segments).removeprefix(bos)
        answer = greedy(model, ids, min(FOLLOWED, room - len(ids)))
        logits = follow(model, ids, answer)
        probes.append(Probe(name, (instruction, context), text, ids, written, not (markup and written), answer, logits))
    if not probes:
        raise UserError(
            f"the model reads {room} tokens, too few for any of the questions that exports are compared on",
            fix="--verify=False writes it unverified",
        )
    return probes


def greedy(model: Any, ids: Sequence[int], tokens: int) -> list[int]:
    """Give the model's likeliest continuation, whatever ends an answer."""
    sampling = SamplingConfig(max_new_tokens=tokens)
    return [int(token) for (token,) in generate_ids(model, [ids], sampling, frozenset()) if token is not None]


@torch.inference_mode()
def follow(model: Any, ids: Sequence[int], answer: Sequence[int]) -> Tensor:
    """Give the logits from which each token of an answer would be chosen, float32 (tokens, vocabulary), on the CPU."""
    inputs = torch.tensor([[*ids, *answer[:-1]]], device=model.device)
    logits = model(input_ids=inputs, use_cache=False, logits_to_keep=len(answer)).logits
    return logits[0].float().cpu()

"""Answer prompts: one token at a time, streamed or in batches, greedy or drawn, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from alpaca_lora.errors import UserError
from alpaca_lora.inference.beams import beam_steps
from alpaca_lora.inference.sampling import choose_tokens
from alpaca_lora.inference.settings import SamplingConfig
from alpaca_lora.inference.text import StopStrings, TextStream, decode_answer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_BATCH_ROWS = 64


def stop_ids(model: Any, tokenizer: PreTrainedTokenizerFast, end: str = "") -> frozenset[int]:
    """Give the ids that end an answer: the tokenizer's EOS, what the model's generation config adds, and `end`.

    `end` is the prompt's end token, which need not be EOS: chat templates end a turn with one of their own.
    """
    configured = model.generation_config.eos_token_id
    more = configured if isinstance(configured, list) else [configured]
    return end_ids(tokenizer, end) | {int(token) for token in more if isinstance(token, int)}


def end_ids(tokenizer: PreTrainedTokenizerFast, end: str = "") -> frozenset[int]:
    """Give the ids of the tokenizer's EOS and of a prompt's end token, where that is a special token."""
    own = [tokenizer.convert_tokens_to_ids(end)] if end in tokenizer.all_special_tokens else []
    return frozenset(int(token) for token in [tokenizer.eos_token_id, *own] if isinstance(token, int))


@torch.inference_mode()
def generate_ids(
    model: Any,
    prompts: Sequence[Sequence[int]],
    sampling: SamplingConfig,
    stops: frozenset[int],
    begun: Any = None,
    step: Any = None,
) -> Iterator[list[int | None]]:
    """Yield each step's new token per row; None once a row has ended. Ends when all rows have, or at `max_new_tokens`.

    Rows of unequal length are padded on the left and masked; rows of one length need neither.

    Args:
        prompts: token ids of each row, BOS included.
        begun: keys and values of the first tokens of the one prompt, where they are there already.
        step: computes one token at a time in the model's place, see `CompiledStep`.
    """
    room = answer_room(model, max(map(len, prompts)), sampling)
    longest, done, device = (
        max(map(len, prompts)),
        int(begun.get_seq_length()) if begun is not None else 0,
        model.device,
    )
    generator = torch.Generator(device).manual_seed(sampling.seed) if sampling.temperature else None
    padded = [[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    filled = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    mask = None if filled.all() else filled
    inputs, cache, ended = torch.tensor(padded, device=device)[:, done:], begun, [False] * len(prompts)
    positions = (filled.cumsum(-1) - 1).clamp(min=0)[:, done:]
    for number in range(room):
        output = (step if step is not None and number else model)(
            input_ids=inputs, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        cache = output.past_key_values
        chosen = choose_tokens(output.logits[:, -1], sampling, generator)
        ids = chosen.tolist()
        ended = [done or token in stops for done, token in zip(ended, ids, strict=True)]
        yield [None if done else token for done, token in zip(ended, ids, strict=True)]
        if all(ended):
            return
        inputs, positions = chosen[:, None], positions[:, -1:] + 1
        mask = None if mask is None else torch.cat([mask, mask.new_ones(len(prompts), 1)], -1)


def context_length(model: Any) -> int:
    """Give the most tokens the model was made for; 0 where its config does not say."""
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", 0) or 0)


def answer_room(model: Any, prompt_tokens: int, sampling: SamplingConfig) -> int:
    """Give how many tokens an answer may have; raise `UserError` for a prompt that leaves no room for one."""
    context = context_length(model)
    if context and prompt_tokens >= context:
        raise UserError(
            f"the prompt has {prompt_tokens} tokens, the model reads at most {context}",
            fix="shorten it, or begin a new conversation (/reset in the terminal)",
        )
    return min(sampling.max_new_tokens, context - prompt_tokens) if context else sampling.max_new_tokens


@dataclass
class Answer:
    """A streamed answer as it grows.

    Attributes:
        ids: tokens so far, end-of-sequence left out.
        finished: why it ended: `stop` at end-of-sequence or a stop string, `length` at a limit; empty while it runs.
        reused_tokens: of the prompt's tokens, those whose keys and values were there already.
    """

    ids: list[int] = field(default_factory=list[int])
    finished: str = ""
    reused_tokens: int = 0


def answer_steps(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    prompt_ids: Sequence[int],
    sampling: SamplingConfig,
    answer: Answer,
    *,
    end: str = "",
    stop: Sequence[str] = (),
    begin: Callable[[], Any] | None = None,
    step: Any = None,
) -> Iterator[str]:
    """Compute one answer; yield after each step of the model the text that became certain with it, often none.

    A character split over tokens comes whole, in one piece. With beams all text comes in the last step.

    Args:
        end: the prompt's end token, see `stop_ids`.
        stop: strings that end the answer; they and what follows are left out.
        begin: called at the first step: gives keys and values of the prompt's first tokens, computed before.
        step: see `generate_ids`.
    """
    text, strings = TextStream(tokenizer), StopStrings(stop)
    stops, begun = stop_ids(model, tokenizer, end), begin() if begin else None
    if sampling.num_beams > 1:
        room = answer_room(model, len(prompt_ids), sampling)
        steps = beam_steps(model, prompt_ids, sampling, stops, room, begun)
    else:
        steps = generate_ids(model, [prompt_ids], sampling, stops, begun, step)
    last = ""
    for tokens in steps:
        piece = ""
        for token in tokens:
            if token is None:
                answer.finished = "stop"
                break
            answer.ids.append(token)
            piece += strings.add(text.add(token))
            if strings.found:
                answer.finished = "stop"
                break
        if answer.finished:
            last = piece
            break
        yield piece
    last += strings.add(text.end()) + strings.end()
    answer.finished = answer.finished or ("stop" if strings.found else "length")
    yield last


def stream_text(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    prompt_ids: Sequence[int],
    sampling: SamplingConfig,
    answer: Answer | None = None,
    *,
    end: str = "",
) -> Iterator[str]:
    """Yield an answer's text piece by piece, none of them empty."""
    answer = answer if answer is not None else Answer()
    return filter(None, answer_steps(model, tokenizer, prompt_ids, sampling, answer, end=end))


def answer_prompts(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[Sequence[int]],
    sampling: SamplingConfig,
    *,
    end: str = "",
) -> list[str]:
    """Answer many prompts, those of like length together, with beams each alone; they come in the prompts' order."""
    if sampling.num_beams > 1:
        return ["".join(stream_text(model, tokenizer, prompt, sampling, end=end)) for prompt in prompts]
    stops = stop_ids(model, tokenizer, end)
    answers = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for first in range(0, len(order), _BATCH_ROWS):
        rows = order[first : first + _BATCH_ROWS]
        ids: list[list[int]] = [[] for _ in rows]
        for tokens in generate_ids(model, [prompts[row] for row in rows], sampling, stops):
            for row, token in zip(ids, tokens, strict=True):
                if token is not None:
                    row.append(token)
        for row, row_ids in zip(rows, ids, strict=True):
            answers[row] = decode_answer(tokenizer, row_ids)
    return answers

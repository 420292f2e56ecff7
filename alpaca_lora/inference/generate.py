"""Answer prompts: one token at a time, streamed or in batches, greedy or drawn, the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from alpaca_lora.config import SamplingConfig
from alpaca_lora.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_BATCH_ROWS = 64
_INCOMPLETE = "�"


def stop_ids(model: Any, tokenizer: PreTrainedTokenizerFast, end: str = "") -> frozenset[int]:
    """Give the ids that end an answer: the tokenizer's EOS, what the model's generation config adds, and `end`.

    `end` is the prompt's end token, which need not be EOS: chat templates end a turn with one of their own.
    """
    configured = model.generation_config.eos_token_id
    more = configured if isinstance(configured, list) else [configured]
    own = [tokenizer.convert_tokens_to_ids(end)] if end in tokenizer.all_special_tokens else []
    return frozenset(int(token) for token in [tokenizer.eos_token_id, *more, *own] if isinstance(token, int))


def choose_tokens(logits: Tensor, sampling: SamplingConfig, generator: torch.Generator | None) -> Tensor:
    """Pick the next token of each row.

    Temperature first, then the `top_k` likeliest, then the smallest set of likeliest tokens whose probabilities reach
    `top_p` (nucleus sampling, arXiv 1904.09751). Temperature 0 takes the likeliest token.

    Args:
        logits: float (rows, vocabulary).

    Returns:
        int64 (rows).
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    scores, tokens = (logits.float() / sampling.temperature).sort(-1, descending=True)
    if sampling.top_k:
        scores[:, sampling.top_k :] = -torch.inf
    probabilities = scores.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    probabilities[before >= sampling.top_p] = 0
    drawn = torch.multinomial(probabilities, 1, generator=generator)
    return tokens.gather(-1, drawn)[:, 0]


@torch.inference_mode()
def generate_ids(
    model: Any, prompts: Sequence[Sequence[int]], sampling: SamplingConfig, stops: frozenset[int]
) -> Iterator[list[int | None]]:
    """Yield each step's new token per row; None once a row has ended. Ends when all rows have, or at `max_new_tokens`.

    Rows of unequal length are padded on the left and masked; one row needs neither.

    Args:
        prompts: token ids of each row, BOS included.
    """
    room = context_length(model)
    longest = max(map(len, prompts))
    if room and longest >= room:
        raise UserError(
            f"the prompt has {longest} tokens, the model reads at most {room}",
            fix="shorten it; in a conversation, /reset forgets the turns before it",
        )
    device = model.device
    generator = torch.Generator(device).manual_seed(sampling.seed) if sampling.temperature else None
    padded = [[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    inputs, cache, ended = torch.tensor(padded, device=device), None, [False] * len(prompts)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    for _ in range(min(sampling.max_new_tokens, room - longest if room else sampling.max_new_tokens)):
        output = model(
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
        mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], -1)


def context_length(model: Any) -> int:
    """Give the most tokens the model was made for; 0 where its config does not say."""
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", 0) or 0)


@dataclass
class Answer:
    """A streamed answer as it grows.

    Attributes:
        ids: tokens so far, end-of-sequence left out.
        finished: why it ended: `stop` at end-of-sequence, `length` at a limit; empty while it runs.
    """

    ids: list[int] = field(default_factory=list[int])
    finished: str = ""


def stream_text(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    prompt_ids: Sequence[int],
    sampling: SamplingConfig,
    answer: Answer | None = None,
    *,
    end: str = "",
) -> Iterator[str]:
    """Yield an answer's text piece by piece; a character split over tokens comes whole, in one piece."""
    answer = answer if answer is not None else Answer()

    def tokens() -> Iterator[int]:
        for (token,) in generate_ids(model, [prompt_ids], sampling, stop_ids(model, tokenizer, end)):
            if token is None:
                answer.finished = "stop"
                return
            answer.ids.append(token)
            yield token
        answer.finished = "length"

    yield from text_pieces(tokenizer, tokens())


def text_pieces(tokenizer: PreTrainedTokenizerFast, ids: Iterable[int]) -> Iterator[str]:
    """Turn ids into text as they come, special tokens left out, spaces as the model wrote them.

    A piece is given out once no token to come can change it. It is decoded after the piece before it, because a
    tokenizer drops the space that a text begins with. Bytes that are no UTF-8 become U+FFFD.
    """
    piece: list[int] = []
    before: list[int] = []
    for token in ids:
        piece.append(token)
        text = _decode_after(tokenizer, before, piece)
        if text and not text.endswith(_INCOMPLETE):
            yield text
            before, piece = piece, []
    if piece and (text := _decode_after(tokenizer, before, piece)):
        yield text


def _decode_after(tokenizer: PreTrainedTokenizerFast, before: list[int], piece: list[int]) -> str:
    head, whole = (
        str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
        for ids in (before, before + piece)
    )
    if whole.startswith(head):
        return whole[len(head) :]
    # LLaMA's decoder spoils all bytes of a run for one that is wrong, also those that are out already.
    return str(tokenizer.decode(piece, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def decode_answer(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> str:
    """Turn an answer's ids into the text that `stream_text` gives out for them."""
    return "".join(text_pieces(tokenizer, ids))


def answer_prompts(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[Sequence[int]],
    sampling: SamplingConfig,
    *,
    end: str = "",
) -> list[str]:
    """Answer many prompts, those of like length together; the answers come in the prompts' order."""
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

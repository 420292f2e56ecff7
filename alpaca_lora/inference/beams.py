"""Beam search: several answers grown side by side, the likeliest for its length is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from alpaca_lora.inference.sampling import allowed_scores
from alpaca_lora.inference.settings import SamplingConfig


@torch.inference_mode()
def beam_steps(
    model: Any, prompt: Sequence[int], sampling: SamplingConfig, stops: frozenset[int], room: int, begun: Any = None
) -> Iterator[list[int | None]]:
    """Yield an empty list for each step, then the whole best answer, with None behind it where it ended by itself.

    Answers are compared by their mean log-probability a token, the end included, as in transformers with a length
    penalty of 1. The search ends when no unfinished beam can come before the worst of `num_beams` finished ones. Above
    temperature 0 the candidates of each step are drawn, without replacement, instead of the likeliest.

    Args:
        prompt: token ids, BOS included.
        room: most tokens of an answer, at least 1.
        begun: keys and values of the prompt's first tokens, where they are there already.
    """
    beams, device = sampling.num_beams, model.device
    generator = torch.Generator(device).manual_seed(sampling.seed) if sampling.temperature else None
    done = begun.get_seq_length() if begun is not None else 0
    inputs, position, cache = torch.tensor([list(prompt[done:])], device=device), len(prompt), begun
    positions = torch.arange(done, len(prompt), device=device)[None]
    totals, grown = torch.zeros(1, device=device), [list[int]()]
    finished: list[tuple[float, list[int], bool]] = []
    for length in range(1, room + 1):
        output = model(
            input_ids=inputs, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        cache = output.past_key_values
        scores, parents, tokens = _candidates(output.logits[:, -1], totals, sampling, len(stops), generator)
        kept: list[int] = []
        for place, (score, parent, token) in enumerate(zip(scores, parents, tokens, strict=True)):
            if token in stops:
                if place < beams:
                    finished.append((score / length, grown[parent], True))
            elif len(kept) < beams:
                kept.append(place)
        finished = sorted(finished, key=lambda one: -one[0])[:beams]
        if not kept or (len(finished) == beams and scores[kept[0]] / length <= finished[-1][0]):
            break
        chosen = [parents[place] for place in kept]
        grown = [[*grown[parents[place]], tokens[place]] for place in kept]
        totals = torch.tensor([scores[place] for place in kept], device=device)
        cache.batch_select_indices(torch.tensor(chosen, device=device))
        inputs = torch.tensor([[tokens[place]] for place in kept], device=device)
        positions = torch.full((len(kept), 1), position, device=device)
        position += 1
        if length < room:
            yield []
    else:
        finished += [(float(total) / room, ids, False) for total, ids in zip(totals, grown, strict=True)]
    _, ids, ended = max(finished, key=lambda one: one[0])
    yield [*ids, None] if ended else list(ids)


def _candidates(
    logits: Tensor, totals: Tensor, sampling: SamplingConfig, ends: int, generator: torch.Generator | None
) -> tuple[list[float], list[int], list[int]]:
    """Choose the next tokens over all beams: enough that `num_beams` of them go on whatever ends; best first.

    Args:
        logits: float (beams, vocabulary).
        totals: float32 (beams), log-probability of each beam so far.

    Returns:
        For each candidate its log-probability in all, the beam it grows from, and its token.
    """
    ranked, tokens = allowed_scores(logits.float().log_softmax(-1), sampling)
    scores = (ranked + totals[:, None]).flatten()
    count = min(max(2, 1 + ends) * sampling.num_beams, int(scores.isfinite().sum()))
    if generator is None:
        best, places = scores.topk(count)
    else:
        places = torch.multinomial(scores.softmax(-1), count, generator=generator)
        best, order = scores[places].sort(descending=True)
        places = places[order]
    width = tokens.shape[1]
    chosen = tokens.flatten()[places]
    return best.tolist(), (places // width).tolist(), chosen.tolist()

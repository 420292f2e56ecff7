"""Time the prompts of real rows with the template's head computed once, against each prompt computed whole.

    python benchmarks/prompt_head.py --data alpaca_data.json --shape 135m --rows 40 --rounds 5 --output FILE.json

Each round takes every row's prompt (its answer left out), in both ways in turn: the time to the first token's logits.
`whole`: the model on all of the prompt. `head_known`: `PromptCache.begin` where the head of the template is known, then
the model on the rest. The likeliest first tokens of both are compared. Prints the share of the time that is saved,
median over the rounds, and one JSON line. The bar: at least 0.30.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peers.install import work_folder
from result_line import command_line, publish, result_head
from shapes import SHAPES, model_folder

from alpaca_lora.config import ModelConfig
from alpaca_lora.data.examples import Turn
from alpaca_lora.inference.engine import Request
from alpaca_lora.inference.models import BASE, Models
from alpaca_lora.inference.prompt_cache import PromptCache
from alpaca_lora.inference.settings import AdaptersConfig, SamplingConfig

BAR = 0.30


def whole(models: Models, request: Request, _: PromptCache) -> int:
    """Compute a prompt from its first token on."""
    ids = torch.tensor([list(request.ids)])
    return int(models.model(input_ids=ids, use_cache=True, logits_to_keep=1).logits[0, -1].argmax())


def head_known(models: Models, request: Request, heads: PromptCache) -> int:
    """Compute what follows the head."""
    cache, done = heads.begin(models.model, BASE, request.ids, request.heads)
    ids, positions = torch.tensor([list(request.ids[done:])]), torch.arange(done, len(request.ids))[None]
    output = models.model(
        input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
    )
    return int(output.logits[0, -1].argmax())


@torch.inference_mode()
def time_all(way: Callable[..., int], models: Models, requests: list[Request], heads: PromptCache) -> dict[str, Any]:
    """Take every prompt once."""
    began = time.perf_counter()
    tokens = [way(models, request, heads) for request in requests]
    return {"seconds": time.perf_counter() - began, "tokens": tokens}


def main() -> None:
    """Load, warm up, alternate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="135m")
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=work_folder())
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    folder = model_folder(arguments.shape, arguments.tokenizer, arguments.work)
    models = Models(ModelConfig(base_model=str(folder), device="cpu", dtype="float32"), AdaptersConfig())
    rows = json.loads(arguments.data.read_text(encoding="utf-8"))
    rows = rows[:: max(1, len(rows) // arguments.rows)][: arguments.rows]
    requests = [models.request(BASE, [Turn(row["instruction"], row["input"], "")], SamplingConfig()) for row in rows]
    heads, ways = PromptCache(), (whole, head_known)
    for way in ways:
        time_all(way, models, requests, heads)
    rounds = [
        {way.__name__: time_all(way, models, requests, heads) for way in (ways if number % 2 else ways[::-1])}
        for number in range(arguments.rounds)
    ]
    saved = [1 - found["head_known"]["seconds"] / found["whole"]["seconds"] for found in rounds]
    same = sum(a == b for a, b in zip(rounds[0]["whole"]["tokens"], rounds[0]["head_known"]["tokens"], strict=True))
    tokens, known = sum(len(one.ids) for one in requests), sum(one.heads[-1] for one in requests)
    print(f"{len(rows)} prompts, {tokens} tokens, {known / tokens:.1%} of them in heads; {same} likeliest tokens equal")
    print(f"time saved: {statistics.median(saved):.1%} (rounds: {', '.join(f'{share:.1%}' for share in saved)})")
    line = {
        **result_head("prompt_head", command_line("prompt_head", arguments), "cpu"),
        "prompts": len(rows), "tokens": tokens, "head_tokens": known, "same_first_tokens": same,
        **{f"{way.__name__}_seconds": [round(found[way.__name__]["seconds"], 4) for found in rounds] for way in ways},
        "saved": [round(share, 4) for share in saved],
        "bars": {"saved": {"at_least": BAR, "found": round(statistics.median(saved), 4)}},
    }  # fmt: skip
    publish(line, arguments.output)


if __name__ == "__main__":
    main()

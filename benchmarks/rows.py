"""The rows that every contender trains on: a seeded choice, as text and as tokens and targets of our own reading."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from alpaca_lora.config import DataConfig
from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.examples import read_examples
from alpaca_lora.data.prompts import load_prompt
from alpaca_lora.data.tokens import TokenTable, tokenize_examples
from alpaca_lora.model.tokenizer import load_tokenizer
from alpaca_lora.training.schedule import rows_of_step

SPARE = 16
"""Rows chosen beyond those wanted, as some may have no token to train."""


def write_rows(data: Path, model: Path, *, steps: int, batch_size: int, cutoff: int, seed: int, folder: Path) -> None:
    """Write `rows.json` and `tokens.json`, and of other rows `warm_rows.json` and `warm_tokens.json`.

    `rows.json` holds steps x batch_size rows as they are in the data; `tokens.json` the same rows tokenised, in the
    order in which our own program takes them with this seed: one random permutation. The warm-up's rows make one step.

    Args:
        data: JSON list of instruction, input, output.
    """
    source = json.loads(data.read_text(encoding="utf-8"))
    wanted = steps * batch_size
    if len(source) < wanted + batch_size + SPARE:
        raise SystemExit(f"{data} has {len(source)} rows: too few for {steps} steps of {batch_size} and a warm-up")
    folder.mkdir(parents=True, exist_ok=True)
    chosen = np.random.default_rng(seed).permutation(len(source))[: wanted + batch_size + SPARE]
    candidates = [source[int(row)] for row in chosen]
    kept = _tokenize(candidates, model, cutoff, folder).rows.tolist()
    for name, picked in (("", kept[:wanted]), ("warm_", kept[wanted : wanted + batch_size])):
        rows = [candidates[row] for row in picked]
        table = _tokenize(rows, model, cutoff, folder)
        if len(table) != len(rows):
            raise SystemExit("rows were lost on the way; this is a fault of the benchmark")
        order = [
            int(row)
            for step in range(len(rows) // batch_size)
            for row in rows_of_step(len(rows), batch_size, seed, step)
        ]
        _write(folder / f"{name}rows.json", rows)
        _write(folder / f"{name}tokens.json", {
            "input_ids": [table[row].input_ids.tolist() for row in order],
            "labels": [table[row].labels.tolist() for row in order],
        })  # fmt: skip


def _tokenize(rows: list[dict[str, str]], model: Path, cutoff: int, folder: Path) -> TokenTable:
    path = folder / "chosen.json"
    _write(path, rows)
    tokenizer, _ = load_tokenizer(model)
    settings = DataConfig(data_path=str(path), cutoff_len=cutoff)
    examples = read_examples(settings.data_path, shape="auto", on_bad_rows="error").examples
    path.unlink()
    return tokenize_examples(examples, load_prompt("alpaca", tokenizer), TextEncoder(tokenizer), settings)


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")

"""Models of known shapes with random weights, and what training rows on them costs at the least.

Speed and memory do not depend on the weights' values, as long as they are not zeros. Every contender gets the same
folder, with a tokenizer in `tokenizer.json` that gives every one of them the same ids.

**Tokens that had to be computed.** Of each optimiser step's rows: every token, but a prompt head that several rows
share only once (`alpaca_lora.data.packing` with the whole step as one pack; without that module, every token). It is a
property of the rows, the same number for every contender, however much it computes in fact.

**Model FLOPs of them** (`needed_flops`), for a frozen base with a LoRA adapter:

    4 x linear parameters of the decoder layers x tokens     forward 2, backward through the activations 2
  + 12 x layers x heads x head size x pairs                  scores and weighted sum: forward 4, backward 8
  + 4 x hidden x vocabulary x targets                        the head, where a target is predicted

`pairs` counts, for each token, the tokens that it attends to. Left out: the adapter's own matrices (1 % of the linear
layers' at 7b, 6 % at 135m), norms, rotations, softmax, and whatever a program computes a second time.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from alpaca_lora.data.tokens import TokenRow
from alpaca_lora.model.tokenizer import load_tokenizer

EMBEDDED_TOKENIZER = "alpaca-tiny"
CONTEXT = 2048


@dataclass(frozen=True)
class Shape:
    """The shape of a LLaMA-class model."""

    hidden: int
    layers: int
    heads: int
    mlp: int
    kv_heads: int = 0
    """0: as many as heads."""
    tied: bool = False
    vocabulary: int = 32000
    saved_in: str = "bfloat16"

    @property
    def linear_parameters(self) -> int:
        """Count the weights of all decoder layers' linear layers."""
        kv = self.hidden * (self.kv_heads or self.heads) // self.heads
        return self.layers * (2 * self.hidden**2 + 2 * self.hidden * kv + 3 * self.hidden * self.mlp)

    def config(self) -> LlamaConfig:
        """Give the shape as transformers' config."""
        return LlamaConfig(
            vocab_size=self.vocabulary, hidden_size=self.hidden, intermediate_size=self.mlp,
            num_hidden_layers=self.layers, num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads or self.heads, max_position_embeddings=CONTEXT, rms_norm_eps=1e-5,
            tie_word_embeddings=self.tied, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        )  # fmt: skip


SHAPES = {
    "15m": Shape(hidden=288, layers=6, heads=6, mlp=768, tied=True, saved_in="float32"),
    "135m": Shape(hidden=768, layers=12, heads=12, mlp=2048, saved_in="float32"),
    "1b": Shape(hidden=2048, layers=22, heads=32, kv_heads=4, mlp=5632),
    "7b": Shape(hidden=4096, layers=32, heads=32, mlp=11008),
    "13b": Shape(hidden=5120, layers=40, heads=40, mlp=13824),
}


def model_folder(name: str, tokenizer_model: Path | None, work: Path) -> Path:
    """Give the folder of a shape's random-weight model, written the first time.

    Args:
        tokenizer_model: a SentencePiece LLaMA `tokenizer.model`; None: the tokenizer of the embedded toy model.
    """
    source = tokenizer_model or Path(
        str(resources.files("alpaca_lora") / "assets" / EMBEDDED_TOKENIZER / "tokenizer.json")
    )
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:8]
    folder = work / "models" / f"{name}-{digest}"
    if folder.is_dir():
        return folder
    staged = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(staged, ignore_errors=True)
    _save_tokenizer(source, staged)
    shape = SHAPES[name]
    torch.manual_seed(0)
    model = LlamaForCausalLM._from_config(shape.config(), dtype=getattr(torch, shape.saved_in))
    model.save_pretrained(staged)
    staged.rename(folder)
    return folder


def _save_tokenizer(source: Path, folder: Path) -> None:
    """Save the tokenizer as this program reads it, not as transformers would rebuild it."""
    raw = folder / "raw"
    raw.mkdir(parents=True)
    if source.suffix == ".json":
        raw.rmdir()
        raw.symlink_to(source.parent, target_is_directory=True)
    else:
        shutil.copy(source, raw / "tokenizer.model")
    tokenizer, _ = load_tokenizer(raw)
    tokenizer.model_max_length = CONTEXT
    tokenizer.save_pretrained(folder)
    if raw.is_symlink():
        raw.unlink()
    else:
        shutil.rmtree(raw)
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 1, "eos_token_id": 2}), encoding="utf-8")


@dataclass(frozen=True)
class Needed:
    """What had to be computed: tokens, attended pairs of tokens, predicted targets."""

    tokens: int
    pairs: int
    targets: int


def needed(steps: list[list[TokenRow]]) -> Needed:
    """Count what training these steps' rows takes at the least."""
    tokens = pairs = targets = 0
    for rows in steps:
        for length, prefix in _spans(rows):
            tokens += length
            pairs += length * prefix + length * (length + 1) // 2
        targets += sum(int(row.is_target[1:].sum()) for row in rows)
    return Needed(tokens, pairs, targets)


def _spans(rows: list[TokenRow]) -> list[tuple[int, int]]:
    """Give the own tokens and the prefix tokens of a step's spans, the step being one pack."""
    try:
        from alpaca_lora.data.packing import pack_rows
    except ImportError:
        return [(len(row.input_ids), 0) for row in rows]
    together = sum(len(row.input_ids) for row in rows)
    packs: list[Any] = pack_rows(rows, together, share_prefix=True)
    return [(span.length, span.prefix_length) for pack in packs for span in pack.spans]


def needed_flops(shape: Shape, count: Needed) -> int:
    """Give the model FLOPs of what had to be computed, as defined above."""
    linear = 4 * shape.linear_parameters * count.tokens
    attention = 12 * shape.layers * shape.hidden * count.pairs
    return linear + attention + 4 * shape.hidden * shape.vocabulary * count.targets


def as_rows(tokens: list[dict[str, list[int]]]) -> list[TokenRow]:
    """Turn a job's tokens back into rows."""
    return [
        TokenRow(np.array(row["input_ids"], np.int32), np.array(row["labels"]) != -100, number)
        for number, row in enumerate(tokens)
    ]

"""Compute the size of GGUF files, and what running them takes, for LLaMA's published shapes: arithmetic, no weights.

    python scripts/gguf_sizes.py

Prints a Markdown table for each model. A file is its tensors, each in the type that `export gguf --outtype` gives it;
metadata and vocabulary, some megabytes, are left out. Beside the file stand the keys and values of a conversation in
16 bits, as llama.cpp keeps them by default, and the smallest usual memory that holds both and `RESERVE` more.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import get_args

from alpaca_lora.export.gguf_types import quantised_bytes, tensor_types
from alpaca_lora.export.settings import Outtype

CONTEXT = 2048
RESERVE = 10**9
"""Bytes left for the system and for what llama.cpp computes in: an assumption, not a measurement."""
MEMORIES_GB = (2, 4, 8, 16, 32, 64, 128)
"""Sold as GB, counted in GiB."""
_KEY_AND_VALUE, _HALF_PRECISION = 2, 2


@dataclass(frozen=True)
class Shape:
    """A Llama's sizes, from its `config.json`."""

    name: str
    hidden: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int

    @property
    def kv_width(self) -> int:
        """Give the width of all keys, or of all values, of one token in one layer."""
        return self.hidden // self.heads * self.kv_heads


SHAPES = (
    Shape("LLaMA 7B", 4096, 11008, 32, 32, 32, 32000),
    Shape("LLaMA 13B", 5120, 13824, 40, 40, 40, 32000),
    Shape("Llama 3 8B", 4096, 14336, 32, 32, 8, 128256),
)


def gguf_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """List a Llama's tensors by their GGUF names."""
    wide, ffn = shape.hidden, shape.ffn
    tensors: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (shape.vocabulary, wide),
        "output_norm.weight": (wide,),
        "output.weight": (shape.vocabulary, wide),
    }
    for block in range(shape.layers):
        tensors |= {
            f"blk.{block}.attn_q.weight": (wide, wide),
            f"blk.{block}.attn_k.weight": (shape.kv_width, wide),
            f"blk.{block}.attn_v.weight": (shape.kv_width, wide),
            f"blk.{block}.attn_output.weight": (wide, wide),
            f"blk.{block}.ffn_gate.weight": (ffn, wide),
            f"blk.{block}.ffn_up.weight": (ffn, wide),
            f"blk.{block}.ffn_down.weight": (wide, ffn),
            f"blk.{block}.attn_norm.weight": (wide,),
            f"blk.{block}.ffn_norm.weight": (wide,),
        }
    return tensors


def file_bytes(shape: Shape, outtype: Outtype) -> int:
    """Give the bytes of all tensors in a type."""
    tensors = gguf_shapes(shape)
    kinds = tensor_types(tensors, outtype, shape.heads, shape.kv_heads)
    return sum(quantised_bytes(tensors[name], kind) for name, kind in kinds.items())


def cache_bytes(shape: Shape, tokens: int) -> int:
    """Give the bytes of keys and values in 16 bits."""
    return _KEY_AND_VALUE * shape.layers * shape.kv_width * _HALF_PRECISION * tokens


def memory_needed(taken: int) -> str:
    """Give the smallest usual memory for so many bytes and the reserve."""
    return next((f"{size} GB" for size in MEMORIES_GB if taken + RESERVE <= size * 2**30), f"over {MEMORIES_GB[-1]} GB")


def table(shape: Shape, tokens: int) -> list[str]:
    """Give the lines of one model's table."""
    parameters = file_bytes(shape, "f32") // 4
    cache = cache_bytes(shape, tokens)
    lines = [
        f"{shape.name}: {parameters:,} parameters; keys and values of {tokens:,} tokens {cache / 1e9:.2f} GB",
        "",
        "| `--outtype` | file, GB | bits a weight | file, keys and values, GB | memory |",
        "|---|---|---|---|---|",
    ]
    for outtype in get_args(Outtype):
        size = file_bytes(shape, outtype)
        cells = f"{size / 1e9:.2f} | {8 * size / parameters:.2f} | {(size + cache) / 1e9:.2f}"
        lines.append(f"| `{outtype}` | {cells} | {memory_needed(size + cache)} |")
    return lines


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--context", type=int, default=CONTEXT, help=f"tokens of a conversation, {CONTEXT} by default")
    tokens = parser.parse_args().context
    print("\n\n".join("\n".join(table(shape, tokens)) for shape in SHAPES))


if __name__ == "__main__":
    main()

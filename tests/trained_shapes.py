"""Six tiny models that differ in what exporters get wrong, each with a trained adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from small_tokenizers import llama3_style
from tiny_models import sentencepiece_model, tiny_model, write_adapter

LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "MHA": ("llama", {"num_key_value_heads": 4}),
    "GQA": ("llama", {}),
    "tied": ("llama", {"tie_word_embeddings": True}),
    "untied, linear RoPE": ("mistral", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}),
    "Llama 3": ("llama", {"rope_parameters": LLAMA3_ROPE, "max_position_embeddings": 16384}),
    "Qwen 2": ("qwen2", {}),
}
BYTE_LEVEL = ("Llama 3", "Qwen 2")


class Trained(NamedTuple):
    """Folders of a base and its adapter."""

    base: Path
    adapter: Path


def write_trained(folder: Path, shape: str, **lora: Any) -> Trained:
    """Write a base of a shape, in float32, with biases that matter where it has any, and an adapter for it."""
    family, changes = SHAPES[shape]
    settings = {"max_position_embeddings": 2048} | changes
    base = folder / "base"
    if shape in BYTE_LEVEL:
        tokenizer = llama3_style(specials_last=True)
        # A few rows more than tokens, as real models have.
        settings |= {"vocab_size": len(tokenizer) + 5, "pad_token_id": None}
        settings |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        tokenizer.save_pretrained(base)
    else:
        base.mkdir(parents=True)
        (base / "tokenizer.model").write_bytes(sentencepiece_model())
    model = tiny_model(family, **settings)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    model.save_pretrained(base)
    return Trained(base, write_adapter(folder / "adapter", model, str(base), **lora))

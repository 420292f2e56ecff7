"""Small random models of several families on one small SentencePiece vocabulary, and adapters for them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from alpaca_lora.config import LoraConfig
from alpaca_lora.model.lora import adapter_tensors, attach_adapter, save_adapter

FAMILIES = ("llama", "mistral", "qwen2", "gemma2")
VOCABULARY = 400
LINEAR_LAYERS = 7
"""q, k, v, o, gate, up and down of each block of these families."""
BLOCKS = 2


@cache
def sentencepiece_model() -> bytes:
    """Train a BPE model whose unknown characters become byte tokens, as LLaMA's."""
    text = "the cat sat on a mat . what is two plus three ? name all days and months now please"
    words = text.split()
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(words[start:] + words[:start]) for start in range(len(words))] * 4),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCABULARY,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def tiny_config(family: str = "llama", **changes: Any) -> Any:
    """Give a config: 64 wide, 2 blocks, 4 heads on 2."""
    settings: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": BLOCKS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 256,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    return AutoConfig.for_model(family, **(settings | changes))


def tiny_model(family: str = "llama", seed: int = 0, **changes: Any) -> Any:
    """Make a random model in float32, eval mode; weights five times wider than usual, so that answers vary."""
    torch.manual_seed(seed)
    config = tiny_config(family, **{"initializer_range": 0.1} | changes)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def write_base(folder: Path, family: str = "llama", seed: int = 0, **changes: Any) -> Path:
    """Write a random model with its `tokenizer.model`."""
    tiny_model(family, seed, **changes).save_pretrained(folder)
    (folder / "tokenizer.model").write_bytes(sentencepiece_model())
    return folder


def chain_model(ids: Sequence[int], **changes: Any) -> Any:
    """Make a model that answers each of `ids` with the next one: its blocks add nothing, its head is a table.

    Ids must differ from each other. Whatever else it reads, it answers with the first of `ids`.
    """
    assert len(set(ids)) == len(ids)
    model = tiny_model(hidden_size=VOCABULARY, **changes)
    with torch.no_grad():
        for block in model.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(VOCABULARY))
        model.lm_head.weight.zero_()
        model.lm_head.weight[ids[0]] = 1
        for token, following in pairwise(ids):
            model.lm_head.weight[:, token] = 0
            model.lm_head.weight[following, token] = 1
    return model


def fill_adapter(model: Any, seed: int = 0) -> None:
    """Give every B random values, as if it had been trained."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in adapter_tensors(model).items():
        if ".lora_B." in name:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)


def write_adapter(folder: Path, base: Any, base_name: str, seed: int = 0, **lora: Any) -> Path:
    """Attach an adapter to a base, fill it and save it. The base is spent: it stays wrapped."""
    model = attach_adapter(base, LoraConfig(**lora), seed=seed)
    fill_adapter(model, seed)
    save_adapter(model, folder, base_name=base_name, base_revision=None)
    return folder

"""Meta's own format of a Llama: `consolidated.NN.pth`, `params.json` and `tokenizer.model`.

Names, splits and sizes are those that Meta's published readers ask for (github.com/meta-llama/llama and /llama3: their
`model.py`, `generation.py` and `tokenizer.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alpaca_lora.errors import UserError
from alpaca_lora.export.meta_tokenizer import is_byte_level, tokenizer_model
from alpaca_lora.export.source import Advance, Source, text_config

_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"
_FFN_PUBLISHED: tuple[tuple[float | None, int], ...] = (
    *((None, 2**power) for power in range(8, -1, -1)),
    (1.5, 256),
    *((1.3, multiple) for multiple in (4096, 1024, 256)),
    (1.2, 4096),
)
"""Multiplier and multiple of Meta's models; of several that give the same size the first is the published one."""
_ROPE_CONSTANTS = {"low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 8192}
"""What Meta's readers have as numbers in their code, not in `params.json`."""
_SHARDS = (1, 2, 4, 8)


# --- what is in the files ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MetaTensor:
    """One tensor of the format.

    Attributes:
        name: Meta's name.
        origin: the name in transformers' format.
        shape: of the whole tensor.
        split: the dimension that is divided among the shards; None: each shard holds the whole.
        heads: rotary heads whose rows are reordered; 0: none.
    """

    name: str
    origin: str
    shape: tuple[int, ...]
    split: int | None = None
    heads: int = 0

    def part_shape(self, shards: int) -> tuple[int, ...]:
        """Give the shape of one shard's part."""
        return tuple(size // shards if dim == self.split else size for dim, size in enumerate(self.shape))

    def part(self, whole: Tensor, shard: int, shards: int) -> Tensor:
        """Cut one shard's part, as a copy: torch.save writes all the memory that a view stands in.

        Args:
            whole: float (shape), the tensor in Meta's order.
        """
        part = whole if self.split is None else whole.chunk(shards, dim=self.split)[shard]
        return part.clone(memory_format=torch.contiguous_format)


def meta_tensors(config: Any, *, bpe: bool) -> list[MetaTensor]:
    """List the tensors of a Llama in Meta's order, from its config alone.

    Args:
        config: transformers' config.
        bpe: the tokenizer is byte-level BPE: Llama 3's reader divides the embedding by rows (its
            `VocabParallelEmbedding`), those of LLaMA 1 and 2 by columns (`ParallelEmbedding`).
    """
    text = config.get_text_config()
    dim, ffn, rows = int(text.hidden_size), int(text.intermediate_size), int(text.vocab_size)
    heads, kv_heads = int(text.num_attention_heads), int(text.num_key_value_heads)
    kv_dim = kv_heads * (dim // heads)
    found = [
        MetaTensor("tok_embeddings.weight", _EMBEDDING, (rows, dim), 0 if bpe else 1),
        MetaTensor("norm.weight", "model.norm.weight", (dim,)),
        MetaTensor("output.weight", _HEAD, (rows, dim), 0),
    ]
    for block in range(int(text.num_hidden_layers)):
        to, of = f"layers.{block}", f"model.layers.{block}"
        attention, mlp = f"{to}.attention", f"{to}.feed_forward"
        found += [
            MetaTensor(f"{attention}.wq.weight", f"{of}.self_attn.q_proj.weight", (dim, dim), 0, heads),
            MetaTensor(f"{attention}.wk.weight", f"{of}.self_attn.k_proj.weight", (kv_dim, dim), 0, kv_heads),
            MetaTensor(f"{attention}.wv.weight", f"{of}.self_attn.v_proj.weight", (kv_dim, dim), 0),
            MetaTensor(f"{attention}.wo.weight", f"{of}.self_attn.o_proj.weight", (dim, dim), 1),
            MetaTensor(f"{mlp}.w1.weight", f"{of}.mlp.gate_proj.weight", (ffn, dim), 0),
            MetaTensor(f"{mlp}.w2.weight", f"{of}.mlp.down_proj.weight", (dim, ffn), 1),
            MetaTensor(f"{mlp}.w3.weight", f"{of}.mlp.up_proj.weight", (ffn, dim), 0),
            MetaTensor(f"{to}.attention_norm.weight", f"{of}.input_layernorm.weight", (dim,)),
            MetaTensor(f"{to}.ffn_norm.weight", f"{of}.post_attention_layernorm.weight", (dim,)),
        ]
    return found


def meta_params(config: Any, *, bpe: bool) -> dict[str, Any]:
    """Give the content of `params.json`; raise `UserError` for a rotary embedding that it cannot describe.

    Args:
        config: transformers' config.
        bpe: the tokenizer is byte-level BPE. Its readers take a missing `rope_theta` for 500000, so it always stands
            there; those of LLaMA 1 and 2 take 10000 and know no such key.
    """
    text = config.get_text_config()
    heads, kv_heads = int(text.num_attention_heads), int(text.num_key_value_heads)
    params: dict[str, Any] = {"dim": int(text.hidden_size), "n_layers": int(text.num_hidden_layers), "n_heads": heads}
    if kv_heads != heads:
        params["n_kv_heads"] = kv_heads
    params["vocab_size"] = int(text.vocab_size)
    params |= _ffn_params(params["dim"], int(text.intermediate_size))
    params["norm_eps"] = float(text.rms_norm_eps)
    return params | _rope_params(dict(text.rope_parameters), bpe)


def _rope_params(rope: dict[str, Any], bpe: bool) -> dict[str, Any]:
    theta, kind = float(rope["rope_theta"]), rope.get("rope_type", "default")
    params: dict[str, Any] = {"rope_theta": theta} if bpe or theta != 10000 else {}
    if kind == "default":
        return params
    if kind != "llama3":
        raise _unfit(f"its rotary embedding is of the type {kind!r}", "its readers know the plain one and Llama 3.1's")
    wanted = _ROPE_CONSTANTS | ({"partial_rotary_factor": 1} if "partial_rotary_factor" in rope else {})
    for key, constant in wanted.items():
        if rope.get(key) != constant:
            raise _unfit(f"its {key} is {rope.get(key)}", f"Meta's readers have {constant} in their code")
    return params | {"use_scaled_rope": True, "rope_scaling_factor": float(rope["factor"])}


def _ffn_size(dim: int, multiplier: float | None, multiple_of: int) -> int:
    """Compute the width between the feed-forward matrices, by the formula of Meta's `FeedForward`."""
    size = int(2 * (4 * dim) / 3)
    if multiplier is not None:
        size = int(multiplier * size)
    return multiple_of * ((size + multiple_of - 1) // multiple_of)


def _ffn_params(dim: int, size: int) -> dict[str, Any]:
    """Find the settings that give `size`: published ones, or else the shortest decimal number."""
    middle = (size + 0.5) / int(2 * (4 * dim) / 3)
    computed = ((round(middle, digits), 1) for digits in range(1, 18))
    for multiplier, multiple_of in (*_FFN_PUBLISHED, *computed):
        if _ffn_size(dim, multiplier, multiple_of) == size:
            return {"multiple_of": multiple_of} | ({} if multiplier is None else {"ffn_dim_multiplier": multiplier})
    raise _unfit(f"its feed-forward size {size} is none that Meta's formula gives", "readers compute it")


# --- what the format cannot hold ---------------------------------------------------------------------------------


_OTHER = "export it with `alpaca-lora export hf`, whose format holds every model"


def _unfit(what: str, why: str) -> UserError:
    return UserError(f"Meta's format cannot hold this model: {what}", where="config.json", why=why, fix=_OTHER)


def check_meta(source: Source, shards: int) -> None:
    """Raise `UserError` for a model or tokenizer that the format cannot hold, or that cannot be split so."""
    text = text_config(source)
    if text.model_type != "llama":
        raise _unfit(f"it is a {text.model_type} model", "its readers know the Llama architecture alone")
    for key in ("attention_bias", "mlp_bias"):
        if getattr(text, key, False):
            raise _unfit(f"it has {key}", "its readers' linear layers have no bias")
    dim, heads = int(text.hidden_size), int(text.num_attention_heads)
    head_dim = getattr(text, "head_dim", None) or dim // heads
    if head_dim * heads != dim:
        raise _unfit(
            f"its {heads} heads of {head_dim} do not make up its width of {dim}", "readers compute one of them"
        )
    if text.hidden_act != "silu":
        raise _unfit(f"its activation is {text.hidden_act}", "its readers' is silu")
    bpe = is_byte_level(source.tokenizer)
    meta_params(source.config, bpe=bpe)
    _check_tensors(source, meta_tensors(source.config, bpe=bpe))
    tokenizer_model(source.place.folder, source.tokenizer)
    divided = {
        "attention heads": heads,
        "key and value heads": int(text.num_key_value_heads),
        "vocabulary entries": int(text.vocab_size),
        "feed-forward units": int(text.intermediate_size),
    }
    for what, count in divided.items():
        if count % shards:
            most = max(fits for fits in _SHARDS if all(number % fits == 0 for number in divided.values()))
            raise UserError(
                f"the model cannot be split over {shards} files: its {count} {what} are not divisible by {shards}",
                where="--shards",
                fix=f"--shards {most}",
            )


def _check_tensors(source: Source, tensors: list[MetaTensor]) -> None:
    shapes = source.merged.shapes
    wanted = {tensor.origin: tensor.shape for tensor in tensors}
    if text_config(source).tie_word_embeddings and _HEAD not in shapes:
        del wanted[_HEAD]
    wrong = [f"{name} is missing" for name in wanted if name not in shapes]
    wrong += [f"{name} is {list(shapes[name])}" for name in wanted if shapes.get(name, wanted[name]) != wanted[name]]
    wrong += [f"{name} has no place in the format" for name in shapes if name not in wanted]
    if wrong:
        raise UserError(
            f"{len(wrong)} tensors of the base are not those of a Llama of its config: {wrong[0]}",
            where=str(source.place.folder),
            why="a reader of Meta's format would refuse the file, or compute something else",
            fix=_OTHER,
        )


# --- the rows of queries and keys --------------------------------------------------------------------------------


def unpermute(weight: Tensor, heads: int) -> Tensor:
    """Reorder rows from transformers' rotary layout (i turns with i + head_dim/2) to Meta's (2i turns with 2i + 1).

    The inverse of `permute` in transformers' `convert_llama_weights_to_hf.py`.

    Args:
        weight: float (heads * head_dim, in features), of queries or of keys with their own number of heads.
    """
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)


def permute(weight: Tensor, heads: int) -> Tensor:
    """Reorder rows from Meta's rotary layout to that of transformers: the inverse of `unpermute`.

    Args:
        weight: float (heads * head_dim, in features).
    """
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).transpose(1, 2).reshape(rows, columns)


# --- writing -----------------------------------------------------------------------------------------------------


def write_meta(source: Source, folder: Path, *, shards: int, dtype: torch.dtype | None, advance: Advance) -> None:
    """Write the merged model into an existing folder, with one shard in memory at a time.

    Every shard reads and merges the base anew. `advance` is called per tensor and shard, before the shard is on the
    disk. Readers of Llama 3.1 that know no `rope_scaling_factor` take 8 for it, whatever stands there.

    Args:
        dtype: precision of the weights; None keeps the base's own, tensor by tensor.
    """
    check_meta(source, shards)
    bpe = is_byte_level(source.tokenizer)
    tensors = meta_tensors(source.config, bpe=bpe)
    for shard in range(shards):
        parts: dict[str, Tensor] = {}
        for tensor in tensors:
            parts[tensor.name] = tensor.part(_read(source, tensor, dtype), shard, shards)
            advance(parts[tensor.name].nbytes)
        torch.save(parts, folder / f"consolidated.{shard:02d}.pth")
    params = json.dumps(meta_params(source.config, bpe=bpe), indent=2)
    (folder / "params.json").write_text(params + "\n", encoding="utf-8")
    (folder / "tokenizer.model").write_bytes(tokenizer_model(source.place.folder, source.tokenizer))


def _read(source: Source, tensor: MetaTensor, dtype: torch.dtype | None) -> Tensor:
    merged = source.merged
    if tensor.origin == _HEAD and _HEAD not in merged.shapes:
        # an adapter on a tied embedding changes what is read of it, not the head: PEFT wraps the one module
        return merged.base.read(_EMBEDDING).to(dtype or merged.stored_dtype(_EMBEDDING))
    weight = merged.read(tensor.origin, dtype)
    return unpermute(weight, tensor.heads) if tensor.heads else weight


def read_meta(source: Source, folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of an export by their Hugging Face names, its shards joined, q and k in transformers' order."""
    paths = sorted(folder.glob("consolidated.*.pth"))
    shards: list[dict[str, Tensor]] = [torch.load(path, mmap=True, weights_only=True) for path in paths]
    for tensor in meta_tensors(source.config, bpe=is_byte_level(source.tokenizer)):
        parts = [shard[tensor.name] for shard in shards]
        whole = parts[0] if tensor.split is None else torch.cat(parts, tensor.split)
        if tensor.origin in source.merged.shapes:  # not the copy that stands for a tied head
            yield tensor.origin, permute(whole, tensor.heads) if tensor.heads else whole

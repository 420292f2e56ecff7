"""The model as a GGUF file (the specification in ggml's docs/gguf.md), written tensor by tensor."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import MODEL_ARCH, GGUFReader, GGUFWriter
from numpy.typing import NDArray
from torch import Tensor

from alpaca_lora.errors import UserError
from alpaca_lora.export.gguf_types import FILE_TYPES, quantise, quantised_bytes, tensor_types
from alpaca_lora.export.gguf_vocab import add_vocabulary, read_vocabulary
from alpaca_lora.export.merge import Merged
from alpaca_lora.export.settings import Outtype
from alpaca_lora.export.source import Advance, Source, rope, text_config

ARCHITECTURES: Mapping[str, MODEL_ARCH] = {
    "llama": MODEL_ARCH.LLAMA,
    "mistral": MODEL_ARCH.LLAMA,
    "qwen2": MODEL_ARCH.QWEN2,
    "qwen3": MODEL_ARCH.QWEN3,
}
"""llama.cpp's architecture by transformers' model type."""

_ROTATED = re.compile(r"attn_([qk])\.(weight|bias|weight\.lora_b)$")


def architecture(source: Source) -> MODEL_ARCH:
    """Give llama.cpp's architecture; refuse a model that it, or this exporter, computes otherwise."""
    config = text_config(source)
    kind = config.model_type
    if kind not in ARCHITECTURES:
        raise UserError(
            f"GGUF export does not know the architecture {kind!r}, only {', '.join(ARCHITECTURES)}",
            where=str(source.place.folder / "config.json"),
            fix="export hf, and convert that with llama.cpp's own script",
        )
    parameters = rope(source)
    odd = {
        "hidden_act": (config.hidden_act, ("silu",)),
        "rope_type": (parameters["rope_type"], ("default", "linear", "llama3")),
        "use_sliding_window": (getattr(config, "use_sliding_window", False), (False,)),
    }
    for name, (value, known) in odd.items():
        if value not in known:
            raise UserError(
                f"GGUF export does not know {name} {value!r}, only {', '.join(map(repr, known))}",
                where=str(source.place.folder / "config.json"),
                fix="export hf, and convert that with llama.cpp's own script",
            )
    return ARCHITECTURES[kind]


def gguf_names(source: Source, merged: Merged) -> dict[str, str]:
    """Give each tensor's GGUF name by its Hugging Face name; a tied head that is stored anyway is left out."""
    config = text_config(source)
    known = gguf.get_tensor_name_map(architecture(source), config.num_hidden_layers)
    names: dict[str, str] = {}
    for name in merged.shapes:
        if config.tie_word_embeddings and name == "lm_head.weight":
            continue
        found = known.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise UserError(
                f"GGUF has no place for the base's tensor {name}",
                where=str(source.place.folder),
                fix="export hf, and convert that with llama.cpp's own script",
            )
        names[name] = found
    return names


def rotate(rows: Tensor, heads: int) -> Tensor:
    """Reorder rows of a query or key projection from half-split to interleaved rotary pairs.

    Hugging Face rotates row i of a head with row i + size / 2, llama.cpp's `llama` architecture with its neighbour.

    Args:
        rows: (heads * head size, ...), a weight, a bias, or a LoRA B.
    """
    return rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def rotate_back(rows: Tensor, heads: int) -> Tensor:
    """Undo `rotate`."""
    return rows.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def heads_of(source: Source, name: str) -> int | None:
    """Give the heads whose rotary rows a tensor holds, by its GGUF name; None where nothing is reordered."""
    match = _ROTATED.search(name)
    if match is None or architecture(source) != MODEL_ARCH.LLAMA:
        return None
    config = text_config(source)
    return int(config.num_attention_heads if match[1] == "q" else config.num_key_value_heads)


def write_gguf(source: Source, merged: Merged, path: Path, outtype: Outtype, advance: Advance) -> None:
    """Write a merged model, or with an adapterless `merged` the base: metadata, vocabulary, then tensor by tensor.

    Matrices are quantised from float32, so that nothing is rounded twice.
    """
    names = gguf_names(source, merged)
    config = text_config(source)
    shapes = {target: merged.shapes[name] for name, target in names.items()}
    kinds = tensor_types(shapes, outtype, config.num_attention_heads, config.num_key_value_heads)
    with closing(GGUFWriter(str(path), gguf.MODEL_ARCH_NAMES[architecture(source)])) as writer:
        _add_metadata(writer, source, merged, outtype)
        add_vocabulary(
            writer, read_vocabulary(source.tokenizer, source.place.folder, config.vocab_size), source.tokenizer,
            source.prompt,
        )  # fmt: skip
        factors = rope_factors(source)
        if factors is not None:
            writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
        for target, kind in kinds.items():
            shape, size = shapes[target], quantised_bytes(shapes[target], kind)
            if kind == gguf.GGMLQuantizationType.F32:
                writer.add_tensor_info(target, shape, np.dtype(np.float32), size)
            else:
                rows = (*shape[:-1], quantised_bytes(shape[-1:], kind))
                writer.add_tensor_info(target, rows, np.dtype(np.uint8), size, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if factors is not None:
            writer.write_tensor_data(factors)
        for name, target in names.items():
            weight = merged.read(name, torch.float32)
            heads = heads_of(source, target)
            weight = weight if heads is None else rotate(weight, heads).contiguous()
            content = quantise(weight.numpy(), kinds[target])
            writer.write_tensor_data(content)
            advance(content.nbytes)


def gguf_bytes(source: Source, merged: Merged, outtype: Outtype) -> int:
    """Give the bytes of all tensors in a type."""
    shapes = {target: merged.shapes[name] for name, target in gguf_names(source, merged).items()}
    config = text_config(source)
    kinds = tensor_types(shapes, outtype, config.num_attention_heads, config.num_key_value_heads)
    return sum(quantised_bytes(shapes[name], kind) for name, kind in kinds.items())


def rope_factors(source: Source) -> NDArray[np.float32] | None:
    """Give what Llama 3.1's scaling divides each rotary frequency by, float32 (head size / 2); None without it.

    Wavelengths below `original / high_freq_factor` stay, those above `original / low_freq_factor` are stretched by
    `factor`, and between the two the frequencies are blended.
    """
    parameters = rope(source)
    if parameters["rope_type"] != "llama3":
        return None
    size = head_size(source)
    wavelengths = 2 * np.pi * parameters["rope_theta"] ** (np.arange(0, size, 2, dtype=np.float64) / size)
    low, high = parameters["low_freq_factor"], parameters["high_freq_factor"]
    blend = (parameters["original_max_position_embeddings"] / wavelengths - low) / (high - low)
    blend = np.clip(blend, 0, 1)
    factors: NDArray[np.float32] = (1 / ((1 - blend) / parameters["factor"] + blend)).astype(np.float32)
    return factors


def head_size(source: Source) -> int:
    """Give the width of one attention head."""
    config = text_config(source)
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _add_metadata(writer: GGUFWriter, source: Source, merged: Merged, outtype: Outtype) -> None:
    config, parameters = text_config(source), rope(source)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(source.name if merged.adapter else source.base_name)
    add_origin(writer, source)
    if merged.adapter:
        writer.add_string("alpaca_lora.adapter_sha256", adapter_sha256(source.adapter.folder))
    writer.add_file_type(FILE_TYPES[outtype])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(context_tokens(source))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_size(source))
    writer.add_value_length(head_size(source))
    writer.add_rope_dimension_count(head_size(source))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(parameters["rope_theta"])
    if parameters["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(parameters["factor"])
    writer.add_vocab_size(config.vocab_size)


def context_tokens(source: Source) -> int:
    """Give the longest context in which llama.cpp computes what the model does: it knows no window for `llama`."""
    config = text_config(source)
    window = getattr(config, "sliding_window", None) if config.model_type == "mistral" else None
    return int(min(config.max_position_embeddings, window or config.max_position_embeddings))


def add_origin(writer: GGUFWriter, source: Source) -> None:
    """Write which base it came from, and its licence where the base's model card names one."""
    writer.add_base_model_count(1)
    writer.add_base_model_name(0, source.base_name)
    if source.place.commit:
        writer.add_base_model_repo_url(0, f"https://huggingface.co/{source.place.name}")
        writer.add_base_model_version(0, source.place.commit)
    if licence := source.licence:
        writer.add_license(licence)
    writer.add_tags(["alpaca-lora", "text-generation"])


def adapter_sha256(folder: Path) -> str:
    """Give the SHA-256 of an adapter's weight file."""
    names = ("adapter_model.safetensors", "adapter_model.bin")
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise UserError(f"the adapter has no {names[0]}", where=str(folder), fix="give a finished run's output_dir")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_gguf(source: Source, path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield a file's tensors by their Hugging Face names, float32, dequantised by the gguf package."""
    names = {target: name for name, target in gguf_names(source, source.merged).items()}
    for tensor in GGUFReader(str(path)).tensors:
        if tensor.name in names:
            values = torch.from_numpy(np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type))).float()
            heads = heads_of(source, tensor.name)
            yield names[tensor.name], values if heads is None else rotate_back(values, heads)

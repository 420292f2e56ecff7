"""The adapter alone as a GGUF file, for llama.cpp's `--lora` on a GGUF file of its base."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import gguf
import torch
from gguf import GGUFWriter

from alpaca_lora.errors import UserError
from alpaca_lora.export.gguf_model import adapter_sha256, add_origin, architecture, gguf_names, heads_of, rotate
from alpaca_lora.export.source import Advance, Source


def check_gguf_lora(source: Source) -> None:
    """Refuse an adapter that llama.cpp's format cannot hold, with the reason."""
    adapter = source.adapter
    obstacles: list[str] = []
    if any(layer.magnitude is not None for layer in adapter.layers.values()):
        obstacles.append("it is a DoRA, whose magnitudes llama.cpp has no place for")
    if adapter.replaced:
        obstacles.append(f"it replaces {', '.join(sorted(adapter.replaced))} whole (modules_to_save)")
    if any(layer.is_embedding for layer in adapter.layers.values()):
        obstacles.append("it adapts the embedding, which llama.cpp reads in another way")
    if obstacles:
        raise UserError(
            f"this adapter cannot be a GGUF of its own: {'; '.join(obstacles)}",
            where=str(adapter.folder),
            fix="export gguf instead: merged into the base it loses nothing",
        )


def gguf_lora_bytes(source: Source) -> int:
    """Give the bytes of all matrices."""
    return sum(4 * (layer.up.numel() + layer.down.numel()) for layer in source.adapter.layers.values())


def write_gguf_lora(source: Source, path: Path, advance: Advance) -> None:
    """Write A and B of each layer, float32.

    llama.cpp scales B A by alpha / rank, with one alpha for the file: where layers are scaled differently (rank and
    alpha patterns), what differs from the first layer's alpha goes into B. rsLoRA's alpha is alpha * sqrt(rank).
    """
    check_gguf_lora(source)
    names, layers = gguf_names(source, source.merged), source.adapter.layers
    first = next(iter(layers.values()))
    alpha = first.scaling * first.down.shape[0]
    with closing(GGUFWriter(str(path), gguf.MODEL_ARCH_NAMES[architecture(source)])) as writer:
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
        writer.add_name(source.name)
        writer.add_file_type(gguf.LlamaFileType.ALL_F32)
        writer.add_string("alpaca_lora.adapter_sha256", adapter_sha256(source.adapter.folder))
        add_origin(writer, source)
        for name, layer in layers.items():
            up = layer.up * (layer.scaling * layer.down.shape[0] / alpha)
            heads = heads_of(source, names[name])
            up = up if heads is None else rotate(up, heads)
            for part, matrix in (("lora_a", layer.down), ("lora_b", up)):
                writer.add_tensor(f"{names[name]}.{part}", matrix.to(torch.float32).contiguous().numpy())
                advance(matrix.numel() * 4)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()

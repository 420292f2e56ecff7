"""The merged model as a Hugging Face folder, written some rows at a time: memory never holds the model."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alpaca_lora.export.card import merged_card
from alpaca_lora.export.merge import DTYPES, STORED, Merged
from alpaca_lora.export.source import Advance, Source

_CODES = {dtype: code for code, dtype in STORED.items()}
_ALIGNMENT = 8
_FLUSHED_BYTES = 256 * 2**20


def hf_bytes(merged: Merged, dtype: torch.dtype | None) -> int:
    """Give the bytes of all weights; with `dtype` None each counts in the base's own precision."""
    return sum(_bytes(merged, name, dtype) for name in merged.shapes)


def _bytes(merged: Merged, name: str, dtype: torch.dtype | None) -> int:
    return torch.Size(merged.shapes[name]).numel() * (dtype or merged.stored_dtype(name)).itemsize


def write_hf(source: Source, folder: Path, *, dtype: torch.dtype | None, shard_bytes: int, advance: Advance) -> None:
    """Write shards, index, config, generation config, tokenizer, chat template, licence and model card.

    Only what the adapter changes is computed: W + scaling * B A in float32, cast once. Every other tensor is copied as
    it is, unless `dtype` asks for another precision.
    """
    merged = source.merged
    shards = plan_shards({name: _bytes(merged, name, dtype) for name in merged.shapes}, shard_bytes)
    files = {
        "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors": names
        for number, names in enumerate(shards, 1)
    }
    for file, names in files.items():
        write_safetensors(folder / file, merged, names, dtype, advance)
    if len(files) > 1:
        weight_map = {name: file for file, names in files.items() for name in names}
        index = {"metadata": {"total_size": hf_bytes(merged, dtype)}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    _write_companions(source, folder, dtype)


def plan_shards(sizes: dict[str, int], shard_bytes: int) -> list[list[str]]:
    """Put tensors, in their order, into as few files as hold at most `shard_bytes`; a larger tensor is alone."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if shards[-1] and filled + size > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def write_safetensors(
    path: Path, merged: Merged, names: Sequence[str], dtype: torch.dtype | None, advance: Advance
) -> None:
    """Write tensors one after the other behind a header (the safetensors format, version 0.4 of its specification).

    The library's own `save_file` wants a shard's tensors in memory at once, and writes files that others cannot read.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        begin, end = end, end + _bytes(merged, name, dtype)
        code = _CODES[dtype or merged.stored_dtype(name)]
        header[name] = {"dtype": code, "shape": merged.shapes[name], "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file, ThreadPoolExecutor(max_workers=1) as pool:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        flushed = 0
        flushing: Future[Any] = pool.submit(bool)
        for name in names:
            for part in merged.parts(name, dtype):
                content = tensor_bytes(part)
                file.write(content)
                advance(len(content))
            # The disk writes while the next tensors are computed, instead of all at the end.
            if flushing.done() and file.tell() - flushed > _FLUSHED_BYTES:
                flushing.result()
                flushed, flushing = file.tell(), pool.submit(os.fsync, file.fileno())
        flushing.result()


def tensor_bytes(tensor: Tensor) -> memoryview:
    """Give a tensor's bytes, row by row, without a copy."""
    return tensor.contiguous().flatten().view(torch.uint8).numpy().data


def _write_companions(source: Source, folder: Path, dtype: torch.dtype | None) -> None:
    settings = {key: value for key, value in source.settings.items() if key not in ("_name_or_path", "torch_dtype")}
    names = {kind: name for name, kind in DTYPES.items()}
    largest = max(source.merged.shapes, key=lambda name: torch.Size(source.merged.shapes[name]).numel())
    settings["dtype"] = names[dtype or source.merged.stored_dtype(largest)]
    special = {"bos_token_id": source.tokenizer.bos_token_id, "pad_token_id": source.tokenizer.pad_token_id}
    ends = source.end_ids[0] if len(source.end_ids) == 1 else source.end_ids
    _write_json(folder / "config.json", settings | special | {"eos_token_id": ends})
    base = source.place.folder
    generation = base / "generation_config.json"
    defaults = json.loads(generation.read_text(encoding="utf-8")) if generation.is_file() else {}
    _write_json(folder / "generation_config.json", defaults | special | {"eos_token_id": ends})
    source.tokenizer.save_pretrained(folder)
    copied = [base / "tokenizer.model", *source.licences]
    copied += base.glob("*.py") if source.trust_remote_code else []
    for path in copied:
        if path.is_file():
            shutil.copyfile(path, folder / path.name)
    (folder / "README.md").write_text(merged_card(source, dtype=settings["dtype"], kind="hf"), encoding="utf-8")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")

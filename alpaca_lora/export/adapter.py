"""A trained adapter as matrices: what it adds to each weight, in float32, without a model in memory."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alpaca_lora.errors import UserError
from alpaca_lora.model.lora import read_adapter_config, read_tensors

_PREFIX = "base_model.model."
_PARTS = re.compile(r"(.+)\.lora_(A|B|embedding_A|embedding_B|magnitude_vector)(?:\.weight)?")
_UNSUPPORTED = {
    "bias": "none",
    "lora_bias": False,
    "fan_in_fan_out": False,
    "layer_replication": None,
    "trainable_token_indices": None,
    "target_parameters": None,
    "alora_invocation_tokens": None,
    "use_qalora": False,
    "use_bdlora": None,
    "kasa_config": None,
    "arrow_config": None,
}
"""Settings of PEFT that change what a merge must do, each with the value at which it changes nothing."""

_BLOCK = 2**20
"""Elements that are merged at once: 4 MiB, which the processor's cache holds."""

_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
"""Values of `init_lora_weights` that leave the base as it is; PiSSA, OLoRA and others take something out of it."""


@dataclass(frozen=True)
class LoraLayer:
    """One adapted weight: W + scaling * B A; with a magnitude m (DoRA) its rows are rescaled to length m.

    Attributes:
        down: float32 (rank, in features), A.
        up: float32 (out features, rank), B.
        scaling: alpha / rank, or alpha / sqrt(rank) with rsLoRA.
        magnitude: float32 (out features), DoRA's, or None.
        is_embedding: the weight is an embedding (rows, width): B A is added transposed.
    """

    down: Tensor
    up: Tensor
    scaling: float
    magnitude: Tensor | None
    is_embedding: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Give the shape of the weight this layer is added to."""
        rows, columns = self.up.shape[0], self.down.shape[1]
        return (columns, rows) if self.is_embedding else (rows, columns)

    def merge(self, weight: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Give the merged weight (arXiv 2106.09685, with a magnitude arXiv 2402.09353), computed in float32, cast once.

        Args:
            weight: float (out features, in features), or (rows, width) of an embedding.
        """
        merged, first = torch.empty(weight.shape, dtype=dtype), 0
        for part in self.merged_rows(weight, dtype):
            merged[first : first + len(part)] = part
            first += len(part)
        return merged

    def merged_rows(self, weight: Tensor, dtype: torch.dtype) -> Generator[Tensor]:
        """Yield the merged weight some rows at a time, each valid until the next is asked for.

        They are computed in one piece of memory that the processor's cache holds: fresh float32 copies of whole
        matrices cost several times the products.
        """
        left, right = (self.down.t(), self.up.t()) if self.is_embedding else (self.up, self.down)
        rows = max(1, _BLOCK // weight.shape[1])
        scratch = torch.empty(min(rows, len(weight)), weight.shape[1])
        cast = torch.empty_like(scratch, dtype=dtype)
        for first in range(0, len(weight), rows):
            part = scratch[: len(weight) - first]
            part.copy_(weight[first : first + rows]).addmm_(left[first : first + rows], right, alpha=self.scaling)
            if self.magnitude is not None:
                length = torch.linalg.vector_norm(part, dim=1)
                part.mul_((self.magnitude[first : first + rows] / length)[:, None])
            yield cast[: len(part)].copy_(part)


@dataclass(frozen=True)
class Adapter:
    """What an adapter folder holds.

    Attributes:
        folder: where it lies.
        settings: its `adapter_config.json`.
        layers: adapted weights by the name of the base's tensor, such as `model.layers.0.mlp.up_proj.weight`.
        replaced: tensors that were trained whole (PEFT's `modules_to_save`), by the same names.
        record: what the run wrote down of itself (`run.json`); empty for adapters of other programs.
    """

    folder: Path
    settings: dict[str, Any]
    layers: dict[str, LoraLayer]
    replaced: dict[str, Tensor]
    record: dict[str, Any]

    @property
    def base_fingerprint(self) -> str:
        """Give the fingerprint of the base it was trained on; empty where none is recorded."""
        return str(self.record.get("base_fingerprint") or "")

    @property
    def quantization(self) -> str:
        """Say how the base was quantised in training: `none`, `int8` or `nf4`."""
        return str(self.record.get("settings", {}).get("quantization", "none"))


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter; refuse one that is not whole, holds NaN, changes nothing, or asks for what a merge cannot do."""
    settings = read_adapter_config(folder)
    odd = [key for key, harmless in _UNSUPPORTED.items() if settings.get(key) not in (harmless, None, [], {})]
    odd += [] if settings.get("init_lora_weights", True) in _STARTS else ["init_lora_weights"]
    if odd:
        raise UserError(
            f"the adapter was made with {odd[0]} = {settings[odd[0]]!r}, which cannot be merged here",
            where=str(folder / "adapter_config.json"),
            fix="merge it with PEFT's merge_and_unload, or train it without that setting",
        )
    tensors = read_tensors(folder)
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise UserError(
            f"{len(broken)} of {len(tensors)} adapter tensors hold NaN or infinity",
            where=f"{folder}: {broken[0]}",
            fix="take an earlier checkpoint of the run, and train with a lower --learning_rate",
        )
    parts: dict[str, dict[str, Tensor]] = {}
    replaced: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        plain = name.removeprefix(_PREFIX)
        if match := _PARTS.fullmatch(plain):
            parts.setdefault(match[1], {})[match[2]] = tensor.float()
        else:
            replaced[plain.replace(".base_layer.", ".").replace(".modules_to_save.", ".")] = tensor
    layers = {f"{module}.weight": _layer(module, found, settings, folder) for module, found in parts.items()}
    if not replaced and not any(layer.up.any() for layer in layers.values()):
        raise UserError(
            f"the adapter changes nothing: every B of its {len(layers)} layers is zero",
            where=str(folder),
            why="the export would be the base model under another name",
            fix="train it, or give --adapter a folder of a finished run",
        )
    return Adapter(folder, settings, layers, replaced, _read_record(folder))


def _layer(module: str, found: dict[str, Tensor], settings: dict[str, Any], folder: Path) -> LoraLayer:
    is_embedding = "embedding_A" in found or "embedding_B" in found
    first, second = ("embedding_A", "embedding_B") if is_embedding else ("A", "B")
    missing = [part for part in (first, second) if part not in found]
    if settings.get("use_dora") and "magnitude_vector" not in found:
        missing.append("magnitude_vector")
    if missing or (is_embedding and "magnitude_vector" in found):
        raise UserError(
            f"the adapter is not whole: {module} has no lora_{missing[0]}"
            if missing
            else f"DoRA on the embedding {module} cannot be merged here",
            where=str(folder),
            fix="copy the folder again, or take another checkpoint of the run",
        )
    down, up, magnitude = found[first], found[second], found.get("magnitude_vector")
    rank = int(_by_pattern(settings.get("rank_pattern") or {}, module, settings.get("r", down.shape[0])))
    if not down.shape[0] == up.shape[1] == rank or (magnitude is not None and magnitude.numel() != up.shape[0]):
        shapes = ", ".join(f"{part} {list(tensor.shape)}" for part, tensor in found.items())
        raise UserError(
            f"the matrices of {module} do not fit each other and the rank {rank}: {shapes}",
            where=str(folder),
            fix="copy the folder again, both files from the same run",
        )
    alpha = _by_pattern(settings.get("alpha_pattern") or {}, module, settings.get("lora_alpha", rank))
    scaling = alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
    return LoraLayer(down, up, scaling, None if magnitude is None else magnitude.flatten(), is_embedding)


def _by_pattern(patterns: dict[str, float], module: str, default: float) -> float:
    """Give the value of the first pattern that matches the end of a module's name, as PEFT chooses it."""
    return next((value for key, value in patterns.items() if re.fullmatch(rf"(.*\.)?({key})", module)), default)


def _read_record(folder: Path) -> dict[str, Any]:
    """Read `run.json` of a finished run, or the identity in a checkpoint's `state.json`."""
    for name in ("run.json", "state.json"):
        path = folder / name
        if path.is_file():
            try:
                content: Any = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise UserError(f"the record is not JSON: {error}", where=str(path), fix="copy it again") from error
            found = content if name == "run.json" or not isinstance(content, dict) else content.get("identity")
            return found if isinstance(found, dict) else {}
    return {}

"""The merged model, one tensor at a time: the base's files, with the adapter added where it has something to add."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors import safe_open
from torch import Tensor

from alpaca_lora.errors import UserError
from alpaca_lora.export.adapter import Adapter

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
STORED = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_NOT_WEIGHTS = ("rotary_emb.inv_freq", "rope.freqs", "masked_bias")
"""Endings of buffers that uploads of 2023 carry beside the weights; today's programs compute them."""

_ENDS = ("embed_tokens.weight", "lm_head.weight")


@dataclass(frozen=True)
class Stored:
    """Where a tensor of the base lies."""

    path: Path
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class BaseWeights:
    """The weight files of a base model, opened tensor by tensor so that memory holds one of them.

    Attributes:
        tensors: by name, in the files' order; buffers that are no weights are left out.
        pickles: tensors of `pytorch_model*.bin`, mapped from the disk; empty with safetensors.
    """

    tensors: dict[str, Stored]
    pickles: dict[str, Tensor] = field(default_factory=dict[str, Tensor])

    def read(self, name: str) -> Tensor:
        """Read one tensor as it is stored; its memory is given back with it."""
        if name in self.pickles:
            return self.pickles[name]
        stored = self.tensors[name]
        with safe_open(stored.path, framework="pt") as file:
            return file.get_tensor(name)


def open_base(folder: Path) -> BaseWeights:
    """Read the headers of a base model's weight files; raise `UserError` for a missing or broken one."""
    for stem, ending in (("model", "safetensors"), ("pytorch_model", "bin")):
        index, single = folder / f"{stem}.{ending}.index.json", folder / f"{stem}.{ending}"
        listed: dict[str, str] = {}
        if index.is_file():
            listed = _read_index(index)
            paths = [folder / name for name in dict.fromkeys(listed.values())]
        elif single.is_file():
            paths = [single]
        else:
            continue
        for path in paths:
            if not path.is_file():
                raise UserError(
                    f"the base model is not whole: {path.name} is missing", where=str(folder), fix="download it again"
                )
        base = _open_safetensors(paths) if ending == "safetensors" else _open_pickles(paths)
        lacking = [name for name in listed if name not in base.tensors and not name.endswith(_NOT_WEIGHTS)]
        if lacking:
            raise UserError(
                f"the base model is not whole: no shard holds {lacking[0]}"
                + (f", nor {len(lacking) - 1} more tensors" if lacking[1:] else ""),
                where=str(index),
                fix="download it again",
            )
        return base
    raise UserError(
        "the base model has no weights: looked for model.safetensors and pytorch_model.bin, whole or in shards",
        where=str(folder),
        fix="download it again",
    )


def _read_index(path: Path) -> dict[str, str]:
    try:
        listed: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        return dict(listed)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"the index of the base's shards cannot be read: {type(error).__name__}: {error}",
            where=str(path),
            fix="download it again",
        ) from error


def _broken(path: Path, error: Exception) -> UserError:
    return UserError(
        f"the shard cannot be read: {type(error).__name__}: {str(error)[:200]}",
        where=str(path),
        why="the file is cut off or damaged, or holds more than plain tensors",
        fix="download it again",
    )


def _open_safetensors(paths: list[Path]) -> BaseWeights:
    tensors: dict[str, Stored] = {}
    for path in paths:
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  not a dict
                    part = file.get_slice(name)
                    if not name.endswith(_NOT_WEIGHTS):
                        tensors[name] = Stored(path, tuple(part.get_shape()), _dtype(part.get_dtype(), name, path))
        except UserError:
            raise
        except Exception as error:  # safetensors raises its own
            raise _broken(path, error) from error
    return BaseWeights(tensors)


def _dtype(found: str | torch.dtype, name: str, path: Path) -> torch.dtype:
    dtype = STORED.get(found) if isinstance(found, str) else found
    if dtype is None or dtype not in STORED.values():
        raise UserError(
            f"the base's {name} is stored as {str(found).removeprefix('torch.')}",
            where=str(path),
            why="a weight can only be added to in full precision",
            fix="give --base_model the unquantised model",
        )
    return dtype


def _open_pickles(paths: list[Path]) -> BaseWeights:
    found: dict[str, Tensor] = {}
    tensors: dict[str, Stored] = {}
    for path in paths:
        try:
            loaded: Any = torch.load(path, map_location="cpu", mmap=is_zipfile(path), weights_only=True)
            if not isinstance(loaded, dict) or not all(isinstance(part, Tensor) for part in loaded.values()):
                raise TypeError("expected names and their tensors")
        except Exception as error:  # pickle and zip each raise their own
            raise _broken(path, error) from error
        for name, tensor in loaded.items():
            if not name.endswith(_NOT_WEIGHTS):
                found[name] = tensor
                tensors[name] = Stored(path, tuple(tensor.shape), _dtype(tensor.dtype, name, path))
    return BaseWeights(tensors, found)


@dataclass(frozen=True)
class Merged:
    """The model that is exported.

    Attributes:
        base: the base's weights.
        adapter: what is added to them; None gives the base itself.
    """

    base: BaseWeights
    adapter: Adapter | None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Give each tensor's shape, in the files' order."""
        return {name: stored.shape for name, stored in self.base.tensors.items()}

    @property
    def changed(self) -> set[str]:
        """Name the tensors that the adapter changes."""
        return {*self.adapter.layers, *self.adapter.replaced} if self.adapter else set()

    def stored_dtype(self, name: str) -> torch.dtype:
        """Give the precision a tensor has in the base."""
        return self.base.tensors[name].dtype

    def parts(self, name: str, dtype: torch.dtype | None = None) -> Iterator[Tensor]:
        """Yield what `read` gives in pieces, some rows at a time, each valid until the next is asked for."""
        if self.adapter and name in self.adapter.layers:
            yield from self.adapter.layers[name].merged_rows(self.base.read(name), dtype or self.stored_dtype(name))
        else:
            yield self.read(name, dtype)

    def read(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """Give one tensor of the merged model, cast once, from float32 where the adapter adds to it.

        Args:
            dtype: what it is cast to; None keeps the base's own precision.
        """
        weight = self.base.read(name)
        if self.adapter and name in self.adapter.layers:
            return self.adapter.layers[name].merge(weight, dtype or self.stored_dtype(name))
        if self.adapter and name in self.adapter.replaced:
            weight = self.adapter.replaced[name]
        return weight.to(dtype or self.stored_dtype(name)).contiguous()


def open_merged(folder: Path, adapter: Adapter | None) -> Merged:
    """Open a base and check that every part of the adapter has its place in it.

    An adapter on a tied output head (`lm_head` of a base that stores none) has no tensor to be added to and is refused.
    """
    base = open_base(folder)
    _refuse_quantised(folder)
    merged = Merged(base, adapter)
    if adapter is None:
        return merged
    wanted: dict[str, tuple[int, ...]] = {name: layer.shape for name, layer in adapter.layers.items()}
    wanted |= {name: tuple(tensor.shape) for name, tensor in adapter.replaced.items()}
    for name, shape in wanted.items():
        found = merged.shapes.get(name)
        if found != shape:
            has = f"is {list(found)}" if found else "does not exist"
            raise UserError(
                f"the adapter does not fit this base: it changes {name} of {list(shape)}, which here {has}",
                where=str(adapter.folder),
                why=f"it was trained on {adapter.settings.get('base_model_name_or_path')}",
                fix="give --base_model the model the adapter was trained on",
            )
    return merged


def check_untied(merged: Merged, *, tied: bool) -> None:
    """Refuse an adapter on the embedding where the output head is tied to it, for a format that holds one for both.

    PEFT trains one of the two: after the training they differ.
    """
    ends = sorted(name for name in merged.changed if name.endswith(_ENDS))
    if ends and tied and merged.adapter:
        raise UserError(
            f"the adapter changes {ends[0]}, which this base uses as embedding and as output head",
            where=str(merged.adapter.folder),
            why="after the training the two differ, and the merged model would hold one of them for both",
            fix="export adapter, or train without the embedding and the output head",
        )


def _refuse_quantised(folder: Path) -> None:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("quantization_config"):
        raise UserError(
            "the base model's files are quantised",
            where=str(folder / "config.json"),
            why="an adapter can only be added to weights in full precision",
            fix="give --base_model the unquantised model",
        )

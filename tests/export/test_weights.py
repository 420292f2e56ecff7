"""What was trained is looked for in the exported weights: half of it missing is seen even in a coarse file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import tiny_model, write_adapter, write_base
from torch import Tensor

from alpaca_lora.export.adapter import LoraLayer
from alpaca_lora.export.gguf_model import write_gguf
from alpaca_lora.export.gguf_types import FILE_TYPES
from alpaca_lora.export.hf import write_hf
from alpaca_lora.export.kinds import find_export
from alpaca_lora.export.merge import Merged
from alpaca_lora.export.meta import write_meta
from alpaca_lora.export.readers import float32_of
from alpaca_lora.export.settings import SourceConfig
from alpaca_lora.export.source import Source, open_source
from alpaca_lora.export.weights import check_weights, merge_faults
from alpaca_lora.model.load import load_base_model
from alpaca_lora.model.lora import load_adapter

Q_PROJ = "model.layers.1.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A base of 128 columns, whose adapter moves its weights by a tenth of their size: less than q4_0 rounds off."""
    folder = tmp_path_factory.mktemp("weights")
    write_base(folder / "base", hidden_size=128, head_dim=32, intermediate_size=192)
    adapter = write_adapter(
        folder / "adapter", tiny_model(hidden_size=128, head_dim=32, intermediate_size=192), str(folder / "base"),
        lora_r=4, lora_alpha=1,
    )  # fmt: skip
    return open_source(SourceConfig(base_model=str(folder / "base"), adapter=str(adapter)))


def _with(source: Source, change: Callable[[LoraLayer], LoraLayer], *names: str) -> Merged:
    """Give the merged model with some of the adapter's layers changed."""
    layers = {
        name: change(layer) if not names or name in names else layer for name, layer in source.adapter.layers.items()
    }
    return replace(source.merged, adapter=replace(source.adapter, layers=layers))


def _half(layer: LoraLayer) -> LoraLayer:
    return replace(layer, scaling=layer.scaling / 2)


def _faults(source: Source, written: Merged, folder: Path, outtype: Any) -> list[str]:
    write_gguf(source, written, folder / "model.gguf", outtype, lambda size: None)
    check = check_weights(find_export(folder / "model.gguf"), source)
    assert check is not None
    return check.faults


@pytest.mark.parametrize("outtype", FILE_TYPES)
def test_half_of_the_training_is_missed_in_every_precision(source: Source, tmp_path: Path, outtype: Any) -> None:
    assert _faults(source, source.merged, tmp_path, outtype) == []
    faults = _faults(source, _with(source, _half), tmp_path, outtype)
    message = (
        "is not the merged one, rounded once" if outtype in ("f32", "f16", "bf16") else "of what was trained into it"
    )
    assert len([fault for fault in faults if message in fault]) == len(source.adapter.layers)


def test_the_change_is_smaller_than_what_the_coarsest_type_rounds_off(source: Source) -> None:
    base, merged = source.merged.base.read(Q_PROJ), source.merged.read(Q_PROJ, torch.float32)
    assert 0.01 < float((merged - base).norm() / base.norm()) < 0.09


def test_one_layer_left_out_is_named(source: Source, tmp_path: Path) -> None:
    without = _with(source, lambda layer: replace(layer, scaling=0.0), Q_PROJ)
    (fault,) = _faults(source, without, tmp_path, "q4_0")
    assert fault.startswith(f"the weight {Q_PROJ} holds ")


@pytest.mark.parametrize("kind", ["hf", "meta"])
def test_a_weight_a_little_too_large_is_seen_in_bfloat16(source: Source, tmp_path: Path, kind: str) -> None:
    """Two hundredths in one matrix: an answer hardly shows it."""

    def write(folder: Path, merged: Merged) -> list[str]:
        folder.mkdir()
        changed = replace(source, merged=merged)
        if kind == "hf":
            write_hf(changed, folder, dtype=torch.bfloat16, shard_bytes=10**9, advance=lambda size: None)
        else:
            write_meta(changed, folder, shards=2, dtype=torch.bfloat16, advance=lambda size: None)
        check = check_weights(find_export(folder), source)
        assert check is not None
        assert check.tensors == len(source.merged.shapes)
        return check.faults

    class Scaled(Merged):
        def read(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
            return super().read(name, dtype) * (1.02 if name == Q_PROJ else 1)

        def parts(self, name: str, dtype: torch.dtype | None = None) -> Iterator[Tensor]:
            yield self.read(name, dtype)

    assert write(tmp_path / "right", source.merged) == []
    faults = write(tmp_path / "wrong", Scaled(source.merged.base, source.adapter))
    assert any(fault.startswith(f"the weight {Q_PROJ} is off by 0.02 ") for fault in faults)


def test_pefts_own_merge_is_the_reference(source: Source) -> None:
    base = load_base_model(float32_of(source), source.place)
    merged = load_adapter(base, source.adapter.folder, "x").merge_and_unload()
    assert merge_faults(merged, source) == []
    misread = replace(source, merged=_with(source, _half, Q_PROJ))
    assert merge_faults(merged, misread) == [f"the weight {Q_PROJ} is merged otherwise than by PEFT"]

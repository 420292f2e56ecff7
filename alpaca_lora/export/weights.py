"""Is what was trained in the exported weights? Asked tensor by tensor, before any program computes with them.

Questions alone do not tell: in a coarse file half of a small change looks like rounding. Here the change itself is
looked for, and rounding, which knows nothing of it, averages out over a matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from alpaca_lora.export.gguf_model import read_gguf
from alpaca_lora.export.kinds import Export
from alpaca_lora.export.merge import Merged
from alpaca_lora.export.meta import read_meta
from alpaca_lora.export.source import Source, text_config

ROUNDING = {
    "float32": 1e-6, "float16": 2e-3, "bfloat16": 4e-3,
    "f32": 1e-6, "f16": 2e-3, "bf16": 4e-3, "q8_0": 0.02, "q6_k": 0.04, "q5_k_m": 0.08, "q4_k_m": 0.15, "q4_0": 0.2,
}  # fmt: skip
"""Largest root mean square of a tensor's rounding, as a share of that of its values, by precision."""

_EXACT = {
    "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16,
    "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16,
}  # fmt: skip
_SHARE, _DEVIATIONS = 0.01, 6.0
"""How far the share of a change may be from 1, and how many standard deviations of rounding's part in it."""


@dataclass
class WeightCheck:
    """What was found in an export's tensors.

    Attributes:
        limit: for `rounding`.
        exact: precision to which each weight must be the merged one, cast once; None for quantised types.
        rounding: largest rounding of a tensor, see `ROUNDING`.
        shares: least and greatest share of a tensor's trained change that the export holds; 1 is all of it.
        faults: a line each.
    """

    limit: float
    exact: torch.dtype | None = None
    tensors: int = 0
    changed: int = 0
    rounding: float = 0.0
    shares: list[float] = field(default_factory=lambda: [1.0, 1.0])
    faults: list[str] = field(default_factory=list[str])


def check_weights(export: Export, source: Source) -> WeightCheck | None:
    """Compare every tensor of an export with the merged model's; None for an adapter's own file."""
    if export.kind not in ("hf", "meta", "gguf"):
        return None
    check, merged = WeightCheck(ROUNDING[export.precision], _EXACT.get(export.precision)), source.merged
    wanted = set(merged.shapes)
    for name, found in _exported(export, source):
        wanted.discard(name)
        _check(check, name, found.float(), merged)
    if text_config(source).tie_word_embeddings:
        wanted.discard("lm_head.weight")
    check.faults += [f"the weight {name} is missing" for name in sorted(wanted)]
    return check


def _exported(export: Export, source: Source) -> Iterator[tuple[str, Tensor]]:
    if export.kind == "gguf":
        yield from read_gguf(source, export.path)
    elif export.kind == "meta":
        yield from read_meta(source, export.path)
    else:
        for path in sorted(export.path.glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  not a dict
                    yield name, file.get_tensor(name)


def _check(check: WeightCheck, name: str, found: Tensor, merged: Merged) -> None:
    if merged.shapes.get(name) != tuple(found.shape):
        check.faults.append(f"the weight {name} of {list(found.shape)} is not one of the model's")
        return
    expected = merged.read(name, torch.float32)
    error = found - expected
    size, length = _norm(expected), _norm(error)
    if check.exact and not _is_cast(found, expected, check.exact):
        check.faults.append(f"the weight {name} is not the merged one, rounded once")
    rounding = length / size if size else (math.inf if length else 0.0)
    check.tensors += 1
    check.rounding = max(check.rounding, rounding)
    if not rounding <= check.limit:
        check.faults.append(f"the weight {name} is off by {rounding:.2g} of its size, more than rounding does")
    if name not in merged.changed:
        return
    change = expected - merged.base.read(name).float()
    trained = _norm(change)
    if not trained:
        return
    share = 1 + float((error.double() * change.double()).sum()) / trained**2
    check.changed += 1
    check.shares = [min(check.shares[0], share), max(check.shares[1], share)]
    # A base on the very grid of 16 bits swallows part of a small change: that is measured, and the cast is exact.
    if not check.exact and not abs(share - 1) <= _SHARE + _DEVIATIONS * length / trained / math.sqrt(change.numel()):
        check.faults.append(f"the weight {name} holds {share:.3f} of what was trained into it")


def _is_cast(found: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    """Say whether values are `expected` in float32 or in the precision of the export, to the bit."""
    return torch.equal(found, expected) or torch.equal(found, expected.to(dtype).float())


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64))


def merge_faults(merged_by_peft: Any, source: Source) -> list[str]:
    """Compare what the adapter is taken to change with PEFT's own merge, in float32.

    Args:
        merged_by_peft: the model that `merge_and_unload` gave.
    """
    faults: list[str] = []
    theirs: dict[str, Tensor] = merged_by_peft.state_dict()
    for name in sorted(source.merged.changed):
        ours, other = source.merged.read(name, torch.float32), theirs[name].float().cpu()
        # Both are sums of float32 products in another order.
        if not _norm(ours - other) <= 1e-6 * _norm(other):
            faults.append(f"the weight {name} is merged otherwise than by PEFT")
    return faults

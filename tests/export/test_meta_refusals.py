"""What Meta's format cannot hold, and shards that do not divide a model, are refused before anything is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_models import tiny_model, write_adapter, write_base

from alpaca_lora.errors import UserError
from alpaca_lora.export.meta import check_meta
from alpaca_lora.export.settings import SourceConfig
from alpaca_lora.export.source import Source, open_source

LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0}
LLAMA3 |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def _source(folder: Path, family: str = "llama", **changes: Any) -> Source:
    """Make a base with changed settings, and an adapter for it."""
    made = write_base(folder / "base", family, **changes)
    trained = write_adapter(folder / "adapter", tiny_model(family, **changes), str(made))
    return open_source(SourceConfig(base_model=str(made), adapter=str(trained)))


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("mistral", {}, "it is a mistral model"),
        ("llama", {"attention_bias": True}, "it has attention_bias"),
        ("llama", {"mlp_bias": True}, "it has mlp_bias"),
        ("llama", {"head_dim": 8}, "its 4 heads of 8 do not make up its width of 64"),
        ("llama", {"hidden_act": "gelu"}, "its activation is gelu"),
        ("llama", {"rope_parameters": LLAMA3 | {"rope_type": "linear"}}, "of the type 'linear'"),
        ("llama", {"rope_parameters": LLAMA3 | {"low_freq_factor": 2.0}}, "its low_freq_factor is 2.0"),
        ("llama", {"rope_parameters": LLAMA3 | {"high_freq_factor": 8.0}}, "its high_freq_factor is 8.0"),
        ("llama", {"rope_parameters": LLAMA3 | {"original_max_position_embeddings": 128}}, "_embeddings is 128"),
        ("llama", {"rope_parameters": LLAMA3 | {"partial_rotary_factor": 0.5}}, "its partial_rotary_factor is 0.5"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(
    tmp_path: Path, family: str, changes: dict[str, Any], message: str
) -> None:
    made = _source(tmp_path, family, **changes)
    with pytest.raises(UserError, match="cannot hold this model") as raised:
        check_meta(made, 1)
    assert message in raised.value.what
    assert "export hf" in raised.value.fix


@pytest.mark.parametrize(
    ("changes", "shards", "message", "fix"),
    [
        ({"num_attention_heads": 2, "head_dim": 32}, 4, "2 attention heads are not divisible by 4", "--shards 2"),
        ({}, 4, "2 key and value heads are not divisible by 4", "--shards 2"),
        ({"vocab_size": 401}, 2, "401 vocabulary entries are not divisible by 2", "--shards 1"),
        ({"intermediate_size": 97}, 2, "97 feed-forward units are not divisible by 2", "--shards 1"),
    ],
)
def test_shards_must_divide_the_model(
    tmp_path: Path, changes: dict[str, Any], shards: int, message: str, fix: str
) -> None:
    made = _source(tmp_path, **changes)
    check_meta(made, 1)
    with pytest.raises(UserError, match="cannot be split") as raised:
        check_meta(made, shards)
    assert message in raised.value.what
    assert (raised.value.where, raised.value.fix) == ("--shards", fix)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("model.norm.weight"), "model.norm.weight is missing"),
        (lambda tensors: tensors.pop("lm_head.weight"), "lm_head.weight is missing"),
        (lambda tensors: tensors.update({"model.extra": tensors["model.norm.weight"]}), "model.extra has no place"),
        (lambda tensors: tensors.update({"model.norm.weight": tensors["lm_head.weight"]}), "model.norm.weight is [400"),
    ],
)
def test_tensors_must_be_those_of_a_llama(tmp_path: Path, change: Any, message: str) -> None:
    source = _source(tmp_path)
    tensors = dict(source.merged.base.tensors)
    change(tensors)
    spoilt = replace(source, merged=replace(source.merged, base=replace(source.merged.base, tensors=tensors)))
    with pytest.raises(UserError, match="are not those of a Llama of its config") as raised:
        check_meta(spoilt, 1)
    assert message in raised.value.what

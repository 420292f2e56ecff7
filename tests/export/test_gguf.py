"""Every format computes what was trained, on six shapes, for 64 greedy tokens; and a broken one is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from rich.console import Console
from trained_shapes import SHAPES, Trained, write_trained
from transformers import AutoModelForCausalLM

from alpaca_lora.errors import UserError
from alpaca_lora.export import gguf_model, probes
from alpaca_lora.export.run import export_gguf, export_gguf_lora, export_hf, export_meta
from alpaca_lora.export.settings import (
    GgufExportConfig,
    GgufLoraExportConfig,
    HfExportConfig,
    MetaExportConfig,
    SourceConfig,
    TargetConfig,
)
from alpaca_lora.export.source import open_source
from alpaca_lora.model.load import find_base, load_base_model
from alpaca_lora.model.lora import load_adapter

QUIET = Console(quiet=True)
ASKED = ("no input", "Chinese", "long")


@pytest.fixture(autouse=True)
def _three_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both heads, a script of its own, and a length at which rotary scaling shows: the others take time only."""
    monkeypatch.setattr(probes, "QUESTIONS", {name: probes.QUESTIONS[name] for name in ASKED})


def _source(trained: Trained) -> SourceConfig:
    return SourceConfig(base_model=str(trained.base), adapter=str(trained.adapter))


def _results(folder: Path) -> list[dict[str, Any]]:
    record = json.loads((folder / "verification.json").read_text(encoding="utf-8"))
    assert record["verified"]
    return record["comparisons"][0]["results"]


@pytest.mark.parametrize("shape", SHAPES)
def test_live_hf_meta_gguf_and_lora_write_the_same_64_tokens(shape: str, tmp_path: Path) -> None:
    trained = write_trained(tmp_path, shape)
    source = _source(trained)
    export_hf(HfExportConfig(source=source, target=TargetConfig(output=str(tmp_path / "hf"))), QUIET)
    export_gguf(
        GgufExportConfig(source=source, target=TargetConfig(output=str(tmp_path / "gguf")), outtype="f32"), QUIET
    )
    export_gguf_lora(GgufLoraExportConfig(source=source, target=TargetConfig(output=str(tmp_path / "lora"))), QUIET)
    formats = ["hf", "gguf", "lora"]
    meta = MetaExportConfig(source=source, target=TargetConfig(output=str(tmp_path / "meta")), shards=2)
    if shape in ("untied, linear RoPE", "Qwen 2"):  # Meta's format holds neither
        with pytest.raises(UserError, match="Meta's format"):
            export_meta(meta, QUIET)
    else:
        export_meta(meta, QUIET)
        formats.append("meta")
    for name in formats:
        results = _results(tmp_path / name)
        assert [result["name"] for result in results] == list(ASKED)
        for result in results:
            assert (result["compared"], result["near_ties"], result["wrong"]) == (64, [], []), name
            assert result["same_ids"] is (None if name == "meta" else True)


@pytest.mark.parametrize("shape", ["GQA", "Llama 3", "Qwen 2"])
def test_transformers_reads_the_file_back_to_the_same_logits(shape: str, tmp_path: Path) -> None:
    """An independent reader of the format, with its own undoing of the rotary order."""
    trained = write_trained(tmp_path, shape)
    source = open_source(_source(trained))
    gguf_model.write_gguf(source, source.merged, tmp_path / "model.gguf", "f32", lambda size: None)
    config = source.config if shape == "Llama 3" else None  # it does not read rope_freqs.weight
    read: Any = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="model.gguf", config=config, dtype=torch.float32
    )
    ids = torch.tensor([[0, *range(20, 120)]])
    base = load_base_model(probes_config(trained), find_base(source_config(trained)))
    live = load_adapter(base, trained.adapter, "x")
    with torch.inference_mode():
        # Merged and unmerged float32 weights: the order of additions differs; logits reach about 4.
        assert torch.allclose(read.eval()(ids).logits, live(ids).logits, atol=2e-5)


def source_config(trained: Trained) -> SourceConfig:
    return _source(trained)


def probes_config(trained: Trained) -> Any:
    from alpaca_lora.config import ModelConfig

    return ModelConfig(base_model=str(trained.base), dtype="float32", device="cpu")


def _no_rotation(rows: torch.Tensor, heads: int) -> torch.Tensor:
    return rows


def _keys_counted_as_queries(rows: torch.Tensor, heads: int) -> torch.Tensor:
    return gguf_model.rotate_back(rows, heads)


BREAKAGES: dict[str, tuple[str, str, Any]] = {
    "rows not reordered": ("GQA", "rotate", _no_rotation),
    "rows reordered the wrong way": ("GQA", "rotate", _keys_counted_as_queries),
    "rotary scaling left out": ("Llama 3", "rope_factors", lambda source: None),
    "a type that rounds": ("tied", "quantise", lambda weight, kind: weight.astype(np.float16).astype(np.float32)),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_file_is_refused(breakage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape, name, broken = BREAKAGES[breakage]
    trained = write_trained(tmp_path, shape)
    monkeypatch.setattr(gguf_model, name, broken)
    output = tmp_path / "out"
    with pytest.raises(UserError, match="the export is not the trained model"):
        export_gguf(
            GgufExportConfig(source=_source(trained), target=TargetConfig(output=str(output)), outtype="f32"), QUIET
        )
    assert not output.exists()
    record = json.loads((tmp_path / "out.failed" / "verification.json").read_text(encoding="utf-8"))
    assert (record["verified"], len(record["faults"]) > 0) == (False, True)


@pytest.mark.parametrize("outtype", ["f16", "bf16", "q8_0", "q4_k_m", "q4_0"])
def test_coarse_files_are_compared_with_themselves_too(outtype: Any, tmp_path: Path) -> None:
    trained = write_trained(tmp_path, "GQA")
    output = tmp_path / "out"
    export_gguf(
        GgufExportConfig(source=_source(trained), target=TargetConfig(output=str(output)), outtype=outtype), QUIET
    )
    record = json.loads((output / "verification.json").read_text(encoding="utf-8"))
    assert [found["against"] for found in record["comparisons"]] == ["the trained model", "the file's own weights"]
    coarse, own = ([result["kl"] for result in found["results"]] for found in record["comparisons"])
    assert max(own) < max(coarse)
    assert (output / f"adapter-{outtype.upper()}.gguf").is_file()


def test_a_quantised_file_with_a_broken_tensor_is_told_from_a_coarse_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = write_trained(tmp_path, "GQA")
    monkeypatch.setattr(gguf_model, "rotate", _no_rotation)
    monkeypatch.setattr(gguf_model, "rotate_back", _no_rotation)
    output = tmp_path / "out"
    with pytest.raises(UserError, match="against the trained model"):
        export_gguf(
            GgufExportConfig(source=_source(trained), target=TargetConfig(output=str(output)), outtype="q8_0"), QUIET
        )


@pytest.mark.parametrize("lora", [{"use_rslora": True}, {"lora_r": 4, "lora_target_modules": ("q_proj", "down_proj")}])
def test_lora_files_of_other_settings(lora: dict[str, Any], tmp_path: Path) -> None:
    trained = write_trained(tmp_path, "GQA", **lora)
    export_gguf_lora(
        GgufLoraExportConfig(source=_source(trained), target=TargetConfig(output=str(tmp_path / "o"))), QUIET
    )
    assert all(result["wrong"] == [] for result in _results(tmp_path / "o"))


def test_metadata_says_what_the_model_is(tmp_path: Path) -> None:
    trained = write_trained(tmp_path, "Llama 3")
    (trained.base / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A base\n", encoding="utf-8")
    source = open_source(_source(trained), "my-model")
    gguf_model.write_gguf(source, source.merged, tmp_path / "model.gguf", "q8_0", lambda size: None)
    fields = gguf.GGUFReader(str(tmp_path / "model.gguf")).fields
    expected = {
        "general.architecture": "llama", "general.type": "model", "general.name": "my-model",
        "general.license": "apache-2.0", "general.file_type": 7, "general.base_model.0.name": "base",
        "alpaca_lora.adapter_sha256": gguf_model.adapter_sha256(source.adapter.folder),
        "llama.context_length": 16384, "llama.embedding_length": 64, "llama.block_count": 2,
        "llama.feed_forward_length": 96, "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2,
        "llama.rope.dimension_count": 16, "llama.rope.freq_base": 500000.0,
        "llama.vocab_size": source.config.vocab_size, "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smaug-bpe", "tokenizer.ggml.bos_token_id": source.tokenizer.bos_token_id,
        "tokenizer.ggml.eos_token_id": source.tokenizer.eos_token_id,
        "tokenizer.ggml.add_bos_token": True, "tokenizer.chat_template": source.prompt.jinja(),
    }  # fmt: skip
    assert {key: fields[key].contents() for key in expected} == expected

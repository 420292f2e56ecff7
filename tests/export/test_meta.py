"""Meta's format: names, shapes and settings as published, shards, tokenizer, and what it cannot hold."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import tiny_model, write_adapter, write_base
from transformers import AutoModelForCausalLM, LlamaConfig

from alpaca_lora.export.meta import meta_params, meta_tensors, permute, unpermute, write_meta
from alpaca_lora.export.settings import SourceConfig
from alpaca_lora.export.source import Source, open_source

LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0}
LLAMA3 |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}

# The params.json that Meta published with each model (for Llama 3 and 3.1 also in meta-llama/llama-models,
# models/sku_list.py), with vocab_size as the number it is where the file has -1; the feed-forward width that the files'
# matrices have (`intermediate_size` of the uploads in transformers' format); and the number of files.
# Llama 3.2 3B's file has an ffn_dim_multiplier of 1.0, which says the same as none.
_70B = {"dim": 8192, "n_layers": 80, "n_heads": 64, "n_kv_heads": 8, "multiple_of": 4096, "ffn_dim_multiplier": 1.3}
_V1 = {"multiple_of": 256, "vocab_size": 32000}
_V3 = {"n_kv_heads": 8, "vocab_size": 128256, "norm_eps": 1e-5, "rope_theta": 500000.0}
PUBLISHED: dict[str, tuple[dict[str, Any], int, int]] = {
    "LLaMA 7B": ({"dim": 4096, "n_layers": 32, "n_heads": 32, "norm_eps": 1e-6} | _V1, 11008, 1),
    "LLaMA 13B": ({"dim": 5120, "n_layers": 40, "n_heads": 40, "norm_eps": 1e-6} | _V1, 13824, 2),
    "LLaMA 30B": ({"dim": 6656, "n_layers": 60, "n_heads": 52, "norm_eps": 1e-6} | _V1, 17920, 4),
    "LLaMA 65B": ({"dim": 8192, "n_layers": 80, "n_heads": 64, "norm_eps": 1e-5} | _V1, 22016, 8),
    "Llama 2 70B": (_70B | {"vocab_size": 32000, "norm_eps": 1e-5}, 28672, 8),
    "Llama 3 8B": (
        {"dim": 4096, "n_layers": 32, "n_heads": 32, "multiple_of": 1024, "ffn_dim_multiplier": 1.3} | _V3,
        14336,
        1,
    ),
    "Llama 3 70B": (_70B | _V3, 28672, 8),
    "Llama 3.2 1B": (
        {"dim": 2048, "n_layers": 16, "n_heads": 32, "multiple_of": 256, "ffn_dim_multiplier": 1.5} | _V3,
        8192,
        1,
    ),
    "Llama 3.2 3B": ({"dim": 3072, "n_layers": 28, "n_heads": 24, "multiple_of": 256} | _V3, 8192, 1),
    "Llama 3.1 405B": (
        {"dim": 16384, "n_layers": 126, "n_heads": 128, "multiple_of": 4096, "ffn_dim_multiplier": 1.2} | _V3,
        53248,
        8,
    ),
}


def _published_config(params: dict[str, Any], width: int, **changes: Any) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=params["dim"],
        intermediate_size=width,
        num_hidden_layers=params["n_layers"],
        num_attention_heads=params["n_heads"],
        num_key_value_heads=params.get("n_kv_heads", params["n_heads"]),
        vocab_size=params["vocab_size"],
        rms_norm_eps=params["norm_eps"],
        **{"rope_parameters": {"rope_type": "default", "rope_theta": params.get("rope_theta", 10000.0)}} | changes,
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("models") / "adapter", tiny_model(), str(base))


@pytest.fixture
def source(base: Path, adapter: Path) -> Source:
    return open_source(SourceConfig(base_model=str(base), adapter=str(adapter)))


def _source(folder: Path, family: str = "llama", **changes: Any) -> Source:
    """Make a base with changed settings, and an adapter for it."""
    made = write_base(folder / "base", family, **changes)
    trained = write_adapter(folder / "adapter", tiny_model(family, **changes), str(made))
    return open_source(SourceConfig(base_model=str(made), adapter=str(trained)))


def _write(source: Source, folder: Path, shards: int = 1, dtype: torch.dtype | None = None) -> list[int]:
    """Write an export; give the sizes that were reported."""
    folder.mkdir()
    sizes: list[int] = []
    write_meta(source, folder, shards=shards, dtype=dtype, advance=sizes.append)
    return sizes


def _shards(folder: Path) -> list[dict[str, torch.Tensor]]:
    return [torch.load(path, weights_only=True) for path in sorted(folder.glob("*.pth"))]


# --- published models --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_settings_are_the_published_ones(name: str) -> None:
    params, width, _ = PUBLISHED[name]
    assert meta_params(_published_config(params, width), bpe="Llama 3" in name) == params


@pytest.mark.parametrize("name", ["LLaMA 7B", "LLaMA 13B", "LLaMA 30B", "LLaMA 65B", "Llama 2 70B", "Llama 3 8B"])
def test_names_and_shapes_are_those_of_the_published_files(name: str) -> None:
    params, width, published_shards = PUBLISHED[name]
    bpe = "Llama 3" in name
    config = _published_config(params, width)
    with torch.device("meta"):
        whole = {
            key: tuple(value.shape) for key, value in AutoModelForCausalLM.from_config(config).state_dict().items()
        }
    tensors = meta_tensors(config, bpe=bpe)
    assert {tensor.origin: tensor.shape for tensor in tensors} == whole
    assert len({tensor.name for tensor in tensors}) == len(tensors) == 3 + 9 * params["n_layers"]
    dim, rows, kv_dim = params["dim"], params["vocab_size"], params["dim"] * 8 // params["n_heads"]
    kv_dim = kv_dim if "n_kv_heads" in params else dim
    for shards in {1, published_shards}:
        found = {tensor.name: tensor.part_shape(shards) for tensor in tensors}
        assert found["tok_embeddings.weight"] == ((rows // shards, dim) if bpe else (rows, dim // shards))
        assert found["output.weight"] == (rows // shards, dim)
        assert found["norm.weight"] == (dim,)
        for block in (f"layers.{n}" for n in range(params["n_layers"])):
            assert found[f"{block}.attention.wq.weight"] == (dim // shards, dim)
            assert found[f"{block}.attention.wk.weight"] == (kv_dim // shards, dim)
            assert found[f"{block}.attention.wv.weight"] == (kv_dim // shards, dim)
            assert found[f"{block}.attention.wo.weight"] == (dim, dim // shards)
            assert found[f"{block}.feed_forward.w1.weight"] == (width // shards, dim)
            assert found[f"{block}.feed_forward.w2.weight"] == (dim, width // shards)
            assert found[f"{block}.feed_forward.w3.weight"] == (width // shards, dim)
            assert found[f"{block}.attention_norm.weight"] == found[f"{block}.ffn_norm.weight"] == (dim,)


def test_llama_3_1_says_how_its_rotary_embedding_is_scaled() -> None:
    params, width, _ = PUBLISHED["Llama 3 8B"]
    found = meta_params(_published_config(params, width, rope_parameters=LLAMA3), bpe=True)
    assert found == params | {"use_scaled_rope": True, "rope_scaling_factor": 8.0}


def test_rope_theta_stands_there_unless_the_readers_default_is_meant() -> None:
    params, width, _ = PUBLISHED["LLaMA 7B"]
    assert "rope_theta" not in meta_params(_published_config(params, width), bpe=False)
    assert meta_params(_published_config(params, width), bpe=True)["rope_theta"] == 10000
    longer = {"rope_type": "default", "rope_theta": 1e6}
    assert meta_params(_published_config(params, width, rope_parameters=longer), bpe=False)["rope_theta"] == 1e6


def test_any_feed_forward_width_is_reproduced_by_metas_formula() -> None:
    chance = random.Random(0)
    for _ in range(500):
        dim = 64 * chance.randint(1, 200)
        width = chance.randint(1, 6 * dim)
        params, _, _ = PUBLISHED["LLaMA 7B"]
        found = meta_params(_published_config(params | {"dim": dim}, width), bpe=False)
        size = int(2 * (4 * dim) / 3)
        size = int(found.get("ffn_dim_multiplier", 1) * size)
        assert found["multiple_of"] * ((size + found["multiple_of"] - 1) // found["multiple_of"]) == width


# --- rows and shards ---------------------------------------------------------------------------------------------


def test_reordering_rows_is_undone_by_its_inverse() -> None:
    chance = random.Random(0)
    for _ in range(50):
        heads, half, columns = chance.randint(1, 9), chance.randint(1, 9), chance.randint(1, 9)
        weight = torch.randn(heads * 2 * half, columns)
        assert torch.equal(permute(unpermute(weight, heads), heads), weight)
        assert torch.equal(unpermute(permute(weight, heads), heads), weight)


def test_pairs_become_neighbours_within_their_head() -> None:
    rows = torch.arange(12.0)[:, None]
    assert unpermute(rows, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]


def test_shards_join_to_what_one_file_holds(tmp_path: Path) -> None:
    chance = random.Random(0)
    for trial in range(3):
        kv_heads = 8 * chance.randint(1, 2)
        heads = kv_heads * chance.randint(1, 3)
        head_dim = 2 * chance.randint(1, 6)
        changes = {"num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim}
        changes |= {"hidden_size": heads * head_dim, "intermediate_size": 8 * chance.randint(3, 20)}
        made = _source(tmp_path / str(trial), **changes)
        splits = {tensor.name: tensor.split for tensor in meta_tensors(made.config, bpe=False)}
        _write(made, tmp_path / f"{trial}-1")
        (whole,) = _shards(tmp_path / f"{trial}-1")
        for shards in (2, 4, 8):
            _write(made, tmp_path / f"{trial}-{shards}", shards)
            parts = _shards(tmp_path / f"{trial}-{shards}")
            assert len(parts) == shards
            for name, split in splits.items():
                pieces = [part[name] for part in parts]
                if split is None:
                    assert all(torch.equal(piece, whole[name]) for piece in pieces)
                else:
                    assert torch.equal(torch.cat(pieces, split), whole[name])


@pytest.mark.parametrize("shards", [1, 2])
def test_files_hold_plain_tensors_and_just_their_bytes(source: Source, tmp_path: Path, shards: int) -> None:
    sizes = _write(source, tmp_path / "out", shards)
    total = 0
    for path in sorted((tmp_path / "out").glob("*.pth")):
        loaded = torch.load(path, weights_only=True)
        assert type(loaded) is dict
        assert {type(tensor) for tensor in loaded.values()} == {torch.Tensor}
        assert all(tensor.is_contiguous() for tensor in loaded.values())
        held = sum(tensor.nbytes for tensor in loaded.values())
        # the zip format: a record of some 200 bytes and up to 64 of alignment per tensor
        assert held < path.stat().st_size < held + 1000 + 400 * len(loaded)
        total += held
    assert sum(sizes) == total
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *(f"consolidated.{shard:02d}.pth" for shard in range(shards)),
        "params.json",
        "tokenizer.model",
    ]
    assert (tmp_path / "out" / "tokenizer.model").read_bytes() == (source.place.folder / "tokenizer.model").read_bytes()


def test_precision_is_the_bases_own_or_the_one_asked_for(source: Source, tmp_path: Path) -> None:
    _write(source, tmp_path / "own")
    _write(source, tmp_path / "half", dtype=torch.bfloat16)
    (own,), (half,) = _shards(tmp_path / "own"), _shards(tmp_path / "half")
    assert {tensor.dtype for tensor in own.values()} == {torch.float32}
    assert all(torch.equal(half[name], own[name].bfloat16()) for name in own)

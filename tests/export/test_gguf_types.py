"""Which tensor gets which type, and its bytes: llama.cpp's rule by hand, its own quantiser, and the gguf package."""

from __future__ import annotations

import ctypes
from collections import Counter
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from tiny_models import tiny_model, write_adapter, write_base

from alpaca_lora.export.gguf_model import write_gguf
from alpaca_lora.export.gguf_types import FILE_TYPES, quantise, quantised_bytes, tensor_types
from alpaca_lora.export.settings import SourceConfig
from alpaca_lora.export.source import open_source


def _llama(blocks: int, width: int = 256, ffn: int = 512, kv: int = 256, *, tied: bool = False) -> dict[str, Any]:
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (1000, width), "output_norm.weight": (width,)}
    if not tied:
        shapes["output.weight"] = (1000, width)
    for block in range(blocks):
        sizes = {
            "attn_q": (width, width), "attn_k": (kv, width), "attn_v": (kv, width), "attn_output": (width, width),
            "ffn_gate": (ffn, width), "ffn_up": (ffn, width), "ffn_down": (width, ffn), "attn_norm": (width,),
        }  # fmt: skip
        shapes |= {f"blk.{block}.{name}.weight": size for name, size in sizes.items()}
        shapes[f"blk.{block}.attn_q.bias"] = (width,)
    return shapes


def test_the_blocks_of_7b_that_q4_k_m_gives_more_bits() -> None:
    """By hand: of 32 blocks the first 4, the last 4, and every third between them from the sixth on."""
    types = tensor_types(_llama(32), "q4_k_m", 32, 32)
    more = [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]
    for name in ("attn_v", "ffn_down"):
        assert [block for block in range(32) if types[f"blk.{block}.{name}.weight"] == Type.Q6_K] == more
    assert {types[f"blk.{block}.attn_q.weight"] for block in range(32)} == {Type.Q4_K}
    assert (types["output.weight"], types["token_embd.weight"]) == (Type.Q6_K, Type.Q4_K)
    assert (types["blk.0.attn_norm.weight"], types["blk.0.attn_q.bias"]) == (Type.F32, Type.F32)


def test_published_sizes_of_7b() -> None:
    """Bytes of the published LLaMA 7B files, less metadata and vocabulary (under 1 MB): llama.cpp's README of 2024."""
    shapes = _llama(32, 4096, 11008, 4096)
    shapes |= {"token_embd.weight": (32000, 4096), "output.weight": (32000, 4096)}
    shapes = {name: shape for name, shape in shapes.items() if not name.endswith("bias")}
    published = {"f16": 13.48, "q8_0": 7.16, "q6_k": 5.53, "q5_k_m": 4.78, "q4_k_m": 4.08, "q4_0": 3.83}
    for outtype, gigabytes in published.items():
        kinds = tensor_types(shapes, outtype, 32, 32)  # pyright: ignore[reportArgumentType]
        size = sum(quantised_bytes(shapes[name], kind) for name, kind in kinds.items())
        assert round(size / 1e9, 2) == pytest.approx(gigabytes, abs=0.011), outtype


def test_the_70b_shape_and_a_tied_head() -> None:
    types = tensor_types(_llama(80), "q4_k_m", 64, 8)
    assert types["blk.10.attn_v.weight"] == Type.Q5_K
    assert tensor_types(_llama(80), "q4_k_m", 64, 64)["blk.10.attn_v.weight"] == Type.Q4_K
    assert tensor_types(_llama(2, tied=True), "q4_0", 4, 4)["token_embd.weight"] == Type.Q6_K
    assert tensor_types(_llama(2), "q4_0", 4, 4)["token_embd.weight"] == Type.Q4_0


def test_rows_that_do_not_divide_fall_back() -> None:
    types = tensor_types(_llama(2, ffn=352), "q5_k_m", 4, 4)
    assert types["blk.0.ffn_down.weight"] == Type.Q5_1
    assert tensor_types(_llama(2, ffn=350), "q8_0", 4, 4)["blk.0.ffn_down.weight"] == Type.F16


@pytest.mark.parametrize("kind", [Type.Q8_0, Type.Q4_0, Type.Q4_K, Type.Q5_K, Type.Q6_K, Type.F16, Type.BF16])
def test_bytes_are_read_back_to_nearly_the_weights(kind: Type) -> None:
    weight = np.random.default_rng(0).standard_normal((37, 512), dtype=np.float32)
    content = quantise(weight, kind)
    assert content.shape == (37, quantised_bytes((512,), kind))
    error = gguf.quants.dequantize(content, kind) - weight
    # Half a step of each type on values of a normal distribution, as a share of their size, rounded up.
    limits = {Type.Q8_0: 0.01, Type.Q6_K: 0.03, Type.Q5_K: 0.06, Type.Q4_K: 0.1, Type.Q4_0: 0.12}
    assert float(np.sqrt((error**2).mean())) < limits.get(kind, 0.003)


@pytest.mark.parametrize(
    "shape",
    [
        {"hidden_size": 256, "intermediate_size": 512, "head_dim": 64, "num_hidden_layers": 9},
        {"hidden_size": 256, "intermediate_size": 352, "head_dim": 64, "tie_word_embeddings": True},
    ],
)
def test_files_are_llama_cpps_own_to_the_byte(shape: dict[str, Any], tmp_path: Path) -> None:
    """Where llama-cpp-python is installed, `llama_model_quantize` makes each type from the float32 file."""
    llama_cpp = pytest.importorskip("llama_cpp")
    base = write_base(tmp_path / "base", **shape)
    adapter = write_adapter(tmp_path / "adapter", tiny_model(**shape), str(base))
    source = open_source(SourceConfig(base_model=str(base), adapter=str(adapter)))
    whole = tmp_path / "f32.gguf"
    write_gguf(source, source.merged, whole, "f32", lambda size: None)
    for outtype, file_type in FILE_TYPES.items():
        ours, theirs = tmp_path / f"{outtype}.ours", tmp_path / f"{outtype}.theirs"
        write_gguf(source, source.merged, ours, outtype, lambda size: None)
        settings = llama_cpp.llama_model_quantize_default_params()
        settings.ftype = int(file_type)
        assert llama_cpp.llama_model_quantize(str(whole).encode(), str(theirs).encode(), ctypes.byref(settings)) == 0
        first, second = (
            {tensor.name: (tensor.tensor_type, tensor.data.tobytes()) for tensor in gguf.GGUFReader(str(path)).tensors}
            for path in (ours, theirs)
        )
        assert Counter(first) == Counter(second)
        assert [name for name in first if first[name] != second[name]] == []

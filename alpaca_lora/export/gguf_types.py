"""Which tensor of a GGUF file gets which type, and its bytes: llama.cpp's rule and llama.cpp's own quantiser."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import LlamaFileType
from numpy.typing import NDArray

from alpaca_lora.errors import UserError
from alpaca_lora.export.settings import Outtype

FILE_TYPES: Mapping[Outtype, LlamaFileType] = {
    "f32": LlamaFileType.ALL_F32,
    "f16": LlamaFileType.MOSTLY_F16,
    "bf16": LlamaFileType.MOSTLY_BF16,
    "q8_0": LlamaFileType.MOSTLY_Q8_0,
    "q6_k": LlamaFileType.MOSTLY_Q6_K,
    "q5_k_m": LlamaFileType.MOSTLY_Q5_K_M,
    "q4_k_m": LlamaFileType.MOSTLY_Q4_K_M,
    "q4_0": LlamaFileType.MOSTLY_Q4_0,
}
_MATRICES: Mapping[Outtype, Type] = {
    "f32": Type.F32, "f16": Type.F16, "bf16": Type.BF16, "q8_0": Type.Q8_0, "q6_k": Type.Q6_K, "q5_k_m": Type.Q5_K,
    "q4_k_m": Type.Q4_K, "q4_0": Type.Q4_0,
}  # fmt: skip
_WHERE_ROWS_DO_NOT_DIVIDE = {Type.Q4_K: Type.Q5_0, Type.Q5_K: Type.Q5_1, Type.Q6_K: Type.Q8_0}
_IN_NUMPY = (Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q5_0, Type.Q5_1)
_LAYERS_OF_70B = 80


def tensor_types(shapes: Mapping[str, tuple[int, ...]], outtype: Outtype, heads: int, kv_heads: int) -> dict[str, Type]:
    """Choose each tensor's type as llama.cpp's `llama_model_quantize` does for a model without experts.

    Norms and biases stay float32. The output head, or the embedding that serves as one, gets Q6_K. Of the values and
    the down projections `*_k_m` gives the first and last eighth of the blocks and every third between them Q6_K. A
    matrix whose rows do not divide into blocks of 256 falls back to a type with blocks of 32.

    Args:
        shapes: (rows, columns) by GGUF name.
    """
    blocks = 1 + max((int(name.split(".")[1]) for name in shapes if name.startswith("blk.")), default=0)
    is_70b = blocks == _LAYERS_OF_70B and heads != kv_heads
    head = "output.weight" if "output.weight" in shapes else "token_embd.weight"
    return {
        name: _fitting(_wanted(name, outtype, head, blocks, is_70b=is_70b), shape[-1], name)
        if len(shape) > 1 and name.endswith("weight")
        else Type.F32
        for name, shape in shapes.items()
    }


def _wanted(name: str, outtype: Outtype, head: str, blocks: int, *, is_70b: bool) -> Type:
    plain = _MATRICES[outtype]
    if outtype in ("f32", "f16", "bf16", "q8_0", "q6_k"):
        return plain
    if name == head:
        return Type.Q6_K
    if outtype == "q4_0" or not name.endswith(("attn_v.weight", "ffn_down.weight")):
        return plain
    block = int(name.split(".")[1])
    if block < blocks // 8 or block >= 7 * blocks // 8 or (block - blocks // 8) % 3 == 2:
        return Type.Q6_K
    # 8 heads share a value matrix in the 70B shape: more bits there cost little.
    return Type.Q5_K if is_70b and name.endswith("attn_v.weight") and plain == Type.Q4_K else plain


def _fitting(wanted: Type, columns: int, name: str) -> Type:
    block, _ = gguf.GGML_QUANT_SIZES[wanted]
    if columns % block:
        wanted = Type.Q8_0 if name == "output.weight" else _WHERE_ROWS_DO_NOT_DIVIDE.get(wanted, Type.F16)
        block, _ = gguf.GGML_QUANT_SIZES[wanted]
    return wanted if columns % block == 0 else Type.F16


def quantised_bytes(shape: tuple[int, ...], kind: Type) -> int:
    """Give the bytes that a tensor takes in a type."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    return int(np.prod(shape, dtype=np.int64)) // block * size


def quantise(weight: NDArray[np.float32], kind: Type) -> NDArray[Any]:
    """Turn a float32 matrix (rows, columns) into the type's bytes, uint8 (rows, bytes); float32 stays as it is."""
    if kind == Type.F32:
        return weight
    if kind in _IN_NUMPY:
        content: NDArray[Any] = gguf.quants.quantize(weight, kind).view(np.uint8)
        return content
    return _quantise_by_ggml(weight, kind)


def _quantise_by_ggml(weight: NDArray[np.float32], kind: Type) -> NDArray[np.uint8]:
    """Quantise rows in parallel: ctypes lets go of the interpreter's lock while C computes."""
    rows, columns = weight.shape
    content = np.empty((rows, quantised_bytes((columns,), kind)), np.uint8)
    function = _ggml().ggml_quantize_chunk
    source, target = np.ascontiguousarray(weight), content.ctypes.data

    def some_rows(first: int, last: int) -> None:
        function(int(kind), source.ctypes.data, target, first * columns, last - first, columns, None)

    threads = os.cpu_count() or 1
    edges = [rows * part // threads for part in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(some_rows, edges[:-1], edges[1:]))
    return content


@cache
def _ggml() -> ctypes.CDLL:
    """Open the ggml library inside the llama.cpp binding.

    `ggml_quantize_chunk(type, src, dst, start, rows, columns, importance)`: `start` counts elements of the whole
    matrix, in the source and, in blocks, in the target.
    """
    spec = find_spec("xllamacpp")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "this type is quantised by llama.cpp, which is not installed", fix="pip install 'alpaca-lora[gguf]'"
        )
    import xllamacpp.xllamacpp as binding

    library = ctypes.CDLL(str(binding.__file__))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
    ]  # fmt: skip
    return library

"""Compute a model from Meta's files alone: an independent reader that checks what `export meta` wrote.

It shares no code with the writer or with transformers, and follows Meta's published `model.py`
(github.com/meta-llama/llama, /llama3 and /llama-models): interleaved rotary pairs as complex numbers, in float32.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from alpaca_lora.errors import UserError

_NEEDED = ("dim", "n_layers", "n_heads", "vocab_size", "multiple_of", "norm_eps")


class MetaModel:
    """A Llama in Meta's format, on the CPU. Its files stay on the disk: a matrix is read, joined, used and dropped.

    Args:
        folder: holds `params.json` and `consolidated.00.pth` and so on.

    Raises `UserError` where a file is missing or broken, or its tensors are not those of `params.json`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.params = _read_params(folder / "params.json")
        self._heads = int(self.params["n_heads"])
        self._kv_heads = int(self.params.get("n_kv_heads") or self._heads)
        self._eps = float(self.params["norm_eps"])
        self._shards = _open_shards(folder)
        self._joints = self._check_shards()

    @torch.inference_mode()
    def logits(self, ids: Sequence[int]) -> Tensor:
        """Compute the logits of every position at once, without a cache.

        Args:
            ids: token ids of one text.

        Returns:
            float32 (tokens, vocabulary).
        """
        hidden = self._weight("tok_embeddings")[torch.tensor(list(ids), dtype=torch.long)]
        turns = self._turns(len(ids))
        mask = torch.full((len(ids), len(ids)), float("-inf")).triu(diagonal=1)
        for layer in range(int(self.params["n_layers"])):
            block = f"layers.{layer}"
            hidden = hidden + self._attention(self._norm(hidden, f"{block}.attention_norm"), block, turns, mask)
            normed = self._norm(hidden, f"{block}.ffn_norm")
            gate = F.silu(normed @ self._weight(f"{block}.feed_forward.w1").T)
            up = normed @ self._weight(f"{block}.feed_forward.w3").T
            hidden = hidden + (gate * up) @ self._weight(f"{block}.feed_forward.w2").T
        return self._norm(hidden, "norm") @ self._weight("output").T

    def _norm(self, hidden: Tensor, name: str) -> Tensor:
        scale = torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self._eps)
        return hidden * scale * self._weight(name)

    def _attention(self, hidden: Tensor, block: str, turns: Tensor, mask: Tensor) -> Tensor:
        """Attend within one block.

        Args:
            hidden: float32 (tokens, dim).
            turns: complex64 (tokens, head_dim / 2), the rotation of each pair.
            mask: float32 (tokens, tokens), -inf where a key lies ahead of its query.
        """
        tokens, head_dim = hidden.shape[0], hidden.shape[1] // self._heads
        queries, keys, values = (
            (hidden @ self._weight(f"{block}.attention.{name}").T).view(tokens, heads, head_dim)
            for name, heads in (("wq", self._heads), ("wk", self._kv_heads), ("wv", self._kv_heads))
        )
        queries, keys = _turn(queries, turns), _turn(keys, turns)
        shared = self._heads // self._kv_heads
        keys, values = keys.repeat_interleave(shared, dim=1), values.repeat_interleave(shared, dim=1)
        scores = torch.einsum("qhd,khd->hqk", queries, keys) / math.sqrt(head_dim) + mask
        mixed = torch.einsum("hqk,khd->qhd", scores.softmax(dim=-1), values)
        return mixed.reshape(tokens, -1) @ self._weight(f"{block}.attention.wo").T

    def _turns(self, tokens: int) -> Tensor:
        """Give each position's rotations: complex64 (tokens, head_dim / 2)."""
        head_dim = int(self.params["dim"]) // self._heads
        theta = float(self.params.get("rope_theta", 10000.0))
        speeds = 1.0 / (theta ** (torch.arange(0, head_dim, 2).float() / head_dim))
        if self.params.get("use_scaled_rope"):
            speeds = _slow_down(speeds, float(self.params.get("rope_scaling_factor") or 8))
        angles = torch.outer(torch.arange(tokens, dtype=torch.float32), speeds)
        return torch.polar(torch.ones_like(angles), angles)

    # --- the files ---------------------------------------------------------------------------------------------------

    def _weight(self, name: str) -> Tensor:
        """Join a tensor's parts, in float32."""
        key, joint = f"{name}.weight", self._joints[f"{name}.weight"]
        if joint is None:
            return self._shards[0][key].float()
        return torch.cat([shard[key] for shard in self._shards], dim=joint).float()

    def _shapes(self) -> dict[str, tuple[tuple[int, ...], int | None]]:
        """Give each tensor's whole shape and the dimension it is split along, None where each shard has all of it."""
        dim, rows = int(self.params["dim"]), int(self.params["vocab_size"])
        ffn, kv_dim = _ffn_width(self.params), dim // self._heads * self._kv_heads
        block: dict[str, tuple[tuple[int, ...], int | None]] = {
            "attention.wq": ((dim, dim), 0),
            "attention.wk": ((kv_dim, dim), 0),
            "attention.wv": ((kv_dim, dim), 0),
            "attention.wo": ((dim, dim), 1),
            "feed_forward.w1": ((ffn, dim), 0),
            "feed_forward.w2": ((dim, ffn), 1),
            "feed_forward.w3": ((ffn, dim), 0),
            "attention_norm": ((dim,), None),
            "ffn_norm": ((dim,), None),
        }
        found = {
            f"layers.{n}.{name}": place for n in range(int(self.params["n_layers"])) for name, place in block.items()
        }
        by_rows = tuple(self._shards[0].get("tok_embeddings.weight", torch.empty(0)).shape[1:]) == (dim,)
        found |= {
            "tok_embeddings": ((rows, dim), 0 if by_rows else 1),
            "output": ((rows, dim), 0),
            "norm": ((dim,), None),
        }
        return {f"{name}.weight": place for name, place in found.items()}

    def _check_shards(self) -> dict[str, int | None]:
        """Compare every shard with `params.json`; give the dimension that each tensor is joined along."""
        expected, count = self._shapes(), len(self._shards)
        for number, shard in enumerate(self._shards):
            faults = [f"{name} is missing" for name in expected if name not in shard]
            faults += [f"{name} is unknown" for name in shard if name not in expected]
            for name, (whole, joint) in expected.items():
                part = [size // count if dim == joint else size for dim, size in enumerate(whole)]
                if name in shard and list(shard[name].shape) != part:
                    faults.append(f"{name} is {list(shard[name].shape)}, not {part}")
            if faults:
                raise UserError(
                    f"{len(faults)} tensors of shard {number} are not those of params.json: {faults[0]}",
                    where=str(self._folder / f"consolidated.{number:02d}.pth"),
                    fix="export the model again; params.json and all shards must come from the same export",
                )
        return {name: joint for name, (_, joint) in expected.items()}


def _turn(heads: Tensor, turns: Tensor) -> Tensor:
    """Rotate neighbouring pairs: float32 (tokens, heads, head_dim) by complex64 (tokens, head_dim / 2)."""
    pairs = torch.view_as_complex(heads.reshape(*heads.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns[:, None, :]).flatten(start_dim=2)


def _slow_down(speeds: Tensor, factor: float) -> Tensor:
    """Stretch the long waves of the rotary embedding, as Llama 3.1 (Meta's `apply_scaling`).

    Args:
        speeds: float32 (head_dim / 2), radians per token.
        factor: by how much waves longer than 8192 tokens are stretched; those below 2048 are kept.
    """
    context, low, high = 8192, 1, 4
    waves = 2 * math.pi / speeds
    smooth = ((context / waves - low) / (high - low)).clamp(0, 1)
    return (1 - smooth) * speeds / factor + smooth * speeds


def _ffn_width(params: dict[str, Any]) -> int:
    """Compute the feed-forward width by the formula of Meta's `FeedForward`."""
    width, multiple = int(2 * (4 * int(params["dim"])) / 3), int(params["multiple_of"])
    if params.get("ffn_dim_multiplier") is not None:
        width = int(params["ffn_dim_multiplier"] * width)
    return -(-width // multiple) * multiple


def _read_params(path: Path) -> dict[str, Any]:
    try:
        params: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"params.json cannot be read: {error}", where=str(path), fix="give a folder that `export meta` wrote"
        ) from error
    missing = [key for key in _NEEDED if key not in params]
    if missing:
        raise UserError(f"params.json has no {missing[0]}", where=str(path), fix="export the model again")
    return params


def _open_shards(folder: Path) -> list[dict[str, Tensor]]:
    paths = sorted(folder.glob("consolidated.*.pth"))
    if not paths or [path.name for path in paths] != [f"consolidated.{n:02d}.pth" for n in range(len(paths))]:
        raise UserError(
            f"the folder has {len(paths)} shards, and not consolidated.00.pth and those that follow it without a gap",
            where=str(folder),
            fix="copy the whole folder again",
        )
    return [_open_shard(path) for path in paths]


def _open_shard(path: Path) -> dict[str, Tensor]:
    try:
        shard: Any = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # pickle and zip each raise their own
        raise UserError(
            f"the shard cannot be read: {type(error).__name__}: {str(error)[:200]}",
            where=str(path),
            why="the file is cut off or damaged, or holds more than plain tensors",
            fix="copy it again",
        ) from error
    if not isinstance(shard, dict) or not all(isinstance(tensor, Tensor) for tensor in shard.values()):
        raise UserError("the shard is no dict of tensors", where=str(path), fix="export the model again")
    return shard

"""Carry a SentencePiece BPE model over to a `tokenizers` backend that gives the same ids."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, processors
from tokenizers.models import BPE

from alpaca_lora.errors import UserError

FIX = "copy tokenizer.json of the same model into the folder"

_SPACE = "▁"
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
Piece = tuple[str, float, int]
"""Text, score, and kind: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte."""


def from_sentencepiece(path: str | Path, *, bos: bool = True) -> Tokenizer:
    """Build the backend that gives a SentencePiece BPE model's ids; with `bos`, BOS first where the model has one.

    Raises:
        UserError: for a model that the backend would encode with other ids: unigram, normalising, with user-defined
            pieces, or with merges of equal score.
    """
    path = Path(path)
    processor = open_sentencepiece(path)
    if processor is None:
        raise UserError("the file is no SentencePiece model", where=str(path), fix=FIX)
    spec = _read_proto(path.read_bytes())
    for reason in spec.obstacles():
        raise UserError(
            f"this SentencePiece model cannot be carried over exactly: {reason}",
            where=str(path),
            why="ids other than those the model was trained with would spoil every answer",
            fix=FIX,
        )
    unknown = next(piece for piece, _, kind in spec.pieces if kind == _UNKNOWN)
    model = BPE(
        vocab={piece: index for index, (piece, _, _) in enumerate(spec.pieces)},
        merges=_merges(spec.pieces),
        unk_token=unknown,
        fuse_unk=True,
        byte_fallback=any(kind == _BYTE for _, _, kind in spec.pieces),
    )
    backend = Tokenizer(model)
    specials = [piece for piece, _, kind in spec.pieces if kind in (_UNKNOWN, _CONTROL)]
    backend.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in specials])
    prefix = [normalizers.Prepend(_SPACE)] if spec.dummy_prefix else []
    strip = [decoders.Strip(" ", 1, 0)] if spec.dummy_prefix else []
    escape = normalizers.Replace(" ", _SPACE)
    unescape = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    backend.normalizer = normalizers.Sequence([*prefix, escape])
    backend.decoder = decoders.Sequence(unescape)
    first = processor.bos_id()
    if bos and first >= 0:
        token = spec.pieces[first][0]
        backend.post_processor = processors.TemplateProcessing(
            single=f"{token}:0 $A:0", pair=f"{token}:0 $A:0 {token}:1 $B:1", special_tokens=[(token, first)]
        )
    return backend


@dataclass(frozen=True)
class _Proto:
    """What of a `tokenizer.model` decides the ids: pieces as (text, score, kind), and two of its settings groups."""

    pieces: list[Piece]
    trainer: dict[int, Any]
    normalizer: dict[int, Any]

    @property
    def dummy_prefix(self) -> bool:
        return bool(self.normalizer.get(3, 1))

    def obstacles(self) -> Iterator[str]:
        tied: defaultdict[float, set[str]] = defaultdict(set)
        for piece, score, kind in self.pieces:
            if kind == _NORMAL and len(piece) > 1:
                tied[score].add(piece)
        if self.trainer.get(3, 1) != 2:
            yield "it is not a BPE model"
        if self.normalizer.get(2) or self.normalizer.get(4, 1) or not self.normalizer.get(5, 1):
            yield "it rewrites text before splitting it"
        if self.trainer.get(24):
            yield "it marks spaces at the ends of words"
        if any(kind not in (_NORMAL, _UNKNOWN, _CONTROL, _BYTE) for _, _, kind in self.pieces):
            yield "it has user-defined or unused pieces"
        # Runs of one character may share a score, as LLaMA's spaces do: longest left part first walks as greedily.
        if any(len(pieces) > 1 and len(set("".join(pieces))) > 1 for pieces in tied.values()):
            yield "pieces share a score, which leaves the order of merges to their place in the text"


def read_pieces(path: Path) -> list[Piece]:
    """Read the pieces of a model, by id; none where the file is missing or of another kind."""
    return _read_proto(path.read_bytes()).pieces if path.is_file() and open_sentencepiece(path) else []


def open_sentencepiece(path: Path) -> Any:
    """Open a model; None for a file of another kind (the `tokenizer.model` of Llama 3 is one)."""
    processor: Any = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(path.read_bytes())
    except RuntimeError:
        return None
    return processor


def _read_proto(data: bytes) -> _Proto:
    """Read a serialised ModelProto, without the protobuf package."""
    pieces: list[Piece] = []
    groups: dict[int, dict[int, Any]] = {2: {}, 3: {}}
    for number, value in _wire_fields(data):
        if number == 1:
            piece = dict(_wire_fields(value))
            pieces.append((piece[1].decode(), struct.unpack("<f", piece.get(2, bytes(4)))[0], piece.get(3, _NORMAL)))
        elif number in groups:
            groups[number].update(_wire_fields(value))
    return _Proto(pieces, groups[2], groups[3])


def _wire_fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield (field number, value) of a protobuf message: ints, or bytes for the other wire types."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        size = {1: 8, 5: 4}.get(key & 7) or varint()
        yield key >> 3, data[at : at + size]
        at += size


def _merges(pieces: list[Piece]) -> list[tuple[str, str]]:
    """List the merges, best score first: each way to put a piece together from two others."""
    scores = {piece: score for piece, score, kind in pieces if kind == _NORMAL}
    ranked = [
        (-score, -split, piece[:split], piece[split:])
        for piece, score in scores.items()
        for split in range(1, len(piece))
        if piece[:split] in scores and piece[split:] in scores
    ]
    return [(left, right) for _, _, left, right in sorted(ranked)]

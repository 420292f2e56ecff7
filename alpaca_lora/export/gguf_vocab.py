"""A tokenizer as GGUF metadata: llama.cpp's two kinds of BPE, its pre-tokenizers by name, and the special tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gguf import GGUFWriter, TokenType

from alpaca_lora.data.prompts import Prompt, end_token
from alpaca_lora.data.segments import adds_bos
from alpaca_lora.errors import UserError
from alpaca_lora.export.meta_tokenizer import LLAMA3_WORDS
from alpaca_lora.model.sentencepiece import read_pieces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_FIX = "export hf, and convert that with llama.cpp's own script"
_PRE_TOKENIZERS = {
    LLAMA3_WORDS: "llama-bpe",
    LLAMA3_WORDS.replace(r"\p{N}{1,3}", r"\p{N}"): "qwen2",
    "": "gpt-2",
}
"""llama.cpp's name for each word pattern; the empty one is that of `ByteLevel` itself."""

_NO_SCORE = -1000.0


@dataclass(frozen=True)
class Vocabulary:
    """What llama.cpp needs to encode as the tokenizer does.

    Attributes:
        model: `llama` (SentencePiece's BPE, merged by score) or `gpt2` (byte-level BPE, merged by rank).
        pre: llama.cpp's name of the pre-tokenizer.
        tokens, kinds: text and type by id, as many as the model has rows.
        scores: of SentencePiece; empty for byte-level BPE.
        merges: of byte-level BPE, left and right joined by a space; empty for SentencePiece.
    """

    model: str
    pre: str
    tokens: list[str]
    kinds: list[TokenType]
    scores: list[float]
    merges: list[str]


def read_vocabulary(tokenizer: PreTrainedTokenizerFast, folder: Path, rows: int) -> Vocabulary:
    """Read the vocabulary of a loaded tokenizer; refuse a kind that llama.cpp would encode otherwise.

    Args:
        folder: the base model's, whose `tokenizer.model` gives the scores where it is there and is the same vocabulary.
        rows: of the model's embedding; ids without a token become unused padding.
    """
    state: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    model = state["model"]
    if model["type"] != "BPE":
        raise UserError(f"llama.cpp's GGUF holds no {model['type']} vocabulary of this kind", fix=_FIX)
    texts: dict[int, str] = {index: text for text, index in model["vocab"].items()}
    added = {token["id"]: token for token in state["added_tokens"]}
    texts |= {index: token["content"] for index, token in added.items()}
    tokens = [texts.get(index, f"[PAD{index}]") for index in range(rows)]
    kinds = [_kind(index, texts, added) for index in range(rows)]
    merges = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model["merges"]]
    if not model.get("byte_fallback"):
        return Vocabulary("gpt2", _pre_tokenizer(state), tokens, kinds, [], [" ".join(merge) for merge in merges])
    pieces = read_pieces(folder / "tokenizer.model")
    if [piece for piece, _, _ in pieces] != tokens[: len(pieces)]:
        pieces = []
    given = {piece: score for piece, score, _ in pieces}
    ranked = {"".join(merge): -float(rank) for rank, merge in reversed([*enumerate(merges)])}
    scores = [given.get(token, ranked.get(token, _NO_SCORE)) for token in tokens]
    for index, (_, _, kind) in enumerate(pieces):
        kinds[index] = TokenType(kind)
    return Vocabulary("llama", "default", tokens, _with_bytes(tokens, kinds), scores, [])


def _kind(index: int, texts: dict[int, str], added: dict[int, dict[str, Any]]) -> TokenType:
    if index not in texts:
        return TokenType.UNUSED
    if index not in added:
        return TokenType.NORMAL
    return TokenType.CONTROL if added[index]["special"] else TokenType.USER_DEFINED


def _with_bytes(tokens: list[str], kinds: list[TokenType]) -> list[TokenType]:
    """Mark byte tokens and the unknown token, which a vocabulary without a SentencePiece file does not tell."""
    named = {f"<0x{byte:02X}>": TokenType.BYTE for byte in range(256)} | {"<unk>": TokenType.UNKNOWN}
    return [named.get(token, kind) for token, kind in zip(tokens, kinds, strict=True)]


def _pre_tokenizer(state: dict[str, Any]) -> str:
    """Find llama.cpp's name for how words are split."""
    whole: dict[str, Any] = state["pre_tokenizer"] or {"type": "none"}
    steps: list[dict[str, Any]] = whole["pretokenizers"] if whole["type"] == "Sequence" else [whole]
    patterns = [step["pattern"].get("Regex", "") for step in steps if step["type"] == "Split"]
    last = steps[-1]
    is_byte_level = last["type"] == "ByteLevel" and not last["add_prefix_space"]
    pattern = patterns[0] if patterns else ""
    fits = is_byte_level and len(patterns) == len(steps) - 1 <= 1 and last["use_regex"] == (not patterns)
    normalizer = (state["normalizer"] or {"type": "NFC"})["type"]
    if not fits or pattern not in _PRE_TOKENIZERS or normalizer != "NFC":
        raise UserError(
            "llama.cpp's name for this tokenizer's way to split words is not known here",
            where=f"tokenizer.json: pre_tokenizer {json.dumps(state['pre_tokenizer'])[:200]}",
            why="with another one it would encode to other ids than in training",
            fix=_FIX,
        )
    name = _PRE_TOKENIZERS[pattern]
    # The same pattern for a vocabulary in which a whole word need not win over its merges.
    return "smaug-bpe" if name == "llama-bpe" and not state["model"].get("ignore_merges") else name


def add_vocabulary(
    writer: GGUFWriter, vocabulary: Vocabulary, tokenizer: PreTrainedTokenizerFast, prompt: Prompt
) -> None:
    """Write vocabulary, special tokens and chat template."""
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
        first = tokenizer.tokenize("a", add_special_tokens=False)[0]
        writer.add_add_space_prefix(first.startswith("▁"))
    else:
        writer.add_token_merges(vocabulary.merges)
    writer.add_add_bos_token(adds_bos(tokenizer))
    writer.add_add_eos_token(False)
    ids: Iterable[tuple[int | None, Any]] = (
        (_id(tokenizer.bos_token_id), writer.add_bos_token_id),
        (_id(tokenizer.eos_token_id), writer.add_eos_token_id),
        (_id(tokenizer.unk_token_id), writer.add_unk_token_id),
        (_id(tokenizer.pad_token_id), writer.add_pad_token_id),
        (_id(tokenizer.convert_tokens_to_ids(end_token(prompt))), writer.add_eot_token_id),
    )
    for index, add in ids:
        if index is not None:
            add(index)
    writer.add_chat_template(prompt.jinja())


def _id(found: Any) -> int | None:
    return found if isinstance(found, int) else None

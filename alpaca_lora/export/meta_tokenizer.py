"""The `tokenizer.model` of Meta's format: SentencePiece's file as it is, or Llama 3's list of tokens by rank."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alpaca_lora.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
"""How Llama 3 cuts text into words; the pattern stands in Meta's code (llama3, `tokenizer.py`), not in the file."""
_PRINTABLE = (*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1))


def byte_alphabet() -> dict[str, int]:
    """Give the byte that each character of a byte-level vocabulary stands for (GPT-2's `encoder.py`).

    Printable characters of Latin-1 stand for themselves, the other 68 bytes are counted up from U+0100.
    """
    others = [byte for byte in range(256) if byte not in _PRINTABLE]
    return {chr(byte): byte for byte in _PRINTABLE} | {chr(256 + place): byte for place, byte in enumerate(others)}


def is_byte_level(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Say whether the tokenizer is byte-level BPE, as Llama 3's, rather than SentencePiece with byte tokens."""
    vocabulary = tokenizer.get_vocab()
    return "<0x00>" not in vocabulary and all(character in vocabulary for character in byte_alphabet())


def tokenizer_model(folder: Path, tokenizer: PreTrainedTokenizerFast) -> bytes:
    """Give the content of `tokenizer.model`: the base's own file, or for byte-level BPE a list made from the tokenizer.

    Llama 3's list has no special tokens: its readers number 256 names of their own after the last rank.

    Args:
        folder: the base model's.
    """
    for path in (folder / "tokenizer.model", folder / "original" / "tokenizer.model"):
        if path.is_file():
            return path.read_bytes()
    if not is_byte_level(tokenizer):
        raise UserError(
            "the base has no tokenizer.model, and its tokenizer.json cannot be turned into one",
            where=str(folder),
            why="readers of Meta's format know SentencePiece's file and Llama 3's list of byte-level tokens",
            fix=f"copy tokenizer.model from the base's original upload into {folder}",
        )
    backend: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    added = {int(token["id"]) for token in backend["added_tokens"]}
    ids: dict[str, int] = {token: index for token, index in backend["model"]["vocab"].items() if index not in added}
    _check_order(folder, backend, ids)
    alphabet = byte_alphabet()
    lines = [
        base64.b64encode(bytes(alphabet[character] for character in token)).decode("ascii") + f" {index}\n"
        for token, index in sorted(ids.items(), key=lambda item: item[1])
    ]
    return "".join(lines).encode("ascii")


def _check_order(folder: Path, backend: dict[str, Any], ids: dict[str, int]) -> None:
    """Raise `UserError` where a reader that merges the pair of lowest rank first would come to other ids."""
    model, patterns = backend["model"], _patterns(backend["pre_tokenizer"])
    made = [ids.get(left + right, -1) for left, right in model["merges"]]
    unmade = {index for token, index in ids.items() if len(token) > 1} - set(made)
    faults = {
        "its ordinary tokens are not numbered 0, 1, 2, ...": sorted(ids.values()) != list(range(len(ids))),
        "its merges are not in the order of the ids they make": made != sorted(made),
        "it has tokens that no merge makes": bool(unmade) and not model.get("ignore_merges"),
        "it has tokens outside the alphabet of bytes": not set("".join(ids)) <= set(byte_alphabet()),
        "it cuts text into words by another pattern than Llama 3's": LLAMA3_WORDS not in patterns,
    }
    found = [fault for fault, is_there in faults.items() if is_there]
    if found:
        raise UserError(
            f"the tokenizer cannot be written as Llama 3's tokenizer.model: {found[0]}",
            where=str(folder),
            why="a reader of that file would turn text into other ids than those the model was trained with",
            fix="export it with `alpaca-lora export hf`, whose format holds every tokenizer",
        )


def _patterns(pre_tokenizer: dict[str, Any] | None) -> list[str]:
    steps: list[dict[str, Any]] = (pre_tokenizer or {}).get("pretokenizers") or [pre_tokenizer or {}]
    return [step["pattern"].get("Regex", "") for step in steps if step.get("type") == "Split"]

"""Text to token ids, piece by piece: going on without a second word-start mark, not fooled by what users write."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from alpaca_lora.data.prompts import Segment
from alpaca_lora.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Ids = NDArray[np.int32]

_BATCH_TEXTS = 1000  # the backend's results weigh some 100 bytes a token until they are arrays


def adds_bos(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Say whether the tokenizer itself begins a text with BOS."""
    return tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerFast) -> str:
    """Give the SHA-256 of all that decides ids and prompts: backend, special ids, chat template."""
    backend = _state(tokenizer) | {"truncation": None, "padding": None}
    specials = [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id]
    content = json.dumps([backend, specials, tokenizer.chat_template], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


class TextEncoder:
    """Encode pieces of rows as the tokenizer encodes the row they make, without ever measuring a prefix.

    Attributes:
        bos: the token that begins every row; empty where the tokenizer begins texts with none.
        fingerprint: SHA-256 of the tokenizer, see `tokenizer_fingerprint`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.bos = str(tokenizer.bos_token) if adds_bos(tokenizer) else ""
        self.fingerprint = tokenizer_fingerprint(tokenizer)
        state = _state(tokenizer)
        self._specials = {token["content"]: token for token in state["added_tokens"] if token["special"]}
        longest_first = sorted(self._specials, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._prefix_after_special = _prefixes_every_section(state)
        continuing = _without_prefix(state)
        self._markup_start = _backend(state)
        self._markup = _backend(continuing)
        self._start = _plain_backend(state, self._specials)
        self._plain = _plain_backend(continuing, self._specials) if continuing != state else self._start

    def at_start(self, segments: Sequence[Segment]) -> list[bool]:
        """Say for each piece of a row whether it begins as a text begins (LLaMA: with the word-start mark).

        So does the first piece, the one after BOS, and, with tokenizers that prefix every section, each one after a
        special token.
        """
        starts: list[bool] = []
        is_start, is_first = True, True
        for segment in segments:
            starts.append(is_start)
            if segment.text:
                ends_special = segment.is_markup and self._ends_with_special(segment.text)
                is_bos = is_first and segment.is_markup and segment.text == self.bos
                is_start = is_bos or (ends_special and self._prefix_after_special)
                is_first = False
        return starts

    def encode(self, texts: Sequence[str], starts: Sequence[bool], is_markup: Sequence[bool]) -> list[Ids]:
        """Encode texts, each at a row's start or going on, as markup (special tokens act) or plain (they do not).

        Returns int32 (tokens) for each text, in order. BOS is never added here.
        """
        encoded: list[Ids] = [np.empty(0, np.int32)] * len(texts)
        markup: dict[tuple[str, bool], Ids] = {}
        plain: dict[bool, list[int]] = {True: [], False: []}
        for index, (text, start, marked) in enumerate(zip(texts, starts, is_markup, strict=True)):
            if not marked:
                plain[start].append(index)
                continue
            if (text, start) not in markup:
                markup[text, start] = np.array(self._encode_markup(text, start), np.int32)
            encoded[index] = markup[text, start]
        for start, indices in plain.items():
            backend = self._start if start else self._plain
            for first in range(0, len(indices), _BATCH_TEXTS):
                batch = indices[first : first + _BATCH_TEXTS]
                results = backend.encode_batch_fast([texts[index] for index in batch], add_special_tokens=False)
                for index, result in zip(batch, results, strict=True):
                    encoded[index] = np.array(result.ids, np.int32)
        return encoded

    def _encode_markup(self, text: str, start: bool) -> list[int]:
        """Leave out the prefix of the first section only: after a special token the tokenizer's own rule holds."""
        special = None if start else self._special.search(text)
        if start or special is None:
            backend = self._markup_start if start else self._markup
            return backend.encode(text, add_special_tokens=False).ids
        head = text[: special.start()]
        if self._specials[special.group()]["lstrip"]:
            head = head.rstrip()
        rest = self._markup_start if self._prefix_after_special else self._markup
        ids = self._markup.encode(head, add_special_tokens=False).ids
        return ids + rest.encode(text[special.start() :], add_special_tokens=False).ids

    def _ends_with_special(self, text: str) -> bool:
        return any(text.endswith(token) for token in self._specials)


def _state(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    return state


def _backend(state: dict[str, Any]) -> Tokenizer:
    bare = state | {"truncation": None, "padding": None, "post_processor": None}
    return Tokenizer.from_str(json.dumps(bare))


def _plain_backend(state: dict[str, Any], specials: dict[str, Any]) -> Tokenizer:
    """Make special-token text plain: neither found in the text nor put together by merges."""
    model = state["model"]
    if model.get("merges"):
        merges = [merge for merge in model["merges"] if _merged(merge) not in specials]
        model = model | {"merges": merges}
    backend = _backend(state | {"model": model})
    backend.encode_special_tokens = True
    texts = [text for text in specials if text != model.get("unk_token")]
    for text, result in zip(texts, backend.encode_batch(texts, add_special_tokens=False), strict=True):
        if specials[text]["id"] in result.ids:
            raise UserError(
                f"this tokenizer cannot tell the special token {text!r} from the same text in the data",
                why="text in the data could end an answer or open a turn",
                fix="use a base model with a BPE tokenizer, as LLaMA, Mistral, Qwen and Gemma have",
            )
    return backend


def _merged(merge: str | list[str]) -> str:
    return merge.replace(" ", "", 1) if isinstance(merge, str) else "".join(merge)


def _parts(component: dict[str, Any] | None, plural: str) -> list[dict[str, Any]]:
    """List a normalizer's or pre-tokenizer's steps, sequences opened."""
    if component is None:
        return []
    if component["type"] != "Sequence":
        return [component]
    return [part for inner in component[plural] for part in _parts(inner, plural)]


def _prefixes_every_section(state: dict[str, Any]) -> bool:
    """Say whether text after a special token gets the prefix again."""
    steps = _parts(state["normalizer"], "normalizers") + _parts(state["pre_tokenizer"], "pretokenizers")
    return any(
        step["type"] == "Prepend"
        or (step["type"] == "Metaspace" and step["prepend_scheme"] == "always")
        or (step["type"] == "ByteLevel" and step["add_prefix_space"])
        for step in steps
    )


def _without_prefix(state: dict[str, Any]) -> dict[str, Any]:
    """Drop whatever a tokenizer puts before a text, for text that goes on."""
    normalizers = _parts(state["normalizer"], "normalizers")
    pre_tokenizers = _parts(state["pre_tokenizer"], "pretokenizers")
    kept = [step for step in normalizers if step["type"] != "Prepend"]
    bare = [_bare(step) for step in pre_tokenizers]
    if kept == normalizers and bare == pre_tokenizers:
        return state
    return state | {
        "normalizer": {"type": "Sequence", "normalizers": kept} if kept else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": bare} if bare else None,
    }


def _bare(step: dict[str, Any]) -> dict[str, Any]:
    changes = {"Metaspace": {"prepend_scheme": "never"}, "ByteLevel": {"add_prefix_space": False}}
    return step | changes.get(step["type"], {})

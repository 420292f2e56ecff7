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

from alpaca_lora.data.segments import Segment, adds_bos
from alpaca_lora.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Ids = NDArray[np.int32]

_BATCH_TEXTS = 1000  # the backend's results weigh some 100 bytes a token until they are arrays


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerFast) -> str:
    """Give the SHA-256 of all that decides ids and prompts: backend, special ids, chat template."""
    return _fingerprint(tokenizer, _state(tokenizer))


class TextEncoder:
    """Encode pieces of rows as the tokenizer encodes the row they make, without ever measuring a prefix.

    Attributes:
        bos: the token that begins every row; empty where the tokenizer begins texts with none.
        fingerprint: SHA-256 of the tokenizer, see `tokenizer_fingerprint`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        state = _state(tokenizer)
        self.bos = str(tokenizer.bos_token) if adds_bos(tokenizer) else ""
        self.fingerprint = _fingerprint(tokenizer, state)
        self._specials = {token["content"]: token for token in state["added_tokens"] if token["special"]}
        longest_first = sorted(self._specials, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._prefix_after_special = _prefixes_every_section(state)
        continuing = _without_prefix(state)
        backend = tokenizer.backend_tokenizer
        self._markup = {True: _variant(backend, state), False: _variant(backend, continuing)}
        plain = _without_special_merges(backend, state, self._specials)
        self._plain = {True: _variant(plain, state), False: _variant(plain, continuing)}
        for variant in self._plain.values():
            variant.encode_special_tokens = True
            _check_plain(variant, self._specials, state["model"].get("unk_token"))

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
                after_special = segment.is_markup and segment.text.endswith(tuple(self._specials))
                after_bos = is_first and segment.is_markup and segment.text == self.bos
                is_start = after_bos or (after_special and self._prefix_after_special)
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
            backend = self._plain[start]
            for first in range(0, len(indices), _BATCH_TEXTS):
                batch = indices[first : first + _BATCH_TEXTS]
                results = backend.encode_batch_fast([texts[index] for index in batch], add_special_tokens=False)
                for index, result in zip(batch, results, strict=True):
                    encoded[index] = np.array(result.ids, np.int32)
        return encoded

    def _encode_markup(self, text: str, start: bool) -> list[int]:
        """Leave out the prefix of the first section only: after a special token the tokenizer's own rule holds."""
        special = None if start else self._special.search(text)
        if special is None:
            return self._markup[start].encode(text, add_special_tokens=False).ids
        head, rest = text[: special.start()], text[special.start() :]
        if self._specials[special.group()]["lstrip"]:
            head = head.rstrip()
        ids = self._markup[False].encode(head, add_special_tokens=False).ids
        return ids + self._markup[self._prefix_after_special].encode(rest, add_special_tokens=False).ids


# --- variants of the tokenizer's backend -------------------------------------------------------------------------


def _state(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    return state | {"truncation": None, "padding": None}  # set by whoever called the tokenizer last


def _fingerprint(tokenizer: PreTrainedTokenizerFast, state: dict[str, Any]) -> str:
    specials = [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id]
    content = json.dumps([state, specials, tokenizer.chat_template], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _variant(backend: Tokenizer, state: dict[str, Any]) -> Tokenizer:
    """Give a backend with the same model, not a copy of it, and the state's normalizer and pre-tokenizer."""
    model = {"type": "BPE", "vocab": {}, "merges": []}
    frame = Tokenizer.from_str(json.dumps(state | {"model": model, "added_tokens": [], "post_processor": None}))
    variant = Tokenizer(backend.model)
    variant.normalizer, variant.pre_tokenizer = frame.normalizer, frame.pre_tokenizer
    added = backend.get_added_tokens_decoder()
    variant.add_tokens([added[index] for index in sorted(added)])
    for index, token in added.items():
        if variant.token_to_id(token.content) != index:
            raise UserError(f"the tokenizer's added token {token.content!r} has an id apart from the others, {index}")
    return variant


def _without_special_merges(backend: Tokenizer, state: dict[str, Any], specials: dict[str, Any]) -> Tokenizer:
    """Drop merges that would put a special token together from a user's text."""
    merges: list[Any] = state["model"].get("merges") or []
    merged = (merge.replace(" ", "", 1) if isinstance(merge, str) else "".join(merge) for merge in merges)
    kept = [merge for merge, text in zip(merges, merged, strict=True) if text not in specials]
    if len(kept) == len(merges):
        return backend
    return Tokenizer.from_str(json.dumps(state | {"model": state["model"] | {"merges": kept}}))


def _check_plain(variant: Tokenizer, specials: dict[str, Any], unknown: str | None) -> None:
    texts = [text for text in specials if text != unknown]
    for text, result in zip(texts, variant.encode_batch(texts, add_special_tokens=False), strict=True):
        if specials[text]["id"] in result.ids:
            raise UserError(
                f"this tokenizer cannot tell the special token {text!r} from the same text in the data",
                why="a row's text could end an answer or open a turn",
                fix="use a base model with a BPE tokenizer, as LLaMA, Mistral, Qwen and Gemma have",
            )


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

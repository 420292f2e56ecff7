"""llama.cpp through its Python binding: a GGUF file loaded, asked over its own HTTP interface on this machine."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from alpaca_lora.errors import UserError

_SCORES_PER_QUESTION = 20_000
"""Log-probabilities asked for over an answer: the server writes each as some 100 bytes of JSON."""

_PUSH = 1e4
"""Added to a token's logit, this makes it the one that is chosen."""

_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def check_llama_cpp() -> None:
    """Refuse what needs llama.cpp before anything long is done without it."""
    if find_spec("xllamacpp") is None:
        raise UserError(
            "verifying a GGUF file needs llama.cpp's Python binding",
            fix="pip install 'alpaca-lora[gguf]', or --verify=False to write it unverified",
        )


class LlamaCpp:
    """A GGUF model, with a LoRA file on it or without, in a llama.cpp server inside this process.

    `vocabulary` is how many tokens `follow` gives scores for; `context` the tokens there is room for, 0 the model's
    own. Keys and values are float32 and flash attention is off, so that differences are the file's, not the cache's.
    """

    gives_logits = False

    def __init__(self, path: Path, vocabulary: int = 0, *, lora: Path | None = None, context: int = 0) -> None:
        check_llama_cpp()
        xllamacpp: Any = import_module("xllamacpp")
        self.name = f"llama.cpp (xllamacpp {version('xllamacpp')})"
        self._vocabulary = vocabulary
        settings = xllamacpp.CommonParams()
        settings.model.path = str(path)
        settings.n_ctx, settings.n_parallel, settings.port = context, 1, 0
        settings.warmup, settings.verbosity = False, -1
        settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        if lora is not None:
            settings.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(lora), 1.0)]
        try:
            self._server: Any = xllamacpp.Server(settings)
        except RuntimeError as error:
            raise UserError(
                f"llama.cpp cannot load the file: {error}", where=str(lora or path), fix="export it again"
            ) from error
        self._address = self._server.listening_address
        self._harmless = self.tokenize("a", plain=True)[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._server  # stops it and gives its memory back

    def tokenize(self, text: str, *, plain: bool) -> list[int]:
        """Encode a text as llama.cpp does a prompt."""
        answer = self._ask("/tokenize", content=text, add_special=True, parse_special=not plain)
        return [int(token) for token in answer["tokens"]]

    def chat_text(self, instruction: str) -> str:
        """Render one question with the file's own chat template."""
        return str(self._ask("/apply-template", messages=_messages(instruction))["prompt"])

    def chat_tokens(self, instruction: str) -> int:
        """Count the tokens of that question as a chat request would compute them."""
        return int(self._ask("/v1/chat/completions/input_tokens", messages=_messages(instruction))["input_tokens"])

    def follow(self, ids: Sequence[int], answer: Sequence[int]) -> Tensor:
        """Give log-probabilities of the likeliest tokens at each place of an answer; of all, for a small vocabulary.

        One request a place, whose own choice is pushed onto a harmless token: llama.cpp gives no probabilities where
        it chooses half a character or an end. They are those before the push, and what it computed before is kept.
        """
        count = min(self._vocabulary, max(64, _SCORES_PER_QUESTION // len(answer)))
        scores = torch.full((len(answer), self._vocabulary), torch.nan)
        for place in range(len(answer)):
            reply = self._ask(
                "/completion", prompt=[*ids, *answer[:place]], n_predict=1, temperature=0, n_probs=count,
                cache_prompt=True, logit_bias=[[self._harmless, _PUSH]],
            )  # fmt: skip
            for entry in reply["completion_probabilities"][0]["top_logprobs"]:
                logprob = entry["logprob"]
                scores[place, entry["id"]] = -torch.inf if logprob is None else logprob  # JSON has no infinity
        return scores

    def answer(self, instruction: str) -> str:
        """Answer one question through the file's chat template, greedily."""
        reply = self._ask("/v1/chat/completions", messages=_messages(instruction), temperature=0, max_tokens=64)
        return str(reply["choices"][0]["message"]["content"])

    def _ask(self, path: str, **body: Any) -> dict[str, Any]:
        request = urllib.request.Request(
            self._address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with _NO_PROXY.open(request) as reply:
                content: dict[str, Any] = json.load(reply)
        except urllib.error.HTTPError as error:
            raise UserError(f"llama.cpp refuses {path}: {error.read().decode(errors='replace')[:300]}") from error
        return content


def _messages(instruction: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": instruction}]

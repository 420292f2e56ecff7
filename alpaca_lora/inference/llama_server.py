"""llama.cpp's own C++ server in this process, with the settings that answers are served with."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from alpaca_lora.errors import UserError
from alpaca_lora.inference.llama_files import GgufFile
from alpaca_lora.inference.settings import SamplingConfig
from alpaca_lora.model.device import free_memory_gib

_LEAST_TOKENS = 256
_RANDOM_SEED = 2**32 - 1
"""llama.cpp's seeds have 32 bits, and this one stands for a random one."""


def check_installed() -> None:
    """Refuse what needs llama.cpp where it is not installed."""
    if find_spec("xllamacpp") is None:
        raise UserError("llama.cpp is not installed", fix="pip install 'alpaca-lora[gguf]'")


def start_server(model: Path, loras: Sequence[Path], slots: int, context: int) -> Any:
    """Load a model and its adapters into a server with llama.cpp's own settings, but for what is said here.

    Args:
        context: tokens that a prompt and its answer may have together.
    """
    xllamacpp: Any = import_module("xllamacpp")
    settings = xllamacpp.CommonParams()
    settings.model.path, settings.verbosity = str(model), -1
    settings.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(path), 1.0) for path in loras]
    settings.n_parallel, settings.n_ctx = slots, slots * context
    settings.n_batch = settings.n_ubatch  # between batches it looks whether it is to stop
    settings.cache_ram_mib = 0  # up to 8 GiB of old prompts, and taken for another adapter's too
    # It listens whether asked or not: on a free port, for nobody.
    settings.port, settings.api_keys, settings.ui = 0, [secrets.token_urlsafe()], False
    try:
        server = xllamacpp.Server(settings)
    except RuntimeError as error:
        where = ", ".join(map(str, [model, *loras]))
        raise UserError(f"llama.cpp cannot load the model: {error}", where=where, fix="export it again") from error
    # One that is freed before its loop has begun waits for that loop for ever.
    server.handle_completions({"prompt": [0], "n_predict": 0})
    return server


def slot_context(model: GgufFile, slots: int) -> tuple[int, list[str]]:
    """Give the tokens of one slot: the model's own, or fewer where they would take more than half of free memory."""
    free = int(free_memory_gib(torch.device("cpu")) * 2**30) - model.path.stat().st_size
    fit = max(0, free) // 2 // slots // model.cached_bytes
    if fit >= model.context:
        return model.context, []
    if fit < _LEAST_TOKENS:
        raise UserError(
            f"memory holds {fit} tokens for each of {slots} slots", fix="fewer --slots, or a smaller model or type"
        )
    return fit, [f"a prompt and its answer may have {fit} tokens, not the model's {model.context}: memory is short"]


def sampling_settings(sampling: SamplingConfig, room: int) -> dict[str, Any]:
    """Say it in llama.cpp's words. Only these samplers, in this order: it has more, some on by default."""
    return {
        "n_predict": min(sampling.max_new_tokens, room),
        "samplers": ["temperature", "top_k", "top_p"],
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "seed": sampling.seed % _RANDOM_SEED,
    }

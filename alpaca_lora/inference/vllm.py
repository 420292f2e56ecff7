"""vLLM's own server, started with the base, the adapters, and the prompt they were trained with."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alpaca_lora.data.cache import cache_folder
from alpaca_lora.data.prompts import Prompt, end_token
from alpaca_lora.errors import UserError
from alpaca_lora.inference.models import BASE, Prompts, show_notes
from alpaca_lora.inference.settings import ServeConfig
from alpaca_lora.model.lora import read_adapter_config

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM's --max-lora-rank may be."""

_UNKNOWN = {
    "use_dora": "it is a DoRA",
    "modules_to_save": "it replaces whole layers (modules_to_save)",
    "rank_pattern": "its layers have ranks of their own (rank_pattern), and would be scaled wrongly",
    "alpha_pattern": "its layers have scalings of their own (alpha_pattern)",
}
"""Settings of adapters that vLLM refuses, or does not read."""

_MERGED = "export hf merges it: serve that folder as --base_model, with the adapter's --prompt_template_name"
_NOTES = (
    "vLLM has no --queue, --max_body_kib and --default_answer_tokens, and a special token in a user's text acts as one",
    "vLLM asks for the key under /v1 only, and /invocations answers too: let a reverse proxy pass nothing else on",
)


@dataclass(frozen=True)
class VllmCommand:
    """How vLLM is started.

    Attributes:
        arguments: the program's name and what follows.
        environment: further variables; the key is here, as others on the machine can read command lines.
        tokenizer: with the chat template, to be written into `folder`, which `arguments` name.
    """

    arguments: list[str]
    environment: Mapping[str, str]
    tokenizer: PreTrainedTokenizerFast
    folder: Path


def run_vllm(config: ServeConfig) -> None:
    """Become vLLM's server: signals reach it, and its exit code is this program's."""
    if shutil.which("vllm") is None:
        raise UserError(
            "there is no program vllm here", fix="pip install vllm, on a machine with a GPU; or --engine transformers"
        )
    command = vllm_command(config)
    _write_tokenizer(command)
    show_notes(_NOTES if config.api_key else _NOTES[:1])
    print(*(f"{name}=***" for name in command.environment), shlex.join(command.arguments), flush=True)
    sys.stderr.flush()
    os.execvpe(command.arguments[0], command.arguments, {**os.environ, **command.environment})


def vllm_command(config: ServeConfig) -> VllmCommand:
    """Say how vLLM is to be started; raise `UserError` for what it cannot do."""
    if config.port == 0:
        raise UserError("vLLM does not tell which port it took", fix="name a --port")
    if config.model.device not in ("auto", "cuda"):
        raise UserError(f"vLLM is not started on {config.model.device}", fix="leave --device out")
    if config.model.quantization == "int8":
        raise UserError("vLLM quantises to 4 bits only, where it loads a model", fix="--quantization nf4, or none")
    prompts = Prompts(config.model, config.adapters)
    show_notes(prompts.notes)
    prompt = _shared_prompt(prompts)
    _check_end(prompts, prompt)
    tokenizer = copy(prompts.tokenizer)
    tokenizer.chat_template = prompt.jinja()
    key = hashlib.sha256(f"{prompts.encoder.fingerprint} {tokenizer.chat_template}".encode()).hexdigest()[:16]
    folder = cache_folder().with_name("vllm") / key
    arguments = [
        "vllm", "serve", str(prompts.place.folder.absolute()), "--served-model-name", BASE,
        "--host", config.host, "--port", str(config.port),
        "--tokenizer", str(folder), "--chat-template", str(folder / "chat_template.jinja"),
        "--dtype", config.model.dtype, "--max-num-seqs", str(config.limits.slots),
        # Answers are drawn as a request says, not as the base's authors thought best.
        "--generation-config", "vllm",
        "--override-generation-config", json.dumps({"max_new_tokens": config.max_answer_tokens}),
    ]  # fmt: skip
    if config.model.quantization == "nf4":
        arguments += ["--quantization", "bitsandbytes"]
    if config.model.trust_remote_code:
        arguments += ["--trust-remote-code"]
    arguments += _lora_arguments(prompts.folders, config.limits.slots)
    return VllmCommand(arguments, {"VLLM_API_KEY": config.api_key} if config.api_key else {}, tokenizer, folder)


def _lora_arguments(folders: Mapping[str, Path], slots: int) -> list[str]:
    if not folders:
        return []
    ranks = [_rank(name, folder) for name, folder in folders.items()]
    modules = [json.dumps({"name": name, "path": str(folder.absolute())}) for name, folder in folders.items()]
    return [
        "--enable-lora", "--max-lora-rank", str(next(rank for rank in _RANKS if rank >= max(ranks))),
        "--max-loras", str(min(len(folders), slots)), "--max-cpu-loras", str(len(folders)), "--lora-modules", *modules,
    ]  # fmt: skip


def _rank(name: str, folder: Path) -> int:
    """Give an adapter's rank; refuse one that vLLM would compute otherwise, or not at all."""
    settings = read_adapter_config(folder)
    reasons = [reason for setting, reason in _UNKNOWN.items() if settings.get(setting)]
    if settings["r"] > _RANKS[-1]:
        reasons.append(f"its rank {settings['r']} is above {_RANKS[-1]}")
    if reasons:
        raise UserError(f"vLLM cannot serve the adapter {name}: {'; '.join(reasons)}", where=str(folder), fix=_MERGED)
    return int(settings["r"])


def _shared_prompt(prompts: Prompts) -> Prompt:
    """Give the prompt of all adapters: vLLM has one chat template for every model that it serves."""
    names = list(prompts.folders) or [BASE]
    first = prompts.prompt(names[0])
    for name in names[1:]:
        if prompts.prompt(name).jinja() != first.jinja():
            raise UserError(
                f"the adapters {names[0]} and {name} were trained with different prompts",
                why="vLLM asks all models with the same one", fix="serve them apart, or with --engine transformers",
            )  # fmt: skip
    return first


def _check_end(prompts: Prompts, prompt: Prompt) -> None:
    """Refuse a prompt whose answers vLLM would not end: it knows EOS, and what the base's generation config adds."""
    file, end = prompts.place.folder / "generation_config.json", end_token(prompt)
    named: Any = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id") if file.is_file() else None
    known = [prompts.tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])]
    if prompts.tokenizer.convert_tokens_to_ids(end) not in known:
        raise UserError(
            f"vLLM would not end answers at {end}, as they were trained to end", where=str(file),
            fix="export hf and serve that folder: its generation config names the token",
        )  # fmt: skip


def _write_tokenizer(command: VllmCommand) -> None:
    """Write the tokenizer as it was trained with, mended; vLLM would read the base's own files otherwise."""
    command.tokenizer.save_pretrained(command.folder)
    file = command.folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"  # the name that transformers 4 knows as well
    if not settings.get("extra_special_tokens"):
        settings.pop("extra_special_tokens", None)
    file.write_text(json.dumps(settings, indent=1, ensure_ascii=False), encoding="utf-8")

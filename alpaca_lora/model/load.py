"""Load a base model and its tokenizer: where it is, its arithmetic, its device, its quantisation."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from alpaca_lora.config import BaseConfig, ModelConfig
from alpaca_lora.errors import UserError
from alpaca_lora.model.device import pick_device, pick_dtype
from alpaca_lora.model.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

EMBEDDED = "alpaca-tiny"
"""Name of the toy model that ships inside the package."""

_SAMPLE_BYTES, _SAMPLES_PER_FILE = 65536, 64
_SHOWN_CHARACTERS = 300


@dataclass(frozen=True)
class BasePlace:
    """Where a base model lies on this machine, and which one it is.

    Attributes:
        name: as the user gave it.
        folder: local folder with its files.
        commit: commit on the Hub, None for a local folder.
    """

    name: str
    folder: Path
    commit: str | None


def find_base(model: BaseConfig) -> BasePlace:
    """Resolve `--base_model`: the embedded model, a local folder, or a Hub id (downloaded, or taken from the cache)."""
    name = model.base_model
    if not name:
        raise UserError(
            "no base model given",
            fix=f"--base_model FOLDER, a Hub id such as huggyllama/llama-7b, or {EMBEDDED} for the embedded toy",
        )
    folder = Path(name).expanduser()
    if model.base_revision and (name == EMBEDDED or folder.is_dir()):
        raise UserError(
            f"--base_revision {model.base_revision}: {name} is no Hub id, so it has no revisions", fix="leave it out"
        )
    if name == EMBEDDED:
        return BasePlace(name, Path(str(resources.files("alpaca_lora") / "assets" / EMBEDDED)), None)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(
                f"{name} is no model folder: it has no config.json",
                fix="give --base_model the folder with config.json and *.safetensors; an adapter goes to --adapter",
            )
        return BasePlace(name, folder, None)
    if folder.is_file():
        raise UserError(f"{name} is a file", fix="give --base_model the folder with config.json and *.safetensors")
    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise UserError(f"the base model folder {name} does not exist", fix="give an existing folder or a Hub id")
    from alpaca_lora.hub import fetch_model

    folder, commit = fetch_model(name, model.base_revision)
    return BasePlace(name, folder, commit)


def load_base_tokenizer(model: BaseConfig, place: BasePlace) -> tuple[PreTrainedTokenizerFast, list[str]]:
    """Load the tokenizer of a base model; the notes say what was mended in it."""
    return load_tokenizer(place.folder, trust_remote_code=model.trust_remote_code)


def load_model_config(model: BaseConfig, place: BasePlace) -> Any:
    """Read the architecture of a base model without its weights."""
    with _readable("the model's config cannot be used", place.folder / "config.json"):
        return AutoConfig.from_pretrained(place.folder, trust_remote_code=model.trust_remote_code)


def load_base_model(model: ModelConfig, place: BasePlace) -> Any:
    """Load the weights onto the chosen device in the chosen arithmetic, frozen and in eval mode.

    Raises `UserError` for weights that are not just those of the config: transformers would fill what is missing with
    random numbers, leave out what is too much, and go on.
    """
    device = pick_device(model.device)
    dtype = pick_dtype(model.dtype, device)
    options: dict[str, Any] = {"dtype": dtype, "trust_remote_code": model.trust_remote_code}
    options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
    if model.quantization != "none":
        options |= {"quantization_config": _quantization(model.quantization, dtype), "device_map": {"": device}}
    load_model_config(model, place)
    if not sys.stderr.isatty():
        disable_progress_bar()
    with _readable("the weights cannot be loaded", place.folder):
        loaded: Any = AutoModelForCausalLM.from_pretrained(place.folder, **options)
    causal_lm, found = loaded
    _check_whole(found, place)
    if model.quantization == "none":
        causal_lm.to(device)
    elif device.type == "cpu":
        _keep_weights_unpacked(causal_lm)
    causal_lm.eval()
    return causal_lm.requires_grad_(False)


@contextmanager
def _readable(what: str, path: Path) -> Generator[None]:
    """Turn what reading a model raises into `UserError`: each file format and architecture has its own."""
    try:
        yield
    except Exception as error:
        text, fix = f"{type(error).__name__}: {error}", "give another --base_model, or download it again"
        if "trust_remote_code" in text:
            text, fix = (
                "it brings Python code of its own",
                "--trust_remote_code, if you trust its authors with your machine",
            )
        text = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + " ..."
        raise UserError(f"{what}: {text}", where=str(path), fix=fix) from error


def _check_whole(found: dict[str, Any], place: BasePlace) -> None:
    faults: dict[str, list[str]] = {
        "missing": sorted(found["missing_keys"]),
        "unknown to the model": sorted(found["unexpected_keys"]),
        "of another shape": sorted(name for name, *_ in found["mismatched_keys"]),
    }
    counts = [f"{len(names)} tensors {fault}, first {names[0]}" for fault, names in faults.items() if names]
    if counts:
        raise UserError(
            f"the weights are not those that config.json describes: {'; '.join(counts)}",
            where=str(place.folder),
            why="the model would compute with random numbers, or without a part of it",
            fix="download the model again; all of its files must be of one model",
        )


def _quantization(kind: str, dtype: torch.dtype) -> Any:
    if find_spec("bitsandbytes") is None:  # transformers would fail later and less clearly
        raise UserError(
            f"--quantization {kind} needs bitsandbytes", fix="pip install 'alpaca-lora[quant]', or --quantization none"
        )
    from transformers import BitsAndBytesConfig

    if kind == "int8":
        # It says for each layer and call that it computes in float16.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def _keep_weights_unpacked(causal_lm: Any) -> None:
    """Stop bitsandbytes from repacking 4-bit weights in place on AVX512-BF16 CPUs.

    Its repacked bytes are later read as ordinary ones by its own backward and by PEFT's merge: gradients after one
    evaluation then have a mean cosine of 0.17 to the right ones, and nothing looks wrong.
    """
    for module in causal_lm.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def base_fingerprint(place: BasePlace) -> str:
    """Give a sha256 that tells base models apart in well under a second, whatever their size.

    Covers the config, each weight file's size, its first 64 KiB (for safetensors: names, shapes and places of the
    tensors) and 63 more blocks spread evenly over it. Not a check of integrity: a single flipped value may be missed.
    """
    digest = hashlib.sha256((place.folder / "config.json").read_bytes())
    for path in sorted([*place.folder.glob("*.safetensors"), *place.folder.glob("pytorch_model*.bin")]):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for sample in range(_SAMPLES_PER_FILE):
                file.seek(size * sample // _SAMPLES_PER_FILE)
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()

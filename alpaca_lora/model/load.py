"""Load a base model and its tokenizer: where it is, its arithmetic, its device, its quantisation."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from alpaca_lora.config import ModelConfig
from alpaca_lora.errors import UserError
from alpaca_lora.model.device import pick_device, pick_dtype
from alpaca_lora.model.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

EMBEDDED = "alpaca-tiny"
"""Name of the toy model that ships inside the package."""

_SAMPLE_BYTES, _SAMPLES_PER_FILE = 65536, 64


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


def find_base(model: ModelConfig) -> BasePlace:
    """Resolve `--base_model`: the embedded model, a local folder, or a Hub id (downloaded, or taken from the cache)."""
    name = model.base_model
    if not name:
        raise UserError(
            "no base model given",
            fix=f"--base_model FOLDER, a Hub id such as huggyllama/llama-7b, or {EMBEDDED} for the embedded toy",
        )
    if name == EMBEDDED:
        return BasePlace(name, Path(str(resources.files("alpaca_lora") / "assets" / EMBEDDED)), None)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(
                f"{name} is no model folder: it has no config.json",
                fix="give --base_model the folder with config.json and *.safetensors; an adapter goes to --adapter",
            )
        return BasePlace(name, folder, None)
    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise UserError(f"the base model folder {name} does not exist", fix="give an existing folder or a Hub id")
    from alpaca_lora.hub import fetch_model

    folder, commit = fetch_model(name, model.base_revision)
    return BasePlace(name, folder, commit)


def load_base_tokenizer(model: ModelConfig, place: BasePlace) -> tuple[PreTrainedTokenizerFast, list[str]]:
    """Load the tokenizer of a base model; the notes say what was mended in it."""
    return load_tokenizer(place.folder, trust_remote_code=model.trust_remote_code)


def load_model_config(model: ModelConfig, place: BasePlace) -> Any:
    """Read the architecture of a base model without its weights."""
    try:
        return AutoConfig.from_pretrained(place.folder, trust_remote_code=model.trust_remote_code)
    except (ValueError, OSError, KeyError) as error:
        raise UserError(
            f"the model's config cannot be used: {error}", where=str(place.folder / "config.json")
        ) from error


def load_base_model(model: ModelConfig, place: BasePlace) -> Any:
    """Load the weights onto the chosen device in the chosen arithmetic, frozen and in eval mode."""
    device = pick_device(model.device)
    dtype = pick_dtype(model.dtype, device)
    options: dict[str, Any] = {"dtype": dtype, "trust_remote_code": model.trust_remote_code}
    if model.quantization != "none":
        options |= {"quantization_config": _quantization(model.quantization, dtype), "device_map": {"": device}}
    load_model_config(model, place)
    if not sys.stderr.isatty():
        disable_progress_bar()
    try:
        causal_lm: Any = AutoModelForCausalLM.from_pretrained(place.folder, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"the weights cannot be loaded: {error}", where=str(place.folder)) from error
    if model.quantization == "none":
        causal_lm.to(device)
    elif device.type == "cpu":
        _keep_weights_unpacked(causal_lm)
    causal_lm.eval()
    return causal_lm.requires_grad_(False)


def _quantization(kind: str, dtype: torch.dtype) -> Any:
    try:
        import bitsandbytes  # noqa: F401  transformers would fail later and less clearly
    except ImportError as error:
        raise UserError(
            f"--quantization {kind} needs bitsandbytes", fix="pip install 'alpaca-lora[quant]', or --quantization none"
        ) from error
    from transformers import BitsAndBytesConfig

    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def _keep_weights_unpacked(causal_lm: Any) -> None:
    """Stop bitsandbytes from repacking 4-bit weights in place on AVX512-BF16 CPUs.

    Its repacked bytes are later read as ordinary ones by its own backward and by PEFT's merge: gradients after one
    evaluation then have a mean cosine of 0.17 to the right ones, and nothing looks wrong.
    """
    from bitsandbytes.nn import Linear4bit

    for module in causal_lm.modules():
        if isinstance(module, Linear4bit):
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

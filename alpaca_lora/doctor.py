"""What this machine has: versions, devices, arithmetic, optional packages, memory, disk."""

from __future__ import annotations

import platform
import shutil
from importlib import metadata
from pathlib import Path

import torch
from huggingface_hub.constants import HF_HUB_CACHE

from alpaca_lora.config import DoctorConfig
from alpaca_lora.data.cache import cache_folder
from alpaca_lora.model.device import (
    cpu_multiplies_bf16,
    describe_device,
    free_memory_gib,
    pick_device,
    pick_dtype,
    total_memory_gib,
)
from alpaca_lora.training.runlog import versions

_EXTRAS = {
    "quant": ("bitsandbytes",),
    "ui": ("gradio",),
    "gguf": ("xllamacpp",),
    "data": ("datasets", "openTSNE", "pyarrow"),
    "eval": ("lm_eval",),
    "track": ("tensorboard", "wandb", "trackio"),
}
_GIB = 2**30


def findings(output_dir: str) -> list[tuple[str, str]]:
    """List what was found, as (name, finding) pairs."""
    device, cpu = pick_device("auto"), torch.device("cpu")
    rows = [("system", f"{platform.system()} {platform.machine()}"), *versions().items()]
    rows.append(("CUDA", f"torch built for {torch.version.cuda}" if torch.version.cuda else "torch built without"))
    for index in range(torch.cuda.device_count()):
        card = torch.device("cuda", index)
        rows.append((f"card {index}", f"{describe_device(card)}, {_memory(card)}"))
    rows += [
        ("trains on", describe_device(device)),
        ("arithmetic", f"{str(pick_dtype('auto', device)).removeprefix('torch.')} for --dtype auto"),
        ("CPU bfloat16", "in hardware" if cpu_multiplies_bf16() else "not in hardware: float32 is faster"),
        ("memory", _memory(cpu)),
    ]
    places = {"runs": Path(output_dir), "models": Path(HF_HUB_CACHE), "token caches": cache_folder()}
    for kept, folder in places.items():
        place = folder.expanduser().resolve()
        while not place.exists():
            place = place.parent
        rows.append((f"disk for {kept}", f"{shutil.disk_usage(place).free / _GIB:.1f} GiB free at {place}"))
    return rows + [(f"extra {name}", _extra(name, packages)) for name, packages in _EXTRAS.items()]


def _memory(device: torch.device) -> str:
    return f"{free_memory_gib(device):.1f} of {total_memory_gib(device):.1f} GiB free"


def _extra(name: str, packages: tuple[str, ...]) -> str:
    found = {package: _version(package) for package in packages}
    missing = [package for package, version in found.items() if not version]
    if missing:
        return f"without {', '.join(missing)}: pip install 'alpaca-lora[{name}]'"
    return ", ".join(f"{package} {version}" for package, version in found.items())


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def doctor(config: DoctorConfig) -> None:
    """Print the findings, one a line."""
    rows = findings(config.output_dir)
    width = max(len(name) for name, _ in rows)
    for name, finding in rows:
        print(f"{name:<{width}}  {finding}")

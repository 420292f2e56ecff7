"""What this machine has: versions, devices, arithmetic, optional packages, memory, disk."""

from __future__ import annotations

import platform
import shutil
from importlib import metadata, util
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from alpaca_lora.config import DoctorConfig
from alpaca_lora.data.tokens import cache_folder
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
    "gguf": ("gguf", "xllamacpp"),
    "data": ("datasets", "pyarrow"),
    "eval": ("lm_eval",),
    "track": ("tensorboard", "wandb", "trackio"),
}
_GIB = 2**30


def findings(output_dir: str) -> list[tuple[str, str]]:
    """List what was found, as (name, finding) pairs."""
    device = pick_device("auto")
    rows = [("system", f"{platform.system()} {platform.machine()}")]
    rows += [*versions().items()]
    cuda = torch.version.cuda
    rows.append(
        ("CUDA", f"torch built for {cuda}, {torch.cuda.device_count()} cards" if cuda else "torch built without")
    )
    rows.append(("trains on", describe_device(device)))
    rows.append(("arithmetic", f"{str(pick_dtype('auto', device)).removeprefix('torch.')} for --dtype auto"))
    rows.append(("CPU bfloat16", "in hardware" if cpu_multiplies_bf16() else "not in hardware: float32 is faster"))
    rows.append(("memory", f"{free_memory_gib(device):.1f} of {total_memory_gib(device):.1f} GiB free"))
    for label, folder in (("disk for runs", Path(output_dir)), ("disk for caches", cache_folder())):
        place = folder.expanduser().resolve()
        while not place.exists():
            place = place.parent
        rows.append((label, f"{shutil.disk_usage(place).free / _GIB:.1f} GiB free at {place}"))
    rows += [(f"extra {name}", _extra(name, packages)) for name, packages in _EXTRAS.items()]
    return rows


def _extra(name: str, packages: tuple[str, ...]) -> str:
    missing = [package for package in packages if util.find_spec(package) is None]
    if missing:
        return f"without {', '.join(missing)}: pip install 'alpaca-lora[{name}]'"
    return ", ".join(f"{package} {metadata.version(package)}" for package in packages)


def doctor(config: DoctorConfig) -> None:
    """Print the findings."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, finding in findings(config.output_dir):
        table.add_row(name, finding)
    Console().print(table, highlight=False)

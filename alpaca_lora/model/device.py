"""What this machine computes with: the device, the arithmetic it multiplies natively, and its memory."""

from __future__ import annotations

import os
import platform
import sys

import psutil
import torch

from alpaca_lora.errors import UserError

_GIB = 2**30
_KEEP = ((-4, 0), (-1, 2**31 - 1), (-2, 64 * 2**20))
"""mallopt(3): M_MMAP_MAX, no block mapped by itself; M_TRIM_THRESHOLD, none given back; M_TOP_PAD, grow by 64 MiB."""


def pick_device(wanted: str) -> torch.device:
    """Resolve `auto | cpu | cuda | mps`; under torchrun each process gets its own CUDA card by `LOCAL_RANK`."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        raise UserError(
            "--device cuda, but torch sees no CUDA card",
            why=f"torch {torch.__version__} was built {built}",
            fix="--device cpu, or install a CUDA build of torch and the card's driver",
        )
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise UserError("--device mps, but torch sees no Apple GPU", fix="--device cpu")
    if wanted == "cuda":
        index = int(os.environ.get("LOCAL_RANK", "0"))
        if index >= torch.cuda.device_count():
            raise UserError(
                f"process {index} of this machine has no CUDA card: torch sees {torch.cuda.device_count()}",
                fix="start as many processes as there are cards, or --device cpu",
            )
        return torch.device("cuda", index)
    return torch.device(wanted)


def pick_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """Resolve `auto | float32 | bfloat16 | float16` to what the device multiplies fastest without losing range."""
    if wanted != "auto":
        dtype: torch.dtype = getattr(torch, wanted)
        return dtype
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu":
        return torch.bfloat16 if cpu_multiplies_bf16() else torch.float32
    return torch.float32


def cpu_multiplies_bf16() -> bool:
    """Tell whether the CPU has bfloat16 multiplication in hardware (AVX512-BF16, AMX, or Arm BF16)."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16"))


def has_flash_attention(device: torch.device) -> bool:
    """Tell whether torch's flash attention runs there: on CUDA cards from Ampere on (compute capability 8)."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def half_precision(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Multiply in bfloat16 or float16 where that is the base's arithmetic; change nothing where it is wider."""
    return torch.autocast(device.type, dtype, enabled=dtype.itemsize == 2)


def total_memory_gib(device: torch.device) -> float:
    """Give the memory of the card, or of the machine for a CPU, in GiB."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory / _GIB
    return psutil.virtual_memory().total / _GIB


def free_memory_gib(device: torch.device) -> float:
    """Give the memory that is free now, in GiB."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / _GIB
    return psutil.virtual_memory().available / _GIB


def peak_memory_gib(device: torch.device) -> float:
    """Give the most memory this process has held so far: on the card, or resident on a CPU, in GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _GIB
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / _GIB
    import resource  # does not exist on Windows

    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes / _GIB


def describe_device(device: torch.device) -> str:
    """Name the device for a person: the card, or the CPU with its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads" if device.type == "cpu" else "Apple GPU"


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees; say whether that could be arranged (Linux with glibc).

    glibc gives large blocks back to the system at once, and a new tensor then costs a page fault for every 4 KiB. Kept,
    most are reused as they are: half the faults in training. The process holds at its end what it held at its peak.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    import ctypes  # for the C library only

    libc = ctypes.CDLL(None)
    return all(libc.mallopt(option, value) for option, value in _KEEP)

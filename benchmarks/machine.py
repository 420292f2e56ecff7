"""What the machine is, and how fast it multiplies right now.

    python benchmarks/machine.py --dtype bfloat16 --threads 2

prints the measured rate of square matrix multiplication in FLOP/s as one JSON line. The driver runs it before and after
each round in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from typing import Any

import torch
from processor import processor_name

SIZE = {"cpu": 2048, "cuda": 8192}
SMALLEST, LONGEST_SECONDS = 256, 2.0
REPEATS = 15


def matmul_rate(dtype: str, device: str) -> dict[str, Any]:
    """Multiply square matrices; give the median rate of several multiplications, and the best.

    Smaller ones where a multiplication would take seconds: a CPU without bfloat16 in hardware multiplies it hundreds of
    times as slowly as float32.
    """
    size = SIZE[device]
    while size > SMALLEST and _seconds(dtype, device, SMALLEST) * (size / SMALLEST) ** 3 > LONGEST_SECONDS:
        size //= 2
    left, right = (torch.randn(size, size, dtype=getattr(torch, dtype), device=device) for _ in range(2))
    out = torch.empty_like(left)
    seconds: list[float] = []
    for _ in range(REPEATS + 3):
        began = time.perf_counter()
        torch.mm(left, right, out=out)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    seconds = seconds[3:]
    return {"flops": 2 * size**3 / statistics.median(seconds), "best_flops": 2 * size**3 / min(seconds), "size": size}


def _seconds(dtype: str, device: str, size: int) -> float:
    """Time one multiplication, the second of two."""
    left, right = (torch.randn(size, size, dtype=getattr(torch, dtype), device=device) for _ in range(2))
    began = 0.0
    for _ in range(2):
        began = time.perf_counter()
        (left @ right).sum().item()
    return time.perf_counter() - began


def describe_machine(device: str) -> dict[str, Any]:
    """Name the processor, the card, and what else is running."""
    found: dict[str, Any] = {
        "cpu": processor_name(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device == "cuda":
        found |= {"card": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    return found


def main() -> None:
    """Measure and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu", choices=sorted(SIZE))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(json.dumps(matmul_rate(arguments.dtype, arguments.device)))


if __name__ == "__main__":
    main()

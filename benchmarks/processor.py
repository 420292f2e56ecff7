"""The processor's name; standard library only, so that a measurement of memory can ask for it too."""

from __future__ import annotations

import platform
from pathlib import Path


def processor_name() -> str:
    """Give the processor's name as Linux knows it, else as Python does."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()

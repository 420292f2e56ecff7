"""The JSON line that a benchmark ends with: what it begins with, and where it goes."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from machine import describe_machine


def result_head(program: str, command: str, device: str) -> dict[str, Any]:
    """Give what every result says first: benchmark, date, command, machine."""
    return {
        "benchmark": program,
        "date": time.strftime("%Y-%m-%d"),
        "command": command,
        "machine": describe_machine(device),
    }


def command_line(program: str, arguments: argparse.Namespace) -> str:
    """Give the command without this machine's paths."""
    paths = {"work", "output", "data", "tokenizer", "timeout", "adapter"}
    parts = [f"--{key} {' '.join(value) if isinstance(value, list) else value}"
             for key, value in vars(arguments).items() if key not in paths]  # fmt: skip
    return " ".join([f"python benchmarks/{program}.py", *parts])


def publish(line: dict[str, Any], output: Path | None) -> None:
    """Print the line, and write it to a file where one is given."""
    print(json.dumps(line))
    if output:
        output.write_text(json.dumps(line) + "\n", encoding="utf-8")

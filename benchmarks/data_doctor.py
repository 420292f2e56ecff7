"""Time `data check` and `data clean` of a data file, each in a process of its own, imports included.

    python benchmarks/data_doctor.py --data alpaca_data.json --rounds 3 --output FILE.json

Seconds and processor seconds are the medians of the rounds, memory is the highest peak. The cleaned file is cleaned
once more and must come out the same, and the log must give the original back, or the benchmark fails. Prints one JSON
line. The bars, for the check of the original 52,002 rows on 2 cores: at most 15 s and 400 MB.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any


def run(*words: str) -> tuple[float, float, float]:
    """Run a verb of `data`; give its seconds, processor seconds, and peak of memory in MB."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "alpaca_lora", "data", *words], stdout=sys.stderr)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        raise SystemExit(f"alpaca-lora data {' '.join(words)} failed")
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6


def summary(rounds: list[tuple[float, float, float]]) -> dict[str, float]:
    """Give the medians of the times, and the highest peak."""
    return {
        "seconds": round(median(seconds for seconds, _, _ in rounds), 2),
        "processor_seconds": round(median(processor for _, processor, _ in rounds), 2),
        "peak_mb": round(max(peak for _, _, peak in rounds)),
    }


def main() -> None:
    """Check, clean, clean again, undo, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the rows to check and to clean")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="also write the JSON line to this file")
    arguments = parser.parse_args()
    data = str(arguments.data)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="data-doctor-") as name:
        cleaned, again, original = (Path(name) / file for file in ("cleaned.json", "again.json", "original.json"))
        checks = [run("check", data, "--json", str(Path(name) / "findings.json")) for _ in range(arguments.rounds)]
        cleans = [run("clean", data, "--output", str(cleaned)) for _ in range(arguments.rounds)]
        run("clean", str(cleaned), "--output", str(again))
        run("clean", "--undo", f"{cleaned}.changes.jsonl", "--output", str(original))
        if again.read_bytes() != cleaned.read_bytes() or original.read_bytes() != arguments.data.read_bytes():
            raise SystemExit("cleaning twice is not cleaning once, or the log does not lead back")
    check, clean = summary(checks), summary(cleans)
    from result_line import publish, result_head  # imports torch, whose memory a child would begin with

    command = f"python benchmarks/data_doctor.py --data {arguments.data.name} --rounds {arguments.rounds}"
    line: dict[str, Any] = {
        **result_head("data_doctor", command, "cpu"),
        "file": arguments.data.name,
        "load_average": round(load, 2),
        "check": check,
        "clean": clean,
        "bars": {
            "check_seconds": {"at_most": 15, "found": check["seconds"]},
            "check_peak_mb": {"at_most": 400, "found": check["peak_mb"]},
        },
    }
    publish(line, arguments.output)


if __name__ == "__main__":
    main()

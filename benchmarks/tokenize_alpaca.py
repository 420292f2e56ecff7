"""Time the way from a data file to masked tokens: with an empty cache, and again from the cache.

    python benchmarks/tokenize_alpaca.py [--data FILE] [--tokenizer FILE]

Each of the two runs is a fresh process. Counted: loading the tokenizer, preparing the encoder, reading, checking,
rendering, tokenising and masking every row. Not counted: Python's start and imports. Prints one JSON line; the bars are
30 s the first time, 3 s the second, and 1.5 GB at the most. The data and tokenizer are not part of the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from processor import processor_name

from alpaca_lora.config import DataConfig
from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.prompts import load_prompt
from alpaca_lora.data.tokens import load_tokens
from alpaca_lora.model.tokenizer import load_tokenizer

SHARED = Path(__file__).parents[2] / "shared"
GIB = 2**30


def measure(data_path: str, tokenizer_folder: str) -> dict[str, Any]:
    """Do the work once, here, and say what it took: in all, of the processor's time (all threads), and by part."""
    marks, cpu = [time.perf_counter()], time.process_time()
    tokenizer, _ = load_tokenizer(tokenizer_folder)
    marks.append(time.perf_counter())
    encoder = TextEncoder(tokenizer)
    marks.append(time.perf_counter())
    data = DataConfig(data_path=data_path)
    table = load_tokens(data, load_prompt(data.prompt_template_name, tokenizer), encoder)
    marks.append(time.perf_counter())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    parts = zip(("tokenizer", "encoder", "rows"), marks, marks[1:], strict=False)
    return {
        "seconds": round(marks[-1] - marks[0], 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        **{f"{name}_seconds": round(end - start, 2) for name, start, end in parts},
        "peak_rss_gib": round(peak / GIB, 3),
        "rows": len(table),
        "tokens": table.ledger.tokens,
        "target_tokens": table.ledger.target_tokens,
    }


def measure_apart(data: Path, tokenizer_folder: Path, cache: Path) -> dict[str, Any]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--here", "--data", str(data), "--tokenizer", str(tokenizer_folder)]
    environment = {**os.environ, "ALPACA_LORA_CACHE": str(cache)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Measure twice and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "alpaca_data.json")
    parser.add_argument("--tokenizer", type=Path, default=SHARED / "tokenizer" / "llama2_tokenizer.model")
    parser.add_argument("--here", action="store_true", help="measure once in this process, with a tokenizer's folder")
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(measure(str(arguments.data), str(arguments.tokenizer))))
        return
    for path in (arguments.data, arguments.tokenizer):
        if not path.is_file():
            sys.exit(f"{path} is not here: give --data and --tokenizer")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "tokenizer"
        folder.mkdir()
        shutil.copy(arguments.tokenizer, folder / "tokenizer.model")
        first, second = (measure_apart(arguments.data, folder, Path(scratch) / "cache") for _ in range(2))
    counts = ("rows", "tokens", "target_tokens")
    line: dict[str, Any] = {"benchmark": "tokenize_alpaca", "date": time.strftime("%Y-%m-%d")}
    line |= {name: first[name] for name in counts}
    for when, result in (("first", first), ("second", second)):
        line |= {f"{when}_{name}": value for name, value in result.items() if name not in counts}
    line |= {
        "load_average": round(os.getloadavg()[0], 1),
        "cpu": f"{processor_name()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }
    line |= {name: version(name) for name in ("tokenizers", "transformers", "numpy")}
    print(json.dumps(line))


if __name__ == "__main__":
    main()

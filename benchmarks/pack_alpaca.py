"""Pack one epoch of the Stanford data: tokens computed for each real one, time on one core, memory.

    python benchmarks/pack_alpaca.py --batch_size 128 --tokens_per_pack 2048 --output FILE.json

Shared prefixes, plain packs, and padding to the longest of a random micro-batch of 8, as in 2023. Time: choosing rows,
grouping, packing and laying out every step of the epoch, one thread. Memory: all packs of the epoch held at once, for
half of the rows and for all, as Python and numpy allocate it. Prints a table and one JSON line. The bars: 0.76, 3 s,
300 MB. The data and tokenizer are not part of the repository.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
import tracemalloc
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from result_line import command_line, publish, result_head
from tokenize_alpaca import SHARED

from alpaca_lora.config import DataConfig
from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.packing import Pack, pack_rows
from alpaca_lora.data.prompts import load_prompt
from alpaca_lora.data.tokens import TokenTable, load_tokens
from alpaca_lora.model.tokenizer import load_tokenizer
from alpaca_lora.training.schedule import rows_of_step

MICRO_BATCH_2023 = 8
WAYS = {"shared_prefix": True, "plain": False}


def pack_epoch(table: TokenTable, n_rows: int, settings: argparse.Namespace, *, share_prefix: bool) -> list[Pack]:
    """Pack the steps of one epoch over the first rows."""
    packs: list[Pack] = []
    for step in range(n_rows // settings.batch_size):
        rows = rows_of_step(n_rows, settings.batch_size, settings.seed, step).tolist()
        packs += pack_rows([table[row] for row in rows], settings.tokens_per_pack, share_prefix=share_prefix)
    return packs


def measure(table: TokenTable, settings: argparse.Namespace, *, share_prefix: bool) -> dict[str, Any]:
    """Time an epoch, then count its memory."""
    seconds: list[float] = []
    for _ in range(settings.repeats):
        began = time.perf_counter()
        packs = pack_epoch(table, len(table), settings, share_prefix=share_prefix)
        seconds.append(time.perf_counter() - began)
    real = sum(int(table.lengths[rows_of_step(len(table), settings.batch_size, settings.seed, step)].sum())
               for step in range(len(table) // settings.batch_size))  # fmt: skip
    computed = sum(len(pack.input_ids) for pack in packs)
    result = {
        "computed_per_real": computed / real,
        "packs": len(packs),
        "fill": computed / len(packs) / settings.tokens_per_pack,
    }
    packs.clear()
    memory: list[float] = []
    for n_rows in (len(table) // 2, len(table)):
        tracemalloc.start()
        held = pack_epoch(table, n_rows, settings, share_prefix=share_prefix)
        memory.append(round(tracemalloc.get_traced_memory()[1] / 1e6, 1))
        tracemalloc.stop()
        held.clear()
    return {**result, "seconds": seconds, "half_epoch_mb": memory[0], "epoch_mb": memory[1]}


def padded_share(table: TokenTable, settings: argparse.Namespace) -> float:
    """Give computed per real tokens when micro-batches of 8 in random order are padded to their longest row."""
    order = np.random.default_rng(settings.seed).permutation(len(table))
    lengths = table.lengths[order[: len(table) // MICRO_BATCH_2023 * MICRO_BATCH_2023]].reshape(-1, MICRO_BATCH_2023)
    return float(lengths.max(axis=1).sum() * MICRO_BATCH_2023 / lengths.sum())


def main() -> None:
    """Read the rows, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "alpaca_data.json")
    parser.add_argument("--tokenizer", type=Path, default=SHARED / "tokenizer" / "llama2_tokenizer.model")
    for name, value in (("batch_size", 128), ("tokens_per_pack", 2048), ("cutoff", 512), ("seed", 42), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--output", type=Path, help="also write the JSON line to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(arguments.tokenizer, Path(folder) / "tokenizer.model")
        tokenizer, _ = load_tokenizer(folder)
        settings = DataConfig(data_path=str(arguments.data), cutoff_len=arguments.cutoff)
        table = load_tokens(settings, load_prompt("alpaca", tokenizer), TextEncoder(tokenizer))
    ways = {
        name: measure(table, arguments, share_prefix=name == "shared_prefix") for name in ("shared_prefix", "plain")
    }
    padded = padded_share(table, arguments)
    for name, found in ways.items():
        print(f"{name:>14}  {found['computed_per_real']:.4f} computed per real token, {found['packs']:,} packs, "
              f"{min(found['seconds']):.2f}-{max(found['seconds']):.2f} s, {found['epoch_mb']:.0f} MB")  # fmt: skip
    print(f"{'padded by 8':>14}  {padded:.4f} computed per real token")
    line = {
        **result_head("pack_alpaca", command_line("pack_alpaca", arguments), "cpu"), "rows": len(table),
        "tokens": int(table.lengths.sum()), **ways, "padded_by_8": padded,
        "numpy": version("numpy"),
    }  # fmt: skip
    publish(line, arguments.output)


if __name__ == "__main__":
    main()

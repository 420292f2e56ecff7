"""Measure what the demo's fine-tuning brings out of the embedded base: held-out exact match before and after.

    python scripts/measure_tiny.py

One line before, one line a seed. The bar: at most 5 % before, at least 80 % after, for every seed.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from make_world import SEED
from rich.console import Console
from world.questions import instruction_rows

from alpaca_lora.demo import demo_config, measure
from alpaca_lora.evaluation.exact_match import ExactMatch
from alpaca_lora.training.run import finetune


def describe(result: ExactMatch) -> str:
    """Say how many answers are right, and for which relations most are wrong."""
    relations = [relation for relation, _, _ in instruction_rows(SEED).held_out_facts]
    wrong = Counter(relation for relation, right in zip(relations, result.right, strict=True) if not right)
    asked = Counter(relations)
    worst = ", ".join(f"{name} {count} of {asked[name]}" for name, count in wrong.most_common(4))
    return f"{result.share:6.1%} of {len(relations)} right; most wrong: {worst or 'none'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--show_wrong", action="store_true", help="list wrong answers")
    arguments = parser.parse_args()
    print(f"before         {describe(measure(None))}", flush=True)
    for seed in arguments.seeds:
        with TemporaryDirectory() as folder:
            adapter = Path(folder) / "adapter"
            start = time.perf_counter()
            finetune(demo_config(str(adapter), seed), Console(quiet=True))
            seconds = time.perf_counter() - start
            result = measure(adapter)
        print(f"after, seed {seed}  {describe(result)}; fine-tuned in {seconds:.0f} s", flush=True)
        if arguments.show_wrong:
            for found, wanted in zip(result.answers, result.expected, strict=True):
                if found.strip() != wanted:
                    print(f"    {found!r} for {wanted!r}")


if __name__ == "__main__":
    main()

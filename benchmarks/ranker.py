"""Measure the ranker against people who cleaned the same rows: ROC AUC and average precision.

    python benchmarks/ranker.py [--seeds 0 1 2] [--output FILE.json]

Rows 0-2499 of the Stanford data, changed or dropped by the cleaners or not; 5 stratified folds, shuffled by each seed.
What is known of rows (words, findings, measures) is fitted to the whole file without labels; the ranker learns from
four folds and ranks the fifth. "Pooled" figures are over all five folds' scores together. Also what the bundled marks
give, which know nothing of these labels; the processor's seconds, and the memory at its peak. The bars: 0.93 and 0.65.
Prints one JSON line. The data and the labels are not part of the repository.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from result_line import publish, result_head
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold

from alpaca_lora.data.audit.catalogue import BUILTIN, choose_rules
from alpaca_lora.data.audit.check import run_rules
from alpaca_lora.data.audit.ranker import Seen, learn, see
from alpaca_lora.data.audit.rows import read_rows

SHARED = Path(__file__).parents[2] / "shared" / "data"
FOLDS = 5


def score(target: NDArray[Any], chance: NDArray[Any]) -> list[float]:
    """Give ROC AUC and average precision."""
    return [float(roc_auc_score(target, chance)), float(average_precision_score(target, chance))]


def cross_validate(seen: Seen, target: NDArray[Any], seed: int) -> dict[str, Any]:
    """Rank each fold by what the other four say; give the scores of each fold, their means, and the pooled ones."""
    pooled = np.zeros(len(target))
    folds: list[list[float]] = []
    for known, hidden in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(target, target):
        marks = {int(row): "defect" if target[row] else "fine" for row in known}
        pooled[hidden] = learn(seen, marks).defect[hidden]
        folds.append(score(target[hidden], pooled[hidden]))
    return {"seed": seed, "pooled": score(target, pooled), "mean": np.mean(folds, 0).tolist(), "folds": folds}


def main() -> None:
    """Read, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED / "alpaca_data.json")
    parser.add_argument("--labels", type=Path, default=SHARED / "human_cleaned_rows_0_2499.json")
    parser.add_argument("--seeds", nargs="+", default=["0", "1", "2"])
    parser.add_argument("--output", type=Path, help="also write the JSON line to this file")
    arguments = parser.parse_args()
    for path in (arguments.data, arguments.labels):
        if not path.is_file():
            sys.exit(f"{path} is not here: give --data and --labels")
    labels = json.loads(arguments.labels.read_text(encoding="utf-8"))
    target = np.zeros(labels["range"][1] + 1, int)
    target[[int(row) for row in labels["changed"]]] = 1
    table = read_rows(str(arguments.data))
    report = run_rules(table, choose_rules(BUILTIN))
    began = time.process_time()
    seen = see(table, report)
    marks = {row: "defect" if changed else "fine" for row, changed in enumerate(target.tolist())}
    learn(seen, marks)
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    bundled = score(target, learn(seen, None).defect[: len(target)])
    runs = [cross_validate(seen, target, seed) for seed in map(int, arguments.seeds)]
    for run in runs:
        folds = ", ".join(f"{auc:.3f}/{precision:.3f}" for auc, precision in run["folds"])
        print("seed {seed}  AUC/AP pooled {0:.4f}/{1:.4f}, mean of folds {2:.4f}/{3:.4f}".format(
            *run["pooled"], *run["mean"], seed=run["seed"]), f"({folds})")  # fmt: skip
    print(f"bundled marks alone  AUC/AP {bundled[0]:.4f}/{bundled[1]:.4f}")
    print(
        f"{len(table.views):,} rows trained and ranked in {seconds:.1f} s of the processor, {peak:.0f} MB at the peak"
    )
    command = f"python benchmarks/ranker.py --seeds {' '.join(arguments.seeds)}"
    line = {
        **result_head("ranker", command, "cpu"), "rows": len(table.views), "labelled": len(target),
        "changed": int(target.sum()), "runs": runs, "bundled": bundled, "cpu_seconds": round(seconds, 2),
        "peak_mb": round(peak), "scikit-learn": version("scikit-learn"),
    }  # fmt: skip
    publish(line, arguments.output)


if __name__ == "__main__":
    main()

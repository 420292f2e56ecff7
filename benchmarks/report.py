"""From the rounds of a comparison to one line per contender."""

from __future__ import annotations

import statistics
from typing import Any

BASELINE = "recipe_2023"
COLUMNS = (
    "contender", "examples/s", "spread", f"x {BASELINE}", "real tok/s", "computed/real", "peak GiB", "of matmul",
    "last loss",
)  # fmt: skip


def summarise(line: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Give each contender's medians over the rounds, with every round's value where rounds are compared.

    `ratios`: examples per second over the baseline's of the same round. `matmul_share`: the needed FLOPs over the time
    and over the mean of the machine's rates just before and after the round.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(result["contender"] for one in line["rounds"] for result in one["results"]):
        runs: list[dict[str, Any]] = []
        for one in line["rounds"]:
            results = {result["contender"]: result for result in one["results"]}
            if name not in results:
                continue
            result = results[name]
            speed = result["rows"] / result["seconds"]
            rate = statistics.mean(one["matmul_flops"])
            base = results.get(BASELINE)
            runs.append({
                "speed": speed,
                "ratio": speed / (base["rows"] / base["seconds"]) if base else None,
                "share": line["needed_flops"] / result["seconds"] / rate,
                "result": result,
            })  # fmt: skip
        found[name] = _medians(runs)
    return found


def _medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    last = runs[-1]["result"]
    computed = last["computed_tokens"]
    ratios = [run["ratio"] for run in runs if run["ratio"]]
    speeds = [run["speed"] for run in runs]
    speed = statistics.median(speeds)
    return {
        "examples_per_second": speed,
        "examples_per_second_by_round": speeds,
        "ratios": ratios,
        "ratio": statistics.median(ratios) if ratios else None,
        "real_tokens_per_second": speed * last["real_tokens"] / last["rows"],
        "computed_tokens_per_second": speed * computed / last["rows"] if computed else None,
        "computed_per_real": computed / last["real_tokens"] if computed else None,
        "peak_gib": max(run["result"]["peak_gib"] for run in runs),
        "matmul_share": statistics.median(run["share"] for run in runs),
        "steps": len(last["losses"]),
        "last_loss": last["losses"][-1] if last["losses"] else None,
        "notes": last["notes"],
    }


def table(line: dict[str, Any]) -> str:
    """Set the summary as a table for people."""
    cells = [list(COLUMNS)]
    for name, found in line["summary"].items():
        speeds = found["examples_per_second_by_round"]
        spread = (max(speeds) - min(speeds)) / found["examples_per_second"]
        ratios = found["ratios"]
        paired = f"{found['ratio']:.2f} ({min(ratios):.2f}-{max(ratios):.2f})" if ratios else "-"
        cells.append([
            name, f"{found['examples_per_second']:.2f}", f"{spread:.0%}", paired,
            f"{found['real_tokens_per_second']:,.0f}", _number(found["computed_per_real"], ".2f"),
            f"{found['peak_gib']:.2f}", f"{found['matmul_share']:.1%}", _number(found["last_loss"], ".4f"),
        ])  # fmt: skip
    widths = [max(len(row[column]) for row in cells) for column in range(len(COLUMNS))]
    lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in cells]
    lines += [f"{name}: not run, {reason}" for name, reason in line["not_run"].items()]
    lines += [f"{name}: {note}" for name, found in line["summary"].items() for note in found["notes"]]
    rates = [f"{rate / 1e9:,.0f}" for one in line["rounds"] for rate in one["matmul_flops"]]
    lines.append(f"machine's matmul before and after each round, GFLOP/s: {' '.join(rates)}")
    return "\n".join(lines)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


NAMES = {
    "ours": ("Alpaca-LoRA", "alpaca-lora"),
    "recipe_2023": ("the 2023 recipe on `transformers.Trainer`", "transformers"),
    "trl": ("TRL `SFTTrainer`", "trl"),
    "unsloth": ("Unsloth", "unsloth"),
    "litgpt": ("LitGPT", "litgpt"),
    "llamafactory": ("LLaMA-Factory", "llamafactory"),
}


def markdown_rows(line: dict[str, Any]) -> list[str]:
    """Give a comparison's rows for the README, fastest first: name and version, speed, ratio, tokens, memory, share.

    `tests/test_readme.py` holds the README to what the result file says.
    """
    versions = {result["contender"]: result["versions"] for one in line["rounds"] for result in one["results"]}
    rows: list[str] = []
    for name, found in sorted(line["summary"].items(), key=lambda item: -item[1]["examples_per_second"]):
        title, package = NAMES[name]
        version = versions[name].get(package, "")
        cells = [
            f"{title} {version}".rstrip() if version != "not installed" else title,
            f"{found['examples_per_second']:.2f}",
            f"{found['ratio']:.2f}",
            _number(found["computed_per_real"], ".2f"),
            f"{found['peak_gib']:.1f}",
            f"{found['matmul_share']:.0%}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows

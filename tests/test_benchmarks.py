"""What the benchmarks count, by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alpaca_lora.data.tokens import TokenRow

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
PUBLISHED = "2026-11-24-compare-135m-amd-epyc-2-cores.json"


@pytest.fixture
def _benchmarks_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("shapes", "report"):
        sys.modules.pop(name, None)


def row(ids: list[int], trained_from: int) -> TokenRow:
    return TokenRow(np.array(ids, dtype=np.int32), np.arange(len(ids)) >= trained_from, 0)


@pytest.mark.usefixtures("_benchmarks_importable")
def test_needed_work_of_a_step() -> None:
    """Two rows with a head of 3 and tails of 2 and 1: 6 tokens; pairs 1+2+3, then 4+5, then 4; 3 targets."""
    from shapes import SHAPES, needed, needed_flops

    steps = [[row([1, 2, 3, 4, 5], 3), row([1, 2, 3, 6], 3)]]
    count = needed(steps)
    assert (count.tokens, count.pairs, count.targets) == (6, 19, 3)
    shape = SHAPES["15m"]
    linear = 6 * (4 * 288 * 288 + 3 * 288 * 768)
    assert shape.linear_parameters == linear
    assert needed_flops(shape, count) == 4 * linear * 6 + 12 * 6 * 288 * 19 + 4 * 288 * 32000 * 3


@pytest.mark.usefixtures("_benchmarks_importable")
def test_ratios_are_paired_by_round() -> None:
    from report import summarise

    def result(name: str, seconds: float) -> dict[str, Any]:
        return {"contender": name, "rows": 10, "real_tokens": 100, "computed_tokens": 80, "seconds": seconds,
                "peak_gib": 1.0, "losses": [2.0, 1.0], "notes": []}  # fmt: skip

    rounds = [
        {"matmul_flops": [1e3, 3e3], "results": [result("ours", 1.0), result("recipe_2023", 3.0)]},
        {"matmul_flops": [1e3, 1e3], "results": [result("recipe_2023", 8.0), result("ours", 2.0)]},
    ]
    found = summarise({"needed_flops": 1000, "rounds": rounds})["ours"]
    assert found["ratios"] == [3.0, 4.0]
    assert found["ratio"] == 3.5
    assert found["matmul_share"] == pytest.approx(0.5)  # 1000 / 1 s / 2e3 and 1000 / 2 s / 1e3
    assert found["computed_per_real"] == pytest.approx(0.8)
    assert found["last_loss"] == 1.0


@pytest.mark.usefixtures("_benchmarks_importable")
@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md", "docs/guides/performance.md"])
def test_the_published_table_is_the_results(name: str) -> None:
    from report import markdown_rows, summarise

    root = BENCHMARKS.parent
    line = json.loads((BENCHMARKS / "results" / PUBLISHED).read_text(encoding="utf-8"))
    assert line["summary"] == summarise(line)
    text = (root / name).read_text(encoding="utf-8")
    assert "\n".join(markdown_rows(line)) in text
    assert line["command"] in text

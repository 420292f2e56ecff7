"""The original 52,002 rows, where they lie beside the repository: how many are checked, and which are wrong."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from alpaca_lora.data.audit.answers.check import check_answer
from alpaca_lora.data.audit.answers.rule import WRONG_ANSWER
from alpaca_lora.data.audit.answers.verdict import Verdict
from alpaca_lora.data.audit.rows import Table

_SHARED = Path(__file__).parents[4] / "shared" / "data"
_LABELS = Path(__file__).parent / "labels" / "wrong-answer.json"
_KNOWN_WRONG = {246, 287, 712, 7283}  # read by others before


@pytest.fixture(scope="module")
def verdicts(audit: Any) -> dict[int, Verdict]:
    return {number: verdict for number, verdict in enumerate(audit.verdicts) if verdict is not None}


def test_enough_rows_are_checked_in_many_ways(verdicts: dict[int, Verdict]) -> None:
    assert len(verdicts) >= 900
    kinds = Counter(verdict.kind for verdict in verdicts.values())
    assert {"arithmetic", "mean", "median", "unit", "sort", "alphabet", "geometry", "algebra", "count"} <= set(kinds)


def test_every_wrong_row_was_read(verdicts: dict[int, Verdict], stanford: Table) -> None:
    labels = json.loads(_LABELS.read_text(encoding="utf-8"))
    assert labels["rule"] == WRONG_ANSWER.id
    assert labels["file_sha256"] == stanford.sha256
    flagged = {number for number, verdict in verdicts.items() if not verdict.right}
    assert flagged == set(labels["read"])
    assert flagged >= _KNOWN_WRONG
    precision = 1 - len(labels["wrong"]) / len(labels["read"])
    assert precision >= 0.98
    assert WRONG_ANSWER.precision == pytest.approx(precision, abs=5e-4)
    assert WRONG_ANSWER.read == f"{len(labels['read']) - len(labels['wrong'])} of {len(labels['read'])} rows read"


def test_corrected_answers_are_right_and_right_ones_stay(verdicts: dict[int, Verdict], stanford: Table) -> None:
    for number, verdict in verdicts.items():
        row = stanford.raw[number]
        if verdict.right:
            assert verdict.corrected == row["output"]
        else:
            again = check_answer(row["instruction"], row["input"], verdict.corrected)
            assert again is not None, number
            assert again.right, number


def test_another_language_is_left_alone() -> None:
    path = _SHARED / "alpaca_zh_demo.json"
    if not path.is_file():
        pytest.skip("../shared is not here")
    chinese = json.loads(path.read_text(encoding="utf-8"))
    assert [row for row in chinese if check_answer(row["instruction"], row["input"], row["output"])] == []

"""How far the rules agree with the people who cleaned the first 2,500 rows by hand.

A row counts as flagged where a rule finds a defect or something to normalise in it, whether the row is then changed,
dropped or only marked; tags are no reason to touch a row and do not count. The people's labels name the rows of which
they changed the instruction or the input, or which they dropped or replaced; edits of outputs are left out of them. So
they cannot say whether a row was rightly flagged whose question is sound and whose answer alone is at fault, such as a
wrong sum or an output cut short: `ANSWER_ONLY` names the rules of such flaws. Two measures follow:

- judged: rows flagged by other rules, and only these count as found;
- all: every flagged row, with the answers' flaws counted as errors unless a person replaced the row anyway.

Prints both: `pytest -s -m slow tests/data/audit/test_agreement.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alpaca_lora.data.audit.report import Report
from alpaca_lora.data.audit.rules import Finding

LABELS = Path(__file__).parents[4] / "shared" / "data" / "human_cleaned_rows_0_2499.json"
ANSWER_ONLY = {
    "wrong-answer",
    "stop-cut",
    "empty-output",
    "null-output",
    "merged-instructions",
    "leaked-prompt",
    "control-characters",
    "heaped-marks",
    "stray-backslash",
}


def agreement(flagged: set[int], changed: set[int]) -> tuple[float, float]:
    """Give precision and recall of the flagged rows for those that people changed."""
    both = len(flagged & changed)
    return both / len(flagged), both / len(changed)


def test_precision_and_recall_by_hand() -> None:
    assert agreement({1, 2, 3, 4}, {2, 3, 4, 5, 6, 7}) == (0.75, 0.5)


def of_the_answer(hit: Finding) -> bool:
    """Say whether only the answer is at fault; where none is due, the question is."""
    none_is_due = hit.rule == "null-output" and hit.fix == {"action": "drop"}
    return hit.field == "output" and hit.rule in ANSWER_ONLY and not none_is_due


@pytest.mark.slow
def test_rules_agree_with_the_human_cleaners(report: Report) -> None:
    if not LABELS.is_file():
        pytest.skip("../shared is not here")
    labels = json.loads(LABELS.read_text(encoding="utf-8"))
    first, last = labels["range"]
    changed = {int(row) for row in labels["changed"]}
    found = [hit for hit in report.findings if hit.severity != "tag" and first <= hit.row <= last]
    every = {hit.row for hit in found}
    judged = {hit.row for hit in found if not of_the_answer(hit)}
    for name, rows in (("judged", judged), ("all", every)):
        precision, recall = agreement(rows, changed)
        both = len(rows & changed)
        print(f"{name}: {len(rows)} flagged, {both} of {len(changed)}: precision {precision:.3f}, recall {recall:.3f}")
    precision, recall = agreement(judged, changed)
    assert precision >= 0.94
    assert recall >= 0.4
    precision, recall = agreement(every, changed)
    assert precision >= 0.83
    assert recall >= 0.44

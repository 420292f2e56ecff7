"""What rules are said to find and how precisely, checked on the rows that were read; only row numbers are kept here."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from alpaca_lora.data.audit.catalogue import BUILTIN
from alpaca_lora.data.audit.report import Report
from alpaca_lora.data.audit.rows import Table
from alpaca_lora.data.audit.rules import Rule
from alpaca_lora.data.audit.zeros import improbable_zeros

LABELS = Path(__file__).parent / "labels"
MEASURED = [rule for rule in BUILTIN if (LABELS / f"{rule.id}.json").is_file()]
# At least as many rows as in the first pass over this file, times the share of them that was right there. That pass
# counted 165 placeholders: the 149 here and 16 that hold an address, which `unseen-page` finds.
LEAST = {
    "no-input": 675,
    "marker-in-input": 12,
    "merged-instructions": 37,
    "stop-cut": 134,
    "empty-output": 28,
    "null-output": 92,
    "unseen-page": 229,
    "placeholder-input": 149,
    "missing-media": 104,
    "fake-media": 71,
    "live-web": 117,
    "missing-input": 15,
    "pretended-action": 14,
    "refusal": 36,
    "control-characters": 10,
    "heaped-marks": 3,
    "stray-backslash": 5,
    "unchanged-edit": 12,
}
WITH_ADDRESS = {
    6323, 8330, 9160, 9688, 11319, 16472, 27979, 30268, 33454, 34581, 34701, 34720, 35317, 35612, 36606, 42725,
}  # fmt: skip


def _label(rule: Rule) -> dict[str, Any]:
    return json.loads((LABELS / f"{rule.id}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rows(report: Report) -> dict[str, set[int]]:
    found: dict[str, set[int]] = defaultdict(set)
    for finding in report.findings:
        found[finding.rule].add(finding.row)
    return found


@pytest.mark.parametrize("rule", MEASURED, ids=lambda rule: rule.id)
def test_precision_is_the_one_that_was_read(rule: Rule) -> None:
    label = _label(rule)
    assert label["rule"] == rule.id
    assert set(label["wrong"]) <= set(label["read"])
    assert rule.precision == pytest.approx(1 - len(label["wrong"]) / len(label["read"]))
    assert rule.read


def test_every_rule_that_has_a_bar_was_read() -> None:
    assert set(LEAST) <= {rule.id for rule in MEASURED}


@pytest.mark.slow
@pytest.mark.parametrize("rule", MEASURED, ids=lambda rule: rule.id)
def test_the_rows_read_are_found(rule: Rule, rows: dict[str, set[int]], stanford: Table) -> None:
    label = _label(rule)
    assert stanford.sha256 == label["file_sha256"]
    assert set(label["read"]) - rows[rule.id] == set()
    assert len(rows[rule.id]) >= LEAST.get(rule.id, 1)


@pytest.mark.slow
def test_placeholders_with_an_address_are_unseen_pages(rows: dict[str, set[int]]) -> None:
    assert rows["unseen-page"] >= WITH_ADDRESS
    assert len(rows["placeholder-input"] | WITH_ADDRESS) >= 165


@pytest.mark.slow
def test_tasks_are_recovered_and_years_mended(report: Report) -> None:
    fixes = {(finding.rule, finding.row): finding.fix for finding in report.findings if finding.fix}
    recovered = [row for (rule, _), fix in fixes.items() if rule == "merged-instructions" for row in fix["new_rows"]]
    assert len(recovered) == 44
    assert all(
        set(row) == {"instruction", "input", "output"} and row["instruction"] and row["output"] for row in recovered
    )
    years = [fix for (rule, _), fix in fixes.items() if rule == "stop-cut" and fix["action"] == "set"]
    assert len(years) >= 45
    assert all(fix["value"].endswith("20.") for fix in years)


@pytest.mark.slow
def test_the_stop_sequence_is_the_most_improbable_zero(stanford: Table) -> None:
    zeros = improbable_zeros(turn.output for view in stanford.views for turn in view.turns)
    assert [zero.text for zero in zeros] == ["20", "20.", "2020."]

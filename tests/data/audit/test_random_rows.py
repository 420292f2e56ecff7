"""Rows of the original data drawn at random and read: those without a flaw stay as they are, and none goes unsaid.

`labels/random_rows.json` holds the verdicts as row numbers, in the order that it names: the first 300 rows without a
finding but tags, and the first 200 that `data clean` changed or dropped.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from alpaca_lora.data.audit.clean import Cleaned
from alpaca_lora.data.audit.report import Report
from alpaca_lora.data.audit.rows import Table

LABELS: dict[str, Any] = json.loads((Path(__file__).parent / "labels" / "random_rows.json").read_text(encoding="utf-8"))
UNFLAGGED: dict[str, Any] = LABELS["unflagged"]
MISSED = [row for rows in UNFLAGGED["missed defect"].values() for row in rows]
SOUND = [*UNFLAGGED["fine"], *UNFLAGGED["low value"]]


def _row_texts(text: str) -> list[str]:
    """Cut a JSON array into the texts of its rows with the standard library's own decoder."""
    decode, texts, start = json.JSONDecoder().raw_decode, list[str](), text.index("{")
    while start >= 0:
        end = decode(text, start)[1]
        texts.append(text[start:end])
        start = text.find("{", end)
    return texts


def _replay(raw: list[Any], cleaned: Cleaned) -> Mapping[int, Any]:
    """Do to the old rows what the log says, one change after the other; give what is left, by number."""
    rows: dict[int, Any] = {number: dict(row) for number, row in enumerate(raw)}
    for change in cleaned.mended.changes:
        assert change.rule
        assert change.reason
        if change.action == "set":
            assert rows[change.row][change.field] == change.before
            rows[change.row][change.field] = change.after
        elif change.action == "drop":
            del rows[change.row]
        elif change.action == "recover":
            assert change.row >= len(raw)
            assert change.row not in rows
            rows[change.row] = {**change.after, "recovered_from": change.parent}
    return rows


def test_the_rows_read_are_those_drawn() -> None:
    order = random.Random(6).sample(range(52002), 52002)
    place = {row: number for number, row in enumerate(order)}
    read = [*SOUND, *MISSED]
    verdicts = [row for verdict in LABELS["changed"].values() for rows in verdict.values() for row in rows]
    assert len(set(read)) == len(read) == 300
    assert len(set(verdicts)) == len(verdicts) == 200
    assert not set(read) & set(verdicts)
    # Only a row that was flagged was passed over, and of the first 305 drawn five were.
    assert max(place[row] for row in read) == 304
    assert len(UNFLAGGED["fine"]) == 229
    assert len(MISSED) == 47


@pytest.mark.slow
def test_sound_rows_are_left_alone(report: Report, cleaned: Cleaned) -> None:
    """A row read as sound is never changed or dropped; rules that learn may mark some of the others."""
    done = {change.row: change.rule for change in cleaned.mended.changes if change.action in ("set", "drop")}
    assert {row: done[row] for row in SOUND if row in done} == {}
    flagged = {finding.row for finding in report.findings if finding.severity != "tag"}
    assert len({*SOUND, *MISSED} - flagged) >= 280


@pytest.mark.slow
@pytest.mark.parametrize(("verdict", "still"), [("right", True), ("wrong", False)])
def test_right_changes_stay_and_wrong_ones_are_gone(cleaned: Cleaned, verdict: str, still: bool) -> None:
    done = {(change.row, change.action) for change in cleaned.mended.changes}
    for rule, rows in LABELS["changed"][verdict].items():
        action = rule.rpartition(" ")[2]
        assert [row for row in rows if ((row, action) in done) != still] == [], rule


@pytest.mark.slow
def test_no_row_is_lost_or_changed_without_a_reason(stanford: Table, cleaned: Cleaned) -> None:
    """The old rows and the log give the new rows, and what the log does not name is the same byte for byte."""
    assert stanford.sha256 == LABELS["file_sha256"]
    left = _replay(stanford.raw, cleaned)
    old, new = _row_texts(cleaned.text), _row_texts(cleaned.content.decode())
    assert len(old) == len(stanford.raw) == 52002
    assert [json.loads(text) for text in new] == list(left.values())
    by_action: dict[str, set[int]] = {"set": set(), "drop": set(), "recover": set()}
    for change in cleaned.mended.changes:
        by_action.setdefault(change.action, set()).add(change.row)
    for number, text in zip(left, new, strict=True):
        assert number >= len(old) or number in by_action["set"] or text == old[number]
    assert len(new) == len(old) - len(by_action["drop"]) + len(by_action["recover"])

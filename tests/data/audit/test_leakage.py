"""Rows of a validation file among those to train on are found, dropped, and told with both row numbers."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from alpaca_lora.cli import dispatch
from alpaca_lora.errors import UserError

TRAIN = [
    {"instruction": "Name three herbs that grow in the shade.", "input": "", "output": "Mint, chervil and sorrel."},
    {"instruction": "Describe how a tide mill works.", "input": "", "output": "The water drives it as it falls."},
    {"instruction": "Sort the words of the list.", "input": "rye, oat", "output": "oat, rye"},
    {"instruction": "Name four herbs that grow in the shade.", "input": "", "output": "Mint and others."},
]
VALIDATION = [
    {"instruction": "Sort the words of the list.", "input": "spelt, rye", "output": "rye, spelt"},
    {"instruction": "Explain how tide mills work!", "input": "", "output": "A pond is filled by the flood."},
]


def _write(path: Path, rows: list[dict[str, str]]) -> str:
    path.write_text(json.dumps(rows), encoding="utf-8")
    return str(path)


def _check(tmp_path: Path, *others: str) -> list[tuple[int, str, dict[str, str]]]:
    """Check TRAIN for leaks alone; give row, reason and fix of each finding."""
    out = tmp_path / "findings.json"
    words = ["--against", *others, "--only", "leaked-row", "--json", str(out)]
    dispatch(["data", "check", _write(tmp_path / "train.json", TRAIN), *words])
    findings = json.loads(out.read_text(encoding="utf-8"))["findings"]
    assert {(finding["rule"], finding["severity"]) for finding in findings} <= {("leaked-row", "defect")}
    return [(finding["row"], finding["reason"], finding["fix"]) for finding in findings]


def test_a_question_of_the_other_file_in_other_words_is_a_leak(tmp_path: Path) -> None:
    other = _write(tmp_path / "validation.json", VALIDATION)
    ((row, reason, fix),) = _check(tmp_path, other)
    assert row == 1
    assert reason == f"asks what row 1 of {other} asks: “Explain how tide mills work!”"
    assert fix == {"action": "drop"}


def test_equal_rows_are_told_with_the_file_they_are_in(tmp_path: Path) -> None:
    first = _write(tmp_path / "first.json", VALIDATION[:1])
    second = _write(tmp_path / "second.json", [VALIDATION[0], TRAIN[2]])
    assert _check(tmp_path, first, second) == [(2, f"the same as row 1 of {second}", {"action": "drop"})]


def test_without_a_leak_nothing_is_found(tmp_path: Path) -> None:
    assert _check(tmp_path, _write(tmp_path / "validation.json", VALIDATION[:1])) == []


def test_leaks_count_as_defects(tmp_path: Path) -> None:
    other = _write(tmp_path / "validation.json", TRAIN[:3])
    with pytest.raises(UserError, match="3 rows have a defect"):
        dispatch(["data", "check", _write(tmp_path / "train.json", TRAIN), "--against", other, "--max_defects", "2"])


def test_the_command_that_is_advised_drops_the_leak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    other, own = _write(tmp_path / "validation set.json", VALIDATION), tmp_path / "own.py"
    own.write_text("RULES = []\n", encoding="utf-8")
    words = [_write(tmp_path / "train.json", TRAIN), "--against", other, "--only", "leaked-row", "no-input"]
    with pytest.raises(UserError) as caught:
        dispatch(["data", "check", *words, "--rules", str(own), "--skip", "no-input", "--max_defects", "0"])
    assert "1 row has a defect" in caught.value.what
    program, *advised = shlex.split(caught.value.fix)
    assert program == "alpaca-lora"
    dispatch(advised)
    cleaned = json.loads((tmp_path / "CLEANED.json").read_text(encoding="utf-8"))
    assert cleaned == [TRAIN[0], *TRAIN[2:]]
    dispatch(["data", "check", "CLEANED.json", "--against", other, "--only", "leaked-row", "--max_defects", "0"])


def test_a_table_is_cleaned_by_finetune_or_as_json(tmp_path: Path) -> None:
    table = tmp_path / "train.csv"
    table.write_text("instruction,output\nName a herb that grows in the shade.,\n", encoding="utf-8")
    for words, advice in (
        ([], f"alpaca-lora finetune --data_path {table} --clean, or save its rows as ROWS.json and"),
        (["--skip", "refusal"], "save its rows as ROWS.json and alpaca-lora data clean ROWS.json --skip refusal"),
    ):
        with pytest.raises(UserError) as caught:
            dispatch(["data", "check", str(table), "--max_defects", "0", *words])
        assert caught.value.fix.startswith(advice)


def test_the_rule_is_known_only_with_a_file_to_compare(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no rule is called 'leaked-row'"):
        dispatch(["data", "check", _write(tmp_path / "train.json", TRAIN), "--only", "leaked-row"])


def test_a_file_that_is_not_there_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.json"):
        dispatch(["data", "check", _write(tmp_path / "train.json", TRAIN), "--against", str(tmp_path / "absent.json")])

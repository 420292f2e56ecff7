"""`data diff`: rows are aligned by what they say; counts, fields, marks of words, and the file for programs."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from cleaning import AFTER, ROWS, clean, write_rows

from alpaca_lora.cli import dispatch
from alpaca_lora.data.audit.diff import Difference, FieldChange, RowChange, compare
from alpaca_lora.errors import UserError

A = {"instruction": "Name the river of Dresden.", "input": "", "output": "The Elbe."}
B = {"instruction": "Count the sides of a square.", "input": "", "output": "A square has five sides."}
C = {"instruction": "Give a synonym of the word.", "input": "quick", "output": "Fast."}
D = {"instruction": "Give a synonym of the word.", "input": "cold and wet", "output": "Clammy."}


def _print(old: Path, new: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    dispatch(["data", "diff", str(old), str(new), *words])
    return capsys.readouterr().out


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    old, new = tmp_path / "old.json", tmp_path / "new.jsonl"
    old.write_text(json.dumps([A, B, C]), encoding="utf-8")
    mended = {**B, "output": "A square has four sides."}
    new.write_text("\n".join(json.dumps(row) for row in (C, mended, D)), encoding="utf-8")
    return old, new


def test_a_file_does_not_differ_from_itself_in_another_order() -> None:
    rows = [A, B, C, D, A, 7, {"messages": [{"role": "user", "content": "Hi."}]}]
    other = random.Random(3).sample(rows, len(rows))
    assert compare(rows, other) == Difference(7, [], [], [])


def test_the_order_of_keys_is_no_difference() -> None:
    assert compare([A], [dict(reversed(A.items()))]) == Difference(1, [], [], [])


def test_rows_that_stand_twice_are_counted() -> None:
    assert compare([A, A, C], [A, C, C]) == Difference(2, [], [1], [2])


def test_changed_removed_and_added_rows() -> None:
    mended = {**B, "output": "A square has four sides."}
    change = FieldChange("output", B["output"], mended["output"])
    assert compare([A, B, C], [C, mended, D]) == Difference(1, [RowChange(1, 1, (change,))], [0], [2])


def test_one_question_with_other_inputs_goes_to_the_most_alike() -> None:
    new = [{**D, "input": "cold and very wet"}, {**C, "output": "Very fast."}]
    assert [(row.old, row.new) for row in compare([C, D], new).changed] == [(0, 1), (1, 0)]


def test_of_equally_alike_rows_the_nearest_is_taken() -> None:
    noise = [{"instruction": f"Say the number {n}.", "input": "", "output": str(n)} for n in range(40)]
    old = [C, *noise, {**C, "output": "Rapid."}]
    new = [{**C, "output": "Swift."}, *noise, {**C, "output": "Speedy."}]
    assert [(row.old, row.new) for row in compare(old, new).changed] == [(0, 0), (41, 41)]
    assert [(row.old, row.new) for row in compare(old, [*noise, {**C, "output": "Swift."}]).changed] == [(41, 40)]


def test_a_question_of_its_own_finds_its_row_whatever_became_of_the_rest() -> None:
    new = {**A, "input": "Saxony, in the east of Germany", "output": "It is a long one."}
    (row,) = compare([C, A], [new]).changed
    assert (row.old, [change.field for change in row.fields]) == (1, ["input", "output"])


def test_keys_that_come_and_go_are_changes() -> None:
    (row,) = compare([{**A, "id": 7}], [{**A, "source": "me"}]).changed
    assert row.fields == (FieldChange("id", "7", None), FieldChange("source", None, "me"))


def test_messages_are_compared_by_what_is_said() -> None:
    def talk(question: str, answer: str) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}

    old = [talk("Name the river of Dresden.", "The Elb."), talk("What is red?", "A rose.")]
    new = [talk("Is it late?", "No."), talk("Name the river of Dresden.", "The Elbe.")]
    change = FieldChange("messages.1.content", "The Elb.", "The Elbe.")
    assert compare(old, new) == Difference(0, [RowChange(0, 1, (change,))], [1], [0])


def test_words_are_marked_in_the_terminal(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    printed = _print(*files, capsys)
    lines = printed.splitlines()
    assert [" ".join(line.split()) for line in lines[2:6]] == [
        "same 1",
        "changed 1: output 1",
        "removed 1: rows 0",
        "added 1: rows 2",
    ]
    assert lines[7:] == [
        "row 1 -> 1",
        "  - output: A square has [-five-] sides.",
        "  + output: A square has {+four+} sides.",
    ]
    assert "row 1 -> 1" not in _print(*files, capsys, "--show", "0")


def test_what_is_far_from_a_difference_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = " ".join(f"w{n}" for n in range(200))
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps([{**A, "output": f"{long} five {long}"}]), encoding="utf-8")
    new.write_text(json.dumps([{**A, "output": f"{long} four {long}"}]), encoding="utf-8")
    line = next(line for line in _print(old, new, capsys).splitlines() if line.startswith("  - "))
    assert "w199 [-five-] w0 " in line
    assert len(line) < 130


def test_the_file_for_programs(files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "diff.json"
    _print(*files, capsys, "--json", str(out))
    record = json.loads(out.read_text(encoding="utf-8"))
    assert [(record[name]["file"], record[name]["rows"], len(record[name]["sha256"])) for name in ("old", "new")] == [
        (str(files[0]), 3, 64),
        (str(files[1]), 3, 64),
    ]
    del record["old"], record["new"]
    fields = [{"field": "output", "before": "A square has five sides.", "after": "A square has four sides."}]
    assert record == {"same": 1, "changed": [{"old": 1, "new": 1, "fields": fields}], "removed": [0], "added": [2]}


def test_half_a_character_can_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new, out = tmp_path / "old.json", tmp_path / "new.json", tmp_path / "diff.json"
    old.write_text(json.dumps([{**A, "output": "\ud83d The Elbe."}]), encoding="utf-8")
    new.write_text(json.dumps([A]), encoding="utf-8")
    assert "[-\\ud83d-] The" in _print(old, new, capsys, "--json", str(out))
    assert json.loads(out.read_text(encoding="utf-8"))["changed"][0]["fields"][0]["before"] == "\ud83d The Elbe."


def test_what_cleaning_did_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_rows(tmp_path, ROWS)
    found = compare(ROWS, json.loads(clean(file).read_text(encoding="utf-8")))
    assert [(row.old, row.new) for row in found.changed] == [(1, 1), (3, 2)]
    assert (found.same, found.removed, found.added) == (2, [2, 5], [AFTER.index(AFTER[-1])])


def test_a_file_that_is_not_there_is_a_user_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="does not exist"):
        _print(write_rows(tmp_path, ROWS), tmp_path / "none.json", capsys)
    with pytest.raises(UserError, match="at least 0"):
        _print(tmp_path / "a.json", tmp_path / "b.json", capsys, "--show", "-1")

"""How the fixes of several rules go together in one row, what is only marked, and which rules cannot be applied."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from cleaning import NEXT, RECOVERED, RIVER, ROWS, chat, clean, log_of, read_back, refused, write_rows

from alpaca_lora.cli import dispatch


def test_fixes_of_one_text_follow_each_other_and_are_logged(tmp_path: Path) -> None:
    file = write_rows(tmp_path, ROWS)
    out = clean(file)
    raw = json.dumps(ROWS[3])
    lines = [line for line in log_of(out) if line["row"] == 3]
    assert [(line["rule"], line["field"], line["action"]) for line in lines] == [
        ("no-input", "input", "set"),
        ("merged-instructions", "output", "set"),
        ("control-characters", "output", "set"),
    ]
    assert lines[1]["before"] == ROWS[3]["output"]
    assert lines[1]["after"] == lines[2]["before"] == "The Elbe is\u200b a river."
    assert lines[2]["after"] == "The Elbe is a river."
    assert {line["row_sha256"] for line in lines} == {hashlib.sha256(raw.encode()).hexdigest()}
    (recovered,) = (line for line in log_of(out) if line["action"] == "recover")
    assert (recovered["row"], recovered["parent"], recovered["before"]) == (6, 3, None)
    drops = {line["row"]: (line["rule"], line["before"]) for line in log_of(out) if line["action"] == "drop"}
    assert drops == {2: ("unseen-page", ROWS[2]), 5: ("empty-output", ROWS[5])}


def test_a_row_dropped_by_another_rule_keeps_its_recovered_task(tmp_path: Path) -> None:
    leaked = {**ROWS[0], "output": "You are asked to come up with a set of tasks." + NEXT}
    out = clean(write_rows(tmp_path, [ROWS[0], ROWS[4], leaked]))
    assert read_back(out) == [ROWS[0], ROWS[4], {**RECOVERED, "recovered_from": 2}]


def test_a_recovered_row_is_cleaned_as_well(tmp_path: Path) -> None:
    empty = NEXT.replace("The North Sea.", "<nooutput>")
    parent = {**ROWS[0], "output": "Blue." + NEXT.replace("North", "No\u200brth") + empty}
    out = clean(write_rows(tmp_path, [parent]))
    assert read_back(out) == [{**parent, "output": "Blue."}, {**RECOVERED, "recovered_from": 0}]
    assert [(line["row"], line["parent"]) for line in log_of(out) if line["action"] == "drop"] == [(2, 0)]


def test_a_row_left_without_a_question_is_dropped(tmp_path: Path) -> None:
    out = clean(write_rows(tmp_path, [ROWS[0], {"instruction": "", "input": "<noinput>", "output": "It is the Elbe."}]))
    assert read_back(out) == [ROWS[0]]


def test_marks_and_tags_stay_in_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    letter = {"instruction": "Write the end of a letter.", "input": "", "output": "Yours, [Your Name]"}
    file = write_rows(tmp_path, [ROWS[0], letter])
    own = tmp_path / "own.py"
    own.write_text(
        "from alpaca_lora.data.audit.rules import DROP, Hit, Rule\n"
        "def grey(turn):\n    if 'grey' in turn.output:\n        yield Hit('output', 'it is grey', 1.0)\n"
        "def tagged(turn):\n    yield Hit('output', 'a tag changes nothing', 1.0, DROP)\n"
        "RULES = [Rule('grey', 'defect', '', find=grey), Rule('tagged', 'tag', '', find=tagged)]\n",
        encoding="utf-8",
    )
    out = clean(file, "--rules", str(own))
    assert out.read_bytes() == file.read_bytes()
    assert {(line["row"], line["rule"], line["action"]) for line in log_of(out)} == {
        (0, "grey", "mark"),
        (0, "tagged", "mark"),
        (1, "tagged", "mark"),
        (1, "name-gap", "mark"),
    }
    assert "1 row with a defect that no rule can mend" in capsys.readouterr().out


def test_rules_are_chosen_and_unreadable_rows_go_only_with_all(tmp_path: Path) -> None:
    rows = [ROWS[1], {"instruction": "Is there an answer?"}, ROWS[5], 7]
    file = write_rows(tmp_path, rows)
    assert read_back(clean(file, "--only", "no-input")) == [{**ROWS[1], "input": ""}, *rows[1:]]
    assert read_back(clean(file, "--skip", "empty-output")) == [{**ROWS[1], "input": ""}, ROWS[5]]


def test_broken_lines_are_dropped_and_come_back(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    twice = '{"instruction": "a", "output": "b", "output": "c"}'
    file.write_text(f"{json.dumps(ROWS[0])}\n{{oops\n{json.dumps(ROWS[4])}\n{twice}", encoding="utf-8")
    out = clean(file)
    assert out.read_text(encoding="utf-8") == f"{json.dumps(ROWS[0])}\n{json.dumps(ROWS[4])}"
    assert [line["before"] for line in log_of(out)] == ["{oops", twice]
    dispatch(["data", "clean", "--undo", f"{out}.changes.jsonl", "--output", str(tmp_path / "back")])
    assert (tmp_path / "back").read_bytes() == file.read_bytes()


def test_a_row_with_half_a_character_goes_and_comes_back(tmp_path: Path) -> None:
    half = {**ROWS[0], "output": "\ud83d is blue."}
    file = write_rows(tmp_path, [ROWS[0], half])
    out = clean(file)
    assert read_back(out) == [ROWS[0]]
    assert [line["before"] for line in log_of(out)] == [half]
    dispatch(["data", "clean", "--undo", f"{out}.changes.jsonl", "--output", str(tmp_path / "back")])
    assert (tmp_path / "back").read_bytes() == file.read_bytes()


def test_the_summary_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean(write_rows(tmp_path, ROWS))
    printed = capsys.readouterr().out
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in printed.splitlines() if "│" in line]
    assert cells == [
        ["no-input", "2", "-", "-", "-"],
        ["merged-instructions", "1", "-", "1", "-"],
        ["empty-output", "-", "1", "-", "-"],
        ["unseen-page", "-", "1", "-", "-"],
        ["control-characters", "1", "-", "-", "-"],
    ]
    assert "6 in, 5 out" in printed
    assert "2 changed, 2 dropped, 1 recovered" in printed


def own_rules(tmp_path: Path, code: str) -> str:
    own = tmp_path / "own.py"
    own.write_text("from alpaca_lora.data.audit.rules import Fix, Hit, Rule\n" + code, encoding="utf-8")
    return str(own)


def test_a_row_whose_fixes_come_to_no_end_stays_as_it_was(tmp_path: Path) -> None:
    """Two rules undo each other in row 1, another never ends in what was hidden in row 3; the others are mended."""
    rules = own_rules(
        tmp_path,
        "def swap(old, new):\n    def find(turn):\n        if turn.output.endswith(old):\n"
        "            yield Hit('output', 'it ends so', 1.0, Fix('set', turn.output[:-len(old)] + new))\n"
        "    return find\n"
        "PAIRS = {'out': (' up', ' down'), 'back': (' down', ' up'), 'louder': (' Sea.', '! Sea.')}\n"
        "RULES = [Rule(name, 'defect', '', find=swap(*pair)) for name, pair in PAIRS.items()]\n",
    )
    rows = [ROWS[1], {**ROWS[0], "input": "<noinput>", "output": "It goes up"}, ROWS[5], ROWS[3]]
    out = clean(write_rows(tmp_path, rows), "--rules", rules)
    assert read_back(out) == [{**ROWS[1], "input": ""}, rows[1], ROWS[3]]
    lines = log_of(out)
    assert [(line["row"], line["rule"], line["action"]) for line in lines] == [
        (0, "no-input", "set"),
        (2, "empty-output", "drop"),
        (1, "no-input", "mark"),
        (1, "out", "mark"),
        (3, "no-input", "mark"),
        (3, "merged-instructions", "mark"),
        (3, "control-characters", "mark"),
        (3, "louder", "mark"),
    ]
    assert lines[3]["reason"].startswith("it ends so; the row stays as it was")
    assert read_back(clean(out, "--rules", rules, output="twice.json")) == read_back(out)


def test_a_row_not_in_the_file_is_not_set(tmp_path: Path) -> None:
    rules = own_rules(
        tmp_path,
        "def own(turn):\n    yield Hit('input', 'x', 1.0, Fix('set', 'y'))\n"
        "RULES = [Rule('own', 'defect', '', find=own)]\n",
    )
    file = write_rows(tmp_path, [chat("messages", RIVER, "The Elbe.")])
    message = refused(file, "--output", tmp_path / "x.json", "--rules", rules)
    assert "the rule 'own' sets 'input', which row 0 does not have" in message


def test_a_file_that_is_in_english_once_it_is_mended_is_cleaned_as_such(tmp_path: Path) -> None:
    """By hand: “is” is 1 of 6 words, all from one row; “Flüsse” counts as 6, so 1 of 11, and 1 of 2 without the row."""
    rows = [
        {"instruction": "What is 3 + 3?", "input": "", "output": "3 + 3 = 7"},
        {"instruction": "Nenne drei Flüsse Sachsens.", "input": "", "output": ""},
    ]
    out = clean(write_rows(tmp_path, rows))
    assert read_back(out) == [{**rows[0], "output": "3 + 3 = 6"}]
    assert [(line["row"], line["rule"]) for line in log_of(out)] == [(0, "wrong-answer"), (1, "empty-output")]
    assert clean(out, output="twice.json").read_bytes() == out.read_bytes()

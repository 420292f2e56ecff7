"""`data check` from the command line: what it prints, writes, refuses, and leaves out in other languages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alpaca_lora.cli import dispatch
from alpaca_lora.data.audit.catalogue import BUILTIN, choose_rules, with_own_rules
from alpaca_lora.data.audit.check import run_rules
from alpaca_lora.data.audit.language import is_english
from alpaca_lora.data.audit.rows import Table
from alpaca_lora.data.audit.rules import Rule
from alpaca_lora.errors import UserError

ROWS = [
    {
        "instruction": "Name the river that flows through the city of Dresden.",
        "input": "<noinput>",
        "output": "The Elbe.",
    },
    {
        "instruction": "Summarize the article in a sentence.",
        "input": "https://example.org/a",
        "output": "It is about a.",
    },
    {"instruction": "Is this the last row of the file?"},
    {"instruction": "Write the name of a day.", "input": "", "output": ""},
]
OWN = """
from alpaca_lora.data.audit.rules import Hit, Rule

def shouting(turn):
    if turn.output.isupper():
        yield Hit("output", f"{turn.output[:20]!r} is in capitals", 0.9)

RULES = [Rule("shouting", "tag", "the output is in capitals", find=shouting)]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS), encoding="utf-8")
    return path


def _refused(*words: str) -> str:
    with pytest.raises(UserError) as caught:
        dispatch(["data", "check", *words])
    return str(caught.value)


def test_the_table_tells_rules_rows_and_defects(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dispatch(["data", "check", str(file)])
    printed = capsys.readouterr().out
    assert "4 rows of shape alpaca" in " ".join(printed.split())  # the title breaks where the folder's name ends
    counts = {
        cells[1]: cells[3] for line in printed.splitlines() if (cells := [cell.strip() for cell in line.split("│")])[1:]
    }
    assert {
        rule: counts[rule] for rule in ("no-input", "unseen-page", "unreadable-row", "empty-output", "refusal")
    } == {
        "no-input": "1",
        "unseen-page": "1",
        "unreadable-row": "1",
        "empty-output": "1",
        "refusal": "0",
    }
    assert "defects 3 of 4 rows" in printed


def test_the_file_of_findings_has_every_field(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "findings.json"
    dispatch(["data", "check", "--data_path", str(file), "--json", str(out), "--only", "no-input", "unseen-page"])
    record = json.loads(out.read_text(encoding="utf-8"))
    assert set(record) == {"file", "sha256", "rows", "findings"}
    assert record["rows"] == 4
    assert len(record["sha256"]) == 64
    assert [(finding["row"], finding["rule"]) for finding in record["findings"]] == [
        (0, "no-input"),
        (1, "unseen-page"),
        (2, "unreadable-row"),
    ]
    assert record["findings"][0] == {
        "row": 0,
        "rule": "no-input",
        "severity": "normalise",
        "field": "input",
        "reason": "the input is only “<noinput>”",
        "confidence": 1.0,
        "fix": {"action": "set", "value": ""},
    }
    assert record["findings"][1]["fix"] == {"action": "drop"}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_findings_that_cannot_be_written_are_a_user_error(file: Path, tmp_path: Path) -> None:
    assert "cannot be written" in _refused(str(file), "--json", str(tmp_path / "no" / "such" / "folder.json"))


def test_more_defects_than_allowed_is_an_error(file: Path) -> None:
    dispatch(["data", "check", str(file), "--max_defects", "3"])
    assert "3 rows have a defect, more than --max_defects 2" in _refused(str(file), "--max_defects", "2")


def test_answers_that_can_be_computed_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sums = [
        ("What is the sum of 17 and 25?", "The sum of the two is 42."),
        ("What is the sum of 17 and 26?", "The sum of the two is 43."),
        ("What is the sum of 17 and 27?", "The sum of the two is 45."),
        ("What is the name of a herb?", "It is dill."),
    ]
    rows = [{"instruction": question, "input": "", "output": answer} for question, answer in sums]
    path = tmp_path / "sums.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    dispatch(["data", "check", str(path)])
    assert "checked 3 of 4 answers can be computed: 2 right, 1 wrong" in capsys.readouterr().out
    dispatch(["data", "check", str(path), "--skip", "wrong-answer"])
    assert "can be computed" not in capsys.readouterr().out


def test_an_unknown_rule_is_refused_with_the_nearest(file: Path) -> None:
    assert "did you mean 'no-input'?" in _refused(str(file), "--only", "no-imput")
    assert "no rule is called 'zzz'" in _refused(str(file), "--skip", "zzz")


def test_two_files_are_refused(file: Path) -> None:
    assert "two files to check" in _refused(str(file), "--data_path", "other.json")


def test_rules_are_chosen() -> None:
    rules = [Rule("a", "tag", "", find=lambda _: ()), Rule("b", "tag", "", find=lambda _: (), default=False)]
    assert [rule.id for rule in choose_rules(rules)] == ["a"]
    assert [rule.id for rule in choose_rules(rules, only=["b"])] == ["b"]
    assert choose_rules(rules, skip=["a"]) == []


def test_every_rule_has_an_id_of_its_own_and_one_function() -> None:
    assert len({rule.id for rule in BUILTIN}) == len(BUILTIN)
    assert all((rule.find is None) != (rule.find_all is None) for rule in BUILTIN)
    assert all(rule.id == rule.id.lower().replace("_", "-").replace(" ", "-") for rule in BUILTIN)


def test_a_rule_of_ones_own(tmp_path: Path, table_of: Callable[[list[Any]], Table]) -> None:
    path = tmp_path / "own.py"
    path.write_text(OWN, encoding="utf-8")
    rules = choose_rules(with_own_rules(str(path)), only=["shouting"])
    messages = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "HELLO"}]
    (finding,) = run_rules(table_of([{"messages": messages}]), rules).findings
    assert (finding.rule, finding.field, finding.reason) == ("shouting", "messages.1.content", "'HELLO' is in capitals")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1 / 0", "stops with ZeroDivisionError"),
        ("def f(:", "stops with SyntaxError"),
        ("raise SystemExit", "stops with SystemExit"),
        ("x = 1", "has no list RULES"),
        ("RULES = ['a']", "has no list RULES"),
        (OWN.replace('"shouting", "tag"', '"no-input", "tag"'), "two rules are called 'no-input'"),
        (OWN.replace('"tag"', '"grave"'), "the rule 'shouting' has the severity 'grave'"),
        (OWN.replace(", find=shouting", ""), "needs either find or find_all"),
    ],
)
def test_a_broken_rules_file_is_a_user_error(text: str, message: str, tmp_path: Path, file: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(text, encoding="utf-8")
    assert message in _refused(str(file), "--rules", str(path))


def test_a_rule_that_stops_is_named_with_its_row(tmp_path: Path, file: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(OWN.replace("turn.output.isupper()", "turn.output[0].isupper()"), encoding="utf-8")
    refused = _refused(str(file), "--rules", str(path), "--only", "shouting")
    assert "the rule 'shouting' stops with IndexError" in refused
    assert "row 3" in refused


def test_english_rules_are_off_in_other_languages(
    table_of: Callable[[list[Any]], Table], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    german = {
        "instruction": "Fasse den Text auf dieser Seite zusammen.",
        "input": "https://example.org/a",
        "output": "Er ist lang.",
    }
    chinese = {"instruction": "总结这篇文章。", "input": "<noinput>", "output": "这篇文章很长。"}
    for row in (german, chinese):
        table = table_of([row] * 20)
        assert not is_english(table.views)
        report = run_rules(table, BUILTIN)
        assert {rule.id for rule in report.off} == {rule.id for rule in BUILTIN if rule.english_only}
        assert {finding.rule for finding in report.findings} <= {"no-input", "exact-duplicate"}
    dispatch(["data", "check", table.name])
    printed = capsys.readouterr().out
    assert "off     the file is not in English" in printed
    assert "unseen-page" in printed.split("off ")[1]


def test_real_files_are_told_apart(stanford: Table, chinese: Table) -> None:
    assert is_english(stanford.views)
    assert not is_english(chinese.views)

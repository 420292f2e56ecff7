"""Rows that are the same, ask the same, or answer the same question otherwise; pairs of the real file were read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alpaca_lora.data.audit.check import run_rules
from alpaca_lora.data.audit.contradictions import CONTRADICTION
from alpaca_lora.data.audit.duplicates import EXACT_DUPLICATE, NEAR_DUPLICATE
from alpaca_lora.data.audit.report import Report
from alpaca_lora.data.audit.rows import RowView, Table, TurnView
from alpaca_lora.data.audit.rules import DROP, Rule

LABELS = Path(__file__).parent / "labels"


def _rows(*texts: tuple[str, ...]) -> list[RowView]:
    """Make rows of (instruction, output) or (instruction, input, output), from 100 on, and more that are English."""
    filled = [(text[0], text[1] if len(text) > 2 else "", text[-1]) for text in texts]
    filler = [
        (f"Say the word that is at the place {n} of the list", f"word{n}", "It is in the text.") for n in range(9)
    ]
    return [RowView(100 + number, (TurnView(*text, places={}),), "") for number, text in enumerate([*filled, *filler])]


def _found(rule: Rule, rows: list[RowView]) -> list[tuple[int, str]]:
    assert rule.find_all
    return [(rows[place].row, hit.reason) for place, _, hit in rule.find_all(rows)]


def _same(one: str, other: str) -> bool:
    return bool(_found(NEAR_DUPLICATE, _rows((one, "a"), (other, "b"))))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Explain how a tide mill works.", "Describe how tide mills work"),
        ("Name three uses of beeswax.", "List 3 applications of beeswax."),
        ("What is a tide table?", "Define the term 'tide table'."),
        ("Describe the difference between rye and oats.", "What are the differences between oats and rye?"),
        ("Write a poem about a harbour.", "Please compose a poem about a harbour!"),
        ("Name a river in the US.", "Give me an example of a river in the United States."),
    ],
)
def test_other_words_for_the_same_question_are_found(one: str, other: str) -> None:
    assert _same(one, other)
    assert _same(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Name three uses of beeswax.", "Name four uses of beeswax."),
        ("Name one use of beeswax.", "List uses of beeswax."),
        ("Name three rivers in Chad.", "Name three rivers in Mali."),
        ("Convert 5 kelvin to rankine.", "Convert 5 rankine to kelvin."),
        ("Which herbs are safe for goats?", "Which herbs are not safe for goats?"),
        ("Explain what a tide mill is.", "Write a sentence with a tide mill."),
        ("Put in order: “goats eat herbs”.", "Put in order: “herbs eat goats”."),
        ("Use “tide mills can grind” well.", "Use “can tide mills grind” well."),
        ("Compute 7 + 4", "Compute 7 * 4"),
        ("Compute 7 - 4", "Compute 4 - 7"),
        ("Explain tide mills.", "Explain tide mills and give a history of them."),
        ("Use the word “would” in a sentence.", "Use the word “could” in a sentence."),
    ],
)
def test_another_number_quote_sign_or_sort_of_answer_is_another_question(one: str, other: str) -> None:
    assert not _same(one, other)


def test_the_input_must_agree_and_the_earliest_row_is_named() -> None:
    rows = _rows(
        ("Sort these words.", "oat, rye", "a"),
        ("Please sort these words", "rye, oat", "b"),
        ("Sort the following words!", "Oat,  rye.", "c"),
        ("Sort these words", "oat, rye", "d"),
    )
    assert _found(NEAR_DUPLICATE, rows) == [
        (102, "asks what row 100 asks: “Sort these words.”"),
        (103, "asks what row 100 asks: “Sort these words.”"),
    ]


def test_only_the_first_of_equal_rows_is_kept() -> None:
    rows = _rows(("Name a herb.", "Dill."), ("Name a herb.", "Mint."), ("Name a herb.", "Dill."))
    assert _found(EXACT_DUPLICATE, rows) == [(102, "the same as row 100, letter by letter")]
    assert EXACT_DUPLICATE.find_all
    assert [hit.fix for *_, hit in EXACT_DUPLICATE.find_all(rows)] == [DROP]
    assert [row for row, _ in _found(NEAR_DUPLICATE, rows)] == [101]


def test_rows_of_several_turns_are_compared_whole() -> None:
    def row(number: int, *questions: str) -> RowView:
        return RowView(number, tuple(TurnView(question, "", "Yes.", {}) for question in questions), "")

    rows = [row(0, "Hello", "Who are you?"), row(1, "Hello", "How are you?"), row(2, "hello!", "who are you")]
    assert [found for found, _ in _found(NEAR_DUPLICATE, rows)] == [2]


def test_other_languages_are_compared_word_by_word() -> None:
    texts = ("列出三种水果。", "列出三种水果", "列出四种水果。")
    rows = [RowView(number, (TurnView(text, "", "苹果", {}),), "") for number, text in enumerate(texts)]
    assert [row for row, _ in _found(NEAR_DUPLICATE, rows)] == [1]


@pytest.mark.parametrize(
    ("question", "answer", "other"),
    [
        ("Is rye a grass?", "Yes, it is.", "No."),
        ("How many legs has an ant?", "An ant has six: 6 legs.", "8 legs"),
        ("What is the capital of Chad?", "N'Djamena.", "Bamako"),
        ("True or false: rye is a grass.", "True", "False."),
    ],
)
def test_answers_that_exclude_each_other_are_told(question: str, answer: str, other: str) -> None:
    ((row, reason),) = _found(CONTRADICTION, _rows((question, answer), (question.lower() + " ", other)))
    assert row == 101
    assert "row 100 asks the same" in reason


@pytest.mark.parametrize(
    ("question", "answer", "other"),
    [
        ("Is rye a grass?", "Yes, it is.", "Yes."),
        ("What is the capital of Chad?", "The city of N'Djamena", "N'Djamena"),
        ("How far is the lake?", "5 miles", "8 kilometres"),
        ("How far is the lake?", "It is 5,000 metres.", "5000 metres"),
        ("Name a herb.", "Dill", "Mint"),
        ("What is a synonym of glad?", "Happy", "Merry"),
        ("Describe the lake.", "It is blue and deep and cold.", "It is green and shallow and warm."),
    ],
)
def test_answers_that_may_both_be_right_are_left(question: str, answer: str, other: str) -> None:
    assert _found(CONTRADICTION, _rows((question, answer), (question, other))) == []


@pytest.mark.slow
def test_the_pairs_read_are_those_that_are_found(report: Report) -> None:
    label: dict[str, Any] = json.loads((LABELS / "near-duplicate.json").read_text(encoding="utf-8"))
    found: list[list[int]] = []
    for finding in report.findings:
        if finding.rule == NEAR_DUPLICATE.id:
            earlier = re.search(r"what row (\d+) asks", finding.reason)
            assert earlier
            found.append([int(earlier[1]), finding.row])
    assert found == label["pairs"]
    assert sorted(row for _, row in found) == label["read"]
    assert len(found) >= 200
    assert len(label["wrong"]) <= 0.1 * len(found)


def test_the_original_rows_are_all_different(stanford: Table, chinese: Table) -> None:
    assert _found(EXACT_DUPLICATE, stanford.views) == []
    assert len(_found(EXACT_DUPLICATE, chinese.views)) == 8


def test_a_duplicate_is_dropped_and_a_question_asked_twice_is_not(table_of: Callable[[list[Any]], Table]) -> None:
    rows = [{"instruction": "Name a herb.", "input": "", "output": output} for output in ("Dill", "Mint", "Dill")]
    report = run_rules(table_of(rows), [EXACT_DUPLICATE, NEAR_DUPLICATE])
    assert {finding.row for finding in report.findings if finding.fix} == {2}

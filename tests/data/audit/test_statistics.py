"""Lengths, empty texts and scripts as counted by hand; answers in a script that nothing called for."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from alpaca_lora.data.audit.rows import RowView, Table, TurnView
from alpaca_lora.data.audit.scripts import UNASKED_SCRIPT, letters_by_script
from alpaca_lora.data.audit.statistics import measure, print_statistics

LABELS = Path(__file__).parent / "labels" / "chinese"


def _row(*texts: tuple[str, str, str]) -> RowView:
    return RowView(0, tuple(TurnView(*text, places={}) for text in texts), "")


ROWS = [
    _row(("one two", "", "three")),
    _row(("four", "x" * 101, "Ответ: да"), ("five", " ", "12")),
    _row(("列出", "", "苹果和pear")),
]


def test_letters_are_counted_by_script() -> None:
    assert letters_by_script("ab, c1 – é") == {"Latin": 4}
    assert letters_by_script("abc 12!") == {"Latin": 3}
    assert letters_by_script("猫はαβג Ж한") == {
        "Han": 1,
        "Kana": 1,
        "Greek": 2,
        "Hebrew": 1,
        "Cyrillic": 1,
        "Hangul": 1,
    }
    assert letters_by_script("1 + 2 = 😀") == {}


def test_lengths_words_and_empty_texts_are_those_counted_by_hand() -> None:
    found = measure(ROWS)
    instruction, given, output = (found.lengths[field] for field in ("instruction", "input", "output"))
    assert (instruction.median, instruction.longest, instruction.characters) == (4, 7, 17)  # of 2, 4, 4 and 7
    assert (instruction.words, instruction.empty) == (2 + 1 + 1 + 2, 0)
    assert (given.median, given.p95, given.longest, given.empty) == (101, 101, 101, 3)
    assert (output.words, output.empty) == (1 + 2 + 1 + 3, 0)


def test_scripts_are_those_counted_by_hand() -> None:
    found = measure(ROWS)
    assert found.letters == {"Latin": 6 + 4 + 4 + 101 + 5 + 4, "Cyrillic": 7, "Han": 2 + 3}
    assert found.answers == {"Latin": 2, "Cyrillic": 1, "no letters": 1}


def test_all_is_printed() -> None:
    console = Console(width=100, record=True, file=StringIO())
    print_statistics(measure(ROWS), console)
    printed = console.export_text()
    assert "answers Latin 2 (50.00 %), Cyrillic 1 (25.00 %), no letters 1 (25.00 %) of the answers" in printed
    assert [word for line in printed.splitlines() if "input" in line for word in line.split() if word.isdigit()] == [
        "101",
        "101",
        "101",
        "101",
        "1",
        "3",
    ]


def test_a_file_without_text_has_zeros() -> None:
    found = measure([_row(("", "", ""))])
    assert (found.lengths["output"].median, found.lengths["output"].empty) == (0, 1)


def _unasked(instruction: str, output: str, given: str = "") -> bool:
    assert UNASKED_SCRIPT.find
    return bool(list(UNASKED_SCRIPT.find(TurnView(instruction, given, output, {}))))


@pytest.mark.parametrize(
    ("instruction", "output"),
    [
        ("列出四种水果。", "Here are four fruits: apples, pears and plums."),
        ("Name four fruits that grow in the north.", "Вот четыре плода: яблоко, груша, слива, вишня."),
    ],
)
def test_another_script_that_nothing_asks_for_is_found(instruction: str, output: str) -> None:
    assert _unasked(instruction, output)


@pytest.mark.parametrize(
    ("instruction", "output", "given"),
    [
        ("把这句话翻译成英文：水果很甜。", "The fruit is sweet and ripe in the summer.", ""),
        ("Say in Russian that the fruit is sweet.", "Летом эти плоды очень сладкие и спелые.", ""),
        ("改正这个句子。", "The fruit is sweet and ripe in the summer.", "the fruit are sweet"),
        ("解释单词fruit。", "A fruit is what grows from a flower of a plant.", ""),
        ("列出四种水果。", "苹果、梨、李子、樱桃（apples, pears, plums and cherries）", ""),
        ("写一个循环。", "for fruit in fruits: print(fruit) # { prints each of them }", ""),
        ("列出四种水果。", "OK.", ""),
        ("ねこのなまえをあげてください。", "三毛猫、黒猫、白猫、虎猫、野良猫、家猫、子猫、親猫、山猫、海猫、飼猫", ""),
    ],
)
def test_a_script_that_was_asked_for_given_or_mixed_in_is_left(instruction: str, output: str, given: str) -> None:
    assert not _unasked(instruction, output, given)


def test_the_rows_read_of_the_chinese_file_are_those_that_are_found(chinese: Table) -> None:
    label = json.loads((LABELS / "unasked-script.json").read_text(encoding="utf-8"))
    assert label["file_sha256"] == chinese.sha256
    assert UNASKED_SCRIPT.find
    found = [row.row for row in chinese.views if any(list(UNASKED_SCRIPT.find(turn)) for turn in row.turns)]
    assert found == label["read"]
    assert UNASKED_SCRIPT.precision == 1 - len(label["wrong"]) / len(label["read"])


def test_the_real_file_is_measured(stanford: Table) -> None:
    found = measure(stanford.views)
    assert found.lengths["output"].empty == 28
    assert found.answers["Latin"] > 50_000

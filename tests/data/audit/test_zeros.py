"""What a stop sequence took away is found without knowing it, and nothing is found where nothing was cut."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import log
from typing import Any

import pytest

from alpaca_lora.data.audit.rows import Table
from alpaca_lora.data.audit.rules import Hit
from alpaca_lora.data.audit.stop_cuts import STOP_CUT
from alpaca_lora.data.audit.zeros import improbable_zeros, list_length


def _corpus(rows: int = 12000) -> list[str]:
    """Sentences that end in numbers or go on after them, and lists of 3 to 40 items, most of them of a round number."""
    draw = random.Random(1)
    texts = []
    for _ in range(rows):
        number = draw.randint(10, 49)
        texts.append(f"There are {number}{draw.choice(('.', ' of them.', ', or so.', ' at most.'))}")
    for _ in range(rows // 40):
        length = draw.choice((5, 10, 25, 30, 40, draw.randint(3, 40)))
        texts.append("\n".join(f"{item}. thing" for item in range(1, length + 1)))
    return texts


def _cut(texts: list[str], stop: str) -> list[str]:
    return [text.split(stop)[0] for text in texts]


def test_an_uncut_corpus_has_no_improbable_zero() -> None:
    assert improbable_zeros(_corpus()) == []


@pytest.mark.parametrize("stop", ["23.", "28.", "17."])
def test_the_cut_string_is_found_first(stop: str) -> None:
    zeros = improbable_zeros(_cut(_corpus(), stop))
    assert {zero.text for zero in zeros} == {stop, stop[:-1]}  # the sign after it, and the item that no list reaches
    assert all(zero.log_probability < -7 for zero in zeros)


def test_the_probability_is_the_binomial_one_where_all_numbers_are_alike() -> None:
    texts = [f"{number}{sign}" for number in range(10, 20) for sign in ("." * 1, ",") for _ in range(50)]
    kept = [text for text in texts if text != "13."] + ["13,"] * 50
    (zero,) = [zero for zero in improbable_zeros(kept) if zero.text == "13."]
    assert zero.expected == pytest.approx(50)
    assert zero.log_probability == pytest.approx(100 * log(1 / 2), rel=0.01)


def test_numbers_that_differ_widely_make_a_zero_probable() -> None:
    texts = [f"{number}{'.' if number % 2 else ','}" for number in range(10, 20) for _ in range(100)]
    assert improbable_zeros(texts) == []


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("1. a\n2. b\n3. c", 3),
        ("1. a 2. b 3. c 4. d", 4),
        ("1) a\n2) b\n3) c", 3),
        ("Section one\n1. a\n2. b\nSection two\n1. c\n2. d\n3. e", 3),
        ("3. a\n1. b", 1),
        ("It costs 1.2. or 3.5.", 0),
    ],
)
def test_the_length_of_a_list(text: str, length: int) -> None:
    assert list_length(text) == length


CUT = [
    ("Who leads it?", "She was sworn in on May 3, 20", "ends within a year", "She was sworn in on May 3, 2020."),
    ("When was it?", "It grew most in 20", "ends within a year", "It grew most in 2020."),
    ("What does it cost?", "The total cost is $", "ends before a number", None),
    ("What does it cost?", "The total cost of all is $1", "ends within a number", None),
    ("What is it?", "The sum of both is equal to", "ends where a number should follow", None),
    ("Convert 20 inches.", "", "the output is empty", None),
]
WHOLE = [
    ("Draw a chart.", ""),
    ("Factor?", "2, 4, 5, 10, 20"),
    ("How many?", "120"),
    ("Write a regex.", "^[a-z]+$"),
    ("Write a line.", "To be or not to be, that is"),
    ("A price?", "Price: $15"),
]


def test_rows_that_break_off_are_found_and_years_are_mended(table_of: Callable[[list[Any]], Table]) -> None:
    rows = [{"instruction": task, "output": output} for task, output, *_ in [*CUT, *WHOLE]]
    rows += [{"instruction": "Go on.", "output": text} for text in _cut(_corpus(), "20.")]
    found: dict[int, Hit] = {}
    assert STOP_CUT.find_all
    for place, turn, hit in STOP_CUT.find_all(table_of(rows).views):
        assert turn == 0
        found[place] = hit
    for place, (_, _, reason, whole) in enumerate(CUT):
        assert reason in found[place].reason
        fix = found[place].fix
        assert fix
        assert fix.value == (whole or "")
    assert [place for place in found if len(CUT) <= place < len(CUT) + len(WHOLE)] == []
    lists = [place for place, hit in found.items() if "the list ends with 19" in hit.reason]
    assert lists == [place for place, row in enumerate(rows) if list_length(row["output"]) == 19]


def test_without_a_zero_no_row_is_cut(table_of: Callable[[list[Any]], Table]) -> None:
    rows = [{"instruction": task, "output": output} for task, output, *_ in CUT]
    rows += [{"instruction": "Go on.", "output": text} for text in _corpus()]
    assert STOP_CUT.find_all
    assert list(STOP_CUT.find_all(table_of(rows).views)) == []

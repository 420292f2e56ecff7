"""Checked answers against Python's own statistics, sorting, calendar and bases; numbers read and written."""

from __future__ import annotations

import calendar
import math
import random
import statistics
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from fractions import Fraction

import pytest

from alpaca_lora.data.audit.answers.check import check_answer
from alpaca_lora.data.audit.answers.expressions import NotAnExpression, value_of
from alpaca_lora.data.audit.answers.notations import roman
from alpaca_lora.data.audit.answers.numerals import numerals, spell, word_value, write_number
from alpaca_lora.data.audit.answers.rule import WRONG_ANSWER
from alpaca_lora.data.audit.rows import TurnView

PLACES = {"instruction": "instruction", "input": "input", "output": "output"}
OPERATIONS: list[tuple[str, Callable[[Sequence[int]], float]]] = [
    ("mean", statistics.mean),
    ("median", statistics.median),
    ("sum", sum),
    ("product", math.prod),
    ("range", lambda values: max(values) - min(values)),
]


@pytest.mark.parametrize(("name", "reference"), OPERATIONS, ids=[name for name, _ in OPERATIONS])
def test_lists_agree_with_the_standard_library(name: str, reference: Callable[[Sequence[int]], float]) -> None:
    draw = random.Random(7)
    for _ in range(60):
        values = [draw.randint(-30, 30) for _ in range(draw.randint(3, 8))]
        value = reference(values)
        question, given = f"Find the {name} of the following numbers.", ", ".join(map(str, values))
        fine = check_answer(question, given, f"{value:.4f}")
        assert fine is not None, values
        assert fine.right, (values, value)
        flawed = check_answer(question, given, f"{value + 1.5:.4f}")
        assert flawed is not None
        assert not flawed.right
        assert float(flawed.expected.replace(",", "")) == pytest.approx(value, abs=1e-3)


def test_expressions_agree_with_two_stacks() -> None:
    draw = random.Random(3)
    for _ in range(200):
        text = str(draw.randint(1, 20))
        for _ in range(draw.randint(1, 5)):
            text = f"{text} {draw.choice('+-*/')} {draw.choice(['', '('])}{draw.randint(1, 20)}"
        text += ")" * (text.count("(") - text.count(")"))
        try:
            reference = _by_shunting(text)
        except ZeroDivisionError:
            with pytest.raises(NotAnExpression):
                value_of(text)
            continue
        assert value_of(text) == reference


def _by_shunting(text: str) -> Fraction:
    """Work a sum by two stacks, as an independent reference."""
    rank = {"+": 1, "-": 1, "*": 2, "/": 2, "(": 0}
    values: list[Fraction] = []
    signs: list[str] = []

    def work() -> None:
        right, left, sign = values.pop(), values.pop(), signs.pop()
        values.append({"+": left + right, "-": left - right, "*": left * right}[sign] if sign != "/" else left / right)

    for token in text.replace("(", "( ").replace(")", " )").split():
        if token == "(":
            signs.append(token)
        elif token == ")":
            while signs[-1] != "(":
                work()
            signs.pop()
        elif token in rank:
            while signs and rank[signs[-1]] >= rank[token]:
                work()
            signs.append(token)
        else:
            values.append(Fraction(token))
    while signs:
        work()
    return values[0]


@pytest.mark.parametrize(
    "text", ["", "2 +", "(2", "2)", "1/2x", "8/2(4)", "-3^2", "2^3^2", "2 + y", "4/(2-2)", "99!", "2^99", "a.b", "1..2"]
)
def test_not_an_expression(text: str) -> None:
    with pytest.raises(NotAnExpression):
        value_of(text)


def test_days_of_the_week_agree_with_the_calendar() -> None:
    day = date(1999, 12, 28)
    for _ in range(40):
        day += timedelta(days=137)
        name = calendar.day_name[day.weekday()]
        question = f"What day of the week was {day:%B} {day.day}, {day.year}?"
        fine = check_answer(question, "", f"It was a {name}.")
        assert fine is not None
        assert fine.right
        next_name = calendar.day_name[(day.weekday() + 1) % 7]
        flawed = check_answer(question, "", f"It was a {next_name}.")
        assert flawed is not None
        assert flawed.corrected == f"It was a {name}."


def test_bases_agree_with_python() -> None:
    for number in range(9, 900, 37):
        for name, written in (("binary", bin(number)), ("hexadecimal", hex(number)), ("octal", oct(number))):
            verdict = check_answer(f"Convert the decimal number {number} to {name}.", "", f"The answer is {written}.")
            assert verdict is not None, (number, name)
            assert verdict.right, (number, name)


def test_numbers_in_words_and_in_roman_read_back() -> None:
    assert [roman(number) for number in (4, 9, 14, 40, 90, 400, 1994, 2026)] == [
        *("IV", "IX", "XIV", "XL", "XC", "CD", "MCMXCIV", "MMXXVI")
    ]
    assert [word_value(spell(number)) for number in range(100)] == list(range(100))
    assert spell(9838) == "nine thousand eight hundred thirty-eight"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("The area is 50 cm2, or 7 m^3.", [50, 7]),
        ("7 1/8 and -3.5 and 9-7", [Fraction(57, 8), Fraction(-7, 2), 9, 7]),
        ("1,200.5 of 3, 5", [Fraction("1200.5"), 3, 5]),
        ("5.67 x 10^-1 and 2e3", [Fraction("0.567"), 2000]),
        ("twenty-two apples, 45% off", [22, 45]),
        ("on the 3rd at 12:30", []),
        ("x2 and COVID19", []),
        ("1/0", []),
    ],
)
def test_numbers_in_text(text: str, values: list[Fraction]) -> None:
    assert [number.value for number in numerals(text)] == values


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (Fraction(9, 2), 0, "4.5"),
        (Fraction(10, 3), 2, "3.33"),
        (Fraction(7), 2, "7"),
        (2 / 3, 4, "0.6667"),
        (Fraction(1, 7000), 2, "0.000143"),
    ],
)
def test_numbers_as_a_person_writes_them(value: Fraction, decimals: int, text: str) -> None:
    assert write_number(value, decimals) == text


def test_the_rule_names_the_evidence_and_the_fix() -> None:
    turn = TurnView("Find the sum of 3 and 9.", "", "The sum of 3 and 9 is 11.", PLACES)
    assert WRONG_ANSWER.find is not None
    (hit,) = WRONG_ANSWER.find(turn)
    assert hit.field == "output"
    assert "12" in hit.reason
    assert "11" in hit.reason
    assert hit.fix is not None
    assert (hit.fix.action, hit.fix.value) == ("set", "The sum of 3 and 9 is 12.")
    assert list(WRONG_ANSWER.find(TurnView("Find the sum of 3 and 9.", "", hit.fix.value, PLACES))) == []

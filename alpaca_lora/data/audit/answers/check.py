"""Answer a question by machine where its words leave no doubt, and hold the output against the answer."""

from __future__ import annotations

import re
from collections.abc import Callable

from alpaca_lora.data.audit.answers.algebra import check_equation, check_roots, check_substitution
from alpaca_lora.data.audit.answers.arithmetic import check_arithmetic
from alpaca_lora.data.audit.answers.averages import check_averages
from alpaca_lora.data.audit.answers.counting import check_counting
from alpaca_lora.data.audit.answers.dates import check_dates
from alpaca_lora.data.audit.answers.geometry import check_geometry
from alpaca_lora.data.audit.answers.judge import judge_number
from alpaca_lora.data.audit.answers.judge_lists import judge_list, judge_text
from alpaca_lora.data.audit.answers.notations import check_notation
from alpaca_lora.data.audit.answers.ordering import check_ordering
from alpaca_lora.data.audit.answers.points import check_points
from alpaca_lora.data.audit.answers.prices import check_prices
from alpaca_lora.data.audit.answers.question import Question, ask
from alpaca_lora.data.audit.answers.series import check_series
from alpaca_lora.data.audit.answers.spelling import check_spelling
from alpaca_lora.data.audit.answers.units import check_units
from alpaca_lora.data.audit.answers.verdict import ListTruth, NumberTruth, Truth, Verdict
from alpaca_lora.data.audit.answers.whole_numbers import check_whole_numbers

Checker = Callable[[Question], Truth | None]
# A checker runs where the instruction, or for those marked so the input, holds one of the strings: most rows hold none.
_CHECKERS: tuple[tuple[Checker, tuple[str, ...]], ...] = (
    (
        check_averages,
        ("mean", "average", "median", "mode", "range", "sum", "total", "add", "product", "multipl", "max", "min",
         "largest", "smallest", "greatest", "biggest", "highest", "lowest", "deviation", "variance"),
    ),
    (check_ordering, ("sort", "arrang", "order", "rank", "organi", "put ", "place", "alphabet", "list")),
    (check_units, ("convert", "express", "equivalent", "how many", "number of", "fahrenheit", "celsius", "transform")),
    (check_geometry, ("area", "perimeter", "circumference", "volume", "diagonal", "hypotenuse")),
    (check_points, ("slope", "distance", "gradient", "area")),
    (
        check_notation,
        ("binary", "octal", "hex", "decimal", "base", "roman", "word", "percent", "fraction", "scientific", "standard"),
    ),
    (check_whole_numbers, ("common", "gcd", "gcf", "lcm", "hcf", "lcd", "prime", "factor", "round", "odd", "even")),
    (check_series, ("next", "sum of", "add")),
    (check_arithmetic, ()),
    (check_equation, ()),
    (check_roots, ()),
    (check_substitution, ()),
    (check_counting, ("how many", "count", "number of", "length of")),
    (
        check_prices,
        ("cost", "price", "amount", "pay", "paid", "interest", "speed", "percent", "discount", "tax", "total"),
    ),
    (check_dates, ("day", "leap")),
    (check_spelling, ("revers", "palindrome", "case", "union", "intersection", "duplicate")),
)  # fmt: skip
_NOT_ASKED = re.compile(
    r"\b(?:code|program|function|script|algorithm|python|javascript|java|sql|query|regex|"
    r"story|poem|essay|sentences? (?:with|about|using)|create|design)\b"
)
_DIGIT = re.compile(r"[\d¹²³]")
_LONGEST = 300  # characters of an instruction; a longer one sets a scene


def check_answer(instruction: str, given: str, output: str) -> Verdict | None:
    """Check an answer in English.

    Args:
        instruction: The question.
        given: Its input; "" for none.
        output: The answer to be checked.

    Returns:
        What was found, or None where the question is not understood to the last word, has more than one answer, or
        where it is unclear what the output claims.
    """
    if len(instruction) > _LONGEST or len(output) > 900 or len(given) > 1500 or not output or output.isspace():
        return None
    lower = instruction.lower()
    if _NOT_ASKED.search(lower):
        return None
    has_digit = _DIGIT.search(instruction) or _DIGIT.search(given, 0, 200)
    wanted = [
        checker for checker, strings in _CHECKERS if (any(map(lower.__contains__, strings)) if strings else has_digit)
    ]
    if not wanted:
        return None
    question = ask(instruction, given)
    for checker in wanted:
        truth = checker(question)
        if truth is not None:
            return _judge(output, truth)
    return None


def is_right(instruction: str, given: str, output: str) -> bool:
    """Say whether an answer is understood and right."""
    verdict = check_answer(instruction, given, output)
    return verdict is not None and verdict.right


def _judge(output: str, truth: Truth) -> Verdict | None:
    if isinstance(truth, NumberTruth):
        return judge_number(output, truth)
    return judge_list(output, truth) if isinstance(truth, ListTruth) else judge_text(output, truth)
